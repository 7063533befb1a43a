"""tracker submit with a service that reads its input from S3"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
import urllib.request
from base64 import b64decode, b64encode
from urllib.parse import parse_qs, urlsplit

import pytest
from freezegun import freeze_time
from helping import on_a_terminal
from s3front import error
from service import Answer

from tracker.errors import TrackerError

LONG_AGO = "2020-01-01T00:00:00.000Z"
PART = 5 * 2**20


@pytest.fixture
def bucket(project, s3):
    """A versioned bucket that `docs` has its inputs in."""
    return project.upload_to(s3, storage={"part_size": PART})


def written(project, content=b"text", name="input.txt"):
    file = project.path / name
    file.write_bytes(content)
    return file


def large(project, size=11_000_000):
    return written(project, random.Random(size).randbytes(size), "big.bin")


def stored(s3, bucket):
    """The content of the one object there is, in its one version."""
    [(key, _, _)] = s3.versions(bucket)
    return s3.client.get_object(Bucket=bucket, Key=key)["Body"].read()


def sent_url(service):
    """The URL that the last create call named."""
    return service.requests("POST")[-1].json["document"]


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def make_due(project):
    project.write("UPDATE operations SET next_attempt_at = ?", LONG_AGO)
    project.write("UPDATE budgets SET paused_until = ? WHERE paused_until NOTNULL", LONG_AGO)


def test_upload_and_create(project, service, s3, bucket):
    """The input is put into the bucket, once and with its checksum, and only then the create goes
    out, with a URL by which anybody can read it; the job uses both, the copy and the object."""
    name = "a b+ü 100%.txt"
    file = written(project, "tëxt".encode(), name)
    service.creates = [lambda seen: urllib.request.urlopen(sent_url(service)).read() and "accepted"]
    done = project.ok("submit", "docs", file, "-p", "language=en")
    job = done.line
    assert done.err == "" and project.row(job)["sync_status"] == "synced"
    assert s3.keys(bucket) == [f"{job}/input/{name}"] and stored(s3, bucket) == "tëxt".encode()
    [put] = [one for one in s3.log if one.operation == "PutObject"]
    headers = lower(put.headers)
    digest = hashlib.sha256("tëxt".encode()).digest()
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-checksum-sha256"] == b64encode(digest).decode()
    assert headers["content-type"] == "text/plain"
    [seen] = service.requests("POST")
    assert seen.json["language"] == "en" and "X-Amz-Signature=" in seen.json["document"]
    copy, uploaded = project.json("objects", job)
    assert (copy["scheme"], uploaded["scheme"]) == ("file", "s3")
    assert {uploaded[key] == copy[key] for key in ("size", "sha256", "name", "role")} == {True}
    assert (uploaded["state"], uploaded["owned"]) == ("present", True)
    assert [uploaded["version_id"]] == [version for _, version, _ in s3.versions(bucket)]


def test_planned_with_the_job(project, service, s3, bucket):
    """With `--no-sync` the object is on record as planned, together with the job and its upload, no
    create is owed yet and nobody was called; `poll` uploads and creates."""
    job = project.ok("submit", "docs", written(project), "--no-sync").line
    assert s3.log == service.seen == []
    copy, planned = project.json("objects", job)
    assert (copy["state"], planned["state"]) == ("present", "planned")
    assert (planned["bucket"], planned["key"]) == (bucket, f"{job}/input/input.txt")
    [owed] = project.json("outbox", "--job", job)
    assert (owed["kind"], owed["service"]) == ("upload_input", "storage:uploads")
    assert project.json("show", job)["sync_status"] == "pending"
    assert project.ok("poll").line == "1 submitted, 1 uploaded"
    assert project.row(job)["status"] == "processing"


def test_documents(project, s3, bucket):
    """Jobs are found by their document, and the document by the job."""
    file = written(project)
    jobs = [project.record(file=file, document_id=name) for name in ("d1", "d2", "d1")]
    found = project.json("list", "--document", "d1")
    assert [one["local_id"] for one in found] == [jobs[2], jobs[0]]
    assert project.json("list", "--document", "d") == []
    assert project.json("show", jobs[1])["document_id"] == "d2"


def test_offline(project, service, s3, bucket):
    """With S3 out of reach the job is on record and nothing is sent to its service; when S3 is back
    the next poll uploads and submits it, also if the original has gone meanwhile."""
    file = written(project)
    s3.pause()
    done = project.ok("submit", "docs", file)
    assert "recorded, not accepted yet: upload_input" in done.err.splitlines()[-1]
    assert done.err.count("WARNING") == 1  # one attempt
    told = project.json("explain", done.line)
    assert "Could not connect to the endpoint URL" in told["why"] and "upload_input" in str(told)
    file.unlink()
    assert service.seen == []
    s3.resume()
    assert "1 submitted, 1 uploaded" in project.ok("poll").out
    assert stored(s3, bucket) == b"text" and service.count("POST") == 1


@pytest.mark.parametrize(
    ("status", "code", "attempts"),
    [
        (404, "NoSuchBucket", 1),
        (403, "AccessDenied", 1),
        (400, "AuthorizationHeaderMalformed", 1),
        (400, "ExpiredToken", 0),
        (503, "SlowDown", 0),
    ],
)
def test_s3_refuses(project, service, s3, bucket, status, code, attempts):
    """What S3 refuses is shown with its own code and message, is tried again, and no create is sent
    before the upload is done. Credentials and throttling burn no attempt."""
    refused = error(status, code, "not like this")
    s3.interfere(lambda _: refused, "PutObject")
    job = project.attempted(file=written(project))
    [owed] = project.rows("SELECT * FROM operations")
    assert (owed["kind"], owed["state"]) == ("upload_input", "pending")
    assert owed["attempts"] == attempts and f"{code}: not like this" in owed["last_error"]
    assert service.seen == [] and s3.keys(bucket) == []
    with project.tracker() as tracker:
        assert f"{code}: not like this" in str(tracker.explain(job))
    s3.obey()
    make_due(project)
    project.poll()
    assert project.row(job)["status"] == "processing" and service.count("POST") == 1


def test_a_bucket_that_is_not_there(project, service, s3, bucket):
    """A missing bucket is said by `submit`, `explain` and `outbox`; once it is made the job goes
    its way."""
    s3.need_front()
    s3.client.delete_bucket(Bucket=bucket)
    done = project.ok("submit", "docs", written(project))
    for said in (done.err, project.ok("explain", done.line).out, project.ok("outbox").out):
        assert "NoSuchBucket: The specified bucket does not exist" in said
    s3.client.create_bucket(Bucket=bucket)
    make_due(project)
    assert "1 submitted, 1 uploaded" in project.ok("poll").out
    assert service.count("POST") == 1


def test_no_credentials(project, service, s3, bucket):
    """Without AWS credentials nothing is uploaded or attempted, and the reason is told."""
    del project.env["AWS_ACCESS_KEY_ID"], project.env["AWS_SECRET_ACCESS_KEY"]
    job = project.ok("submit", "docs", written(project)).line
    [owed] = project.json("outbox")
    assert "Unable to locate credentials" in owed["last_error"] and owed["attempts"] == 0
    assert s3.log == service.seen == [] and project.row(job)["status"] == "pending"


# Large files.


def test_in_parts(project, s3, bucket):
    """A file larger than `part_size` goes in parts, each with its checksum, and is whole in the
    end; nothing of the upload is left. In a pipe no bar is shown."""
    file = large(project)
    done = project.ok("submit", "docs", file)
    assert done.err == "" and s3.counts["UploadPart"] == 3
    assert stored(s3, bucket) == file.read_bytes() and s3.uploads(bucket) == []
    parts = [one for one in s3.log if one.operation == "UploadPart"]
    assert {b64decode(lower(one.headers)["x-amz-checksum-sha256"]) for one in parts} == {
        hashlib.sha256(one.body).digest() for one in parts
    }
    assert {len(one.body) for one in parts} == {PART, file.stat().st_size - 2 * PART}


def test_a_bar_on_a_terminal(project, bucket):
    """On a terminal a large file has a bar for its copy and one for its upload; a small file has
    none."""
    file = large(project)
    shown = on_a_terminal(project, "submit", "docs", file)
    assert "spooling" in shown and "uploading" in shown and "11.0/11.0 MB" in shown
    assert on_a_terminal(project, "submit", "docs", written(project)) == ""


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c(project, service, s3, bucket, signals):
    """Ctrl-C during an upload loses nothing: after the first one what is on its way is written,
    after a second one the upload stays owed; either way the next poll goes on with the same upload
    and there is one object and one create in the end."""
    reached, released = threading.Event(), threading.Event()

    def hold(_):
        reached.set()
        released.wait(20)

    s3.interfere(hold, "UploadPart", times=3)
    file = large(project)
    command = project.start("submit", "docs", file)
    job = command.line()
    assert reached.wait(20)
    command.signal(signal.SIGINT)
    if signals == 2:
        time.sleep(0.3)  # two signals at once are one
        command.signal(signal.SIGINT)
    else:
        released.set()
    assert command.end().code == 130
    released.set()
    assert service.seen == []
    project.until(lambda: project.poll() or project.row(job)["server_id"])
    assert stored(s3, bucket) == file.read_bytes() and s3.uploads(bucket) == []
    assert s3.counts["CreateMultipartUpload"] == 1 and service.count("POST") == 1


# What is wrong with the file or the settings.


@pytest.mark.parametrize(
    ("storage", "name", "told"),
    [
        ({}, "nowhere.pdf", "nowhere.pdf: No such file or directory"),
        ({}, ".", "is not a file"),
        ({}, "empty", "empty is empty"),
        ({"bucket": None}, "full", "storage.bucket: is missing, and a file is to be uploaded"),
        ({"bucket": "no bucket"}, "full", "storage.bucket: expected the name of a bucket"),
        ({"allowed_buckets": []}, "full", "is not in storage.allowed_buckets"),
        ({"allowed_buckets": ["x-y-z"]}, "full", "is not in storage.allowed_buckets"),
        ({"bucket": "x-y-z", "allowed_buckets": ["x-y-z"], "prefix": "x" * 600}, "full",
         "storage.prefix: is longer than 512 bytes"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_submitted(project, service, s3, storage, name, told):
    """A file or setting by which nothing could ever be uploaded is a usage error: nothing is
    recorded, copied or sent."""
    project.create()
    written(project, b"", "empty"), written(project, b"x", "full")
    project.upload_to(s3, storage=storage)
    before = project.dump()
    with pytest.raises(TrackerError) as caught, project.tracker() as tracker:
        tracker.submit("docs", file=project.path / name)
    assert told in str(caught.value) and caught.value.exit_code == 2
    assert project.dump() == before and s3.log == service.seen == []
    assert not list(project.path.glob("tracker.db.files/spool/*"))


@pytest.mark.parametrize("change", ["grows", "shrinks", "interrupted"])
def test_a_file_that_changes_while_it_is_copied(project, s3, bucket, change):
    """A file that changes while it is copied, and a copy that is interrupted, leave nothing: no
    job, no copy, no object."""
    file = large(project, 3_000_000)
    counts = []

    def on_bytes(count):
        counts.append(count)
        if change == "interrupted":
            raise KeyboardInterrupt
        if change == "shrinks":
            os.truncate(file, 2_000_000)
        elif sum(counts) < 6_000_000:  # as a log that is written to as fast as it is read
            with file.open("ab") as opened:
                opened.write(b"x" * count)

    expected = KeyboardInterrupt if change == "interrupted" else TrackerError
    with project.tracker() as tracker, pytest.raises(expected) as caught:
        tracker.submit("docs", file=file, sync=False, on_bytes=on_bytes)
    assert change == "interrupted" or "changed while it was copied" in str(caught.value)
    assert project.rows("SELECT * FROM processing_jobs") == []
    assert project.rows("SELECT * FROM objects") == project.rows("SELECT * FROM operations") == []
    assert not list(project.path.glob("tracker.db.files/spool/*")) and s3.log == []
    assert sum(counts) <= 4 * 2**20  # not for as long as it grows


def test_a_copy_that_was_spoilt(project, service, s3, bucket):
    """What is in the spool is uploaded only if it is what was submitted: a copy that somebody
    changed is refused by its checksum, and never stored."""
    job = project.record(file=written(project))
    [copy] = project.path.glob("tracker.db.files/spool/*")
    copy.write_bytes(b"tExt")
    project.poll()
    assert s3.keys(bucket) == [] and service.seen == []
    [owed] = project.rows("SELECT * FROM operations WHERE local_id = ?", job)
    assert owed["last_error"] and owed["kind"] == "upload_input"


# The URL.


def test_a_url_is_good_again_for_a_retry(project, service, s3, bucket):
    """A create that is sent again soon has the very same URL; one that is sent again after it
    expired has a new one, and the object is uploaded once."""
    service.creates = [Answer(b"", 503), Answer(b"", 503), "accepted"]
    project.upload_to(s3, {"retry": {"base": "1s", "cap": "1s"}}, storage={"presign": "1h"})
    with freeze_time("2026-03-01T10:00:00Z") as frozen:
        job = project.attempted(file=written(project))
        for seconds in (60, 3600):
            frozen.tick(seconds)
            project.poll()
    first, second, third = (one.json["document"] for one in service.requests("POST"))
    assert first == second != third and s3.counts["PutObject"] == 1
    dates = [parse_qs(urlsplit(url).query)["X-Amz-Date"] for url in (first, third)]
    assert dates == [["20260301T100000Z"], ["20260301T110000Z"]]
    assert project.row(job)["status"] == "processing"
