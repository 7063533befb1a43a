"""tracker add --object: objects that somebody else made"""

from __future__ import annotations

import pytest
from s3front import error

from tracker.errors import CallFailed, Impossible, TrackerError, UsageError

VERSIONED = "s3://{bucket}/{key}?versionId={version}"


@pytest.fixture
def bucket(project, s3):
    """A versioned bucket, which nothing but the tests puts objects into."""
    return project.upload_to(s3)


def uses(project, job):
    """What a job uses, as the ledger has it."""
    with project.tracker() as tracker:
        return tracker.objects(job)


def add(project, server_id, *objects, owned=True):
    """Track a job that uses these objects, as the command does; its local id."""
    return project.add(server_id, objects=objects, owned=owned)


def recorded(project):
    return {
        name: project.rows(f"SELECT * FROM {name}") for name in ("processing_jobs", "objects")
    } | {"links": project.rows("SELECT * FROM job_objects")}


@pytest.mark.parametrize(
    "key",
    ["plain.txt", "a b/c+d %41?x=1#y.txt", "ü/😀 \\ é", "slash/", "../x", "x" * 1024],
    ids=lambda key: key[:20],
)
def test_owned_objects(project, s3, bucket, key):
    """An owned object is looked up and put on record with its version, size and ETag, whatever its
    key is made of; it goes with its job, in that version alone."""
    version = s3.put(bucket, key, b"12345")
    newer = None
    job = add(project, "1", f"input=s3://{bucket}/{key}")
    [found] = uses(project, job)
    assert (found["role"], found["key"], found["bucket"]) == ("input", key, bucket)
    assert (found["version_id"], found["size"], found["owned"]) == (version, 5, True)
    assert found["etag"] and found["state"] == "present"
    newer = s3.put(bucket, key, b"newer")
    with project.tracker() as tracker:
        tracker.complete(job)
        assert tracker.cleanup(older_than=-1).objects.removed == 1
    assert [version for _, version, _ in s3.versions(bucket)] == [newer]


def test_several_and_their_roles(project, s3, bucket):
    """A job may use any number of objects, each as input, result or other; one that is not owned is
    not even looked up, and never removed."""
    s3.put(bucket, "a")
    file = project.path / "mine file.txt"
    file.write_text("mine")
    names = [f"input=s3://{bucket}/a", f"s3://{bucket}/not there", f"result={file.as_uri()}"]
    job = project.ok(
        "add", "docs", "1", *(word for name in names for word in ("--object", name))
    ).line
    found = [(one["role"], one["key"], one["owned"]) for one in uses(project, job)]
    assert found == [("input", "a", False), ("other", "not there", False), ("result", str(file),
                                                                           False)]  # fmt: skip
    assert s3.log == []
    with project.tracker() as tracker:
        tracker.complete(job)
        receipt = tracker.cleanup(older_than=-1)
    assert receipt.objects.requested == receipt.files.requested == 0
    assert s3.keys(bucket) == ["a"] and file.exists()
    assert project.rows("SELECT * FROM objects") == []


def test_a_version(project, s3, bucket):
    """``?versionId=`` names one version; that one is recorded, and goes."""
    versions = [s3.put(bucket, "a", body) for body in (b"1", b"22", b"333")]
    uri = VERSIONED.format(bucket=bucket, key="a", version=versions[1])
    job = add(project, "1", uri)
    [found] = uses(project, job)
    assert (found["version_id"], found["size"]) == (versions[1], 2)
    with project.tracker() as tracker:
        tracker.complete(job)
        tracker.cleanup(older_than=-1)
    assert {version for _, version, _ in s3.versions(bucket)} == {versions[0], versions[2]}


def test_the_same_object_twice(project, s3, bucket):
    """An object that two jobs use is one row; it is owned if one of them says so, and a job that
    names it twice uses it once."""
    s3.put(bucket, "a")
    uri = f"s3://{bucket}/a"
    first = add(project, "1", uri, uri, owned=False)
    assert [one["owned"] for one in uses(project, first)] == [False]
    second = project.ok("add", "docs", "2", "--object", uri, "--owned").line
    assert [one["id"] for one in uses(project, first)] == [one["id"] for one in
                                                           uses(project, second)]  # fmt: skip
    assert [one["owned"] for one in uses(project, first)] == [True]
    with project.tracker() as tracker:
        for job, left in ((second, 1), (first, 0)):
            tracker.complete(job)
            assert tracker.cleanup(older_than=-1).objects.requested == 1 - left
            assert len(s3.versions(bucket)) == left


def test_files_of_the_trackers_own(project):
    """A file in the tracker's folder may be owned: it goes with the last job that uses it."""
    folder = project.path / "tracker.db.files"
    folder.mkdir()
    mine = folder / "mine ü.txt"
    mine.write_text("text")
    for number in range(2):
        add(project, f"{number}", f"other={mine.as_uri()}")
    with project.tracker() as tracker:
        for number in range(2):
            tracker.complete(f"docs:{number}")
            assert tracker.cleanup(older_than=-1).files.removed == number
            assert mine.exists() is (number == 0)


