"""What one attempt of an operation changes."""

from __future__ import annotations

import random
from dataclasses import replace

from tracker import schedule
from tracker.lifecycle.endings import (
    RESULT_FAILED,
    concluded_after,
    ended,
    finish,
    read_into,
)
from tracker.lifecycle.rules import Rules
from tracker.model import (
    ACTIVE,
    ENDINGS,
    SERVICE_FAULTS,
    Content,
    Event,
    Failure,
    Fault,
    Json,
    Operation,
    OperationState,
    Reading,
    Reason,
    Status,
)
from tracker.outcomes import Attempted, Transition
from tracker.schedule import Random, RetryPolicy

REFUSALS = frozenset({Fault.REFUSED, Fault.REDIRECT, Fault.INVALID})
SEE_OTHER = 303

UNREPEATED_BUT_SAFE = frozenset({425, 503})
"""HTTP codes by which a service says that it did not begin to handle the request."""


def after_create(
    operation: Operation,
    result: Reading | Failure,
    rules: Rules,
    *,
    server_key: str | None = None,
    rnd: Random = random.random,
) -> Attempted:
    """What one create call means: accepted, tried again, in doubt, or refused."""
    if isinstance(result, Failure):
        return _create_failed(operation, result, rules, rnd)
    job = operation.job
    if result.state in ENDINGS:
        transition = ended(job, result, rules, Status.PENDING)
    else:
        transition = Transition(
            job.id,
            (Status.PENDING,),
            Status.PROCESSING,
            next_delay=max(
                schedule.first_poll(rules.poll, result.estimated_seconds),
                result.retry_after or 0.0,
            ),
            events=[Event("job:status-changed", {"from": Status.PENDING, "to": Status.PROCESSING})],
        )
        read_into(transition, job, result)
    transition.accepted = True
    transition.server_id = result.server_id
    transition.server_key = server_key
    transition.estimated_seconds = result.estimated_seconds
    transition.give_up_after = rules.poll.give_up_after
    transition.synced = job.payload
    return Attempted(operation, None, transition=transition)


def accepted_first(accepted: Attempted, payload: dict[str, Json]) -> Attempted:
    """The job is there, and is on record; a second call, told by `payload`, has it begin."""
    return replace(accepted, state=OperationState.PENDING, burnt=False, payload=payload)


