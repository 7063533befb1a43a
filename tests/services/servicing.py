"""Small makers that the tests of services share."""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec

from tracker.config import Config
from tracker.model import Job
from tracker.services.definition import Service
from tracker.services.loading import load_services
from tracker.transports.base import Reply

BASE = "https://api.example.com/v1"

DOCS = """
base_url = "https://api.example.com/v1"
[create]
request = { path = "/jobs", json = { document = "{input.url?}" } }
server_id = "body.job_id"
[status]
request = { path = "/jobs/{server_id}" }
state = "body.status"
progress = "body.progress"
error = "body.error.message"
[states]
processing = ["queued", "running"]
completed = ["done"]
failed = ["error"]
timeout = ["timeout"]
cancelled = ["cancelled"]
[result]
request = { path = "/jobs/{server_id}/result" }
content_id = "body.content_id"
[delete]
request = { path = "/jobs/{server_id}" }
"""


def load(text: str, file: str | None = None) -> Service:
    """The service that the table `text` describes, called docs."""
    data = {"docs": tomllib.loads(text)}
    return load_services(Config(database="x.db", file=file, services=data))["docs"]


def merged(below: Any, above: Any) -> Any:
    """`below` with `above` laid over it, table by table."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: merged(below.get(key), value) for key, value in above.items()}


def docs(extra: str = "") -> Service:
    """The service of `DOCS`, with the keys of `extra` laid over it."""
    data = {"docs": merged(tomllib.loads(DOCS), tomllib.loads(extra))}
    return load_services(Config(database="x.db", services=data))["docs"]


def request(text: str, base_url: str = BASE, extra: str = "") -> Service:
    """A service whose status request is the inline table `text`."""
    return load(
        f"""
        base_url = "{base_url}"
        {extra}
        [status]
        request = {text}
        state = "body.status"
        [states]
        completed = ["done"]
        """
    )


def a_job(**fields: Any) -> Job:
    """A running job."""
    known: dict[str, Any] = {
        "id": 1,
        "local_id": "01890000-0000-7000-8000-00000000abcd",
        "service": "docs",
        "account": "",
        "server_id": "j1",
        "status": "processing",
    }
    return Job(**(known | fields))


def reply(body: Any = b"", status: int = 200, **fields: Any) -> Reply:
    """A reply; a body that is not bytes is written as JSON."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    url = fields.pop("url", f"{BASE}/jobs/j1")
    headers = {"content-type": "application/json"} | fields.pop("headers", {})
    return Reply(status=status, body=data, url=url, headers=headers, **fields)
