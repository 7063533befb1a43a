"""Results that go on into S3 after they came home (P7)."""

from __future__ import annotations

import pytest
from ledgers import (
    BROKEN,
    DONE,
    FETCHING,
    LEASE,
    RULES,
    cell,
    claim,
    claim_operations,
    claim_upload,
    clean_up,
    end,
    everything,
    owed_removals,
    planned,
    polled,
    refuse,
    remove,
    running,
    sql,
    storing,
    the_object,
    types,
)

from tracker import lifecycle
from tracker.lifecycle import Rules
from tracker.model import FILES, UPLOADS, Content, Reading, State
from tracker.objects import ObjectChange, ObjectState, Role, StoredObject


def test_a_result_on_its_way_to_s3(store, time):
    """P7: a result that came home and goes on into S3 is kept, planned and owed in one
    transaction; the job is still retrieving, and nobody is told yet."""
    local_id = storing(store)
    assert store.get(local_id).status == "retrieving"
    assert store.content(local_id) == (None, "/results/r", None)
    (owed,) = store.operations_of(local_id)
    assert (owed["kind"], owed["service"], owed["priority"]) == ("store_result", UPLOADS, 1)
    stored = the_object(store, local_id)
    assert (stored["role"], stored["state"], stored["id"]) == (
        "result", "planned", owed["object_id"]
    )  # fmt: skip
    assert "job:finalized" not in types(store, local_id)
    assert store.get(local_id).sync_status == "synced"


def test_a_stored_result_completes_the_job(store, time):
    """P7: with the end of the upload the job is completed, its content names the object, and the
    removal of the local copy is owed, all in one transaction."""
    local_id = storing(store)
    there = ObjectChange(ObjectState.PRESENT, version_id="v2", upload_id="", etag="e2")
    settled = store.settle([lifecycle.after_store(claim_upload(store), there, RULES)])
    assert settled.finished == [(local_id, "completed")]
    job = store.get(local_id)
    assert (job.status, job.result_content_id, job.progress) == ("completed", "c-1", 1.0)
    body, path, stored = store.content(local_id)
    assert (body, path, stored.uri, stored.version_id) == (
        None, None, "s3://bucket/out/r.bin", "v2"
    )  # fmt: skip
    (kept,) = store.contents_of(local_id)
    assert (kept["size"], kept["sha256"], kept["object_id"]) == (3, "ab", stored.id)
    owed = {one["kind"]: one["service"] for one in store.operations_of(local_id)}
    assert owed == {"notify": "ops", "remove_object": FILES}
    assert owed_removals(store) == ["/results/r"]
    assert [one["key"] for one in store.objects_of(local_id)] == ["out/r.bin"]
    assert types(store, local_id).count("job:finalized") == 1
    # It owes its local copy's removal, and is not cleaned up before that is done.
    sql(store, "DELETE FROM operations WHERE kind = 'notify'")
    time.tick(1)
    assert clean_up(store).rows == 0
    assert remove(store, FILES) == 1 and clean_up(store).rows == 1
    assert owed_removals(store) == ["s3://bucket/out/r.bin"]


@pytest.mark.parametrize("table", ["contents", "operations", "objects", "job_events"])
def test_a_stored_result_is_whole_or_not_there(store, table):
    """P7, B7: whichever row of its completion cannot be written, the job is still retrieving, its
    result is in its local copy, and the upload is owed."""
    local_id = storing(store)
    operation = claim_upload(store)
    before = everything(store)
    refuse(store, "INSERT", table)
    there = ObjectChange(ObjectState.PRESENT, version_id="v2")
    with pytest.raises(store.database.broken):
        store.settle([lifecycle.after_store(operation, there, RULES)])
    assert everything(store) == before
    assert store.get(local_id).status == "retrieving"


def test_a_result_that_cannot_be_stored(store, time):
    """P7: after the last attempt the job fails, keeps its local copy, and owes no upload; what may
    be in the bucket goes with it."""
    local_id = storing(store)
    for _ in range(3):
        attempted = lifecycle.after_store(claim_upload(store), BROKEN, RULES)
        store.settle([attempted])
        time.tick(attempted.delay)
    job = store.get(local_id)
    assert (job.status, job.failure_reason, job.last_error) == ("failed", "result", "HTTP 500")
    assert store.content(local_id) == (None, "/results/r", None)
    assert [one["kind"] for one in store.operations_of(local_id)] == ["notify"]
    sql(store, "DELETE FROM operations")
    time.tick(1)
    assert clean_up(store).requested == {"s3": 1, "file": 1}


