"""Uploads: an input on its way to S3 before its create, a result after it came home."""

from __future__ import annotations

import pytest
from ledgers import (
    BROKEN,
    FETCHING,
    LEASE,
    RULES,
    TABLES,
    at,
    claim,
    claim_operations,
    claim_upload,
    clean_up,
    count,
    end,
    end_upload,
    everything,
    owed_removals,
    planned,
    polled,
    refuse,
    relent,
    remove,
    running,
    spooled,
    sql,
    submitted,
    the_object,
    types,
    uploading,
)

from tracker import lifecycle
from tracker.model import REMOVALS, UPLOADS, Content, Failure, Fault, Reading, State
from tracker.objects import ObjectChange, ObjectState, Role
from tracker.schedule import RetryPolicy

RETRY = RetryPolicy()
UNREACHABLE = Failure(Fault.UNREACHABLE, "no route", sent=False)


def test_a_submission_with_an_upload(store, time):
    """P14: one transaction writes the job, its spooled input, the planned object that belongs to
    it, and the upload; the create is not owed before that is done."""
    local_id = uploading(store)
    (owed,) = store.operations_of(local_id)
    assert (owed["kind"], owed["service"], owed["state"]) == ("upload_input", UPLOADS, "pending")
    assert owed["idempotency_key"] == f"key-{local_id}" and owed["next_attempt_at"] == at(0)
    found = [(one["scheme"], one["role"], one["state"]) for one in store.objects_of(local_id)]
    assert found == [("file", "input", "present"), ("s3", "input", "planned")]
    assert owed["object_id"] == the_object(store, local_id)["id"]
    assert claim_operations(store) == []
    operation = claim_upload(store)
    assert operation.object.uri == "s3://bucket/in/x.pdf" and operation.object.sha256 == "ab"
    assert operation.payload["path"] == "/spool/x" and operation.job.status == "pending"
    # Nothing is there yet: a call that is built now would name nothing that exists.
    assert operation.job.input["path"] == "/spool/x" and "uri" not in operation.job.input


@pytest.mark.parametrize("table", ["objects", "job_objects", "operations", "job_events"])
def test_a_submission_with_an_upload_is_whole_or_not_there(store, table):
    """P14: whichever row cannot be written, nothing of the submission is on record."""
    refuse(store, "INSERT", table)
    with pytest.raises(store.database.broken):
        uploading(store)
    assert all(count(store, one) == 0 for one in TABLES)


def test_an_uploaded_input(store, time):
    """P14: with the end of the upload its object is there, with version and ETag, and the create
    is owed at once, with the key and priority that it had from the beginning."""
    local_id = uploading(store)
    time.tick(3)
    operation = claim_upload(store)
    end_upload(store, operation, version_id="v9", etag='"e"')
    stored = the_object(store, local_id)
    assert (stored["state"], stored["version_id"], stored["etag"]) == ("present", "v9", '"e"')
    assert stored["upload_id"] is None and stored["updated_at"] == at(0)
    (owed,) = store.operations_of(local_id)
    assert (owed["kind"], owed["service"], owed["priority"]) == ("create", "docs", 2)
    assert owed["idempotency_key"] == f"key-{local_id}" and owed["next_attempt_at"] == at(0)
    (create,) = claim_operations(store)
    found = create.job.input
    assert (found["bucket"], found["key"], found["version_id"]) == ("bucket", "in/x.pdf", "v9")
    assert (found["uri"], found["path"]) == ("s3://bucket/in/x.pdf", "/spool/x")


def test_the_end_of_an_upload_is_whole_or_not_there(store):
    """P14: where the create cannot be put on record the upload is not done: it is owed, and its
    object is not there."""
    local_id = uploading(store)
    operation = claim_upload(store)
    before = everything(store)
    refuse(store, "UPDATE OF kind", "operations")
    with pytest.raises(store.database.broken):
        end_upload(store, operation)
    assert everything(store) == before
    relent(store)
    end_upload(store, operation)
    assert [one["kind"] for one in store.operations_of(local_id)] == ["create"]
    assert the_object(store, local_id)["state"] == "present"


def test_an_upload_in_parts(store, time):
    """P14: that an upload in parts was begun is on record before its first part goes out; it goes
    on at once, and burns no attempt by that."""
    local_id = uploading(store)
    begun = ObjectChange(ObjectState.UPLOADING, upload_id="u-1")
    store.settle([lifecycle.after_upload(claim_upload(store), begun, RETRY)])
    stored = the_object(store, local_id)
    assert (stored["state"], stored["upload_id"]) == ("uploading", "u-1")
    (owed,) = store.operations_of(local_id)
    assert (owed["attempts"], owed["next_attempt_at"]) == (0, at(0))
    assert store.get(local_id).sync_status == "pending"
    operation = claim_upload(store)
    assert operation.object.upload_id == "u-1" and operation.lease == 2
    unknown = ObjectChange(ObjectState.UPLOADING)  # what a step does not know is kept
    store.settle([lifecycle.after_upload(operation, unknown, RETRY)])
    operation = claim_upload(store)
    assert operation.object.upload_id == "u-1"
    end_upload(store, operation)
    assert the_object(store, local_id)["upload_id"] is None


