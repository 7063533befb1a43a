"""The files that the demo submits, how their jobs have to end, and the configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import Impossible, TrackerError
from tracker.model import Reason, Status


@dataclass(frozen=True, slots=True)
class Sample:
    """One input file, and what has to become of its job."""

    name: str
    content: bytes
    status: str = Status.COMPLETED
    failure_reason: str | None = None
    error_message: str | None = None


_PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + bytes(range(256)) * 16 + b"\n%%EOF\n"
_ORDERS = json.dumps([{"order": number, "amount": number * 7 % 90} for number in range(40)])

SAMPLES = (
    Sample("hello.txt", b"Hello, world.\n"),
    Sample("report.pdf", _PDF),
    Sample("orders.json", _ORDERS.encode()),
    Sample(
        "table.csv",
        b"name,city,age\nAda,London,36\nAlan,London\n",
        status=Status.FAILED,
        failure_reason=Reason.SERVICE,
        error_message="row 3 has 2 columns",
    ),
    Sample(
        "marathon.txt",
        b"42.195 km\n" * 100,
        status=Status.FAILED,
        failure_reason=Reason.TIMEOUT,
        error_message="Processing timeout",
    ),
    Sample(
        "draft.md",
        "# Draft\n\nNot yet – perhaps never.\n".encode(),
        status=Status.CANCELLED,
        error_message="withdrawn by author",
    ),
    Sample("letter.txt", b"Dear reader,\r\n\r\nthis arrives once.\r\n"),
    Sample("photo.bin", b"\x89PNG\r\n\x1a\n" + bytes(range(255, -1, -1)) * 8),
)

CONFIGURATION = """\
# Written by `tracker demo`. For a service of your own, write a file like this one; every key is
# described in docs/services.md.

database = "tracker.db"

[services.docs]
base_url = "@URL@"  # the demo's own service, which ended with the demo
rate     = "20/s"
timeout  = "5s"

# Quick, for the demo only: by default a job is polled 10 s after its acceptance, then every 20 s,
# and at most 10 times a minute.
[services.docs.poll]
first          = "1s"
every          = "2s"
max_per_minute = 60
backoff        = { base = "1s", cap = "4s" }

# Quick, for the demo only: by default a create is tried again after 2, 4, 8 and 16 minutes.
[services.docs.retry]
base = "500ms"

[services.docs.create]
request     = { path = "/jobs", file = "document", form = { language = "{payload.language?}" } }
idempotency = "header"  # the service recognises a create that is sent twice
server_id   = "body.job_id"

[services.docs.status]
request  = { path = "/jobs/{server_id}" }
state    = "body.status"
progress = "body.progress"
error    = "body.error.message"

[services.docs.states]
pending    = ["queued"]
processing = ["running"]
completed  = ["done"]
failed     = ["error"]
timeout    = ["timeout"]
cancelled  = ["cancelled"]

[services.docs.result]
request    = { path = "/jobs/{server_id}/result" }
content_id = "body.content_id"
"""


def write_inputs(folder: Path, samples: Sequence[Sample]) -> list[Path]:
    """Write the samples into ``inputs`` in `folder`, which is made where it is missing.

    Raises Impossible when `folder` holds something already (nothing of a user's is overwritten),
    TrackerError when it cannot be written.
    """
    inputs = folder / "inputs"
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Impossible(f"{folder} is not empty", "name a new or an empty folder")
        inputs.mkdir()
        for sample in samples:
            (inputs / sample.name).write_bytes(sample.content)
    return [inputs / sample.name for sample in samples]


def write_configuration(folder: Path, url: str) -> Path:
    """Write the ``tracker.toml`` that a user of the service at `url` would write. Raises
    TrackerError."""
    path = folder / "tracker.toml"
    with _writing(folder):
        path.write_text(CONFIGURATION.replace("@URL@", url), encoding="utf-8")
    return path


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrackerError(f"{folder} cannot be used: {error.strerror}") from None
