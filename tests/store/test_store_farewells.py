"""Farewells: what services want when jobs of theirs are cleaned up (P10)."""

from __future__ import annotations

from ledgers import (
    LEASE,
    claim_operations,
    clean_up,
    end,
    finished,
    in_s3,
    loose,
    owed_removals,
    remove,
    running,
    spooled,
    sql,
    submitted,
)

from tracker import clock
from tracker.model import Status
from tracker.objects import ObjectState, Scheme
from tracker.store.cleaning import Farewell

ASKS = {"docs": Farewell(asks=True)}
INSTEAD = {"docs": Farewell(asks=True, instead=True)}


def test_a_service_is_asked(store, time):
    """P10: with a job goes a call to its service, which brings along what it is built from; the
    removals are owed besides, and other services are not asked."""
    values = {"account": "team", "server_id": "r-7", "vars": {"a": 1}, "payload": {"b": "ä"}}
    local_id = finished(store, Status.COMPLETED, in_s3("k"), **values)
    other = finished(store, service="other")
    time.tick(1)
    cleaned = clean_up(store, farewells=ASKS)
    assert (cleaned.rows, cleaned.asked, cleaned.requested["s3"]) == (2, 1, 1)
    (asking,) = claim_operations(store)
    assert (asking.kind, asking.account, asking.job.local_id) == ("clean_up", "team", local_id)
    assert asking.payload == {"server_id": "r-7", "vars": {"a": 1}, "payload": {"b": "ä"}}
    assert owed_removals(store) == ["s3://bucket/k"] and store.operations_of(other) == []


def test_a_broken_row_is_cleaned_up_too(store, time):
    """J8: a job whose values cannot be read any more goes like any other."""
    local_id = finished(store)
    sql(store, "UPDATE processing_jobs SET vars = ?, payload = '7'", [loose(store, "[", "[]")])
    time.tick(1)
    assert clean_up(store, farewells=ASKS).asked == 1
    (asking,) = claim_operations(store)
    assert asking.job.local_id == local_id and asking.payload["vars"] == {}


def test_a_service_that_never_had_the_job_is_not_asked(store, time):
    """P10: a job that its service never accepted is nothing that it could clean up."""
    end(store, submitted(store))
    time.tick(1)
    cleaned = clean_up(store, farewells=ASKS)
    assert (cleaned.rows, cleaned.asked) == (1, 0) and store.outbox() == []


def test_a_service_removes_the_objects_itself(store, time):
    """P10: where the service's call removes the S3 objects, the tracker does not, and forgets
    them; the files are its own to remove, and what another job uses stays on record."""
    shared = [in_s3("shared"), in_s3("k")]
    going = finished(store, Status.COMPLETED, *shared, spooled("x"))
    staying = running(store, "docs", in_s3("shared"))
    time.tick(1)
    cleaned = clean_up(store, farewells=INSTEAD)
    assert (cleaned.rows, cleaned.asked) == (1, 1)
    assert cleaned.requested == {Scheme.S3: 0, Scheme.FILE: 1}
    assert owed_removals(store) == ["/spool/x"] and store.objects_of(going) == []
    rows = store.database.read("SELECT key, state FROM objects ORDER BY key")
    assert rows == [("/spool/x", "removal_requested"), ("shared", "present")]
    assert [one["key"] for one in store.objects_of(staying)] == ["shared"]


def test_services_of_one_batch_are_apart(store, time):
    """P10: what one service wants concerns none of the other jobs in the same batch."""
    finished(store, Status.COMPLETED, in_s3("a"))
    finished(store, Status.COMPLETED, in_s3("b"), service="other")
    time.tick(1)
    cleaned = clean_up(store, farewells=INSTEAD)
    assert (cleaned.rows, cleaned.asked, cleaned.requested["s3"]) == (2, 1, 1)
    assert owed_removals(store) == ["s3://bucket/b"]


def test_nothing_is_handed_over_to_a_service_that_is_not_asked(store, time):
    """P9: the objects of a job that its service never accepted are removed here, or nobody would
    ever remove them."""
    target = in_s3("k", state=ObjectState.PRESENT)
    end(store, submitted(store, file=spooled("x"), target=target))
    time.tick(1)
    cleaned = clean_up(store, farewells=INSTEAD)
    assert (cleaned.asked, cleaned.requested["s3"]) == (0, 1)
    assert owed_removals(store) == ["/spool/x", "s3://bucket/k"]


def test_no_unfinished_upload_is_handed_over(store, time):
    """P9: the parts of an upload that did not come to its end are nothing that a service could
    know of: they are removed here."""
    finished(store, Status.COMPLETED, in_s3("k", state=ObjectState.UPLOADING))
    time.tick(1)
    assert clean_up(store, farewells=INSTEAD).requested["s3"] == 1


def test_what_outlives_its_job(store, time):
    """P10: farewells and removals are carried out although their job has no row any more; anything
    else that is owed for such a job cannot be, and says so."""
    gone = finished(store, Status.COMPLETED, in_s3("k"))
    time.tick(1)
    clean_up(store, farewells=ASKS)
    lost = submitted(store)
    sql(store, "DELETE FROM processing_jobs")
    claimed = store.claim_due_operations(
        "docs", 10, "p1", LEASE, cutoff=clock.now(), kinds=["clean_up", "create"]
    )
    assert [(one.kind, one.job.local_id) for one in claimed.operations] == [("clean_up", gone)]
    assert [(one.claimed.job.local_id, one.why) for one in claimed.unreadable] == [
        (lost, "its job has no row")
    ]
    assert remove(store) == 1 and owed_removals(store) == []
