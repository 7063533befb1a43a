"""What one poller takes for itself, claim after claim."""

from __future__ import annotations

import pytest
from ledgers import everything, refuse, relent, running, submitted

from tracker.claiming import LOOK_BACK_SECONDS, NO_OPERATIONS_SECONDS, Claiming
from tracker.executors.base import Lane
from tracker.outcomes import Released


class Polls:
    """An executor of polls, as far as claims ask."""

    most = 1


LANE = Lane(
    "docs",
    "",
    None,
    8,
    30.0,
    "requests",
    Polls(),  # type: ignore[arg-type]
    {"create": Polls()},  # type: ignore[dict-item]
)


@pytest.fixture
def claiming(store):
    """A poller's claims."""
    return Claiming(store, "p1", None, None)


def taken(claiming, calls):
    """The local ids of what a claim brings, and whether there may be more."""
    share = claiming.claim(LANE, calls)
    return [job.local_id for job in share.claimed.read().jobs], share.more


def given_back(store, claiming, calls):
    """A claim that is given back; its local ids."""
    jobs = claiming.claim(LANE, calls).claimed.read().jobs
    store.settle([Released(job) for job in jobs])
    return [job.local_id for job in jobs]


def test_claims_go_on_where_the_last_one_ended(store, time, claiming):
    """B12: what others hold, and what this poller holds, is not stepped over by each claim: what
    was given back has its turn a second later, oldest first."""
    wanted = [running(store, due=-10 + number) for number in range(6)]
    assert given_back(store, claiming, 2) == wanted[:2]
    assert taken(claiming, 2) == (wanted[1:3], True)  # due when the claim before ended, or later
    time.tick(LOOK_BACK_SECONDS)
    assert taken(claiming, 2) == ([wanted[0], wanted[3]], True)
    assert taken(claiming, 3) == (wanted[4:], False)


def test_nothing_is_left_behind(store, time, claiming):
    """P3: a claim with room left has looked at all that is due, also at what was due before."""
    wanted = [running(store, due=-10 + number) for number in range(5)]
    assert given_back(store, claiming, 2) == wanted[:2]
    found, more = taken(claiming, 5)
    assert (sorted(found), more) == (sorted(wanted), True)
    assert taken(claiming, 5) == ([], False)


def test_due_at_the_same_moment(store, time, claiming):
    """Where many are due at the moment at which a claim ended, the next one brings the others."""
    wanted = {running(store, due=-3) for _ in range(7)}
    found = [local_id for _ in range(4) for local_id in taken(claiming, 2)[0]]
    assert (len(found), set(found)) == (7, wanted)


def test_two_that_claim_in_turns(store, time):
    """P4: each job is one poller's, however far each of them has come."""
    wanted = [running(store, due=-50 + number) for number in range(20)]
    pollers = [Claiming(store, name, None, None) for name in ("p1", "p2")]
    found = [local_id for _ in range(4) for one in pollers for local_id in taken(one, 3)[0]]
    assert sorted(found) == sorted(wanted)


def test_operations_among_many_polls(store, time, claiming):
    """P3: an operation that comes while there is more to poll than there is room for waits for a
    twentieth of a second at most; then it goes before the polls."""
    for number in range(9):
        running(store, due=-10 + number)
    assert len(taken(claiming, 2)[0]) == 2
    submitted(store)
    assert claiming.claim(LANE, 2).claimed.read().operations == []
    time.tick(NO_OPERATIONS_SECONDS)
    claimed = claiming.claim(LANE, 2).claimed.read()
    assert (len(claimed.operations), len(claimed.jobs)) == (1, 1)


def test_operations_where_there_is_room(store, time, claiming):
    """P3: where a claim has room left it brings all that is due, whatever was looked for before."""
    running(store, due=-3)
    assert len(taken(claiming, 1)[0]) == 1
    running(store, due=-2)
    submitted(store)
    claimed = claiming.claim(LANE, 2).claimed.read()
    assert (len(claimed.operations), len(claimed.jobs)) == (1, 1)


def test_a_claim_that_is_refused_changes_nothing(store, time, claiming):
    """B7: an error in the middle of a claim undoes it as a whole, and the next one finds all."""
    wanted = [running(store, due=-10 + number) for number in range(3)]
    refuse(store, "UPDATE", "processing_jobs")
    before = everything(store)
    with pytest.raises(store.database.broken):
        claiming.claim(LANE, 2)
    assert not store.database.in_transaction and everything(store) == before
    relent(store)
    assert sorted(taken(claiming, 8)[0]) == sorted(wanted)
