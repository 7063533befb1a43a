"""Updates that a service refuses because its side of the job has changed."""

from __future__ import annotations

import pytest
from ledgers import at, cell, claim_operations, running, sql

from tracker import lifecycle
from tracker.errors import NotFound
from tracker.model import Failure, Fault
from tracker.schedule import RetryPolicy
from tracker.store.refreshing import Wanted


@pytest.mark.parametrize("code", [409, 412])
def test_a_conflicting_update(store, time, code):
    """O8: an update that the service refuses because the job is another one there by now is tried
    again after the job was polled and the service listed; what is here is told."""
    job = running(store, payload={"a": 1}, due=600)
    store.owe_refreshes([Wanted("docs", "", 900)])
    sql(store, "DELETE FROM operations")
    store.change(job, {"a": 2}, tells=True)
    time.tick(1)
    [update] = claim_operations(store)
    refused = Failure(Fault.REFUSED, f"HTTP {code}", code)
    store.settle([lifecycle.after_update(update, refused, RetryPolicy(), rnd=lambda: 0.0)])
    [owed] = store.operations_of(job)
    assert (owed["state"], owed["attempts"], owed["next_attempt_at"]) == ("pending", 1, at(120))
    assert cell(store, "next_poll_at", job) == at(0)
    assert store.listings()[0]["next_refresh_at"] == at(0)
    [told] = [one.data for one in store.events() if one.type == "job:conflict"]
    assert told == {"fields": {"a": {"here": 2}}, "http_status": code}


def test_one_and_true_are_two_values(store):
    """J5: a change is a change of the JSON: 1 becomes true, and both sides hear of it."""
    job = running(store, payload={"a": 1}, server_id="a")
    assert store.change(job, {"a": True}, tells=True) == {"a": True}
    assert store.change(job, {"a": True}, tells=True) == {}
    [update] = claim_operations(store)
    assert update.payload["changes"] == {"a": True}


def test_a_job_that_has_just_gone(store):
    """A person's act on a job that somebody else has just deleted is told as such."""
    job = running(store)
    store.forget(job)
    with pytest.raises(NotFound, match="no job"):
        store.job_in_hand(job)
