"""Settling: two lanes, the fence, and effects that happen exactly once."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import (
    BROKEN,
    DONE,
    EPOCH,
    FETCHING,
    LEASE,
    RULES,
    RUNNING,
    at,
    cell,
    claim,
    claim_operations,
    clean_up,
    end,
    finished,
    polled,
    refuse,
    relent,
    running,
    sql,
    submitted,
    types,
)

from tracker import lifecycle
from tracker.errors import TrackerError
from tracker.lifecycle import Rules
from tracker.model import Content, Failure, Fault, Reading, Reason, State, Status
from tracker.outcomes import Running
from tracker.schedule import PollPolicy


def owed(store, local_id) -> list[str]:
    return [one["kind"] for one in store.operations_of(local_id)]


def row(store, local_id):
    """Everything there is about a job, to see whether anything changed."""
    return [
        store.database.read(f"SELECT * FROM {table} WHERE local_id = ?", [local_id])
        for table in ("processing_jobs", "operations", "contents", "job_events")
    ]


def test_a_running_job_goes_on(store, time):
    """Lane one: the next due time, the counts and the costs are written, and no event."""
    local_id = running(store, due=-5)
    (job,) = claim(store)
    time.tick(1)
    outcome = lifecycle.after_poll(job, RUNNING, RULES, duration=0.25, http_status=200)
    settled = store.settle([outcome])
    assert (settled.polled, settled.applied, settled.void, settled.finished) == (1, 1, 0, [])
    after = store.get(local_id)
    assert (after.next_poll_at, after.last_poll_at) == (at(20), at(0))
    assert (after.poll_count, after.last_http_status, after.last_duration_seconds) == (1, 200, 0.25)
    assert after.claimed_by is None and after.lease_until is None and after.version == 1
    assert types(store, local_id) == ["job:created"]


def test_failures_in_a_row(store, time):
    """P6: `retry_count` counts failures in a row, and the first success forgets them."""
    local_id = running(store)
    for count, delay in ((1, 5), (2, 10), (3, 20)):
        store.settle([polled(claim(store)[0], BROKEN)])
        job = store.get(local_id)
        assert (job.retry_count, job.next_poll_at) == (count, at(delay))
        assert job.last_error == "HTTP 500"
        time.tick(delay)
    store.settle([polled(claim(store)[0], RUNNING)])
    job = store.get(local_id)
    assert (job.retry_count, job.last_error, job.poll_count) == (0, None, 4)


def test_progress_is_written(store, time):
    """What changed is written at once; the event that tells it comes at most once in 10 s."""
    local_id = running(store)
    for step, (progress, told) in enumerate([(0.1, 1), (0.2, 1), (0.3, 2)]):
        store.settle([polled(claim(store)[0], Reading(State.PROCESSING, progress=progress))])
        job = store.get(local_id)
        assert job.progress == progress and job.version == step + 2
        assert types(store, local_id).count("job:stream-progress") == told
        sql(store, "UPDATE processing_jobs SET next_poll_at = ?", [at(5.1)])
        time.tick(5.1)


def test_a_completion_and_its_effects(store, time):
    """P7, B7: end, content, notification and events are written together."""
    local_id = running(store, user_id="ann")
    settled = store.settle([polled(claim(store)[0], DONE)])
    assert settled.finished == [(local_id, "completed")] and settled.polled == 1
    job = store.get(local_id)
    (content,) = store.contents_of(local_id)
    assert job.status == "completed" and job.completed_at == at(0) and job.progress == 1.0
    assert job.result_content_id == content["id"] and content["size"] == 12
    assert store.content(local_id) == (b'{"pages": 3}', None, None)
    assert owed(store, local_id) == ["notify"] and job.next_poll_at is None
    assert types(store, local_id) == ["job:created", "job:status-changed", "job:finalized"]
    assert {event.user_id for event in store.events(local_id=local_id)} == {"ann"}


def test_retrieving_comes_first(store, time):
    """P7: done there is retrieving here; completed only together with the content."""
    local_id = running(store)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    job = store.get(local_id)
    assert (job.status, job.result_content_id, job.completed_at) == ("retrieving", None, None)
    assert owed(store, local_id) == ["fetch_result"] and claim(store) == []
    (fetch,) = claim_operations(store)
    content = Content(id="c", body=b"xyz", size=3)
    store.settle([lifecycle.after_fetch(fetch, content, FETCHING)])
    job = store.get(local_id)
    assert (job.status, job.result_content_id, job.completed_at) == ("completed", "c", at(0))
    assert owed(store, local_id) == ["notify"]
    assert types(store, local_id)[1:] == [
        "job:status-changed",
        "job:status-changed",
        "job:finalized",
    ]


def test_a_result_that_never_comes(store, time):
    """P7: after the last attempt the job is failed, notified, and owes no fetch."""
    local_id = running(store)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    for _ in range(3):
        (fetch,) = claim_operations(store)
        attempted = lifecycle.after_fetch(fetch, BROKEN, FETCHING, rnd=lambda: 0.0)
        store.settle([attempted])
        time.tick(attempted.delay)
    job = store.get(local_id)
    assert (job.status, job.failure_reason) == ("failed", "result")
    assert job.error_message == "Failed to retrieve result" and job.last_error == "HTTP 500"
    assert owed(store, local_id) == ["notify"] and store.contents_of(local_id) == []


# The fence.


@pytest.mark.parametrize("result", [RUNNING, BROKEN, DONE, Reading(State.FAILED, error="x")])
@pytest.mark.parametrize("rules", [RULES, FETCHING])
def test_a_stale_settlement_changes_nothing(store, time, result, rules):
    """A poller that lost its claim leaves no trace: no field, event, content or operation."""
    local_id = running(store)
    (stale,) = claim(store)
    time.tick(LEASE)
    (fresh,) = claim(store, poller="p2")
    before = row(store, local_id)
    reading = result
    if isinstance(reading, Reading):
        reading = Reading(
            reading.state, word="w", progress=0.9, captured={"a": 1}, result=reading.result
        )
    settled = store.settle([polled(stale, reading, rules)])
    assert (settled.applied, settled.void, settled.finished) == (0, 1, [])
    assert row(store, local_id) == before
    assert store.settle([polled(fresh, result, rules)]).applied == 1


def test_a_stale_attempt_changes_nothing(store, time):
    """The same for operations: only the claim that holds one can end or move it."""
    local_id = submitted(store)
    (stale,) = claim_operations(store)
    time.tick(LEASE)
    claim_operations(store, poller="p2")
    before = row(store, local_id)
    accepted = lifecycle.after_create(stale, Reading(State.PROCESSING, server_id="r"), RULES)
    failed = lifecycle.after_create(stale, Failure(Fault.TIMEOUT, "x"), RULES)
    for attempted in (accepted, failed):
        assert store.settle([attempted]).void == 1
        assert row(store, local_id) == before


def test_one_bad_claim_spoils_no_batch(store, time):
    """In one batch the living claims are settled and the stale ones are not."""
    first, second = running(store), running(store)
    stale = claim(store)
    time.tick(LEASE)
    (again,) = claim(store, only=[first], poller="p2")
    settled = store.settle([polled(job, RUNNING) for job in stale])
    assert (settled.applied, settled.void) == (1, 1)
    assert store.get(second).poll_count == 1 and store.get(first).poll_count == 0
    assert store.get(first).claimed_by == "p2" and again.lease == 2


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
@pytest.mark.parametrize("result", [RUNNING, DONE, Reading(State.FAILED)])
def test_a_persons_act_voids_a_claim(store, time, status, result):
    """P15: what a person decided is not overwritten by a poll that was on its way."""
    local_id = running(store)
    (job,) = claim(store)
    assert store.act(local_id, lifecycle.by_hand(store.job_in_hand(local_id), status, RULES))
    before = row(store, local_id)
    assert store.settle([polled(job, result)]).void == 1
    assert row(store, local_id) == before and store.get(local_id).status == status


def test_a_reopened_job_is_out_of_old_hands(store, time):
    """P15: a claim from before the end and the reopening is void too."""
    local_id = running(store)
    (stale,) = claim(store)
    store.act(local_id, lifecycle.by_hand(store.job_in_hand(local_id), Status.FAILED, Rules()))
    assert store.act(local_id, lifecycle.reopened(store.job_in_hand(local_id)))
    assert store.settle([polled(stale, DONE)]).void == 1
    assert store.get(local_id).status == "processing" and len(claim(store)) == 1


def test_a_row_id_never_comes_back(store, time):
    """The fence holds after a cleanup too: a stale claim never hits a job that came later."""
    old = running(store)
    (stale,) = claim(store)
    end(store, old)
    time.tick(1)
    assert clean_up(store).rows == 1
    new = running(store)
    claim(store, poller="p2")
    store.settle([polled(stale, DONE)])
    assert store.get(new).status == "processing"


def test_due_now_is_kept(store, time):
    """B9: a job made due while it was being polled is due now, not after the poll's delay."""
    moved, other = running(store, due=-30), running(store, due=-20)
    jobs = claim(store)
    time.tick(10)
    sql(store, "UPDATE processing_jobs SET next_poll_at = ? WHERE local_id = ?", [at(0), moved])
    store.settle([polled(job, RUNNING) for job in jobs])
    assert store.get(moved).next_poll_at == at(0)
    assert store.get(other).next_poll_at == at(20)