def test_a_failed_step_keeps_what_is_known_of_the_upload(store, time):
    """P14: an upload that fails is tried again with what was begun, and stays that object's."""
    local_id = uploading(store)
    begun = ObjectChange(ObjectState.UPLOADING, upload_id="u-1")
    store.settle([lifecycle.after_upload(claim_upload(store), begun, RETRY)])
    failed = lifecycle.after_upload(claim_upload(store), BROKEN, RETRY, rnd=lambda: 0.0)
    store.settle([failed])
    stored = the_object(store, local_id)
    assert (stored["state"], stored["upload_id"]) == ("uploading", "u-1")
    assert store.operations_of(local_id)[0]["next_attempt_at"] == at(120)


def test_the_sync_status_follows_the_upload(store, time):
    """J3: an upload is part of what a job owes its service: pending, error after a failure, failed
    when given up; and S3 being away is nobody's failure."""
    local_id = uploading(store)
    assert store.get(local_id).sync_status == "pending"
    store.settle([lifecycle.after_upload(claim_upload(store), UNREACHABLE, RETRY)])
    assert store.get(local_id).sync_status == "pending"
    for status in ("error", "error", "error", "error", "failed"):
        failed = lifecycle.after_upload(claim_upload(store), BROKEN, RETRY)
        store.settle([failed])
        assert store.get(local_id).sync_status == status
        time.tick(failed.delay)
    (owed,) = store.operations_of(local_id)
    assert (owed["state"], owed["attempts"], owed["last_error"]) == ("dead", 5, "HTTP 500")
    assert store.get(local_id).status == "pending" and types(store, local_id)[-1] == (
        "job:error-details"
    )


def test_a_given_up_upload_stays_on_record(store, time):
    """P14: what may be in the bucket of an upload that was given up is still its job's, and goes
    with it once somebody has ended that."""
    local_id = uploading(store)
    sql(store, "UPDATE operations SET attempts = 4")
    store.settle([lifecycle.after_upload(claim_upload(store), BROKEN, RETRY)])
    end(store, local_id)
    assert store.operations_of(local_id) == []
    time.tick(1)
    assert clean_up(store).requested == {"s3": 1, "file": 1}
    (removal,) = claim_operations(store, service=REMOVALS)
    assert removal.payload == {"traces": True}


def test_an_upload_for_a_job_that_ended_meanwhile(store, time):
    """P15: somebody ended the job while its input was on the way: the object is on record, and
    the create that follows finds the job ended."""
    local_id = uploading(store)
    operation = claim_upload(store)
    end(store, local_id)
    assert [one["kind"] for one in store.operations_of(local_id)] == ["upload_input"]
    end_upload(store, operation)
    assert the_object(store, local_id)["state"] == "present"
    (create,) = claim_operations(store)
    assert create.kind == "create" and create.job.status == "failed"


# The fence, and settling again.


def test_a_stale_upload_changes_nothing(store, time):
    """B7: an uploader that lost its claim neither changes the object nor has the create sent."""
    local_id = uploading(store)
    stale = claim_upload(store)
    time.tick(LEASE)
    fresh = claim_upload(store, poller="p2")
    before = everything(store)
    there = ObjectChange(ObjectState.PRESENT, version_id="v1", etag="e", upload_id="")
    for result in (there, ObjectChange(ObjectState.UPLOADING, upload_id=""), BROKEN):
        assert store.settle([lifecycle.after_upload(stale, result, RETRY)]).void == 1
        assert {**everything(store), "objects": []} == {**before, "objects": []}
        assert the_object(store, local_id)["state"] == "planned"
    end_upload(store, fresh)
    assert [one["kind"] for one in store.operations_of(local_id)] == ["create"]
    before = everything(store)
    assert store.settle([lifecycle.after_upload(stale, BROKEN, RETRY)]).void == 1
    assert everything(store) == before


@pytest.mark.parametrize("version", ["v-late", None])
def test_what_a_stale_upload_put_there_is_on_record(store, time, version):
    """P9: an upload that went on while its machine slept, and put an object there after its job
    was cleaned up, leaves nothing behind: its removal is owed."""
    local_id = uploading(store)
    stale = claim_upload(store)
    time.tick(LEASE)
    end_upload(store, claim_upload(store, poller="p2"))
    sql(store, "DELETE FROM operations")
    end(store, local_id)
    time.tick(1)
    clean_up(store)
    assert remove(store) == 2 and count(store, "objects") == 0
    there = ObjectChange(ObjectState.PRESENT, version_id=version, upload_id="")
    assert store.settle([lifecycle.after_upload(stale, there, RETRY)]).void == 1
    assert owed_removals(store) == ["s3://bucket/in/x.pdf"]
    (removal,) = claim_operations(store, service=REMOVALS)
    assert removal.object.version_id == version and removal.object.owned
    assert removal.payload == ({} if version else {"traces": True})


