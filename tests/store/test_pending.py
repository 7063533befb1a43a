"""Outcomes on their way into the ledger, while the network is attended to."""

from __future__ import annotations

import threading

import pytest
from ledgers import LEASE, RULES, RUNNING, cell, claim, polled, running

from tracker import lifecycle
from tracker.errors import DatabaseBusy
from tracker.model import Status
from tracker.pending import Pending
from tracker.summary import Summary

LIMIT = 10.0


@pytest.fixture
def pending(store):
    """Nothing owed yet."""
    return Pending(store, Summary(), lambda outcomes: None)


def test_what_comes_meanwhile_waits(store, pending):
    """While a settlement is under way others gather; each is written once, in its turn."""
    first, second = running(store), running(store)
    one, two = claim(store)
    goes_on, over = threading.Event(), threading.Event()
    pending.add([polled(one, RUNNING)])
    pending.begin(lambda: goes_on.wait(LIMIT), over.set)
    assert pending.under_way and not pending.written
    pending.add([polled(two, RUNNING)])
    goes_on.set()
    assert over.wait(LIMIT) and pending.written
    assert pending.finish() is True
    assert not pending.under_way and pending
    counts = {job: cell(store, "poll_count", job) for job in (first, second)}
    assert sorted(counts.values()) == [0, 1]
    pending.settle()
    assert not pending
    assert [cell(store, "poll_count", job) for job in (first, second)] == [1, 1]


def test_what_could_not_be_written_is_owed(store, pending):
    """A settlement that fails in its thread raises where it is waited for, has written nothing, and
    is made up for once."""
    local_id = running(store)
    (job,) = claim(store)
    over = threading.Event()

    def locked():
        raise DatabaseBusy("the database is locked", "try again")

    pending.add([polled(job, RUNNING)])
    pending.begin(locked, over.set)
    assert over.wait(LIMIT)
    with pytest.raises(DatabaseBusy):
        pending.finish()
    assert cell(store, "poll_count", local_id) == 0 and pending
    pending.settle()
    pending.settle()
    assert cell(store, "poll_count", local_id) == 1 and not pending


def test_an_interrupt_does_not_lose_it(store, pending):
    """Who waited for a settlement and was interrupted can wait for it again."""
    local_id = running(store)
    (job,) = claim(store)
    pending.add([polled(job, RUNNING)])
    goes_on = threading.Event()
    pending.begin(lambda: goes_on.wait(LIMIT), lambda: None)
    batch, thread = pending._under_way

    class Interrupted(threading.Thread):
        def join(self, timeout=None):
            raise KeyboardInterrupt

    pending._under_way = batch, Interrupted()
    with pytest.raises(KeyboardInterrupt):
        pending.finish()
    assert pending.under_way
    pending._under_way = batch, thread
    goes_on.set()
    pending.finish()
    assert cell(store, "poll_count", local_id) == 1


def test_what_is_ended_before_it_is_read_stays_ended(store, time):
    """A claim can be read after its transaction. Who ends the job in between has the last word."""
    local_id = running(store)
    with store.database.transaction():
        claimed = store.claim_due_jobs("docs", 10, "p1", LEASE, cutoff=store.now())
    assert claimed.count == 1
    store.act(local_id, lifecycle.by_hand(store.job_in_hand(local_id), Status.FAILED, RULES))
    for one in claimed.read().jobs:
        assert store.settle([polled(one, RUNNING, RULES)]).void == 1
    assert cell(store, "status", local_id) == "failed"
    assert cell(store, "poll_count", local_id) == 0
