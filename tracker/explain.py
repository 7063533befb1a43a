"""Why a job is where it is, what happens next, and when (B11). Pure: rows in, words out."""

from __future__ import annotations

from typing import Any

from tracker import clock
from tracker.model import Json, ProcessingJob, Status
from tracker.schedule import PollPolicy
from tracker.store.budgets import Budget


def explain(
    job: ProcessingJob,
    operations: list[dict[str, Json]],
    budget: Budget,
    *,
    now: float,
    paused: bool,
    known: bool,
    policy: PollPolicy,
    possible: float,
) -> dict[str, Any]:
    """What there is to say of `job`: ``state`` (a sentence), ``owed`` (one for each operation),
    ``next_at`` (ISO-8601 or None), ``next`` and ``why`` (a sentence each), ``last`` (the last
    call) and ``remedies`` (commands that would change it).

    `known` is whether the configuration has the job's service, `policy` says when it is polled, and
    every `possible` seconds is how often each job can be at the service's rate.
    """
    told: dict[str, Any] = {
        "local_id": job.local_id,
        "status": job.status,
        "state": _state(job),
        "owed": [_owed(operation) for operation in operations],
        "last": _last(job),
        "next_at": None,
        "next": "nothing",
        "why": "",
        "remedies": [],
    }
    if job.status == Status.PROCESSING:
        told |= _next_poll(job, budget, now, policy, possible)
    elif operations:
        told |= _next_attempt(operations[0], budget)
    elif job.finished:
        told |= {
            "why": f"the job is {job.status}; the first end stands",
            "remedies": [f"tracker reopen {job.short_id}"] if job.server_id else [],
        }
    if not job.finished:
        if not known:
            told["why"] = f"the configuration has no service '{job.service}'"
            told["remedies"] = [f"add [services.{job.service}] to tracker.toml"]
        elif paused:
            told["why"] = "all polling is paused"
            told["remedies"] = ["tracker resume"]
    return told


def _state(job: ProcessingJob) -> str:
    text = f"{job.status} at {job.service}"
    if job.server_id:
        text += f" as {job.server_id[:80]}"
    if job.remote_state and not job.finished:
        text += f", which says {job.remote_state!r}"
    if job.progress is not None and not job.finished:
        text += f" ({job.progress:.0%})"
    if job.expires_at and not job.finished:
        text += f", which is kept there until {job.expires_at}"
    if job.error_message:
        text += f": {job.error_message}"
    if job.failure_reason:
        text += f" [{job.failure_reason}]"
    return text


def _owed(operation: dict[str, Json]) -> str:
    text = f"{operation['kind']} #{operation['id']} is {operation['state']}"
    if operation["attempts"]:
        text += f" after {_times(operation['attempts'], 'failed attempt')}"
    if operation["last_error"]:
        text += f": {operation['last_error']}"
    return text


def _last(job: ProcessingJob) -> str | None:
    if job.last_poll_at is None:
        return None
    text = f"polled at {job.last_poll_at}"
    if job.last_http_status:
        text += f": HTTP {job.last_http_status}"
    if job.last_duration_seconds is not None:
        text += f" in {job.last_duration_seconds * 1000:.0f} ms"
    if job.remote_state:
        text += f", read as {job.remote_state!r}"
    if job.last_error:
        text += f"; {job.last_error}"
    return text


def _next_poll(
    job: ProcessingJob, budget: Budget, now: float, policy: PollPolicy, possible: float
) -> dict[str, Any]:
    due = job.next_poll_at or clock.to_text(0)
    overdue = clock.read(due, now) <= now
    told: dict[str, Any] = {"next_at": due, "next": "a status call"}
    if budget.paused_for:
        told["next_at"] = max(due, budget.paused_until or due)
        told["why"] = f"the service is paused until {budget.paused_until}: {budget.why}"
    elif job.claimed_by and (job.lease_until or "") > clock.to_text(now):
        told["why"] = f"poller {job.claimed_by[-8:]} has it until {job.lease_until}"
    elif job.unknown_since is not None:
        lost_at = clock.read(job.unknown_since, now) + policy.lost_after
        told["why"] = (
            f"the service has not known the job since {job.unknown_since}; it counts as lost if "
            f"that is still so at {clock.to_text(lost_at)}"
        )
        told["remedies"] = [f"tracker poll {job.short_id}"]
    elif overdue and possible > policy.every:
        told["why"] = (
            f"it has been due since {due}: at the service's rate each of its running jobs can be "
            f"polled every {possible:.3g} s"
        )
        told["remedies"] = [f"raise rate in [services.{job.service}], if the service allows it"]
    elif overdue:
        told["why"] = f"it has been due since {due}, and no poller has taken it"
        told["remedies"] = ["tracker poll"]
    elif job.retry_count:
        told["why"] = f"backing off after {_times(job.retry_count, 'failure')} in a row"
        told["remedies"] = [f"tracker poll {job.short_id}"]
    elif job.last_poll_at is None:
        told["why"] = "the first poll after it was accepted"
    else:
        every = policy.every_in(job.remote_state)
        told["why"] = f"a running job is polled every {every:g} s"
        told["remedies"] = [f"tracker poll {job.short_id}"]
    return told


def _next_attempt(operation: dict[str, Json], budget: Budget) -> dict[str, Any]:
    name = f"{operation['kind']} #{operation['id']}"
    if operation["state"] == "in_doubt":
        return {
            "why": f"{name} was sent, no reply is on record, and sending it again could make a "
            "second job: somebody has to look at the service",
            "remedies": _by_hand(operation),
        }
    if operation["state"] == "dead":
        return {
            "why": f"{name} was given up: {operation['last_error']}",
            "remedies": _by_hand(operation),
        }
    told: dict[str, Any] = {"next_at": operation["next_attempt_at"], "next": f"{name} is attempted"}
    if budget.paused_for:
        told["next_at"] = budget.paused_until
        told["why"] = f"the service is paused: {budget.why}"
    elif operation["attempts"]:
        told["why"] = f"backing off after {_times(operation['attempts'], 'failed attempt')}"
    else:
        told["why"] = "it has not been attempted yet"
        told["remedies"] = ["tracker poll"]
    return told


def _by_hand(operation: dict[str, Json]) -> list[str]:
    return [f"tracker outbox {act} {operation['id']}" for act in ("retry", "discard")]


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