@pytest.mark.parametrize(
    ("code", "uri", "told"),
    [
        (4, "s3://{bucket}/nothing", "there is no object s3://{bucket}/nothing"),
        (4, "s3://{bucket}/a?versionId=00000000-0000-4000-8000-000000000000", "there is no object"),
        (2, "file://{folder}/mine.txt", "is not in the tracker's folder and is never removed"),
        (2, "file://{folder}/tracker.db.files/way", "is not in the tracker's folder"),
        (2, "file://{folder}/tracker.db.files/../mine.txt", "is not in the tracker's folder"),
        (2, "file://{folder}/nowhere.txt", "No such file or directory"),
        (2, "file://{folder}", "is not a file"),
        (2, "file://elsewhere/mine.txt", "is not the absolute path of a local file"),
        (2, "mine.txt", "is neither s3:// nor file://"),
        (2, "https://example.com/a", "is neither s3:// nor file://"),
        (2, "inpt=s3://{bucket}/a", "is neither s3:// nor file://"),
        (2, "s3://{bucket}", "has no bucket or no key"),
        (2, "s3:///a", "has no bucket or no key"),
        (2, "s3://{bucket}/{long}", "has a key of 1025 bytes, S3 takes 1,024"),
        (2, "", "is neither s3:// nor file://"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_owned(project, s3, bucket, code, uri, told):
    """An object that is not there is exit 4; a place outside the tracker's folder, or none at all,
    is exit 2: one line, and nothing is recorded."""
    s3.put(bucket, "a")
    (project.path / "mine.txt").write_text("mine")
    (project.path / "tracker.db.files").mkdir()
    (project.path / "tracker.db.files" / "way").symlink_to(project.path / "mine.txt")
    project.create()
    known = {"bucket": bucket, "folder": project.path, "long": "x" * 1025}
    if code == 4:
        words = ("--object", uri.format(**known), "--owned")
        assert told.format(**known) in project.refused(4, "add", "docs", "1", *words)
    with pytest.raises(TrackerError) as caught:
        add(project, "1", uri.format(**known))
    assert told.format(**known) in caught.value.message and "\n" not in str(caught.value)
    assert caught.value.exit_code == code
    assert recorded(project) == {"processing_jobs": [], "objects": [], "links": []}


def test_buckets_that_are_not_allowed(project, s3, bucket):
    """Outside of storage.allowed_buckets no object is taken on, owned or not, and S3 is not asked:
    exit 2."""
    project.configure(storage={"endpoint_url": s3.url, "allowed_buckets": ["mine", "yours"]})
    project.create()
    told = project.refused(2, "add", "docs", "1", "--object", f"s3://{bucket}/a")
    assert f"bucket '{bucket}' is not in storage.allowed_buckets" in told
    with pytest.raises(UsageError, match=r"is not in storage\.allowed_buckets"):
        add(project, "1", f"s3://{bucket}/a")
    assert s3.log == []


def test_s3_will_not_tell(project, s3, bucket):
    """Where S3 refuses to tell of an object, it is not taken on as owned: exit 1, its own words.
    Where S3 cannot be reached, it is taken on, with a warning."""
    s3.put(bucket, "a")
    s3.interfere(lambda _: error(403, "403"), "HeadObject")
    with pytest.raises(CallFailed) as caught:
        add(project, "1", f"s3://{bucket}/a")
    assert f"s3://{bucket}/a" in str(caught.value) and "403" in str(caught.value)
    assert caught.value.exit_code == 1
    s3.pause()
    done = project.ok("add", "docs", "1", "--object", f"s3://{bucket}/a", "--owned")
    assert "could not be looked at" in done.err
    [found] = uses(project, done.line)
    assert (found["version_id"], found["owned"]) == (None, True)
    s3.resume()
    with project.tracker() as tracker:
        tracker.complete(done.line)
        assert tracker.cleanup(older_than=-1).objects.removed == 1
    assert s3.versions(bucket) == []


def test_a_job_that_is_tracked_already(project, s3, bucket):
    """Where the job is on record already nothing of its objects is put there either: exit 5."""
    s3.put(bucket, "a")
    project.add("1")
    before = recorded(project)
    with pytest.raises(Impossible):
        add(project, "1", f"s3://{bucket}/a")
    assert recorded(project) == before


def test_one_that_is_being_removed(project, s3, bucket):
    """An object whose removal is owed, and not under way, is taken back by a new job that uses it:
    it stays."""
    s3.put(bucket, "a")
    uri = f"s3://{bucket}/a"
    with project.tracker() as tracker:
        tracker.complete(tracker.add("docs", "1", objects=[uri], owned=True))
        s3.pause()
        tracker.cleanup(older_than=-1)
        s3.resume()
        assert len(tracker.outbox()) == 1
        job = tracker.add("docs", "2", objects=[uri], owned=True)
        assert tracker.outbox() == []
        tracker.poll()
    assert [one["state"] for one in uses(project, job.local_id)] == ["present"]
    assert s3.keys(bucket) == ["a"]


def test_one_that_is_going_just_now(project, s3, bucket):
    """An object whose removal is on its way cannot be taken on any more: exit 5, and the job is not
    recorded; afterwards it is not there."""
    s3.put(bucket, "a")
    uri = f"s3://{bucket}/a"
    project.ended("1", objects=[uri], owned=True)
    told = []

    def meanwhile(_):
        told.append(project.run("add", "docs", "2", "--object", uri, "--owned"))

    s3.interfere(meanwhile, "DeleteObjects")
    with project.tracker() as tracker:
        assert tracker.cleanup(older_than=-1).objects.removed == 1
    [done] = told
    assert done.code == 5 and f"{uri} is being removed" in done.error
    assert project.rows("SELECT * FROM processing_jobs") == [] and s3.versions(bucket) == []
