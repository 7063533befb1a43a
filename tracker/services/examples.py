"""Saved replies, and what each is to be read as: how a definition is tried before it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracker.errors import ConfigError, TrackerError
from tracker.model import Content, Failure, Job, Json, Reading, State
from tracker.services import headers as header_rules
from tracker.services.results import Piece, Step
from tracker.tables import Table
from tracker.transports.base import Call, Reply

if TYPE_CHECKING:
    from tracker.services.definition import Service

CALLS = ("status", "create", "result", "lookup", "cancel", "delete")

EXPECTED = (
    "state",
    "word",
    "progress",
    "error",
    "result",
    "server_id",
    "captured",
    "partial",
    "fault",
    "retry_after",
    "final",
    "again",
    "expires_at",
    "has_result",
    "items",
    "more",
)

READ_AS = (*State, "unknown", "failure", "step", "page", "accepted", "none")
"""What a reply can be read as: a state, ``unknown`` (the service does not know the job), a
``failure`` of the call, after which the job goes on, a ``step`` on the way to a result or a
``page`` of it, ``accepted`` (a cancel or delete), or ``none`` (a lookup that found nothing)."""

Read = Reading | Content | Step | Piece | Failure | None
"""What a service can read in a reply."""


@dataclass(frozen=True, slots=True)
class Example:
    """One saved reply to a ``call`` (one of `CALLS`) about the job ``server_id``, and what it is
    ``expected`` to be read as (``state`` is one of `READ_AS`). ``sends`` is the request that the
    definition makes for a job with this ``payload`` and ``vars``: ``method``, ``url``, ``headers``
    and ``json``, ``form`` or ``body``. A ``result`` is fetched by its own request, or by that of
    the n-th ``hop`` on the way."""

    name: str
    call: str
    http: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    server_id: str | None = None
    payload: dict[str, Json] = field(default_factory=dict)
    vars: dict[str, Json] = field(default_factory=dict)
    sends: Mapping[str, Json] = field(default_factory=dict)
    expected: Mapping[str, Json] = field(default_factory=dict)
    hop: int = 0

    @property
    def reply(self) -> Reply:
        """The reply as a transport would bring it."""
        return Reply(self.http, dict(self.headers), self.body, self.url)


def read_examples(table: Table) -> tuple[Example, ...]:
    """``[services.X.examples]``: a table for each. Raises ConfigError."""
    return tuple(_read(name, table.table(name)) for name in table.names())


def _read(name: str, table: Table) -> Example:
    call = table.choice("call", CALLS, "status")
    body, document = table.optional_string("body", empty=True), table.raw("json")
    if body is not None and document is not None:
        raise ConfigError(f"{table.path}: body and json exclude each other")
    headers = {"content-type": "application/json"} if document is not None else {}
    for key, value in (table.optional_mapping("headers") or {}).items():
        headers[key.lower()] = header_rules.check_value(value, f"{table.key('headers')}.{key}")
    expected = {key: table.raw(key) for key in EXPECTED if key in table.names()}
    for key in EXPECTED:
        table.raw(key)
    if expected.get("state") is not None and expected["state"] not in READ_AS:
        table.fail("state", f"expected one of {', '.join(READ_AS)}")
    example = Example(
        name,
        call,
        table.integer("http", 200, low=100, high=599),
        headers,
        (body or "").encode() if document is None else json.dumps(document).encode(),
        table.optional_string("url") or "",
        table.optional_string("of"),
        dict(table.optional_mapping("payload") or {}),
        dict(table.optional_mapping("vars") or {}),
        dict(table.optional_mapping("sends") or {}),
        expected,
        table.integer("hop", 0, low=1, high=100),
    )
    table.finish()
    return example


def problems(service: Service, example: Example) -> list[str]:
    """What `service` reads in an example that is not expected; each with what it yielded."""
    wrong = _wrongly_sent(service, example) if example.sends else []
    if not example.expected:
        return wrong
    try:
        found = described(read_as(service, example), example.call)
    except TrackerError as error:
        return [*wrong, str(error)]
    for name, wanted in example.expected.items():
        got = found.get(name)
        if not _equal(got, wanted):
            wrong.append(f"{name} is {_short(got)}, expected {_short(wanted)}")
    if wrong and "message" in found:
        wrong.append(str(found["message"]))
    return wrong


def read_as(service: Service, example: Example) -> Read:
    """What `service` reads in an example."""
    job, reply = job_of(service, example), example.reply
    match example.call:
        case "create":
            return service.read_create(job, reply)
        case "result":
            return service.read_result(job, reply, _step(service, example))
        case "lookup":
            return service.read_lookup(job, reply)
        case "cancel":
            return service.read_cancel(reply)
        case "delete":
            return service.read_delete(reply)
        case _:
            return service.read_status(job, reply)


def _step(service: Service, example: Example) -> Step:
    """The n-th hop, or what comes after all of them."""
    hops = len(service.result.hops) if service.result is not None else 0
    return Step(example.hop - 1 if example.hop else hops)


def job_of(service: Service, example: Example) -> Job:
    """The job that an example is about."""
    return Job(
        0,
        "00000000-0000-7000-8000-000000000000",
        service.name,
        service.account,
        None if example.call in ("create", "lookup") else example.server_id,
        "processing",
        payload=example.payload,
        vars=example.vars,
    )


def _wrongly_sent(service: Service, example: Example) -> list[str]:
    try:
        call = _call_of(service, example)
    except TrackerError as error:
        return [str(error)]
    sent: dict[str, Json] = {"method": call.method, "url": call.url}
    body = (call.body or b"").decode("utf-8", "replace")
    sent |= {"body": body, "json": _decoded(body), "form": call.form}
    wrong = [
        f"{name} sent is {_short(sent.get(name))}, expected {_short(wanted)}"
        for name, wanted in example.sends.items()
        if name != "headers" and not _equal(sent.get(name), wanted)
    ]
    headers = {name.lower(): value for name, value in call.headers.items()}
    wanted_headers = example.sends.get("headers")
    for name, value in (wanted_headers if isinstance(wanted_headers, dict) else {}).items():
        if headers.get(name.lower()) != value:
            wrong.append(f"header {name} sent is {_short(headers.get(name.lower()))}")
    return wrong


def _call_of(service: Service, example: Example) -> Call:
    job = job_of(service, example)
    match example.call:
        case "create":
            return service.build_create(job, "key")
        case "result":
            return service.build_result(job, None, _step(service, example))
        case "lookup":
            return service.build_lookup(job)
        case "cancel":
            return service.build_cancel(job)
        case "delete":
            return service.build_delete(job)
        case _:
            return service.build_status(job)


def _decoded(body: str) -> Json:
    try:
        found: Json = json.loads(body)
    except ValueError:
        return None
    return found


def described(result: Read, call: str = "status") -> dict[str, Json]:
    """A result of a `call` in plain words."""
    if result is None:
        return {"state": "none" if call == "lookup" else "accepted"}
    if isinstance(result, Step):
        return {"state": "step", "captured": result.vars}
    if isinstance(result, Piece):
        more = result.following is not None
        return {"state": "page", "items": result.lines.count(b"\n"), "more": more}
    if isinstance(result, Failure):
        return {"state": "failure", "fault": str(result.fault), "message": result.message,
                "retry_after": result.retry_after, "final": result.final,
                "again": result.again}  # fmt: skip
    if isinstance(result, Content):
        return {"state": "completed", "size": result.size, "content_id": result.id,
                "partial": result.partial}  # fmt: skip
    state = "unknown" if result.state is State.UNKNOWN_JOB else str(result.state)
    found: dict[str, Json] = {
        "state": state,
        "word": result.word,
        "progress": result.progress,
        "error": result.error,
        "result": result.result,
        "server_id": result.server_id,
        "estimated_seconds": result.estimated_seconds,
        "version": result.remote_version,
        "captured": result.captured,
        "partial": result.partial,
        "retry_after": result.retry_after,
        "expires_at": result.expires_at,
        "has_result": result.has_result,
    }
    return found


def _equal(one: Json, other: Json) -> bool:
    if isinstance(one, float) and isinstance(other, (int, float)):
        return abs(one - other) < 1e-9
    return bool(one == other)


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"
