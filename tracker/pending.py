"""Outcomes that the ledger does not have yet: what came back waits here, briefly, for company."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

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
ENOUGH_COUNT = 100
"""So many need no more company, where nothing is claimed with which they could be written."""

SETTLE_COUNT = 500
"""No more are written at once: nobody shall wait long for the lock."""

BREATH_SECONDS = 0.05


class Batch(Generic[T]):
    """Outcomes on their way into the ledger, what `also` is done in their transaction, and what
    came of it: an ``error``, and then nothing was written, or a ``result``."""

    def __init__(self, outcomes: list[Outcome], also: Callable[[], T] | None) -> None:
        self.outcomes = outcomes
        self._also = also
        self.settled: Settled | None = None
        self.result: T | None = None
        self.error: BaseException | None = None
        self.seconds = 0.0
        self.over = False

    def write(self, store: Store) -> None:
        """Have it written; never raises."""
        began = clock.monotonic()
        try:
            with store.settling(self.outcomes):
                self.settled = store.settle(self.outcomes) if self.outcomes else None
                self.result = self._also() if self._also is not None else None
        except BaseException as error:
            self.error = error
        self.seconds = clock.monotonic() - began
        self.over = True


class Pending(Generic[T]):
    """Counts what it settled into `summary`, and then hands it to `on_settled`.

    A settlement can be under way in a thread of its own, one at a time: meanwhile the network is
    attended to. The thread does nothing but the transaction.
    """

    def __init__(
        self, store: Store, summary: Summary, on_settled: Callable[[Sequence[Outcome]], None]
    ) -> None:
        self._store = store
        self._summary = summary
        self._on_settled = on_settled
        self._outcomes: list[Outcome] = []
        self._oldest = 0.0
        self._hurry = False
        self._acts = False
        self._under_way: tuple[Batch[T], threading.Thread] | None = None

    def __bool__(self) -> bool:
        return bool(self._outcomes)

    @property
    def full(self) -> bool:
        """Whether the next settlement leaves enough for another one: more shall not be claimed
        before."""
        return len(self._outcomes) >= 2 * SETTLE_COUNT

    @property
    def enough(self) -> bool:
        """Whether a settlement of its own is worth while."""
        return len(self._outcomes) >= ENOUGH_COUNT

    def add(self, outcomes: Sequence[Outcome], *, hurry: bool = False) -> None:
        """These are owed to the ledger from now on; with `hurry` at once: they tell what cannot be
        asked for again."""
        if not outcomes:
            return
        if not self._outcomes:
            self._oldest = clock.monotonic()
        self._outcomes += outcomes
        self._hurry = self._hurry or hurry
        self._acts = self._acts or Attempted in map(type, outcomes)

    @property
    def due_at(self) -> float:
        """Until when, by the monotonic clock, they may wait for company."""
        if not self._outcomes:
            return float("inf")
        if self._hurry or len(self._outcomes) >= SETTLE_COUNT:
            return self._oldest
        return self._oldest + (ACT_SECONDS if self._acts else SETTLE_SECONDS)

    @property
    def claims(self) -> list[Claim]:
        """The claims that they came from."""
        return [claim_of(outcome) for outcome in self._outcomes]

    def settle(self, also: Callable[[], T] | None = None) -> T | None:
        """Write them, and do what `also` does, in one transaction; return what that returned.

        Raises DatabaseError, and then they are still owed. Where one of them cannot be written for
        a reason nobody foresaw, they are written one by one, and `also` is not done (None).
        """
        batch = self._cut(also)
        batch.write(self._store)
        return self._conclude(batch)

    def begin(self, also: Callable[[], T], wake: Callable[[], None]) -> None:
        """Start a settlement; `wake` is called in its thread when it is over. What `also` needs
        must not change until `finish`."""

        def write() -> None:
            batch.write(self._store)
            wake()

        batch = self._cut(also)
        thread = threading.Thread(target=write, name="tracker-ledger", daemon=True)
        self._under_way = batch, thread
        thread.start()

    @property
    def under_way(self) -> bool:
        """Whether a settlement was begun and not finished."""
        return self._under_way is not None

    @property
    def written(self) -> bool:
        """Whether `finish` would not have to wait."""
        return self._under_way is not None and self._under_way[0].over

    def finish(self) -> T | None:
        """Wait for what is under way, and return or raise what `settle` would have."""
        if self._under_way is None:
            return None
        batch, thread = self._under_way
        thread.join()
        self._under_way = None
        return self._conclude(batch)

    def _cut(self, also: Callable[[], T] | None) -> Batch[T]:
        batch = Batch(self._outcomes[:SETTLE_COUNT], also)
        self._outcomes = self._outcomes[SETTLE_COUNT:]
        self._oldest = clock.monotonic()
        self._hurry = False
        self._acts = Attempted in map(type, self._outcomes)
        return batch

    def _conclude(self, batch: Batch[T]) -> T | None:
        outcomes, error = batch.outcomes, batch.error
        if error is not None:
            # The transaction is undone as a whole: the outcomes are still owed.
            self._outcomes = outcomes + self._outcomes
            if not outcomes or not isinstance(error, Exception) or isinstance(error, DatabaseError):
                raise error
            log.error("%d outcomes cannot be written together", len(outcomes), exc_info=error)
            self._settle_one_by_one()
            return None
        if batch.settled is not None:
            self._count(outcomes, batch.settled)
        if any(isinstance(one, Attempted) and one.merging is not None for one in outcomes):
            # SQLite's lock has no queue: between the steps of a large listing others have a turn.
            clock.sleep(min(batch.seconds, BREATH_SECONDS))
        return batch.result

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
