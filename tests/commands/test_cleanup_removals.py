"""tracker cleanup with S3: what is removed, what stays owed, and who carries on with it"""

from __future__ import annotations

import json
import signal
import threading
from datetime import datetime

import pytest
from contract import OWED, has_keys
from s3front import error

GO = ("cleanup", "--older-than", "0s")
LONG_AGO = "2020-01-01T00:00:00.000Z"


@pytest.fixture
def bucket(project, s3):
    """A versioned bucket that `docs` has its inputs in."""
    return project.upload_to(s3, cleanup={"automatic": False})


def ended(project, count=1, content=b"text"):
    """So many finished jobs with an uploaded input each; their local ids."""
    file = project.path / "input.txt"
    file.write_bytes(content)
    with project.tracker() as tracker:
        jobs = [tracker.submit("docs", file=file, sync=False).local_id for _ in range(count)]
        tracker.attempt(jobs)
        return [tracker.complete(job).local_id for job in jobs]


def cleaned(project):
    """The receipt of a cleanup that takes all that has ended."""
    with project.tracker() as tracker:
        return tracker.cleanup(older_than=-1)


def key_of(job):
    return f"{job}/input/input.txt"


def removals(project):
    """What the ledger owes to S3."""
    return project.rows("SELECT * FROM operations WHERE service = 'storage:removals' ORDER BY id")


def make_due(project):
    """As if the time had come for all that is owed."""
    project.write("UPDATE operations SET next_attempt_at = ?", LONG_AGO)
    project.write("UPDATE budgets SET paused_until = ? WHERE paused_until NOTNULL", LONG_AGO)


def seconds(operation):
    """How long after its last attempt the next one is."""
    names = ("last_attempt_at", "next_attempt_at")
    last, following = (datetime.fromisoformat(operation[name]) for name in names)
    return (following - last).total_seconds()


def test_objects_go_with_their_jobs(project, s3, bucket):
    """Each owned object goes in the version that was uploaded, by one request for all of them;
    what somebody else put at the same key, and at others, stays. The receipt has the figures of
    the bucket."""
    jobs = ended(project, 5)
    mine = [s3.put(bucket, key_of(jobs[0]), b"newer"), s3.put(bucket, f"{key_of(jobs[1])}.bak")]
    s3.forget()
    receipt = project.json(*GO)
    figures = {"requested": 5, "removed": 5, "already_gone": 0, "failed": 0, "owed": 0}
    assert receipt["objects"] == {**figures, "bytes_freed": 20}
    assert receipt["files"] == {**figures, "bytes_freed": 20} and receipt["bytes_freed"] == 40
    assert sorted(version for _, version, _ in s3.versions(bucket)) == sorted(mine)
    assert s3.markers(bucket) == [] and s3.count("DeleteObjects") == 1
    assert project.rows("SELECT * FROM objects") == [] and project.json("outbox") == []


def test_what_somebody_else_removed(project, s3, bucket):
    """An object that is not there any more counts as gone: nothing is owed for it."""
    ended(project, 2)
    for key, version, _ in s3.versions(bucket)[:1]:
        s3.client.delete_object(Bucket=bucket, Key=key, VersionId=version)
    objects = cleaned(project).objects
    assert (objects.removed, objects.already_gone, objects.owed) == (1, 1, 0)
    assert s3.versions(bucket) == []


def test_s3_is_down(project, s3, bucket):
    """With S3 down the cleanup succeeds: exit 0, the rows are gone, every removal is owed and
    shown. When S3 is back, one poll removes everything."""
    jobs = ended(project, 3)
    s3.pause()
    done = project.ok(*GO)
    assert done.out.splitlines()[2].split("\t") == ["S3 objects", "3", "0", "0", "0", "3", "0"]
    owed = "owed: 3 removals; tracker poll carries on with them, see: tracker outbox"
    assert done.err.splitlines()[-1] == owed
    assert project.rows("SELECT * FROM processing_jobs") == []
    shown = project.json("outbox")
    assert all(has_keys(one, OWED) for one in shown)
    assert {one["object"] for one in shown} == {f"s3://{bucket}/{key_of(job)}" for job in jobs}
    assert {(one["kind"], one["state"], one["attempts"]) for one in shown} == {
        ("remove_object", "pending", 0)
    }
    assert {"Could not connect to the endpoint URL" in one["last_error"] for one in shown} == {True}
    assert cleaned(project).objects.owed == 3
    s3.resume()
    assert "3 objects removed" in project.ok("poll").out
    assert s3.versions(bucket) == [] and project.json("outbox") == []


def test_one_key_is_denied(project, s3, bucket):
    """What S3 refuses for one key does not keep the others: that one stays owed with S3's own code
    and message, is tried again with growing delays, and goes when it may."""
    jobs = ended(project, 4)
    s3.deny(key_of(jobs[2]), code="AccessDenied", message="Access Denied by policy")
    done = project.run(*GO, "--json")
    objects = done.json["objects"]
    assert done.code == 0
    assert [objects[name] for name in ("removed", "failed", "owed")] == [3, 1, 1]
    assert key_of(jobs[2]) in done.err and jobs[2] in done.err and "AccessDenied" in done.err
    [owed] = project.json("outbox")
    assert owed["last_error"] == "AccessDenied: Access Denied by policy"
    assert (owed["state"], owed["object"]) == ("pending", f"s3://{bucket}/{key_of(jobs[2])}")
    for attempts, least in enumerate((60, 120, 240, 480), 1):
        [owed] = removals(project)
        assert owed["attempts"] == attempts
        assert least <= seconds(owed) <= least * 1.1 + 0.01
        assert s3.keys(bucket) == [key_of(jobs[2])]
        make_due(project)
        project.poll()
    project.write("UPDATE operations SET attempts = 500")
    make_due(project)
    assert "1 not removed" in project.ok("poll").out
    assert 3600 <= seconds(removals(project)[0]) <= 3960.01
    s3.obey()
    make_due(project)
    assert "1 objects removed" in project.ok("poll").out
    assert s3.versions(bucket) == []


