"""What one poller takes for itself of what is due."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from tracker import clock
from tracker.executors.base import Lane
from tracker.store import Store
from tracker.store.claims import Claimed

CLAIM_ITEMS = 1000
"""No claim brings more than so many, whatever a single call could carry."""

MIN_LEASE_SECONDS = 60.0

LOOK_BACK_SECONDS = 1.0
"""How often claims begin with what has been due for longest, whoever may hold it."""


NO_OPERATIONS_SECONDS = 0.05
"""For so long operations are not looked for again where there were none, unless there is room."""


class Share(NamedTuple):
    """What a claim brought for a lane, and whether there may be more of it."""

    lane: Lane
    claimed: Claimed
    more: bool


class Claiming:
    """Claims for `poller`: with `only`, none but these local ids; `limit` bounds the number of
    polls in all. With a ``cutoff`` (seconds since 1970) only what was due by then."""

    def __init__(
        self, store: Store, poller: str, only: Sequence[str] | None, limit: int | None
    ) -> None:
        self.cutoff: float | None = None
        self._store = store
        self._poller = poller
        self._only = only
        self._left = limit
        self._reached: dict[str, tuple[str | None, float]] = {}
        self._no_operations_until: dict[tuple[str, str, str], float] = {}

    def claim(self, lane: Lane, calls: int) -> Share:
        """What is due for up to so many calls of a lane."""
        claimed, left, more = Claimed(), calls, False
        cutoff = self._store.now() if self.cutoff is None else self.cutoff
        # Operations come first. Where there were none a moment ago, and there is enough to poll,
        # they are not looked for each time.
        first = clock.monotonic() >= self._no_operations_until.get(lane.place, 0.0)
        if first:
            left, more = self._operations(lane, left, cutoff, claimed)
        if left > 0 and lane.polls is not None:
            left, full = self._polls(lane, lane.polls.most, left, cutoff, claimed)
            more = more or full
        if left > 0 and not first:
            left, full = self._operations(lane, left, cutoff, claimed)
            more = more or full
        return Share(lane, claimed, more)

    def _operations(
        self, lane: Lane, calls: int, cutoff: float, claimed: Claimed
    ) -> tuple[int, bool]:
        """Claim operations; how many calls are left, and whether there may be more."""
        left, more = calls, False
        for most, kinds in lane.bundles:
            limit = min(left * most, max(left, CLAIM_ITEMS))
            found = self._store.claim_due_operations(
                lane.name,
                limit,
                self._poller,
                lease_seconds(lane),
                cutoff=cutoff,
                kinds=kinds,
                only=self._only,
            )
            claimed.add(found)
            more = more or found.count == limit
            left -= -(-found.count // most)
            if left <= 0:
                break
        pause = 0.0 if left < calls else NO_OPERATIONS_SECONDS
        self._no_operations_until[lane.place] = clock.monotonic() + pause
        return left, more or left <= 0

    def _polls(
        self, lane: Lane, most: int, calls: int, cutoff: float, claimed: Claimed
    ) -> tuple[int, bool]:
        """Claim jobs, so many a call; the same."""
        room = min(calls * most, max(calls, CLAIM_ITEMS))
        if self._left is not None:
            room = min(room, self._left)
        if room <= 0:
            return calls, False
        found = self._jobs(lane, room, cutoff)
        claimed.add(found)
        if self._left is not None:
            self._left -= found.count
        return calls - -(-found.count // most), found.count == room

    def _jobs(self, lane: Lane, room: int, cutoff: float) -> Claimed:
        """Due jobs, from where the claim before this one ended: all that was due earlier is held
        by somebody, and a claim would step over it row by row. What was given back is found once a
        second, or where there is room for it."""
        now = clock.monotonic()
        reached, from_start = self._reached.get(lane.name, (None, now))
        if now - from_start >= LOOK_BACK_SECONDS:
            reached, from_start = None, now
        claim = partial(
            self._store.claim_due_jobs,
            lane.name,
            poller=self._poller,
            lease_seconds=lease_seconds(lane),
            cutoff=cutoff,
            only=self._only,
        )
        if self._only is not None:
            return claim(limit=room)
        found = claim(limit=room, reached=reached)
        if reached is not None and found.count < room:
            found.add(claim(limit=room - found.count))
            from_start = now
        self._reached[lane.name] = (found.reached, from_start)
        return found


def lease_seconds(lane: Lane) -> float:
    """How long a claim holds: at least twice the longest call, and never under a minute."""
    return max(MIN_LEASE_SECONDS, 2 * lane.timeout)
