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

    def claim(self, lane: Lane, calls: int) -> Share:
        """What is due for up to so many calls of a lane."""
        lease = lease_seconds(lane)
        cutoff = self._store.now() if self.cutoff is None else self.cutoff
        claimed, more = Claimed(), False
        for most, kinds in lane.bundles:
            limit = min(calls * most, max(calls, CLAIM_ITEMS))
            found = self._store.claim_due_operations(
                lane.name, limit, self._poller, lease, cutoff=cutoff, kinds=kinds, only=self._only
            )
            claimed.add(found)
            more = more or found.count == limit
            calls -= -(-found.count // most)
            if calls <= 0:
                return Share(lane, claimed, True)
        if lane.polls is None:
            return Share(lane, claimed, more)
        room = min(calls * lane.polls.most, max(calls, CLAIM_ITEMS))
        if self._left is not None:
            room = min(room, self._left)
        if room > 0:
            due = self._jobs(lane, room, cutoff)
            claimed.add(due)
            more = more or due.count == room
            if self._left is not None:
                self._left -= due.count
        return Share(lane, claimed, more)

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
        found = claim(limit=room, reached=reached)
        if reached is not None and found.count < room:
            found.add(claim(limit=room - found.count))
            from_start = now
        self._reached[lane.name] = (found.reached, from_start)
        return found


def lease_seconds(lane: Lane) -> float:
    """How long a claim holds: at least twice the longest call, and never under a minute."""
    return max(MIN_LEASE_SECONDS, 2 * lane.timeout)
