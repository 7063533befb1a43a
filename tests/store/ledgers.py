"""Jobs, claims and settlements for the tests of the ledger, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from tracker import clock, lifecycle
from tracker.ids import new_id
from tracker.lifecycle import Rules
from tracker.model import (
    Failure,
    Fault,
    Job,
    Kind,
    NewOperation,
    Operation,
    ProcessingJob,
    Reading,
    State,
    Status,
)
from tracker.store import Store, server_key
from tracker.store.claims import PollerRow

NOON = "2026-01-31T12:00:00Z"
LEASE = 60.0
RULES = Rules(sinks=("ops",))
FETCHING = Rules(sinks=("ops",), fetches=True)
RUNNING = Reading(State.PROCESSING)
DONE = Reading(State.COMPLETED, result={"pages": 3})
BROKEN = Failure(Fault.SERVER, "HTTP 500", http_status=500)
_numbers = count(1)


def at(seconds: float) -> str:
    """The text of a time that many seconds from now."""
    return clock.to_text(clock.now() + seconds)


def sql(store: Store, text: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement behind the store's back."""
    with store.database.transaction():
        return store.database.write(text, parameters)


def cell(store: Store, column: str, local_id: str, table: str = "processing_jobs") -> Any:
    """One column of a job's row."""
    rows = store.database.read(f"SELECT {column} FROM {table} WHERE local_id = ?", [local_id])
    return rows[0][0] if rows else None


def submitted(store: Store, service: str = "docs", **values: Any) -> str:
    """The local id of a new job that owes its create."""
    spooled = values.pop("spooled", None)
    job = ProcessingJob(values.pop("local_id", None) or new_id(), service, "pending", **values)
    create = NewOperation(Kind.CREATE, service, idempotency_key=f"key-{job.local_id}")
    store.submit(job, create, spooled=spooled)
    return job.local_id


def running(store: Store, service: str = "docs", *, due: float = 0.0, **values: Any) -> str:
    """The local id of a job that runs at its service and is due in `due` seconds."""
    server_id = values.pop("server_id", None) or f"r-{next(_numbers)}"
    job = ProcessingJob(
        values.pop("local_id", None) or new_id(),
        service,
        "processing",
        server_id=server_id,
        **values,
    )
    store.adopt(job, server_key(service, server_id), due)
    return job.local_id


def finished(store: Store, status: Status = Status.COMPLETED, **values: Any) -> str:
    """The local id of a job that somebody ended by hand, and that owes nothing."""
    local_id = running(store, **values)
    change = lifecycle.by_hand(store.job_in_hand(local_id), status, Rules())
    assert store.act(local_id, change)
    return local_id


def claim(
    store: Store,
    limit: int = 50,
    *,
    service: str = "docs",
    poller: str = "p1",
    lease: float = LEASE,
    cutoff: float | None = None,
    only: Sequence[str] | None = None,
) -> list[Job]:
    """What a poller gets of the jobs that are due."""
    when = clock.now() if cutoff is None else cutoff
    return store.claim_due_jobs(service, limit, poller, lease, cutoff=when, only=only).jobs


def claim_operations(
    store: Store,
    limit: int = 50,
    *,
    service: str = "docs",
    poller: str = "p1",
    lease: float = LEASE,
    cutoff: float | None = None,
    kinds: Sequence[str] = tuple(Kind),
    only: Sequence[str] | None = None,
) -> list[Operation]:
    """What a poller gets of the operations that are due."""
    when = clock.now() if cutoff is None else cutoff
    return store.claim_due_operations(
        service, limit, poller, lease, cutoff=when, kinds=kinds, only=only
    ).operations


def polled(job: Job, result: Reading | Failure, rules: Rules = RULES) -> Any:
    """The outcome of a poll, without jitter."""
    return lifecycle.after_poll(job, result, rules, rnd=lambda: 0.0)


def poller_row(poller: str, *, pid: int = 1, scope: str = "elsewhere") -> PollerRow:
    """A poller of another machine."""
    return PollerRow(poller, "run", "far", scope, pid, "", "")


def types(store: Store, local_id: str) -> list[str]:
    """The types of a job's events, in order."""
    return [event.type for event in store.events(local_id=local_id)]
