"""What replies mean: a `Reading`, a `Content` or a `Failure`, and never an exception."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tracker import clock
from tracker.model import Content, Failure, Fault, Job, Json, Reading, State
from tracker.services import pacing, values
from tracker.services.expression import Envelope, Expression, ExpressionError, soft
from tracker.services.failures import (
    http_failure,
    says,
    throttled,
    transport_failure,
    unreadable,
)
from tracker.services.values import word_key
from tracker.transports.base import Reply

if TYPE_CHECKING:
    from tracker.services.definition import Service, StatusSpec

LARGEST_INDEXED = 10**6
"""Bytes of a result up to which a content id is looked for in it."""

_GONE = (404, 410)
_EXPLAINED = frozenset((State.FAILED, State.TIMEOUT, State.CANCELLED))


@dataclass(slots=True)
class _Word:
    """A word as it was found: what it means and how it is shown."""

    state: State
    text: str | None


def read_create(service: Service, job: Job, reply: Reply) -> Reading | Failure:
    """What the reply to a create says; the reading has a ``server_id``.

    Without ``create.state``, or where it yields nothing, a job that was accepted is processing.
    """
    spec = service.create
    if spec is None:
        return _undefined(service, "create")
    if reply.fault is not None:
        return transport_failure(reply)
    if (later := throttled(service, reply)) is not None:
        return later
    if spec.idempotency == "client_id" and reply.status == 409:
        return Reading(State.PROCESSING, server_id=job.local_id)
    redirected = 300 <= reply.status < 400 and spec.reads_headers and "location" in reply.headers
    if not 200 <= reply.status < 300 and not redirected:
        return http_failure(service, job, reply)
    envelope = Envelope(reply, job)
    if spec.reads_body and not _load_body(envelope, reply) and spec.needs_body:
        return unreadable(reply, "the reply is not JSON")
    try:
        found = spec.server_id.find(envelope) if spec.server_id is not None else None
        word = _read_word(service, spec.state, envelope) if spec.state is not None else None
    except ExpressionError as error:
        return unreadable(reply, str(error))
    if isinstance(word, Failure):
        return word
    server_id = values.identifier(found)
    if server_id is None:
        if spec.idempotency != "client_id" or found not in (None, ""):
            where = spec.server_id.text if spec.server_id is not None else "server_id"
            return unreadable(reply, f"{where} holds no usable id")
        server_id = job.local_id
    if service.redacted(server_id) != server_id:
        return unreadable(reply, "the id in the reply is a credential")
    if word is None or word.text is None:
        word = _Word(State.PROCESSING, None)
    reading = Reading(
        word.state,
        word.text,
        estimated_seconds=values.seconds(soft(spec.estimated_seconds, envelope)),
        server_id=server_id,
        captured=_capture(spec.capture, envelope) if spec.capture else {},
    )
    reading = _hinted(service, reading, envelope)
    if word.state in _EXPLAINED or word.state is State.COMPLETED:
        return _with_ending(service, reading, envelope, reply)
    return reading


def read_status(service: Service, job: Job, reply: Reply) -> Reading | Failure:
    """What the reply to a status call says."""
    spec = service.status
    if spec is None:
        return _undefined(service, "status")
    if reply.fault is not None:
        return transport_failure(reply)
    if (later := throttled(service, reply)) is not None:
        return later
    if says(spec.unknown, reply):
        return Reading(State.UNKNOWN_JOB)
    mapped = spec.http.get(reply.status) if spec.http else None
    if mapped is None and not 200 <= reply.status < 300:
        if reply.status in _GONE:
            return Reading(State.UNKNOWN_JOB)
        return http_failure(service, job, reply)
    envelope = Envelope(reply, job)
    if spec.reads_body and not _load_body(envelope, reply) and spec.needs_body and mapped is None:
        return unreadable(reply, "the reply is not JSON")
    if (other := _other_job(spec, job, envelope)) is not None:
        return unreadable(reply, service.redacted(other) or "")
    try:
        word = _read_word(service, spec.state, envelope, mapped)
    except ExpressionError as error:
        return unreadable(reply, str(error))
    if isinstance(word, Failure):
        return word
    reading = Reading(
        word.state,
        word.text,
        _progress(spec, envelope) if spec.progress is not None else None,
        None,
        _estimate(spec, envelope),
        None,
        _capture(spec.capture, envelope) if spec.capture else {},
        None,
        None,
        values.identifier(soft(spec.version, envelope)) if spec.version is not None else None,
    )
    if spec.partial is not None and word.state is State.COMPLETED:
        reading = replace(reading, partial=bool(soft(spec.partial, envelope)))
    reading = _hinted(service, reading, envelope)
    if word.state in _EXPLAINED or word.state is State.COMPLETED:
        return _with_ending(service, reading, envelope, reply)
    return reading


def read_result(service: Service, job: Job, reply: Reply) -> Content | Failure:
    """The result that a reply carries: in memory, or in the reply's file.

    A 202 says that the result is still being made: a failure that is tried again.
    """
    spec = service.result
    if spec is None:
        return _undefined(service, "result")
    if reply.fault is not None:
        return transport_failure(reply)
    if (later := throttled(service, reply)) is not None:
        return later
    if reply.status == 202 or not 200 <= reply.status < 300:
        return http_failure(service, job, reply)
    content = Content(
        media_type=values.line(reply.headers.get("content-type", ""), 200),
        partial=reply.status == 206,
    )
    if reply.path is not None:
        content.path, content.size, content.sha256 = str(reply.path), reply.size, reply.sha256
    else:
        content.body, content.size = reply.body, len(reply.body)
        content.sha256 = hashlib.sha256(reply.body).hexdigest()
    if spec.content_id is not None:
        envelope = Envelope(reply, job)
        if "body" in spec.content_id.roots:
            envelope.body = _small_body(reply)
        content.id = values.identifier(soft(spec.content_id, envelope))
    return content


def read_plain(service: Service, reply: Reply) -> Failure | None:
    """None for any 2xx reply."""
    if reply.fault is not None:
        return transport_failure(reply)
    if (later := throttled(service, reply)) is not None:
        return later
    return None if 200 <= reply.status < 300 else http_failure(service, None, reply)


def read_items(
    service: Service, items: Expression, envelope: Envelope, what: str
) -> list[Json] | Failure:
    """The list that `items` finds in the body of a 2xx reply, which is then in the envelope."""
    reply = envelope.reply
    failure = read_plain(service, reply)
    if failure is not None:
        return failure
    if not _load_body(envelope, reply):
        return unreadable(reply, f"the {what} is not JSON")
    try:
        found = items.find(envelope)
    except ExpressionError as error:
        return unreadable(reply, str(error))
    return found if isinstance(found, list) else unreadable(reply, f"{items.text} is no list")


def read_update(service: Service, job: Job, reply: Reply) -> str | Failure | None:
    """The job's version there after an update; None where it is not told."""
    failure = read_plain(service, reply)
    if failure is not None or service.update is None or service.update.version is None:
        return failure
    envelope = Envelope(reply, job)
    _load_body(envelope, reply)
    return values.identifier(soft(service.update.version, envelope))