def after_then(
    operation: Operation,
    result: Failure | None,
    policy: RetryPolicy,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one attempt to have an accepted job begin means; it is asked for again as often as other
    calls are, and polled at once when it has begun."""
    if result is None:
        return Attempted(operation, None, due=True)
    return _failed(operation, result, policy, rnd)


def _create_failed(operation: Operation, failure: Failure, rules: Rules, rnd: Random) -> Attempted:
    judged = _judged(operation, failure, rules.retry, rnd)
    if judged is not None:
        return judged
    began = failure.sent and failure.http_status not in UNREPEATED_BUT_SAFE
    if began and not rules.repeatable:
        return Attempted(
            operation,
            OperationState.IN_DOUBT,
            error=failure.message,
            http_status=failure.http_status,
            events=[
                Event(
                    "job:error-details",
                    {
                        "operation": operation.kind,
                        "in_doubt": True,
                        "message": failure.message,
                    },
                )
            ],
        )
    return again(operation, failure, rules.retry, rnd)


def unburnt(operation: Operation, failure: Failure) -> Attempted:
    """The service's fault: the attempt does not count, and its pause decides when the next is."""
    return Attempted(
        operation,
        OperationState.PENDING,
        burnt=False,
        error=failure.message,
        http_status=failure.http_status,
    )


def _not_begun(
    operation: Operation, failure: Failure, policy: RetryPolicy, rnd: Random
) -> Attempted:
    waiting = unburnt(operation, failure)
    waiting.delay = max(schedule.not_begun(policy, rnd), failure.retry_after or 0.0)
    return waiting


def next_step(operation: Operation, payload: dict[str, Json]) -> Attempted:
    """One step of an operation is done: the next one, told by `payload`, is due at once."""
    return Attempted(operation, OperationState.PENDING, burnt=False, payload=payload)


def _given_up(operation: Operation, failure: Failure) -> Attempted:
    return Attempted(
        operation,
        OperationState.DEAD,
        error=failure.message,
        http_status=failure.http_status,
        events=[
            Event(
                "job:error-details",
                {"operation": operation.kind, "gave_up": True, "message": failure.message},
            )
        ],
    )


def again(operation: Operation, failure: Failure, policy: RetryPolicy, rnd: Random) -> Attempted:
    """Tried again after a while, or the dead letter after the last attempt."""
    delay = schedule.after_attempt(
        policy, operation.attempts + 1, retry_after=failure.retry_after, rnd=rnd
    )
    if delay is None or failure.final:
        return _given_up(operation, failure)
    return Attempted(
        operation,
        OperationState.PENDING,
        delay=delay,
        error=failure.message,
        http_status=failure.http_status,
    )


def after_fetch(
    operation: Operation,
    result: Content | Failure,
    rules: Rules,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one attempt to bring a result home means. Reading it again is always safe, so every
    failure is retried; after the last one the job fails (P7), or ends as its service had said."""
    if isinstance(result, Content):
        done = concluded_after(operation, rules, result.id)
        done.content = result
        return Attempted(operation, None, transition=done)
    if result.again:
        return _not_begun(operation, result, rules.result_retry, rnd)
    if result.fault in SERVICE_FAULTS:
        return unburnt(operation, result)
    attempted = again(operation, result, rules.result_retry, rnd)
    if "end" in operation.payload and result.fault is Fault.INVALID:
        attempted.state = OperationState.DEAD  # what the service left has nothing to ask for
    if attempted.state is OperationState.DEAD:
        gone = result.http_status in (404, 410)
        end_without_result(attempted, result, rules, Reason.EXPIRED if gone else Reason.RESULT)
    return attempted


def end_without_result(
    attempted: Attempted, failure: Failure, rules: Rules, reason: Reason
) -> None:
    """The last attempt at a job's result has failed: that is the job's end, and no dead letter."""
    if "end" in attempted.operation.payload:
        attempted.transition = concluded_after(attempted.operation, rules, None)
    else:
        attempted.transition = finish(
            attempted.operation.job,
            Status.FAILED,
            rules,
            from_status=Status.RETRIEVING,
            reason=reason,
            error=RESULT_FAILED,
        )
    attempted.transition.last_error = failure.message
    # The job's end is on record with its reason; `reopen` starts over with a new operation.
    attempted.state, attempted.events = None, []


def after_update(
    operation: Operation,
    result: str | Failure | None,
    policy: RetryPolicy,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one attempt to tell a service of changes means: it has them, with `result` as the job's
    version there; or it is tried again; or it is given up."""
    if not isinstance(result, Failure):
        changes = operation.payload.get("changes")
        return Attempted(
            operation,
            None,
            synced=changes if isinstance(changes, dict) else {},
            remote_version=result,
        )
    if result.http_status in (409, 412):
        return _conflicting(operation, result, policy, rnd)
    return _failed(operation, result, policy, rnd)


def _conflicting(
    operation: Operation, failure: Failure, policy: RetryPolicy, rnd: Random
) -> Attempted:
    """The job is another one there by now: it is looked at before the next attempt (O8)."""
    attempted = again(operation, failure, policy, rnd)
    changes = operation.payload.get("changes")
    mine = changes if isinstance(changes, dict) else {}
    told = {"fields": {name: {"here": value} for name, value in mine.items()}}
    attempted.events.append(Event("job:conflict", {**told, "http_status": failure.http_status}))
    attempted.due = attempted.outdated = True
    return attempted


def after_cancel(
    operation: Operation,
    result: Failure | None,
    policy: RetryPolicy,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one attempt to have a job stopped means. When the service has heard of it, the job is
    polled at once: its status says what has become of it."""
    if result is None:
        return Attempted(operation, None, due=True)
    return _failed(operation, result, policy, rnd)


def cancelled(operation: Operation, rules: Rules) -> Attempted:
    """The service has stopped the job and does not know it any more: that is its end."""
    job = operation.job
    done = finish(job, Status.CANCELLED, rules, from_status=Status(job.status))
    done.from_statuses = ACTIVE
    done.raise_lease = True
    return Attempted(operation, None, transition=done)


def after_delete(
    operation: Operation,
    result: Failure | None,
    policy: RetryPolicy,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one attempt to delete a job at its service means: it goes here too once it is gone
    there."""
    if result is None:
        return Attempted(operation, None, erase=True)
    return _failed(operation, result, policy, rnd)


def _failed(operation: Operation, failure: Failure, policy: RetryPolicy, rnd: Random) -> Attempted:
    judged = _judged(operation, failure, policy, rnd)
    return judged or again(operation, failure, policy, rnd)


def _judged(
    operation: Operation, failure: Failure, policy: RetryPolicy, rnd: Random
) -> Attempted | None:
    """What does not count as an attempt, or does not get better by another one; else None."""
    if failure.again:
        return _not_begun(operation, failure, policy, rnd)
    # What broke after bytes had left may have got through: that attempt counts.
    if failure.fault in SERVICE_FAULTS and (
        not failure.sent or failure.fault is not Fault.UNREACHABLE
    ):
        return unburnt(operation, failure)
    # A 303 to a create says that it was done, and where to look.
    if (
        failure.http_status != SEE_OTHER
        and failure.fault in REFUSALS
        and (failure.http_status or not failure.sent)
    ):
        return _given_up(operation, failure)
    return None


def after_notify(
    operation: Operation,
    result: Failure | None,
    policy: RetryPolicy,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one attempt to tell somebody means."""
    if result is None:
        return Attempted(operation, None)
    if result.fault in SERVICE_FAULTS:
        return unburnt(operation, result)
    return again(operation, result, policy, rnd)
