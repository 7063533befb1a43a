"""What replies mean: a `Reading` or a `Failure`, and never an exception."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tracker import clock
from tracker.model import ENDINGS, Failure, Fault, Job, Json, Reading, State
from tracker.services import pacing, values
from tracker.services.expression import Envelope, Expression, ExpressionError, all_found, soft
from tracker.services.failures import (
    fault_of,
    http_failure,
    objection,
    unreadable,
    words_of,
)
from tracker.services.pacing import says
from tracker.services.values import word_key
from tracker.transports.base import Reply

if TYPE_CHECKING:
    from tracker.services.definition import Service
    from tracker.services.parts import ResultSpec, StatusSpec

LONGEST_ESTIMATE = 3.2e9
"""Seconds, a century: what is done later than that was not estimated."""

_GONE = (404, 410)


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
    envelope = Envelope(reply, job)
    if (failure := fault_of(service, reply) or objection(service, envelope)) is not None:
        return failure
    if spec.idempotency == "client_id" and reply.status == 409:
        return Reading(State.PROCESSING, server_id=job.local_id)
    redirected = 300 <= reply.status < 400 and spec.reads_headers and "location" in reply.headers
    if not 200 <= reply.status < 300 and not redirected:
        return http_failure(service, envelope)
    if spec.reads_body and not envelope.load() and spec.needs_body:
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
        # What was over at once may have no id: nobody is going to ask for it.
        over = word is not None and word.state in ENDINGS
        if found not in (None, "") or not (over or spec.idempotency == "client_id"):
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
        captured=all_found(spec.capture, envelope) if spec.capture else {},
    )
    reading = _hinted(service, reading, envelope)
    if word.state in ENDINGS:
        status = service.status
        if status is not None and status.capture and envelope.load():
            # No status call will find what the result is asked for with.
            there = all_found(status.capture, envelope)
            reading = replace(reading, captured={**there, **reading.captured})
        return _with_ending(service, reading, envelope, reply)
    return reading


def read_status(service: Service, job: Job, reply: Reply) -> Reading | Failure:
    """What the reply to a status call says."""
    spec = service.status
    if spec is None:
        return _undefined(service, "status")
    envelope = Envelope(reply, job)
    if (failure := fault_of(service, reply) or objection(service, envelope)) is not None:
        return failure
    if says(spec.unknown, envelope):
        return _unknown(service, envelope)
    mapped = spec.http.get(reply.status) if spec.http else None
    if mapped is None and not 200 <= reply.status < 300:
        if reply.status in _GONE:
            return _unknown(service, envelope)
        return http_failure(service, envelope)
    if spec.reads_body and not envelope.load() and spec.needs_body and mapped is None:
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
        all_found(spec.capture, envelope) if spec.capture else {},
        None,
        None,
        values.identifier(soft(spec.version, envelope)) if spec.version is not None else None,
    )
    if spec.partial is not None and word.state is State.COMPLETED:
        reading = replace(reading, partial=bool(soft(spec.partial, envelope)))
    if spec.expires_at is not None:
        reading = replace(reading, expires_at=_moment(soft(spec.expires_at, envelope)))
    reading = _hinted(service, reading, envelope)
    if word.state in ENDINGS:
        return _with_ending(service, reading, envelope, reply)
    return reading


def _unknown(service: Service, envelope: Envelope) -> Reading:
    """The service does not know the job, and what it says about that."""
    return Reading(State.UNKNOWN_JOB, error=words_of(service, envelope) or None)


def read_plain(service: Service, reply: Reply) -> Failure | None:
    """None for any 2xx reply that does not say otherwise."""
    return failure_of(service, Envelope(reply, None))


def failure_of(service: Service, envelope: Envelope) -> Failure | None:
    """As `read_plain`; the body may be in the envelope afterwards. A 202 is a success here."""
    reply = envelope.reply
    if (failure := fault_of(service, reply) or objection(service, envelope)) is not None:
        return failure
    return None if 200 <= reply.status < 300 else http_failure(service, envelope)


def read_items(
    service: Service, items: Expression, envelope: Envelope, what: str
) -> list[Json] | Failure:
    """The list that `items` finds in the body of a 2xx reply, which is then in the envelope."""
    reply = envelope.reply
    failure = failure_of(service, envelope)
    if failure is not None:
        return failure
    if not envelope.load():
        return unreadable(reply, f"the {what} is not JSON")
    try:
        found = items.find(envelope)
    except ExpressionError as error:
        return unreadable(reply, str(error))
    return found if isinstance(found, list) else unreadable(reply, f"{items.text} is no list")


def read_update(service: Service, job: Job, reply: Reply) -> str | Failure | None:
    """The job's version there after an update; None where it is not told."""
    envelope = Envelope(reply, job)
    failure = failure_of(service, envelope)
    if failure is not None or service.update is None or service.update.version is None:
        return failure
    envelope.load()
    return values.identifier(soft(service.update.version, envelope))


