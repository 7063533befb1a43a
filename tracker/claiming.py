"""What one poller takes for itself of what is due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tracker.executors.base import Lane
from tracker.store import Store
from tracker.store.claims import Claimed

CLAIM_ITEMS = 1000
"""No claim brings more than so many, whatever a single call could carry."""

MIN_LEASE_SECONDS = 60.0


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
            claimed.late += found.late
            claimed.count += found.count
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
            due = self._store.claim_due_jobs(
                lane.name, room, self._poller, lease, cutoff=cutoff, only=self._only
            )
            claimed.jobs = due.jobs
            claimed.unreadable += due.unreadable
            claimed.late += due.late
            claimed.count += due.count
            more = more or due.count == room
            if self._left is not None:
                self._left -= due.count
        return Share(lane, claimed, more)


def lease_seconds(lane: Lane) -> float:
    """How long a claim holds: at least twice the longest call, and never under a minute."""
    return max(MIN_LEASE_SECONDS, 2 * lane.timeout)