@pytest.mark.parametrize(
    ("status", "code", "attempts"),
    [
        (403, "AccessDenied", 1),
        (404, "NoSuchBucket", 1),
        (301, "PermanentRedirect", 1),
        (400, "ExpiredToken", 0),
        (403, "InvalidAccessKeyId", 0),
        (503, "SlowDown", 0),
    ],
)
def test_s3_refuses_it_all(project, s3, bucket, status, code, attempts):
    """A bucket that is not there or not allowed, a wrong region, credentials that have expired, S3
    that asks to slow down: the rows go, all removals are owed with S3's own words (bad
    credentials and throttling burn no attempt); once it is mended a poll removes them."""
    ended(project, 2)
    # botocore asks HeadBucket where a bucket is that it was sent away from.
    refused = error(status, code, "no, not now")
    s3.interfere(lambda request: None if request.operation == "HeadBucket" else refused)
    objects = cleaned(project).objects
    assert (objects.requested, objects.removed, objects.owed) == (2, 0, 2)
    owed = removals(project)
    assert {one["attempts"] for one in owed} == {attempts}
    assert {f"{code}: no, not now" in one["last_error"] for one in owed} == {True}
    assert len(s3.keys(bucket)) == 2
    s3.obey()
    make_due(project)
    project.poll()
    assert s3.versions(bucket) == [] and removals(project) == []


def test_sent_round_in_circles(project, s3, bucket):
    """A server that sends every request to another region, and tells none, is given up on with a
    line that says so."""
    ended(project)
    s3.interfere(lambda _: error(301, "PermanentRedirect", "elsewhere"))
    assert cleaned(project).objects.owed == 1
    [owed] = removals(project)
    assert "region" in owed["last_error"] and "Recursion" not in owed["last_error"]
    assert owed["attempts"] == 1


def test_object_lock(project, s3, bucket):
    """An object under a legal hold stays, with S3's own words in the outbox; the others go."""
    s3.need_front()  # a lock outlives the test
    name = f"{bucket}-held"
    s3.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    project.configure(
        {"create": {"request": {"json": {"document": "{input.url?}"}}}},
        storage={"bucket": name, "endpoint_url": s3.url},
    )
    held, other = ended(project, 2)
    hold = {"Status": "ON"}
    s3.client.put_object_legal_hold(Bucket=name, Key=key_of(held), LegalHold=hold)
    cleaned(project)
    assert s3.keys(name) == [key_of(held)] and other
    [owed] = removals(project)
    assert "AccessDenied" in owed["last_error"] and owed["attempts"] == 1


def test_a_bucket_that_is_not_allowed_any_more(project, s3, bucket):
    """Nothing is removed from a bucket outside of storage.allowed_buckets, whatever is on record:
    S3 is not even asked, and the removal stays owed with the reason."""
    ended(project)
    project.configure(storage={"endpoint_url": s3.url, "allowed_buckets": ["others"]})
    s3.forget()
    cleaned(project)
    [owed] = removals(project)
    assert f"bucket '{bucket}' is not in storage.allowed_buckets" in owed["last_error"]
    assert s3.log == [] and len(s3.keys(bucket)) == 1


def test_an_object_that_two_jobs_use(project, s3, bucket):
    """An object that several jobs use goes with the last of them, and not before."""
    version = s3.put(bucket, "shared", b"1234")
    uses = {"objects": [f"s3://{bucket}/shared"], "owned": True}
    project.ended("0", **uses)
    last = project.add("1", **uses)
    assert cleaned(project).objects.requested == 0
    assert s3.versions(bucket) == [("shared", version, 4)]
    with project.tracker() as tracker:
        [stored] = tracker.objects(last)
        assert (stored["state"], stored["version_id"]) == ("present", version)
        tracker.complete(last)
    assert cleaned(project).objects.removed == 1
    assert s3.versions(bucket) == []


def test_an_upload_that_never_ended(project, s3):
    """A job that was ended by hand before its upload was complete leaves neither parts nor an
    object behind."""
    bucket = project.upload_to(s3, storage={"part_size": "5MiB"})
    file = project.path / "big.bin"
    file.write_bytes(b"x" * 6_000_000)
    s3.interfere(lambda *_: error(403, "AccessDenied"), "UploadPart")
    job = project.attempted(file=file)
    assert len(s3.uploads(bucket)) == 1
    with project.tracker() as tracker:
        tracker.fail(job)
    assert cleaned(project).objects.removed == 1
    assert s3.uploads(bucket) == [] and s3.versions(bucket) == []


def test_ctrl_c(project, s3, bucket):
    """Ctrl-C while S3 removes: what is on its way is written, the rest stays owed, exit 130; the
    next poll carries on."""
    ended(project, 3)
    reached, released = threading.Event(), threading.Event()

    def hold(*_):
        reached.set()
        released.wait(20)

    s3.interfere(hold, "DeleteObjects")
    command = project.start(*GO, "--json")
    assert reached.wait(15)
    command.signal(signal.SIGINT)
    released.set()
    done = command.end()
    assert done.code == 130 and json.loads(done.out)["stopped"] is True
    assert project.rows("SELECT * FROM processing_jobs") == []
    assert len(removals(project)) == len(s3.keys(bucket))
    project.poll()
    assert s3.versions(bucket) == [] and removals(project) == []
