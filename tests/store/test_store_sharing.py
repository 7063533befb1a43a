"""Objects that jobs share: on record once, and gone with the last of their jobs."""

from __future__ import annotations

import threading

import pytest
from ledgers import (
    BROKEN,
    EPOCH,
    FETCHING,
    LEASE,
    claim,
    claim_operations,
    claim_upload,
    clean_up,
    count,
    end,
    end_upload,
    everything,
    finished,
    in_s3,
    owed_removals,
    polled,
    remove,
    running,
    spooled,
    sql,
    the_object,
    uploading,
)

from tracker import clock, lifecycle
from tracker.errors import Impossible
from tracker.lifecycle import Rules
from tracker.model import REMOVALS, Content, Reading, State, Status
from tracker.objects import ObjectChange, StoredObject

PLACE = "s3://bucket/k"


def place(store, local_id: str) -> tuple:
    """What is on record of the one S3 object of a job."""
    found = the_object(store, local_id)
    return tuple(found[name] for name in ("id", "version_id", "owned", "state"))


# The last reference.


def test_a_shared_object_goes_with_its_last_job(store, time):
    """P9: an object that jobs of different batches share goes exactly with the last of them."""
    jobs = [finished(store, Status.COMPLETED, in_s3("k", size=5)) for _ in range(3)]
    assert count(store, "objects") == 1
    time.tick(1)
    for local_id in jobs[:2]:
        assert clean_up(store, local_id).requested["s3"] == 0
        assert owed_removals(store) == [] and place(store, jobs[2])[3] == "present"
    cleaned = clean_up(store)
    assert (cleaned.requested["s3"], cleaned.bytes["s3"]) == (1, 5)
    assert owed_removals(store) == [PLACE]


def test_jobs_of_one_batch_free_a_shared_object_once(store, time):
    """P9: where all jobs that share an object go in one batch, its removal is owed once; also where
    one job uses it as two things."""
    for _ in range(3):
        finished(store, Status.COMPLETED, in_s3("k"), in_s3("k", role="other"))
    time.tick(1)
    cleaned = clean_up(store)
    assert (cleaned.rows, cleaned.requested["s3"]) == (3, 1) and owed_removals(store) == [PLACE]