def test_make_due(store, time):
    """P15, P5: a person's poll is now, or when 7 s have passed since the last one; never later
    than it was, and never for a job that has ended."""
    fresh, waiting = running(store, due=100), running(store, due=100)
    soon, ended, pending = running(store, due=2), finished(store), submitted(store)
    sql(store, "UPDATE processing_jobs SET last_poll_at = ? WHERE local_id = ?", [at(-2), waiting])
    sql(store, "UPDATE processing_jobs SET last_poll_at = ? WHERE local_id = ?", [at(0), soon])
    store.make_due([fresh, waiting, soon, ended, pending, "unknown"])
    assert store.get(fresh).next_poll_at == at(0)
    assert store.get(waiting).next_poll_at == at(5)
    assert store.get(soon).next_poll_at == at(2)
    assert store.get(ended).next_poll_at is None and store.get(pending).status == "pending"


def test_asking_by_hand_keeps_the_limit(store, time):
    """P5: ten polls a minute is the limit also for a person (or `wait`) who keeps asking."""
    local_id = running(store)
    polls = []
    for second in range(61):
        store.make_due([local_id])
        for job in claim(store):
            polls.append(second)
            store.settle([polled(job, BROKEN if len(polls) % 2 else RUNNING)])
        time.tick(1)
    assert len([second for second in polls if second < 60]) <= 10


