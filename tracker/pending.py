"""Outcomes that the ledger does not have yet: what came back waits here, briefly, for company."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from tracker import clock
from tracker.errors import DatabaseError
from tracker.model import Kind, Status
from tracker.objects import Scheme, StoredObject
from tracker.outcomes import Attempted, Claim, Outcome, Running, Transition, claim_of
from tracker.store import Store
from tracker.store.settlement import Settled
from tracker.summary import Summary

log = logging.getLogger("tracker.poller")

T = TypeVar("T")

SETTLE_SECONDS = 0.05
ACT_SECONDS = 0.005
SETTLE_COUNT = 500
"""No more are written at once: nobody shall wait long for the lock."""

BREATH_SECONDS = 0.05


class Pending:
    """Counts what it settled into `summary`, and then hands it to `on_settled`."""

    def __init__(
        self, store: Store, summary: Summary, on_settled: Callable[[Sequence[Outcome]], None]
    ) -> None:
        self._store = store
        self._summary = summary
        self._on_settled = on_settled
        self._outcomes: list[Outcome] = []
        self._oldest = 0.0
        self._hurry = False

    def __bool__(self) -> bool:
        return bool(self._outcomes)

    @property
    def full(self) -> bool:
        """Whether there is enough for a settlement: more shall not be claimed before it."""
        return len(self._outcomes) >= SETTLE_COUNT

    def add(self, outcomes: Sequence[Outcome], *, hurry: bool = False) -> None:
        """These are owed to the ledger from now on; with `hurry` at once: they tell what cannot be
        asked for again."""
        if not self._outcomes:
            self._oldest = clock.monotonic()
        self._outcomes += outcomes
        self._hurry = self._hurry or hurry

    @property
    def due_at(self) -> float:
        """Until when, by the monotonic clock, they may wait for company."""
        if not self._outcomes:
            return float("inf")
        if self._hurry or self.full:
            return self._oldest
        acts = any(isinstance(one, Attempted) for one in self._outcomes)
        return self._oldest + (ACT_SECONDS if acts else SETTLE_SECONDS)

    @property
    def claims(self) -> list[Claim]:
        """The claims that they came from."""
        return [claim_of(outcome) for outcome in self._outcomes]

    def settle(self, also: Callable[[], T] | None = None) -> T | None:
        """Write them, and do what `also` does, in one transaction; return what that returned.

        Raises DatabaseError, and then they are still owed. Where one of them cannot be written for
        a reason nobody foresaw, they are written one by one, and `also` is not done (None).
        """
        outcomes, later = self._outcomes[:SETTLE_COUNT], self._outcomes[SETTLE_COUNT:]
        self._outcomes = later
        self._hurry = False
        began = clock.monotonic()
        try:
            with self._store.settling(outcomes):
                settled = self._store.settle(outcomes) if outcomes else None
                result = also() if also is not None else None
        except BaseException as error:
            # The transaction is undone as a whole: the outcomes are still owed.
            self._outcomes = outcomes + self._outcomes
            if not outcomes or not isinstance(error, Exception) or isinstance(error, DatabaseError):
                raise
            log.exception("%d outcomes cannot be written together", len(outcomes))
            self._settle_one_by_one()
            return None
        if settled is not None:
            self._count(outcomes, settled)
        if any(isinstance(one, Attempted) and one.merging is not None for one in outcomes):
            # SQLite's lock has no queue: between the steps of a large listing others have a turn.
            clock.sleep(min(clock.monotonic() - began, BREATH_SECONDS))
        return result

    def _settle_one_by_one(self) -> None:
        while self._outcomes:
            outcome = self._outcomes[0]
            try:
                self._count([outcome], self._store.settle([outcome]))
            except DatabaseError:
                raise
            except Exception:
                # Its claim runs out.
                log.exception("an outcome cannot be written: %r", outcome)
            del self._outcomes[0]

    def _count(self, outcomes: Sequence[Outcome], settled: Settled) -> None:
        summary = self._summary
        summary.void += settled.void
        for _, status in settled.finished:
            summary.completed += status == Status.COMPLETED
            summary.failed += status == Status.FAILED
            summary.cancelled += status == Status.CANCELLED
        summary.refreshed.update(settled.refreshed)
        for attempted in settled.attempted:
            _count_attempt(attempted, summary)
        for outcome in outcomes:
            if isinstance(outcome, Running):
                summary.polled += 1
            elif isinstance(outcome, Transition):
                summary.polled += outcome.polled
        self._on_settled(outcomes)


def _count_attempt(attempted: Attempted, summary: Summary) -> None:
    operation = attempted.operation
    kind, change = operation.kind, attempted.transition
    if kind == Kind.REMOVE_OBJECT:
        _count_removal(attempted, operation.object, summary)
    elif attempted.state is None:
        # What was dropped because its job had ended, or was given up with it, was not done.
        summary.submitted += kind == Kind.CREATE and change is not None
        summary.retrieved += (
            kind == Kind.FETCH_RESULT and change is not None and change.status != Status.FAILED
        )
        summary.notified += kind == Kind.NOTIFY
        summary.uploaded += (
            kind in (Kind.UPLOAD_INPUT, Kind.STORE_RESULT) and attempted.object is not None
        )


def _count_removal(attempted: Attempted, stored: StoredObject | None, summary: Summary) -> None:
    in_s3 = stored is not None and stored.scheme == Scheme.S3
    found = attempted.object is not None and attempted.object.found
    gone = attempted.object is not None and not found
    failed = attempted.object is None and attempted.burnt
    size = (stored.size or 0) if stored is not None and found else 0
    if in_s3:
        summary.objects_removed += found
        summary.objects_already_gone += gone
        summary.objects_failed += failed
        summary.object_bytes_freed += size
    else:
        summary.files_removed += found
        summary.files_already_gone += gone
        summary.files_failed += failed
        summary.file_bytes_freed += size
