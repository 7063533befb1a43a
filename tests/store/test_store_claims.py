"""Claims: who gets what, in which order, and for how long."""

from __future__ import annotations

import itertools
import threading

import pytest
from freezegun import freeze_time
from ledgers import (
    BROKEN,
    LEASE,
    RUNNING,
    at,
    cell,
    claim,
    claim_operations,
    loose,
    polled,
    poller_row,
    running,
    sql,
    submitted,
    types,
)

from tracker import clock, lifecycle
from tracker.lifecycle import Rules
from tracker.model import OperationState, Reading, State
from tracker.outcomes import Attempted, Claim, Released

SERVICES = ["docs", "other"]


def ids(jobs) -> list[str]:
    return [job.local_id for job in jobs]


def test_oldest_due_first(store, time):
    """P3: of what is due the oldest goes first, in bounded batches; nothing else goes."""
    wanted = {due: running(store, due=due) for due in (-10, -30, 0, -20)}
    running(store, due=0.5)
    submitted(store)
    assert ids(claim(store, 3)) == [wanted[-30], wanted[-20], wanted[-10]]
    assert ids(claim(store, 3)) == [wanted[0]]
    assert claim(store, 3) == []


def test_ties_by_initiation(store, time):
    """P3: of two that are due at the same moment the one goes first that was asked for first."""
    wanted = {age: running(store, initiated_at=at(-age)) for age in (10, 30, 20)}
    assert [ids(claim(store, 1))[0] for _ in range(3)] == [wanted[30], wanted[20], wanted[10]]


def test_ties_by_initiation_within_a_batch(store, time):
    """P3: that is so inside one batch too."""
    wanted = {age: running(store, initiated_at=at(-age)) for age in (10, 30, 20)}
    assert ids(claim(store)) == [wanted[30], wanted[20], wanted[10]]


def test_services_are_claimed_apart(store):
    """A service's claim brings none of another's jobs."""
    mine, other = running(store), running(store, "other")
    assert ids(claim(store)) == [mine]
    assert ids(claim(store, service="other")) == [other]


def test_a_claim_tells_what_a_call_needs(store, time):
    """A claimed job carries its ids, its age from acceptance, and what was captured for it."""
    local_id = running(
        store, server_id="r", vars={"url": "/x"}, payload={"a": 1}, document_id="D", project="P"
    )
    time.tick(30)
    (job,) = claim(store)
    assert (job.local_id, job.server_id, job.lease) == (local_id, "r", 1)
    assert (job.vars, job.payload) == ({"url": "/x"}, {"a": 1})
    assert (job.document_id, job.project) == ("D", "P")
    assert job.age == pytest.approx(30, abs=0.01) and job.due == at(-30)
    assert job.unknown_for is None and job.progress_event_age is None


def test_leased_jobs_are_skipped(store, time):
    """P4: what one poller holds no other gets, until the lease is over."""
    local_id = running(store)
    (first,) = claim(store)
    assert claim(store, poller="p2") == []
    assert (store.get(local_id).claimed_by, store.get(local_id).lease_until) == ("p1", at(LEASE))
    time.tick(LEASE - 0.001)
    assert claim(store, poller="p2") == []
    time.tick(0.001)
    (second,) = claim(store, poller="p2")
    assert (first.lease, second.lease) == (1, 2)
    assert second.due == first.due  # a claim moves no due time


def test_leases_can_be_extended(store, time):
    """A living claim can be lengthened; one that was lost cannot."""
    local_id, pending = running(store), submitted(store)
    (job,), (operation,) = claim(store), claim_operations(store)
    time.tick(50)
    store.extend_leases([job], [operation], LEASE)
    assert cell(store, "lease_until", local_id) == at(LEASE)
    assert cell(store, "lease_until", pending, "operations") == at(LEASE)
    time.tick(LEASE)
    (again,), (operation_again,) = claim(store, poller="p2"), claim_operations(store, poller="p2")
    until = cell(store, "lease_until", local_id)
    time.tick(5)
    store.extend_leases([job], [operation], LEASE)
    assert cell(store, "lease_until", local_id) == until
    store.settle([polled(again, RUNNING), Released(operation_again)])
    store.extend_leases([again], [operation_again], LEASE)
    assert cell(store, "lease_until", local_id) is None
    assert cell(store, "lease_until", pending, "operations") is None


