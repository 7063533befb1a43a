"""One lane's present traffic, and who gets the slots when there are not enough for all."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tracker.executors.base import Lane
from tracker.model import Job, Operation
from tracker.outcomes import Released
from tracker.store.budgets import Budget
from tracker.transports.base import Call
from tracker.work import Work

AHEAD_SECONDS = 0.25
"""What is claimed at once lasts about so long: commits are few where calls are quick, and nobody
holds much that others could call."""

DEEPEST = 1000
"""No more calls are claimed ahead, however quick they are."""


@dataclass(slots=True)
class Road:
    """One lane's present traffic. Times are this process's monotonic ones."""

    lane: Lane
    ready: deque[tuple[Work, Call]] = field(default_factory=deque)
    in_flight: set[Work] = field(default_factory=set)
    slots: deque[float] = field(default_factory=deque)
    ask_again_at: float = 0.0
    due_at: float | None = None
    stale: bool = True
    budget: Budget = field(default_factory=Budget)
    paused_until: float = 0.0
    clean: bool = True
    # One call may go out in spite of a pause.
    may_try: bool = False
    trying: bool = False
    # The one call after a pause is this process's.
    probing: bool = False

    last_sent: float = 0.0
    # How many calls are claimed ahead, and when some were for the last time.
    depth: int = 0
    claimed_at: float = 0.0
    # The roads to the same service, this one too: they share its concurrency.
    same: list[Road] = field(default_factory=list)

    @property
    def calling(self) -> int:
        """Calls of the service in flight."""
        return sum(len(road.in_flight) for road in self.same)

    @property
    def load(self) -> int:
        """Claimed and not settled."""
        return len(self.ready) + len(self.in_flight)

    def is_due(self, now: float) -> bool:
        """Whether something is known to be due at this moment."""
        return not self.stale and self.due_at is not None and self.due_at <= now

    @property
    def room(self) -> int:
        """How many calls may be claimed: none before a quarter of what may be held is gone. So a
        claim is there before the one before it is used up."""
        deep = max(self.depth, 2 * self.lane.concurrency)
        room = deep - self.load
        return room if 4 * room >= deep else 0

    def note_claimed(self, now: float, *, full: bool) -> None:
        """Claim four times as much where a `full` claim follows the one before it soon, half where
        it was long ago."""
        since, self.claimed_at = now - self.claimed_at, now
        least = 2 * self.lane.concurrency
        if full and since < AHEAD_SECONDS:
            self.depth = min(4 * max(self.depth, least), max(DEEPEST, least))
        elif since > 2 * AHEAD_SECONDS:
            self.depth = max(self.depth // 2, least)

    @property
    def held(self) -> list[Job | Operation]:
        """All that is claimed and has no outcome yet."""
        works = [*(work for work, _ in self.ready), *self.in_flight]
        return [item for work in works for item in work.items]

    def give_back(self) -> list[Released]:
        """Empty the queue: its claims, untouched."""
        released = [Released(item) for work, _ in self.ready for item in work.items]
        self.ready.clear()
        self.forget_tokens()
        return released

    def forget_tokens(self) -> None:
        """Tokens are good for their moment only: later, others have theirs for the same one."""
        self.slots.clear()
        self.ask_again_at = 0.0

    def may_send(self, now: float) -> bool:
        """Whether a call may go out, or a token be asked for, at this moment; or there is none
        waiting, and it would."""
        if now < self.paused_until and not self.may_try:
            return False
        if self.lane.distance is None or not self.ready:
            return True
        return now >= (self.next_turn if self.slots else self.ask_again_at)

    @property
    def next_turn(self) -> float:
        """When the next call may go out. A late turn pushes the one after it: two calls keep
        their distance also when this process was held up between them."""
        if not self.slots:
            return max(self.ask_again_at, self.paused_until)
        return max(self.slots[0], self.last_sent + (self.lane.distance or 0.0))


def shares(roads: Sequence[Road], free: int, slots: int) -> list[tuple[Road, int]]:
    """How many calls each of `roads` may send, of `free` ones out of so many `slots`.

    Where these are not enough, they go one by one to the service that has the fewest; and services
    that answer late, or never, cannot have the last ones while others have none in flight.
    """
    wanting = [road for road in roads if road.ready]
    if not wanting or free <= 0:
        return []
    idle = sum(not road.calling for road in roads if road.lane.polls is not None)
    if len(wanting) == 1:
        return _all_for(wanting[0], free, slots, idle)
    found = {id(road): 0 for road in wanting}
    calling = {road.lane.name: road.calling for road in wanting}
    while wanting and free > 0:
        road = min(wanting, key=lambda one: calling[one.lane.name])
        name, busy = road.lane.name, calling[road.lane.name] > 0
        kept = min(idle, slots // 4)
        room = calling[name] < road.lane.concurrency and (not busy or free > kept)
        if not room or found[id(road)] >= len(road.ready):
            wanting.remove(road)
            continue
        idle -= not busy and road.lane.polls is not None
        found[id(road)] += 1
        calling[name] += 1
        free -= 1
    return [(road, found[id(road)]) for road in roads if found.get(id(road))]


def _all_for(road: Road, free: int, slots: int, idle: int) -> list[tuple[Road, int]]:
    """The same for the only one that has calls waiting, which is what happens all the time."""
    calling = road.calling
    limit = min(len(road.ready), road.lane.concurrency - calling)
    first = min(limit, 1) if calling == 0 else 0
    if first > 0:
        idle -= road.lane.polls is not None
    count = first + min(limit - first, max(free - first - min(idle, slots // 4), 0))
    return [(road, count)] if count > 0 else []