def test_a_person_who_comes_too_late(store, time):
    """P15: an act on a job that ended meanwhile is refused, and changes nothing."""
    local_id = running(store)
    too_late = lifecycle.by_hand(store.job_in_hand(local_id), Status.FAILED, Rules())
    store.settle([polled(claim(store)[0], DONE)])
    before = row(store, local_id)
    assert not store.act(local_id, too_late)
    assert row(store, local_id) == before


# Exactly once.


def test_settling_twice(store, time):
    """B7: the second settlement of one claim is void, and effects are there once."""
    local_id = running(store)
    outcome = polled(claim(store)[0], DONE)
    assert store.settle([outcome, outcome]).applied == 1
    assert store.settle([outcome]).void == 1
    assert types(store, local_id).count("job:finalized") == 1
    assert owed(store, local_id) == ["notify"]


def test_two_settlements_race(connect):
    """B7: of settlements that race over connections one wins, and effects are there once."""
    store = connect()
    for _ in range(10):
        local_id = running(store)
        (job,) = claim(store)
        by_hand = lifecycle.by_hand(job, Status.FAILED, RULES)
        racers = [
            (connect(), polled(job, DONE)),
            (connect(), polled(job, Reading(State.FAILED))),
            (connect(), by_hand),
        ]
        barrier, applied = threading.Barrier(len(racers)), []

        def race(one, change, barrier=barrier, applied=applied) -> None:
            barrier.wait()
            applied.append(one.settle([change]).applied)

        threads = [threading.Thread(target=race, args=racer) for racer in racers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sum(applied) == 1
        assert types(store, local_id).count("job:finalized") == 1
        assert owed(store, local_id) == ["notify"]
        for one, _ in racers:
            one.close()


def test_one_store_in_many_threads(store):
    """A store can be shared between threads; each settlement is whole."""
    jobs = [running(store) for _ in range(40)]
    claimed = claim(store)

    def work(part) -> None:
        for job in part:
            store.settle([polled(job, DONE)])

    threads = [threading.Thread(target=work, args=(claimed[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(types(store, one).count("job:finalized") == 1 for one in jobs)
    assert [event.seq for event in store.events()] == list(range(1, store.last_event() + 1))


def test_a_batch_is_whole_or_not_at_all(store):
    """When the database fails in a batch nothing of it is written, and the claims are intact."""
    ids = [running(store), running(store)]
    jobs = claim(store)
    refuse(store, "INSERT", "contents")
    with pytest.raises(store.database.broken):
        store.settle([polled(jobs[0], RUNNING), polled(jobs[1], DONE)])
    assert [store.get(one).poll_count for one in ids] == [0, 0]
    relent(store)
    assert store.settle([polled(jobs[0], RUNNING), polled(jobs[1], DONE)]).applied == 2


def test_no_text_spoils_a_batch(store):
    """One bad reply never stops a pass: whatever text it holds, the batch is settled."""
    local_id, other = running(store), running(store)
    first, second = claim(store)
    bad = Failure(Fault.SERVER, "caf\udce9")
    try:
        store.settle([polled(first, bad), polled(second, DONE)])
    except TrackerError:
        pytest.fail("the good outcome is lost with the bad one")
    assert store.get(local_id).retry_count == 1 and store.get(other).status == "completed"


RESULTS = st.one_of(
    st.builds(
        Reading,
        st.sampled_from(State),
        word=st.sampled_from(["busy", 'it\'s "done"', "\x00", "🙂", "x" * 5000]),
        progress=st.none() | st.floats(0, 1),
        error=st.none() | st.just("o'h\n"),
        estimated_seconds=st.none() | st.floats(0, 1e300),
        captured=st.dictionaries(st.sampled_from("ab"), st.integers() | st.text(max_size=3)),
        result=st.none() | st.just({"a": 1}),
    ),
    st.builds(Failure, st.sampled_from(Fault), st.sampled_from(["", "x\x00y"])),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(RESULTS, st.booleans()), max_size=6))
def test_the_first_end_stands(store, results):
    """Whatever polls bring, the first terminal status and its effects stay as they were."""
    rules = Rules(poll=PollPolicy(give_up_after=1e6), sinks=("ops",))
    local_id = running(store)
    end = None
    for result, stale in results:
        sql(store, f"UPDATE processing_jobs SET next_poll_at = '{EPOCH}', lease_until = NULL "
            "WHERE status = 'processing'")  # fmt: skip
        jobs = [job for job in claim(store) if job.local_id == local_id]
        job = jobs[0] if jobs else store.job_in_hand(local_id)
        job.lease -= stale and not end
        store.settle([polled(job, result, rules)])
        now = row(store, local_id)
        if end is not None:
            assert now == end
        elif store.get(local_id).finished:
            end = now
            assert types(store, local_id).count("job:finalized") == 1


# People.


def test_ending_a_job_drops_what_it_owed(store, time):
    """P15: a job that a person ended is neither created nor fetched any more."""
    pending, fetched = submitted(store), running(store)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    for local_id in (pending, fetched):
        change = lifecycle.by_hand(store.job_in_hand(local_id), Status.COMPLETED, RULES)
        assert store.act(local_id, change)
        assert owed(store, local_id) == ["notify"]
        assert store.get(local_id).completed_at == at(0)


def test_what_is_on_its_way_is_not_dropped(store, time):
    """A create that is out just now stays owed, so that its reply still finds it."""
    local_id = submitted(store)
    (operation,) = claim_operations(store)
    change = lifecycle.by_hand(store.job_in_hand(local_id), Status.FAILED, Rules())
    store.act(local_id, change)
    assert owed(store, local_id) == ["create"]
    accepted = Reading(State.PROCESSING, server_id="r")
    store.settle([lifecycle.after_create(operation, accepted, RULES)])
    assert owed(store, local_id) == [] and store.get(local_id).status == "failed"


def test_reopening(store, time):
    """P15: a reopened job is processing and due now, and its completion is cleared."""
    local_id = running(store)
    store.settle([polled(claim(store)[0], DONE)])
    time.tick(5)
    assert store.act(local_id, lifecycle.reopened(store.job_in_hand(local_id)))
    job = store.get(local_id)
    assert (job.status, job.next_poll_at, job.retry_count) == ("processing", at(0), 0)
    assert job.completed_at is None and job.result_content_id is None and job.progress is None
    assert job.failure_reason is None and job.error_message is None
    event = store.events(local_id=local_id)[-1]
    assert (event.type, event.data["by"]) == ("job:status-changed", "person")
    store.settle([polled(claim(store)[0], DONE)])
    assert types(store, local_id).count("job:finalized") == 2  # it ended twice


def test_reopening_what_runs(store):
    """P15: only a finished job can be reopened."""
    for local_id in (running(store), submitted(store)):
        before = row(store, local_id)
        assert not store.act(local_id, lifecycle.reopened(store.job_in_hand(local_id)))
        assert row(store, local_id) == before


def test_reopening_what_was_given_up(store, time):
    """P15: a job that was given up and reopened gets another `give_up_after`."""
    rules = Rules(poll=PollPolicy(give_up_after=60.0))
    local_id = running(store)
    time.tick(61)
    store.settle([polled(claim(store)[0], RUNNING, rules)])
    assert store.get(local_id).failure_reason == Reason.GAVE_UP
    store.act(local_id, lifecycle.reopened(store.job_in_hand(local_id)))
    store.settle([polled(claim(store)[0], RUNNING, rules)])
    assert store.get(local_id).status == "processing"


def test_a_lost_job_reopened_gets_its_grace_again(store, time):
    """P15, B5: a lost job that somebody reopens is asked about for another 10 min."""
    local_id = running(store)
    denied = Reading(State.UNKNOWN_JOB)
    store.settle([polled(claim(store)[0], denied)])
    time.tick(600)
    store.settle([polled(claim(store)[0], denied)])
    assert store.get(local_id).failure_reason == Reason.LOST
    store.act(local_id, lifecycle.reopened(store.job_in_hand(local_id)))
    outcome = polled(claim(store)[0], denied)
    assert isinstance(outcome, Running) and store.settle([outcome]).applied == 1
    assert cell(store, "unknown_since", local_id) == at(0)
