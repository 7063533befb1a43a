"""Who gets the slots when there are not enough for all (B3)."""

from __future__ import annotations

from itertools import product
from typing import Any

from tracker.executors.base import Lane
from tracker.roads import Road, shares

POLLS: Any = object()
WORK: Any = (object(), object())


def road(name: str, ready: int, in_flight: int, concurrency: int = 8, calls: str = "") -> Road:
    """A service with so many calls waiting and so many under way."""
    lane = Lane(name, "", None, concurrency, 30.0, "requests", POLLS, {}, calls=calls)
    found = Road(lane)
    found.ready.extend([WORK] * ready)
    found.in_flight |= {object() for _ in range(in_flight)}  # type: ignore[misc]
    found.same = [found]
    return found


def shared(roads: list[Road], slots: int) -> dict[str, int]:
    """What each gets of the slots that are left."""
    free = slots - sum(len(one.in_flight) for one in roads)
    return {one.lane.name: count for one, count in shares(roads, free, slots)}


def test_enough_for_all():
    """Where there are slots enough each service has its own concurrency."""
    assert shared([road("a", 100, 0), road("b", 3, 0)], 32) == {"a": 8, "b": 3}


def test_short_slots_are_shared_fairly():
    """A service with a thousand calls waiting has no more of the slots than one with ten."""
    assert shared([road("a", 1000, 0), road("b", 10, 0)], 8) == {"a": 4, "b": 4}


def test_who_has_fewest_comes_first():
    """Slots that come free go to the service that has the fewest calls under way."""
    assert shared([road("a", 100, 7), road("b", 100, 1)], 12) == {"b": 4}


def test_hanging_services_leave_room():
    """Services whose calls never come back cannot take the last slots from those that have none
    under way: the next one that has something to do begins at once."""
    hanging = [road(name, 100, 0) for name in "abcd"]
    idle = road("e", 0, 0)
    before = shared([*hanging, idle], 32)
    assert sum(before.values()) == 31 and "e" not in before
    stuck = [road(name, 100, before[name]) for name in "abcd"]
    assert shared([*stuck, road("e", 5, 0)], 32) == {"e": 1}


def test_kinds_of_calls_share_their_services_concurrency():
    """A service's concurrency is for all of its calls, whatever their rates."""
    polls, creates = road("a", 10, 6, calls="reads"), road("a", 10, 0, calls="creates")
    polls.same = creates.same = [polls, creates]
    assert sum(count for _, count in shares([polls, creates], 26, 32)) == 2


def test_alone_as_in_company():
    """A service that is the only one with calls waiting gets as many slots as beside another one
    that may not call."""
    sizes = product((1, 5, 50), (0, 1, 4, 8), (1, 4, 8, 40), (0, 1, 7), (4, 8, 32))
    for ready, in_flight, concurrency, resting, slots in sizes:
        one = road("a", ready, in_flight, concurrency)
        others = [road(f"idle {number}", 0, 0) for number in range(resting)]
        barred = road("b", 1, 1, concurrency=0)
        for free in range(-1, slots + 1):
            alone = shares([one, *others], free, slots)
            assert alone == shares([one, *others, barred], free, slots)


def test_quick_services_are_claimed_ahead():
    """Where calls are quick a claim brings what lasts a quarter of a second, up to a thousand: few
    commits. Where they are not it brings two for each slot, and nobody holds what others could
    call."""
    one, now = road("a", 0, 0), 100.0
    assert one.room == 16
    one.note_claimed(now, full=True)
    for _ in range(20):
        now += 0.01
        one.note_claimed(now, full=True)
    assert one.room == 1000
    for _ in range(20):
        now += 1.0
        one.note_claimed(now, full=True)
    assert one.room == 16


def test_claims_come_in_lumps():
    """Nothing is claimed as long as more than three quarters of what may be held is."""
    assert road("a", 13, 0).room == 0
    assert road("a", 8, 4).room == 4
    assert road("a", 0, 3).room == 13


def test_claims_that_found_little_go_no_deeper():
    """A claim that brought all there was says nothing about how quick the service is."""
    one = road("a", 0, 0)
    for moment in range(1, 20):
        one.note_claimed(100 + moment / 100, full=False)
    assert one.room == 16
