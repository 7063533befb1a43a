"""How a job ends: with what it is told, and with what there is of a result."""

from __future__ import annotations

from tracker.lifecycle.rules import Rules
from tracker.model import (
    Content,
    Event,
    Job,
    Json,
    Kind,
    NewOperation,
    Operation,
    Reading,
    Reason,
    State,
    Status,
)
from tracker.outcomes import Transition

PROCESSING_FAILED = "Processing failed"
PROCESSING_TIMEOUT = "Processing timeout"
RESULT_FAILED = "Failed to retrieve result"


def document_of(job: Job) -> str:
    """What a person calls the job: its document, else its file, else its short id."""
    return str(job.document_id or (job.input or {}).get("name") or job.local_id[-8:])


def finish(
    job: Job,
    status: Status,
    rules: Rules,
    *,
    from_status: Status,
    reason: Reason | None = None,
    error: str | None = None,
    content_id: str | None = None,
) -> Transition:
    """A transition into a terminal status, with its events and notifications (P7, P8)."""
    data: dict[str, Json] = {"status": status, "document": document_of(job)}
    events = [Event("job:status-changed", {"from": from_status, "to": status})]
    if status is Status.FAILED:
        events.append(Event("job:error-details", {"reason": reason, "message": error}))
        data |= {"reason": reason, "error": error}
    if content_id:
        data["result_content_id"] = content_id
    text = _announcement(job, status, reason, error)
    events.append(Event("job:finalized", {**data, "notification": text}))
    told = {**data, "local_id": job.local_id, "service": job.service, "message": text}
    return Transition(
        job.id,
        (from_status,),
        status,
        reason=reason,
        error=error,
        content_id=content_id,
        events=events,
        operations=[
            NewOperation(Kind.NOTIFY, sink, payload=told, priority="high") for sink in rules.sinks
        ],
    )


def _announcement(job: Job, status: Status, reason: Reason | None, error: str | None) -> str:
    document = document_of(job)
    if status is Status.COMPLETED:
        return f"Results ready: {document}"
    if status is Status.CANCELLED:
        return f"Cancelled: {document}"
    if reason is Reason.TIMEOUT:
        return f"{PROCESSING_TIMEOUT}: {document}, please try again"
    return f"{document}: {error}"


def ended(job: Job, reading: Reading, rules: Rules, from_status: Status) -> Transition:
    """The end that a reading tells of; or, where a result is to be fetched first, the way there."""
    if _is_fetched(reading, rules):
        transition = _retrieving(job, reading, from_status)
    else:
        content = inline_content(reading)
        content_id = content.id if content is not None else None
        if reading.state is State.COMPLETED:
            content_id = content_id or reading.content_id
        transition = concluded(
            job, reading.state, reading.error, rules, from_status, content_id=content_id
        )
        transition.content = content
    read_into(transition, job, reading)
    return transition


def _is_fetched(reading: Reading, rules: Rules) -> bool:
    if reading.state is State.COMPLETED:
        return rules.fetches and reading.has_result
    return reading.state in rules.salvages and reading.has_result


def _retrieving(job: Job, reading: Reading, from_status: Status) -> Transition:
    payload: dict[str, Json] = {}
    if reading.state is not State.COMPLETED:
        payload = {"partial": True, "end": {"state": reading.state, "error": reading.error}}
    elif reading.partial:
        payload = {"partial": True}
    fetch = NewOperation(
        Kind.FETCH_RESULT,
        job.service,
        job.account,
        # What will not be there for ever is fetched first.
        priority="high" if (reading.expires_at or job.expires_at) is None else "critical",
        payload=payload,
    )
    return Transition(
        job.id,
        (from_status,),
        Status.RETRIEVING,
        events=[Event("job:status-changed", {"from": from_status, "to": Status.RETRIEVING})],
        operations=[fetch],
    )


def concluded(
    job: Job,
    state: State,
    error: str | None,
    rules: Rules,
    from_status: Status,
    *,
    content_id: str | None = None,
) -> Transition:
    """The end of a job of which its service said `state`, one of `ENDINGS`."""
    if state is State.COMPLETED:
        status, reason, told = Status.COMPLETED, None, None
    elif state is State.CANCELLED:
        status, reason, told = Status.CANCELLED, None, error
    elif state is State.TIMEOUT:
        status, reason, told = Status.FAILED, Reason.TIMEOUT, PROCESSING_TIMEOUT
    else:
        status, reason, told = Status.FAILED, Reason.SERVICE, error or PROCESSING_FAILED
    transition = finish(
        job,
        status,
        rules,
        from_status=from_status,
        reason=reason,
        error=told,
        content_id=content_id,
    )
    if state is State.COMPLETED:
        transition.progress = 1.0
    elif state is State.TIMEOUT:
        transition.last_error = error
    return transition


def concluded_after(operation: Operation, rules: Rules, content_id: str | None) -> Transition:
    """The end of a job whose result has come home, or of which nothing more will come: what its
    service had said before is in the operation."""
    end = operation.payload.get("end")
    told = end if isinstance(end, dict) else {"state": State.COMPLETED}
    return concluded(
        operation.job,
        State(told["state"]),
        told.get("error"),
        rules,
        Status.RETRIEVING,
        content_id=content_id,
    )


def inline_content(reading: Reading) -> Content | None:
    """The result that came with the reply, as it will be kept; None when there was none."""
    if reading.result is None:
        return None
    import hashlib
    import json

    from tracker.ids import new_id

    plain = isinstance(reading.result, str)
    body = (reading.result if plain else json.dumps(reading.result, ensure_ascii=False)).encode()
    return Content(
        id=reading.content_id or new_id(),
        media_type="text/plain; charset=utf-8" if plain else "application/json",
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        partial=reading.partial,
        body=body,
    )


def read_into(transition: Transition, job: Job, reading: Reading) -> None:
    """Add what else a reading says of its job."""
    if reading.progress is not None and transition.progress is None:
        transition.progress = reading.progress
    transition.remote_state = reading.word
    transition.remote_version = reading.remote_version
    transition.expires_at = reading.expires_at
    if reading.captured:
        transition.vars = {**job.vars, **reading.captured}