def test_only_these(store, time):
    """A claim can be for certain jobs alone, and still for none that is not due or not ours."""
    wanted, later, other = running(store), running(store, due=5), running(store, "other")
    running(store)
    assert ids(claim(store, only=[wanted, later, other, "unknown"])) == [wanted]
    assert claim(store, only=[]) == []
    owed, _ = submitted(store), submitted(store)
    assert [one.job.local_id for one in claim_operations(store, only=[owed])] == [owed]


def test_a_cutoff(store, time):
    """A pass serves what was due when it began, and no cutoff reaches into the future."""
    early = running(store, due=-10)
    running(store, due=-5)
    future = running(store, due=5)
    assert ids(claim(store, cutoff=clock.now() - 10)) == [early]
    assert future not in ids(claim(store, cutoff=clock.now() + 3600))


def test_a_cutoff_and_operations(store, time):
    """An operation tried before waits for the next pass, one that is new does not (I1)."""
    tried, began = submitted(store), clock.now()
    (operation,) = claim_operations(store)
    store.settle([Attempted(operation, OperationState.PENDING, delay=1.0)])
    time.tick(2)
    new = submitted(store)
    assert [one.job.local_id for one in claim_operations(store, cutoff=began)] == [new]
    assert [one.job.local_id for one in claim_operations(store)] == [tried]


def test_kinds(store):
    """A poller gets no operation of a kind that it has no executor for."""
    submitted(store)
    assert claim_operations(store, kinds=["notify"]) == []
    assert len(claim_operations(store, kinds=["notify", "create"])) == 1


def test_released(store, time):
    """A claim given back untouched is as if it had never been, its due time included."""
    local_id, owed = running(store, due=-3), submitted(store)
    store.settle([Released(claim(store)[0]), Released(claim_operations(store)[0])])
    job = store.get(local_id)
    assert (job.next_poll_at, job.poll_count, job.retry_count) == (at(-3), 0, 0)
    assert job.claimed_by is None and job.lease_until is None
    assert ids(claim(store)) == [local_id] and claim_operations(store)[0].attempts == 0
    assert types(store, owed) == ["job:created"]


def test_unreadable_rows(store):
    """J8: a row that somebody broke is claimed as such, and stands in nobody's way."""
    bad, good, worse = running(store), running(store), submitted(store)
    broken = loose(store, "{", "7")
    sql(store, "UPDATE processing_jobs SET payload = ? WHERE local_id = ?", [broken, bad])
    sql(store, "UPDATE operations SET payload = '[1]' WHERE local_id = ?", [worse])
    lone = submitted(store)
    sql(store, "DELETE FROM processing_jobs WHERE local_id = ?", [lone])
    got = store.claim_due_jobs("docs", 50, "p1", LEASE, cutoff=clock.now())
    assert ids(got.jobs) == [good]
    assert [(one.claimed.local_id, bool(one.why)) for one in got.unreadable] == [(bad, True)]
    store.settle([polled(one.claimed, BROKEN) for one in got.unreadable])
    assert store.get(bad).retry_count == 1 and store.get(bad).payload == {"unreadable": broken}
    owed = store.claim_due_operations("docs", 50, "p1", LEASE, cutoff=clock.now(), kinds=["create"])
    assert owed.operations == []
    assert {one.claimed.job.local_id for one in owed.unreadable} == {worse, lone}


def test_earliest_due(store, time):
    """The loop can ask when the next thing is due that nobody holds."""
    assert store.earliest_due(SERVICES) is None
    later = running(store, due=30)
    assert store.earliest_due(SERVICES) == pytest.approx(30)
    running(store, "other", due=12)
    assert store.earliest_due(SERVICES) == pytest.approx(12)
    assert store.earliest_due(["docs"]) == pytest.approx(30)
    assert store.earliest_due(SERVICES, [later]) == pytest.approx(30)
    held = running(store, due=-4)
    assert store.earliest_due(SERVICES) == pytest.approx(-4)
    assert ids(claim(store)) == [held]
    assert store.earliest_due(SERVICES) == pytest.approx(12)
    submitted(store, "other")
    assert store.earliest_due(SERVICES) == pytest.approx(0)
    assert store.earliest_due([]) is None