def test_a_second_version_of_a_stale_upload_goes(store, time):
    """P9: where S3 has no conditional puts, a stale upload makes a second version: that one is
    owed as a removal, and the one that the job uses stays."""
    local_id = uploading(store)
    stale = claim_upload(store)
    time.tick(LEASE)
    end_upload(store, claim_upload(store, poller="p2"), version_id="v1")
    late = ObjectChange(ObjectState.PRESENT, version_id="v0", upload_id="")
    store.settle([lifecycle.after_upload(stale, late, RETRY)])
    stored = the_object(store, local_id)
    assert (stored["state"], stored["version_id"]) == ("present", "v1")
    (removal,) = claim_operations(store, service=REMOVALS)
    assert removal.object.version_id == "v0" and removal.object.id != stored["id"]


def test_parts_that_a_stale_upload_began_are_on_record(store, time):
    """P9: an upload in parts that was begun after the claim was lost is noted on its object, and
    is looked for when that is removed."""
    local_id = uploading(store)
    stale = claim_upload(store)
    time.tick(LEASE)
    end_upload(store, claim_upload(store, poller="p2"))
    begun = ObjectChange(ObjectState.UPLOADING, upload_id="u-late")
    assert store.settle([lifecycle.after_upload(stale, begun, RETRY)]).void == 1
    stored = the_object(store, local_id)
    assert (stored["state"], stored["upload_id"]) == ("present", "u-late")
    sql(store, "DELETE FROM operations")
    end(store, local_id)
    time.tick(1)
    clean_up(store)
    (removal,) = claim_operations(store, service=REMOVALS)
    assert removal.payload == {"traces": True} and removal.object.upload_id == "u-late"


def test_a_stale_upload_does_not_touch_what_is_going_on(store, time):
    """P14: what a stale upload brings never replaces the upload in parts that is under way, and is
    never noted on an object that has the same number by now."""
    local_id = uploading(store)
    stale = claim_upload(store)
    time.tick(LEASE)
    begun = ObjectChange(ObjectState.UPLOADING, upload_id="u-2")
    store.settle([lifecycle.after_upload(claim_upload(store, poller="p2"), begun, RETRY)])
    for late in ("u-1", ""):
        change = ObjectChange(ObjectState.UPLOADING, upload_id=late)
        store.settle([lifecycle.after_upload(stale, change, RETRY)])
        assert the_object(store, local_id)["upload_id"] == "u-2"
    sql(store, "UPDATE objects SET key = 'another' WHERE id = ?", [stale.object.id])
    sql(store, "UPDATE objects SET upload_id = NULL")
    change = ObjectChange(ObjectState.UPLOADING, upload_id="u-1")
    store.settle([lifecycle.after_upload(stale, change, RETRY)])
    assert the_object(store, local_id)["upload_id"] is None
    assert owed_removals(store) == ["s3://bucket/in/x.pdf"]


def test_settling_again_after_a_failure(store):
    """P14: what could not be settled is settled again later: its operation is then about the
    object that was meant, and not about one that got the number of the undone row meanwhile."""
    local_id = running(store)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    (fetch,) = claim_operations(store)
    content = Content(id="c", path="/results/r", size=3)
    first = lifecycle.owed_store(fetch, content, planned("out/r.bin", Role.RESULT))
    assert settled_at_last(store, first) == "out/r.bin"
    assert the_object(store, local_id)["key"] == "out/r.bin"
    operation = claim_upload(store)
    second = lifecycle.after_store(operation, ObjectChange(ObjectState.PRESENT), RULES)
    assert settled_at_last(store, second) == "/results/r"
    assert owed_removals(store) == ["/results/r"]


def settled_at_last(store, outcome) -> str:
    """Settle an outcome, in vain at first; the key of the object of what is owed then."""
    refuse(store, "INSERT", "operations")
    with pytest.raises(store.database.broken):
        store.settle([outcome])
    relent(store)
    submitted(store, file=spooled(f"of another job {count(store, 'objects')}"))
    store.settle([outcome])
    (key,) = store.database.read(
        "SELECT o.key FROM operations AS p JOIN objects AS o ON o.id = p.object_id"
    )
    return key[0]


def test_a_lost_object_is_told(store):
    """J8: an operation whose object somebody deleted by hand is told as unreadable, and no other
    is held up by it."""
    uploading(store)
    submitted(store, file=spooled("y"), target=planned("in/y"))
    sql(store, "DELETE FROM objects WHERE key = 'in/x.pdf'")
    claimed = store.claim_due_operations(
        UPLOADS, 10, "p1", LEASE, cutoff=2e9, kinds=["upload_input"]
    )
    assert [one.object.key for one in claimed.operations] == ["in/y"]
    assert [one.why for one in claimed.unreadable] == ["its object has no row"]