def test_two_cleanups_at_once_of_jobs_that_share(connect):
    """P9: of two cleanups at once over jobs that share objects, each object's removal is owed
    exactly once, when its last job goes."""
    store = connect()
    keys = [f"k{n}" for n in range(6)]
    jobs = [
        finished(store, Status.COMPLETED, *(in_s3(key) for key in keys[n % 3 :: 2]))
        for n in range(24)
    ]
    page = store.finished_page(None, clock.now() + 60)
    assert len(page) == len(jobs)
    racers = [(connect(), page[::2]), (connect(), page[1::2])]
    barrier, requested = threading.Barrier(2), []

    def race(one, mine) -> None:
        barrier.wait()
        for at in range(0, len(mine), 2):
            requested.append(one.clean_up(mine[at : at + 2]).requested["s3"])

    threads = [threading.Thread(target=race, args=racer) for racer in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(owed_removals(store)) == [f"s3://bucket/{key}" for key in keys]
    assert sum(requested) == 6 and store.list_jobs() == []


def test_foreign_objects_are_never_requested(store, time):
    """J11: what is not the tracker's own is forgotten with its last job, and never removed."""
    foreign = [in_s3("k", owned=False), spooled("original", owned=False)]
    first = finished(store, Status.COMPLETED, *foreign)
    second = finished(store, Status.COMPLETED, *foreign)
    time.tick(1)
    cleaned = clean_up(store, first)
    assert cleaned.rows == 1 and count(store, "objects") == 2
    assert len(store.objects_of(second)) == 2
    clean_up(store)
    assert owed_removals(store) == [] and count(store, "objects") == 0


def test_a_kept_file_that_another_job_uses_stays(store, time):
    """J11: a kept result that another job has on record as its own goes with that one."""
    first = running(store)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    (fetch,) = claim_operations(store)
    content = Content(id="c", path="/results/r", size=3)
    store.settle([lifecycle.after_fetch(fetch, content, Rules())])
    second = running(store, "docs", StoredObject("file", "/results/r", role="input"))
    assert store.owned_by(first) == []
    time.tick(1)
    assert clean_up(store).requested["file"] == 0 and owed_removals(store) == []
    end(store, second)
    time.tick(1)
    assert clean_up(store).requested["file"] == 1 and owed_removals(store) == ["/results/r"]


# Using what is on record already.


def test_an_object_is_on_record_once(store):
    """P14: jobs that name one place share one row; what one of them knows better is kept."""
    first = running(store, "docs", in_s3("k", owned=False))
    second = running(store, "docs", in_s3("k", "result", size=5, etag="e", version_id="v"))
    assert place(store, first) == place(store, second) == (1, "v", True, "present")
    assert (the_object(store, first)["size"], the_object(store, first)["etag"]) == (5, "e")
    third = running(store, "docs", in_s3("k", owned=False))
    assert place(store, third) == (1, "v", True, "present")
    assert [the_object(store, one)["role"] for one in (first, second)] == ["input", "result"]


def test_versions_are_apart(store, time):
    """B13: versions of one key are objects of their own: each goes with its own jobs."""
    first = finished(store, Status.COMPLETED, in_s3("k", version_id="v1"))
    second = running(store, "docs", in_s3("k", version_id="v2"))
    again = running(store, "docs", in_s3("k", version_id="v1"))
    assert [place(store, one)[:2] for one in (first, second, again)] == [
        (1, "v1"), (2, "v2"), (1, "v1")
    ]  # fmt: skip
    end(store, again)
    time.tick(1)
    clean_up(store)
    (removal,) = claim_operations(store, service=REMOVALS)
    assert removal.object.version_id == "v1" and place(store, second)[3] == "present"


def test_only_inputs_are_inputs(store):
    """P14: a call that names its job's input is built from that, not from its results or whatever
    else it uses."""
    running(store, "docs", in_s3("out", "result"), in_s3("in", size=7), in_s3("more", "other"))
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    (fetch,) = claim_operations(store)
    assert (fetch.job.input["key"], fetch.job.input["size"]) == ("in", 7)


def test_one_without_a_version_is_any_of_them(store):
    """P9: whoever names no version means what is there: it is no second object, and would not be
    removed a second time."""
    pinned = running(store, "docs", in_s3("k", version_id="v1"))
    plain = running(store, "docs", in_s3("k"))
    assert place(store, pinned)[:2] == place(store, plain)[:2] == (1, "v1")


OTHERS = {
    "version": in_s3("k", version_id="v"),
    "capital": in_s3("K"),
    "space": in_s3("k "),
    "slash": in_s3("k/"),
    "bucket": StoredObject("s3", "k", "other", role="input"),
    "file": StoredObject("file", "k", role="input"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_places_are_other_objects(store, other):
    """P14: scheme, bucket and key to the last character make an object; a name alone does not."""
    first = running(store, "docs", in_s3("k", version_id="v0"))
    second = running(store, "docs", other)
    assert not {one["id"] for one in store.objects_of(first)} & {
        one["id"] for one in store.objects_of(second)
    }


def test_an_unfinished_upload_that_another_job_names_stays_unfinished(store):
    """P14: naming an object does not make it present: the upload's own settlement does."""
    local_id = uploading(store)
    other = running(store, "docs", in_s3("in/x.pdf", version_id="v1"))
    assert place(store, local_id) == place(store, other)
    assert the_object(store, other)["state"] == "planned"
    end_upload(store, claim_upload(store), version_id="v1")
    assert the_object(store, other)["state"] == "present" and count(store, "objects") == 2


def test_an_exact_version_is_meant_before_any_other(store):
    """B13: where a key is on record with a version and without, whoever names that version means
    that one."""
    running(store, "docs", in_s3("k", version_id="v1"))
    sql(store, "INSERT INTO objects (scheme, bucket, key, state, created_at, updated_at) "
        f"VALUES ('s3', 'bucket', 'k', 'present', '{EPOCH}', '{EPOCH}')")  # fmt: skip
    assert place(store, running(store, "docs", in_s3("k", version_id="v1")))[:2] == (1, "v1")
    assert place(store, running(store, "docs", in_s3("k")))[:2] == (2, None)
    assert place(store, running(store, "docs", in_s3("k", version_id="v2")))[:2] == (2, "v2")


@pytest.mark.parametrize("attempts", [0, 3])
def test_a_removal_is_taken_back(store, time, attempts):
    """P9: an object whose removal is owed and that nobody is removing just now belongs to the next
    job that names it; its removal is not owed any more, and is again when that job goes."""
    finished(store, Status.COMPLETED, in_s3("k", version_id="v"))
    time.tick(1)
    clean_up(store)
    for _ in range(attempts):
        (removal,) = claim_operations(store, service=REMOVALS)
        attempted = lifecycle.after_removal(removal, BROKEN)
        store.settle([attempted])
        time.tick(attempted.delay)
    local_id = running(store, "docs", in_s3("k"))
    assert owed_removals(store) == [] and store.removals_owed(REMOVALS) == 0
    assert place(store, local_id) == (1, "v", True, "present")
    end(store, local_id)
    time.tick(1)
    clean_up(store)
    assert owed_removals(store) == [PLACE]


def test_a_removal_on_its_way_is_not_taken_back(store, time):
    """P9: an object that is being removed just now can be used by nobody: the job is not on record
    then, with nothing else of it; once it is gone the place is free."""
    finished(store, Status.COMPLETED, in_s3("k"))
    time.tick(1)
    clean_up(store)
    (removal,) = claim_operations(store, service=REMOVALS)
    before = everything(store)
    with pytest.raises(Impossible, match="s3://bucket/k is being removed") as caught:
        running(store, "docs", in_s3("first"), in_s3("k"))
    assert caught.value.exit_code == 5 and everything(store) == before
    store.settle([lifecycle.after_removal(removal, ObjectChange(None))])
    local_id = running(store, "docs", in_s3("first"), in_s3("k"))
    assert [one["state"] for one in store.objects_of(local_id)] == ["present", "present"]


def test_a_removal_goes_through_where_it_lost_its_claim(store, time):
    """P9: a removal whose poller was silent for too long is settled by the next one; the first one
    forgets nothing that is another's by then."""
    finished(store, Status.COMPLETED, in_s3("k"))
    time.tick(1)
    clean_up(store)
    (stale,) = claim_operations(store, service=REMOVALS)
    time.tick(LEASE)
    assert remove(store, REMOVALS) == 1
    local_id = running(store, "docs", in_s3("k"))
    settled = store.settle([lifecycle.after_removal(stale, ObjectChange(None))])
    assert settled.void == 1 and settled.attempted == []  # it counts once
    assert [one["key"] for one in store.objects_of(local_id)] == ["k"]


def test_what_a_job_uses_stays_on_record(store, time):
    """P9: the end of a removal never forgets an object that a job has come to use all the same."""
    finished(store, Status.COMPLETED, in_s3("k"))
    time.tick(1)
    clean_up(store)
    (removal,) = claim_operations(store, service=REMOVALS)
    local_id = running(store)
    sql(store, "INSERT INTO job_objects VALUES (?, ?, 'input')", [local_id, removal.object.id])
    store.settle([lifecycle.after_removal(removal, ObjectChange(None))])
    assert [one["key"] for one in store.objects_of(local_id)] == ["k"]
    assert owed_removals(store) == []


def test_an_adoption_is_whole_or_not_there(store):
    """P2: a job that is tracked already gains no object by a second attempt."""
    running(store, "docs", server_id="r-1")
    before = everything(store)
    with pytest.raises(Impossible, match="is tracked already"):
        running(store, "docs", in_s3("k"), server_id="r-1")
    assert everything(store) == before
