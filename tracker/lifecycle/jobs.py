"""What a reply, or a person, changes about a job."""

from __future__ import annotations

import random

from tracker import schedule
from tracker.lifecycle.endings import PROCESSING_FAILED, ended, finish
from tracker.lifecycle.rules import Rules
from tracker.model import (
    ACTIVE,
    ENDINGS,
    FINISHED,
    SERVICE_FAULTS,
    Event,
    Failure,
    Fault,
    Job,
    Reading,
    Reason,
    State,
    Status,
)
from tracker.outcomes import Running, Transition
from tracker.schedule import PollPolicy, Random

PROGRESS_EVENT_SECONDS = 10.0


def after_poll(
    job: Job,
    result: Reading | Failure,
    rules: Rules,
    *,
    duration: float | None = None,
    http_status: int | None = None,
    rnd: Random = random.random,
) -> Running | Transition:
    """What one status call means for its job."""
    if isinstance(result, Reading) and result.state in ENDINGS:
        outcome: Running | Transition = ended(job, result, rules, Status.PROCESSING)
    else:
        outcome = _went_on(job, result, rules, rnd)
    if isinstance(outcome, Transition):
        outcome.lease = job.lease
        outcome.polled = True
    outcome.duration = duration
    outcome.http_status = http_status
    return outcome


def _went_on(
    job: Job, result: Reading | Failure, rules: Rules, rnd: Random
) -> Running | Transition:
    policy = rules.poll
    if isinstance(result, Reading) and _is_lost(job, result, policy):
        error = f"The service has not known this job for {policy.lost_after:g} s"
        return _failed(job, rules, Reason.LOST, error, _denied(result))
    if policy.give_up_after is not None and job.age >= policy.give_up_after:
        last = result.message if isinstance(result, Failure) else f"last state {result.word!r}"
        error = f"Not finished after {policy.give_up_after:g} s ({last})"
        return _failed(job, rules, Reason.GAVE_UP, error, last)
    if isinstance(result, Failure):
        return _poll_failed(job, result, policy, rnd)
    if result.state is State.UNKNOWN_JOB:
        failures = job.retry_count + 1
        return Running(
            job,
            schedule.after_failure(policy, failures, rnd=rnd),
            retry_count=failures,
            error=_denied(result),
            unknown=True,
        )
    return _progressed(job, result, policy)


def _is_lost(job: Job, reading: Reading, policy: PollPolicy) -> bool:
    since = job.unknown_for if reading.state is State.UNKNOWN_JOB else None
    return since is not None and since >= policy.lost_after


def _denied(reading: Reading) -> str:
    told = f": {reading.error}" if reading.error else ""
    return f"the service does not know this job{told}"


def _failed(job: Job, rules: Rules, reason: Reason, error: str, last: str) -> Transition:
    transition = finish(
        job, Status.FAILED, rules, from_status=Status.PROCESSING, reason=reason, error=error
    )
    transition.last_error = last
    return transition


def _poll_failed(job: Job, failure: Failure, policy: PollPolicy, rnd: Random) -> Running:
    # A 429, a 401 or no credentials are the service's matter: its pause decides when the next call
    # goes out, and this job merely keeps the distance that any poll keeps.
    away = failure.fault is Fault.UNREACHABLE
    excused = failure.again or (failure.fault in SERVICE_FAULTS and not away)
    failures = job.retry_count + (0 if excused else 1)
    if excused:
        delay = max(schedule.least_distance(policy), failure.retry_after or 0.0)
    else:
        delay = schedule.after_failure(policy, failures, retry_after=failure.retry_after, rnd=rnd)
    return Running(job, delay, retry_count=failures, error=failure.message, unknown=None)


def _progressed(job: Job, reading: Reading, policy: PollPolicy) -> Running:
    estimate = job.estimated_seconds
    if reading.estimated_seconds is not None:
        estimate = job.age + reading.estimated_seconds
    delay = schedule.after_reading(policy, job.age, estimate, reading.word)
    running = Running(job, max(delay, reading.retry_after or 0.0))
    if reading.state is State.UNKNOWN_WORD:
        said = "no state" if reading.word is None else f"the state {reading.word!r}"
        running.error = f"the reply has {said}, which the service's definition does not list"
    if reading.word is not None and reading.word != job.remote_state:
        running.remote_state = reading.word
        running.events.append(Event("job:metadata-updated", {"remote_state": reading.word}))
    if reading.progress is not None and reading.progress != job.progress:
        running.progress = reading.progress
        age = job.progress_event_age
        if age is None or age >= PROGRESS_EVENT_SECONDS:
            running.progress_event = True
            running.events.append(Event("job:stream-progress", {"progress": reading.progress}))
    if reading.estimated_seconds is not None and _differs(estimate, job.estimated_seconds):
        running.estimated_seconds = estimate
    captured = reading.captured
    if captured and any(job.vars.get(key) != value for key, value in captured.items()):
        running.vars = {**job.vars, **captured}
    if reading.remote_version != job.remote_version:
        running.remote_version = reading.remote_version
    if reading.expires_at is not None and reading.expires_at != job.expires_at:
        running.expires_at = reading.expires_at
    running.changed = (
        running.remote_state is not None
        or running.progress is not None
        or running.estimated_seconds is not None
        or running.vars is not None
        or running.expires_at is not None
        or running.remote_version is not None
    )
    return running


def _differs(estimate: float | None, before: float | None) -> bool:
    return estimate is not None and (before is None or abs(estimate - before) >= 1.0)


def by_hand(job: Job, status: Status, rules: Rules, *, error: str | None = None) -> Transition:
    """A person completes or fails a job (P15): any claim that is out there becomes void."""
    failed = status is Status.FAILED
    transition = finish(
        job,
        status,
        rules,
        from_status=Status(job.status),
        reason=Reason.PERSON if failed else None,
        error=(error or PROCESSING_FAILED) if failed else None,
    )
    for event in transition.events:
        event.data["by"] = "person"
    transition.from_statuses = ACTIVE
    transition.raise_lease = True
    return transition


def reopened(job: Job) -> Transition:
    """A person brings a finished job back: processing, due now, completion cleared (P15). Its age
    counts from now, or `give_up_after` would end it again at once."""
    return Transition(
        job.id,
        FINISHED,
        Status.PROCESSING,
        raise_lease=True,
        accepted=True,
        next_delay=0.0,
        events=[
            Event(
                "job:status-changed",
                {"from": job.status, "to": Status.PROCESSING, "by": "person"},
            )
        ],
    )