def test_a_result_for_a_job_that_was_completed_by_hand(store, time):
    """P15: a result that arrives in S3 after somebody ended its job changes nothing of that end;
    the object is on record, and the local copy is kept."""
    local_id = storing(store)
    operation = claim_upload(store)
    end(store, local_id)
    there = ObjectChange(ObjectState.PRESENT, version_id="v2", upload_id="")
    store.settle([lifecycle.after_store(operation, there, RULES)])
    assert store.get(local_id).status == "failed" and store.operations_of(local_id) == []
    assert the_object(store, local_id)["version_id"] == "v2"
    assert store.content(local_id) == (None, "/results/r", None) and owed_removals(store) == []
    assert types(store, local_id).count("job:finalized") == 1


def test_a_stale_result_changes_nothing(store, time):
    """B7: the same for a result: its job is completed once, and its local copy removed once."""
    local_id = storing(store)
    stale = claim_upload(store)
    time.tick(LEASE)
    fresh = claim_upload(store, poller="p2")
    there = ObjectChange(ObjectState.PRESENT, version_id="v2", upload_id="")
    assert store.settle([lifecycle.after_store(stale, there, RULES)]).void == 1
    assert store.get(local_id).status == "retrieving" and owed_removals(store) == []
    for _ in range(2):
        store.settle([lifecycle.after_store(fresh, there, RULES)])
    assert types(store, local_id).count("job:finalized") == 1
    assert owed_removals(store) == ["/results/r"]


def test_no_result_has_two_places(store, time):
    """A result that is fetched again replaces the one that was kept, object and all."""
    local_id = storing(store)
    there = ObjectChange(ObjectState.PRESENT, version_id="v2", upload_id="")
    store.settle([lifecycle.after_store(claim_upload(store), there, RULES)])
    assert store.act(local_id, lifecycle.reopened(store.job_in_hand(local_id)))
    store.settle([polled(claim(store)[0], DONE)])
    body, path, stored = store.content(local_id)
    assert (body, path, stored) == (b'{"pages": 3}', None, None)
    assert cell(store, "count(*)", local_id, "contents") == 1


@pytest.mark.parametrize("key", ["out/r.bin", "out/other.bin"])
def test_a_reopened_job_stores_its_result_again(store, time, key):
    """P15: a reopened job that brings the same result finds it in S3, one that brings another has
    that as well; its content names the last, and all of it goes with the job."""
    local_id = storing(store)
    there = ObjectChange(ObjectState.PRESENT, version_id="v", upload_id="")
    store.settle([lifecycle.after_store(claim_upload(store), there, Rules())])
    store.act(local_id, lifecycle.reopened(store.job_in_hand(local_id)))
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    (fetch,) = claim_operations(store)
    content = Content(id="c-2", path="/results/r2", size=3, sha256="ab")
    store.settle([lifecycle.owed_store(fetch, content, planned(key, Role.RESULT))])
    store.settle([lifecycle.after_store(claim_upload(store), there, Rules())])
    assert store.get(local_id).result_content_id == "c-2"
    assert store.content(local_id)[2].key == key
    objects = {"out/r.bin", key}
    assert {one["key"] for one in store.objects_of(local_id)} == objects
    assert remove(store, FILES) == 2
    time.tick(1)
    assert clean_up(store).requested["s3"] == len(objects)


def test_a_local_copy_that_another_job_uses_stays(store):
    """J11: a local copy that somebody gave to another job meanwhile is that job's: it is not
    removed when the result has arrived in S3."""
    local_id = storing(store)
    other = running(store, "docs", StoredObject("file", "/results/r", role="input", owned=False))
    there = ObjectChange(ObjectState.PRESENT, version_id="v2", upload_id="")
    store.settle([lifecycle.after_store(claim_upload(store), there, RULES)])
    assert store.get(local_id).status == "completed" and owed_removals(store) == []
    assert [one["state"] for one in store.objects_of(other)] == ["present"]