def read_cancel(service: Service, reply: Reply) -> Failure | None:
    """None for a 2xx; also for what says that there is nothing to stop: how the job ended is for
    its status to tell."""
    envelope = Envelope(reply, None)
    over = reply.fault is None and (reply.status == 409 or is_gone(service, envelope))
    if over and objection(service, envelope) is None:
        return None
    return failure_of(service, envelope)


def read_delete(service: Service, reply: Reply) -> Failure | None:
    """None when the job is gone there: a 2xx, or a 404 or 410 (it already was)."""
    envelope = Envelope(reply, None)
    if reply.fault is None and objection(service, envelope) is None and is_gone(service, envelope):
        return None
    return failure_of(service, envelope)


def is_gone(service: Service, envelope: Envelope) -> bool:
    """Whether a reply says that the service does not know the job."""
    unknown = service.status.unknown if service.status is not None else None
    return envelope.reply.status in _GONE or says(unknown, envelope)


def _undefined(service: Service, table: str) -> Failure:
    message = f"services.{service.name} has no {table}"
    return Failure(Fault.INVALID, message, sent=False)


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
    readable = envelope.load()
    spec = service.result
    if spec is not None and spec.request is not None:
        reading = _fetchable(spec, reading, envelope)
    if reading.state is not State.COMPLETED:
        error = service.status.error if service.status is not None else None
        found = values.explanation(soft(error, envelope))
        if found is None and reply.status >= 400:
            found = http_failure(service, envelope).message
        left = soft(spec.value, envelope) or None if spec is not None else None
        return replace(
            reading, error=service.redacted(found), result=left, partial=left is not None
        )
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


def _fetchable(spec: ResultSpec, reading: Reading, envelope: Envelope) -> Reading:
    """`reading` with whether there is a result to be fetched, and until when."""
    if spec.when is not None and not says(spec.when, envelope):
        return replace(reading, has_result=False)
    if reading.expires_at is None and spec.expires_after is not None:
        return replace(reading, expires_at=clock.to_text(clock.now() + spec.expires_after))
    return reading


def _figure(found: Json) -> str | None:
    return repr(found) if isinstance(found, float) else values.identifier(found)


def _moment(found: Json) -> str | None:
    """A time that a service states, as the ledger writes it; 0 is none."""
    moment = clock.to_moment(_figure(found))
    return clock.to_text(moment) if moment is not None and 0 < moment < clock.LAST_SECOND else None


def _hinted(service: Service, reading: Reading, envelope: Envelope) -> Reading:
    """`reading` with when to come back, where the definition says how a good reply tells that."""
    if not service.pacing.retry_after:
        return reading
    cap = service.retry_after_cap
    return replace(reading, retry_after=pacing.retry_after(service.pacing, envelope, cap))


def _estimate(spec: StatusSpec, envelope: Envelope) -> float | None:
    """In how many seconds the job is probably done."""
    if spec.estimated_seconds is not None:
        return values.seconds(soft(spec.estimated_seconds, envelope))
    if spec.estimated_at is None:
        return None
    moment = clock.to_moment(_figure(soft(spec.estimated_at, envelope)))
    left = None if moment is None else moment - clock.now()
    return left if left is not None and 0 < left < LONGEST_ESTIMATE else None


def _progress(spec: StatusSpec, envelope: Envelope) -> float | None:
    progress = spec.progress
    if progress is None:
        return None
    whole: Json = progress.scale
    if progress.whole is not None:
        whole = soft(progress.whole, envelope)
    return values.fraction(soft(progress.part, envelope), whole)