def read_cancel(service: Service, reply: Reply) -> Failure | None:
    """None for a 2xx; also for what says that there is nothing to stop: how the job ended is for
    its status to tell."""
    if (later := throttled(service, reply)) is not None:
        return later
    if reply.fault is None and (reply.status == 409 or _is_gone(service, reply)):
        return None
    return read_plain(service, reply)


def read_delete(service: Service, reply: Reply) -> Failure | None:
    """None when the job is gone there: a 2xx, or a 404 or 410 (it already was)."""
    if (later := throttled(service, reply)) is not None:
        return later
    if reply.fault is None and _is_gone(service, reply):
        return None
    return read_plain(service, reply)


def _is_gone(service: Service, reply: Reply) -> bool:
    spec = service.status
    unknown = spec.unknown if spec is not None else None
    return reply.status in _GONE or says(unknown, reply)


def _undefined(service: Service, table: str) -> Failure:
    message = f"services.{service.name} has no {table}"
    return Failure(Fault.INVALID, message, sent=False)


def _load_body(envelope: Envelope, reply: Reply) -> bool:
    """Decode the body into the envelope; False when it is not JSON."""
    try:
        envelope.body = values.decode(reply.body)
    except values.Undecodable:
        return False
    return True


def _read_word(
    service: Service, state: Expression | None, envelope: Envelope, mapped: str | None = None
) -> _Word | Failure:
    value = mapped if mapped is not None or state is None else state.find(envelope)
    if type(value) is str and not service.fold_case:
        known = service.states.get(value)
        if known is None:
            return _Word(State.UNKNOWN_WORD, service.redacted(values.word(value)))
        return _Word(known, values.word(value))
    if value is None:
        return _Word(State.UNKNOWN_WORD, None)
    key = word_key(value, service.fold_case)
    if key is None:
        where = state.text if state is not None else "state"
        kind = "an object" if isinstance(value, dict) else "a list"
        return unreadable(envelope.reply, f"{where} is {kind}, expected a word")
    known = service.states.get(key, State.UNKNOWN_WORD)
    return _Word(known, service.redacted(values.word(values.text(value))))


