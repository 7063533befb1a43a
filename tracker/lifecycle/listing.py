"""What one page of a listing changes."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from zlib import crc32

from tracker.lifecycle.operations import again, unburnt
from tracker.listed import Merging, Page
from tracker.model import SERVICE_FAULTS, Failure, Fault, Json, Operation, OperationState
from tracker.outcomes import Attempted
from tracker.schedule import Random, RetryPolicy

MOST_EMPTY = 100
"""So many pages in a row without a job, each with a next one, are no listing."""

REMEMBERED = 64


@dataclass(slots=True)
class Trail:
    """Notices pages that go in circles: short ones at once, by their last cursors, long ones by a
    single one that is changed less and less often (Brent's way), so that nothing grows."""

    pages: int = 0
    marked: int = 0
    last: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, operation: Operation) -> Trail:
        """The trail so far."""
        found = operation.payload.get("trail")
        return cls(**found) if isinstance(found, dict) else cls()

    def goes_on_to(self, cursor: str) -> bool:
        """Whether the page behind this cursor is a new one."""
        mark = crc32(cursor.encode("utf-8", "replace"))
        if mark in self.last or (self.pages and mark == self.marked):
            return False
        self.pages += 1
        if self.pages & (self.pages - 1) == 0:
            self.marked = mark
        self.last = [*self.last, mark][-REMEMBERED:]
        return True


def after_page(
    operation: Operation,
    result: Page | Failure,
    merging: Merging,
    policy: RetryPolicy,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one page means: go on with the next; or, after the last one, merge; or try again. A
    listing that goes in circles, or has no end, is given up: nothing of it counts then."""
    if isinstance(result, Failure):
        if result.fault in SERVICE_FAULTS:
            return unburnt(operation, result)
        attempted = again(operation, result, policy, rnd)
        refused = result.fault in (Fault.REFUSED, Fault.REDIRECT, Fault.INVALID)
        if refused or attempted.state is OperationState.DEAD:
            return _given_up(operation, result.message)  # the next one begins at the first page
        return attempted
    count = _int(operation.payload.get("count")) + len(result.items)
    if count > merging.most_items:
        return _given_up(operation, f"more than {merging.most_items} jobs (list.max_items)")
    if result.cursor is None:
        return Attempted(
            operation, OperationState.PENDING, burnt=False, page=result, merging=merging
        )
    trail = Trail.of(operation)
    if not trail.goes_on_to(result.cursor):
        return _given_up(operation, "the listing goes in circles: its next page was there before")
    empty = 0 if result.items else _int(operation.payload.get("empty")) + 1
    if empty > MOST_EMPTY:
        return _given_up(operation, f"{empty} pages in a row without a job")
    operation.payload = {
        **operation.payload,
        "cursor": result.cursor,
        "count": count,
        "empty": empty,
        "trail": asdict(trail),
    }
    return Attempted(operation, OperationState.PENDING, burnt=False, page=result)


def gone_on_with(operation: Operation, merging: Merging) -> Attempted:
    """All pages are there: a large listing is merged step by step, without a call."""
    return Attempted(operation, OperationState.PENDING, burnt=False, merging=merging)


def _given_up(operation: Operation, why: str) -> Attempted:
    return Attempted(operation, None, error=why)


def _int(value: Json) -> int:
    return value if isinstance(value, int) else 0