def test_finished_jobs_are_never_due(store):
    """History is not in the schedule."""
    local_id = running(store)
    store.act(local_id, lifecycle.by_hand(store.job_in_hand(local_id), "failed", Rules()))
    assert store.earliest_due(SERVICES) is None and claim(store) == []
    assert store.count_due("docs") == 0


def test_services_with_work(store):
    """Every service that has something to do is known, also one that no configuration names."""
    assert store.services_with_work() == []
    running(store, "b"), running(store, "a"), submitted(store, "c"), running(store, "a")
    assert store.services_with_work() == ["a", "b", "c"]


def test_every_job_is_claimed_once(connect):
    """P4: pollers that claim at the same time share the jobs out and never get one twice."""
    first = connect()
    expected = {running(first) for _ in range(60)}
    got: list[list[str]] = []
    barrier = threading.Barrier(4)

    def work(name: str) -> None:
        mine = connect()
        barrier.wait()
        while found := claim(mine, 7, poller=name):
            got.append(ids(found))

    threads = [threading.Thread(target=work, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    flat = [local_id for batch in got for local_id in batch]
    assert len(flat) == len(expected) and set(flat) == expected


# The dead.


def test_what_the_dead_held_is_due_again(store, time):
    """P4: the jobs of a dead poller are due again at once, and only its own."""
    mine, theirs = running(store), running(store)
    claim(store, only=[mine], poller="dead")
    claim(store, only=[theirs], poller="alive")
    owed = submitted(store)
    claim_operations(store, poller="dead")
    store.beat(poller_row("dead"))
    store.release_dead("dead", SERVICES)
    assert store.pollers() == []
    assert ids(claim(store)) == [mine]
    (operation,) = claim_operations(store)
    assert operation.job.local_id == owed and operation.attempts == 0
    assert store.get(theirs).claimed_by == "alive"


def test_a_beat_in_the_last_moment(store, time):
    """Nobody is released who has beaten since it was looked at: it lives."""
    held = running(store)
    claim(store, poller="slow")
    store.beat(poller_row("slow"))
    seen_at = store.pollers()[0].seen_at
    time.tick(4)
    store.beat(poller_row("slow"))
    assert not store.release_dead("slow", SERVICES, seen_at=seen_at)
    assert store.get(held).claimed_by == "slow" and len(store.pollers()) == 1
    assert store.release_dead("slow", SERVICES, seen_at=at(0))
    assert store.get(held).claimed_by is None and store.pollers() == []
    assert not store.release_dead("slow", SERVICES, seen_at=at(0))  # somebody else did


def test_nobody_dies_behind_a_lock(store, monkeypatch):
    """Nobody is released after a wait for the database: it may have waited to beat."""
    held = running(store)
    claim(store, poller="slow")
    store.beat(poller_row("slow"))
    seen_at = store.pollers()[0].seen_at
    ticks = itertools.count(step=1.1)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "monotonic", lambda: next(ticks))
        assert not store.release_dead("slow", SERVICES, seen_at=seen_at)
    assert store.get(held).claimed_by == "slow" and len(store.pollers()) == 1
    assert store.release_dead("slow", SERVICES, seen_at=seen_at)


def test_a_goodbye(store, time):
    """Whoever ends gives back what it says that it holds, at once, and is gone; a create that it
    sent is in doubt, and what it lost meanwhile stays the other's."""
    kept, lost = running(store, due=-2), running(store, due=-1)
    first, second = claim(store, poller="ends")
    assert (first.id, second.id) == tuple(cell(store, "id", one) for one in (kept, lost))
    sent, unsent = submitted(store), submitted(store)
    operations = claim_operations(store, poller="ends")
    store.record_intent(operations[:1], "ends")
    store.beat(poller_row("ends"))
    sql(store, "UPDATE processing_jobs SET lease_until = ? WHERE local_id = ?", [at(0), lost])
    assert ids(claim(store, only=[lost], poller="other")) == [lost]
    held = [Claim(True, one.id, one.lease) for one in (first, second)]
    held += [Claim(False, one.id, one.lease) for one in operations]
    store.say_goodbye("ends", held)
    assert [store.get(one).claimed_by for one in (kept, lost)] == [None, "other"]
    states = [store.operations_of(one)[0]["state"] for one in (sent, unsent)]
    assert states == ["in_doubt", "pending"]
    assert ids(claim(store)) == [kept] and store.pollers() == []
    assert [one.job.local_id for one in claim_operations(store)] == [unsent]


def test_intent_makes_doubt(store, time):
    """B6: a create that was sent, cannot be sent twice and was never settled is in doubt."""
    sent, unsent = submitted(store), submitted(store)
    first, second = claim_operations(store, poller="dead")
    assert (first.job.local_id, second.job.local_id) == (sent, unsent)
    assert store.record_intent([first], "dead") == {first.id}
    assert store.release_dead("dead", SERVICES)
    assert [store.operations_of(one)[0]["state"] for one in (sent, unsent)] == [
        "in_doubt",
        "pending",
    ]
    assert store.get(sent).sync_status == "failed"
    assert types(store, sent)[-1] == "job:error-details"
    assert [one.job.local_id for one in claim_operations(store)] == [unsent]


def test_overdue_intent_makes_doubt(store, time):
    """B6: the same when nobody saw the poller die and its lease ran out."""
    sent, unsent = submitted(store), submitted(store)
    (operation,) = claim_operations(store, only=[sent])
    assert store.record_intent([operation], "p1") == {operation.id}
    claim_operations(store, only=[unsent])
    store.doubt_overdue(["docs"])
    assert store.operations_of(sent)[0]["state"] == "pending"
    time.tick(LEASE)
    store.doubt_overdue(["other"])
    assert store.operations_of(sent)[0]["state"] == "pending"
    assert [one.job.local_id for one in claim_operations(store)] == [unsent]  # never the sent one
    store.doubt_overdue(["docs"])
    assert store.operations_of(sent)[0]["state"] == "in_doubt"
    store.doubt_overdue(["docs"])
    assert types(store, sent) == ["job:created", "job:error-details"]


def test_a_reply_dispels_the_doubt(store, time):
    """B6: a reply that comes after all settles what was in doubt already."""
    local_id = submitted(store)
    (operation,) = claim_operations(store)
    assert store.record_intent([operation], "p1") == {operation.id}
    time.tick(LEASE)
    store.doubt_overdue(["docs"])
    reading = Reading(State.PROCESSING, server_id="r")
    store.settle([lifecycle.after_create(operation, reading, Rules(), server_key="k")])
    assert store.get(local_id).status == "processing" and store.operations_of(local_id) == []


def test_a_settled_intent_is_forgotten(store, time):
    """A create whose failure is on record is pending again, and not in doubt later."""
    local_id = submitted(store)
    (operation,) = claim_operations(store)
    assert store.record_intent([operation], "p1") == {operation.id}
    store.settle([Attempted(operation, OperationState.PENDING, delay=5.0)])
    time.tick(LEASE)
    store.doubt_overdue(["docs"])
    store.release_dead("p1", SERVICES)
    assert store.operations_of(local_id)[0]["state"] == "pending"


def test_intent_needs_a_living_claim(store, time):
    """B6: a poller that slept through its lease learns it before it sends, so that nothing is
    created twice."""
    submitted(store)
    (stale,) = claim_operations(store, poller="slept")
    time.tick(LEASE)
    (fresh,) = claim_operations(store, poller="p2")
    assert store.record_intent([stale], "slept") == set()
    assert store.record_intent([stale], "p2") == set()
    assert store.record_intent([fresh], "slept") == set()
    assert store.record_intent([stale, fresh], "p2") == {fresh.id}


def test_doubts_are_told_to_their_user(store):
    """R3: every event of a job carries the job's user, or its user would never see it."""
    local_id = submitted(store, user_id="ann")
    store.record_intent(claim_operations(store, poller="dead"), "dead")
    store.release_dead("dead", SERVICES)
    assert types(store, local_id)[-1] == "job:error-details"
    assert {event.user_id for event in store.events(local_id=local_id)} == {"ann"}


def test_a_denial_outlives_a_failure(store, time):
    """B5: the grace of a job that its service denies is counted from the first denial on."""
    local_id = running(store)
    store.settle([polled(claim(store)[0], Reading(State.UNKNOWN_JOB))])
    time.tick(100)
    (job,) = claim(store)
    assert job.unknown_for == pytest.approx(100, abs=0.01)
    store.settle([polled(job, Reading(State.UNKNOWN_JOB))])
    time.tick(100)
    (job,) = claim(store)
    assert job.unknown_for == pytest.approx(200, abs=0.01)
    store.settle([polled(job, RUNNING)])
    time.tick(100)
    assert claim(store)[0].unknown_for is None and store.get(local_id).retry_count == 0


def test_a_failure_does_not_end_a_denial(store, time):
    """B5: a poll that failed says nothing about whether the service knows the job."""
    running(store)
    store.settle([polled(claim(store)[0], Reading(State.UNKNOWN_JOB))])
    time.tick(300)
    store.settle([polled(claim(store)[0], BROKEN)])
    time.tick(300)
    assert claim(store)[0].unknown_for == pytest.approx(600, abs=0.01)


def test_a_poller_beats(store, time):
    """A poller's row keeps when it started and when it was last heard of."""
    store.beat(poller_row("a"))
    time.tick(3)
    store.beat(poller_row("a"))
    store.beat(poller_row("b"))
    rows = store.pollers()
    assert [(one.id, one.started_at, one.seen_at) for one in rows] == [
        ("a", at(-3), at(0)),
        ("b", at(0), at(0)),
    ]
    assert store.get_meta("last_now") == at(0)


# A clock that jumps.


def test_a_clock_that_jumps_back(connect):
    """A clock that went back by an hour shifts every due time by that hour, once, and tells it."""
    with freeze_time("2026-01-31T13:00:00Z") as frozen:
        store, other = connect(), connect()
        local_id, owed = running(store, due=20), submitted(store)
        held = running(store, due=-1)
        claim(store)
        store.take_tokens(("docs", "", ""), 1, 5.0)
        store.pause_service(("docs", "", ""), "ill", [30.0])
        store.beat(poller_row("p1"))
        frozen.move_to("2026-01-31T12:00:00Z")
        assert store.check_clock() == pytest.approx(3600)
        assert other.check_clock() == 0 and store.check_clock() == 0
        assert store.get(local_id).next_poll_at == at(20)
        assert store.get(held).lease_until == at(LEASE)
        assert store.operations_of(owed)[0]["next_attempt_at"] == at(0)
        assert store.budget("docs", "").paused_for == pytest.approx(30)
        slots, _ = store.take_tokens(("docs", "", ""), 1, 5.0)
        assert slots == []
        jumps = [event for event in store.events() if event.type == "ledger:clock-shifted"]
        assert [event.data for event in jumps] == [{"seconds": -3600.0}]


@pytest.mark.parametrize("seconds", [-59, 5, 3600])
def test_a_clock_that_behaves(connect, seconds):
    """A clock that goes on, or back by less than a minute, shifts nothing."""
    with freeze_time("2026-01-31T13:00:00Z") as frozen:
        store = connect()
        local_id = running(store, due=20)
        due = store.get(local_id).next_poll_at
        store.beat(poller_row("p1"))
        frozen.tick(seconds)
        assert store.check_clock() == 0 and store.get(local_id).next_poll_at == due


def test_several_notice_the_same_jump(connect):
    """Of several pollers that notice a jump at the same time one shifts; the shift is single."""
    store = connect()
    local_id = running(store, due=3600)
    store.beat(poller_row("p1"))
    sql(store, "UPDATE meta SET value = ? WHERE key = 'last_now'", [at(3600)])
    stores = [connect() for _ in range(4)]
    barrier, shifts = threading.Barrier(4), []

    def look(one) -> None:
        barrier.wait()
        shifts.append(one.check_clock())

    threads = [threading.Thread(target=look, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(shifts) == [0, 0, 0, pytest.approx(3600, abs=10)]
    due = clock.to_seconds(store.get(local_id).next_poll_at)
    assert due == pytest.approx(clock.now(), abs=10)