def _other_job(spec: StatusSpec, job: Job, envelope: Envelope) -> str | None:
    """What is wrong when the reply carries another job's id; None when all is well."""
    if spec.server_id is None or job.server_id is None:
        return None
    found = values.identifier(soft(spec.server_id, envelope))
    if found is None or found == job.server_id:
        return None
    return f"reply is for another job ({spec.server_id.text} is {values.line(found, 80)!r})"


def _with_ending(
    service: Service, reading: Reading, envelope: Envelope, reply: Reply
) -> Reading | Failure:
    """`reading` of a finished job, with its error or with the result that came along."""
    readable = envelope.body is not None or _load_body(envelope, reply)
    if reading.state in _EXPLAINED:
        error = service.status.error if service.status is not None else None
        found = values.explanation(soft(error, envelope))
        if found is None and reply.status >= 400:
            found = http_failure(service, None, reply).message
        value = service.result.value if service.result is not None else None
        left = soft(value, envelope) or None
        return replace(
            reading, error=service.redacted(found), result=left, partial=left is not None
        )
    spec = service.result
    if spec is None or spec.value is None:
        return reading
    if not readable and "body" in spec.value.roots:
        return unreadable(reply, "the reply with the result is not JSON")
    try:
        result = spec.value.find(envelope)
    except ExpressionError as error:
        return unreadable(reply, str(error))
    content_id = values.identifier(soft(spec.content_id, envelope))
    return replace(reading, result=result, content_id=content_id)


def _capture(expressions: Mapping[str, Expression], envelope: Envelope) -> dict[str, Json]:
    found = {name: soft(expression, envelope) for name, expression in expressions.items()}
    return {name: value for name, value in found.items() if value is not None}


def _hinted(service: Service, reading: Reading, envelope: Envelope) -> Reading:
    """`reading` with when to come back, where the definition says how a good reply tells that."""
    if not service.pacing.retry_after:
        return reading
    cap = service.retry_after_cap
    wait = pacing.retry_after(service.pacing, envelope.reply, cap, envelope.body)
    return replace(reading, retry_after=wait)


def _estimate(spec: StatusSpec, envelope: Envelope) -> float | None:
    """In how many seconds the job is probably done."""
    if spec.estimated_seconds is not None:
        return values.seconds(soft(spec.estimated_seconds, envelope))
    if spec.estimated_at is None:
        return None
    moment = clock.to_moment(values.identifier(soft(spec.estimated_at, envelope)))
    left = None if moment is None else moment - clock.now()
    return left if left is not None and left > 0 else None


def _progress(spec: StatusSpec, envelope: Envelope) -> float | None:
    progress = spec.progress
    if progress is None:
        return None
    whole: Json = progress.scale
    if progress.whole is not None:
        whole = soft(progress.whole, envelope)
    return values.fraction(soft(progress.part, envelope), whole)


def _small_body(reply: Reply) -> Json:
    """The JSON of a small reply, also of one in a file; None for anything else."""
    media_type = reply.headers.get("content-type", "application/json").partition(";")[0]
    if not re.search(r"[/+]json\s*$", media_type, re.IGNORECASE):
        return None
    try:
        if reply.path is None:
            return values.decode(reply.body) if len(reply.body) <= LARGEST_INDEXED else None
        return values.decode(reply.path.read_bytes()) if reply.size <= LARGEST_INDEXED else None
    except (OSError, values.Undecodable):
        return None
