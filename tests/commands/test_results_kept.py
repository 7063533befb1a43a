"""services.X.result.keep: where a result is kept, and `tracker show --result`"""

from __future__ import annotations

import subprocess

import pytest
from s3front import error
from service import Answer

LONG_AGO = "2020-01-01T00:00:00.000Z"
SMALL, LARGE = b'{"pages": 3}', b"\x00\xff" * 50_000


def keeping(project, service, s3, keep, body):
    """A job whose result is at the service; the bucket, the job."""
    service.statuses, service.results = ["done"], [Answer(body, headers={"Content-Type": "a/b"})]
    bucket = project.upload_to(s3, {"result": {"keep": keep}}, cleanup={"automatic": False})
    return bucket, project.add()


def make_due(project):
    project.write("UPDATE operations SET next_attempt_at = ?", LONG_AGO)
    project.write("UPDATE budgets SET paused_until = ? WHERE paused_until NOTNULL", LONG_AGO)


def files(project):
    return [one for one in project.path.glob("tracker.db.files/**/*") if one.is_file()]


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("keep", ["auto", "row", "file", "object"])
def test_where_it_is_kept(project, service, s3, keep, body):
    """A result is kept in the row, in a file or in S3, as the service's definition says; the job is
    completed only when it is there, `show --result` gives its very bytes, and it goes with the
    job."""
    bucket, job = keeping(project, service, s3, keep, body)
    project.poll()
    assert project.row(job)["status"] == "completed"
    place = {"auto": "row" if body is SMALL else "file"}.get(keep, keep)
    [content] = project.rows("SELECT * FROM contents")
    assert (content["body"] is not None) == (place == "row")
    assert (content["path"] is not None) == (place == "file")
    assert (content["object_id"] is not None) == (place == "object")
    assert content["size"] == len(body)
    project.poll()
    assert len(files(project)) == (place == "file")
    assert s3.keys(bucket) == [
        f"{job}/result/{content['sha256'][:16]}.bin" for _ in range(place == "object")
    ]
    if body is LARGE and place != "row":
        command = [project.command, "show", job, "--result"]
        shown = subprocess.run(command, cwd=project.path, env=project.env, stdout=subprocess.PIPE)
        assert (shown.returncode, shown.stdout) == (0, body)
    with project.tracker() as tracker:
        assert tracker.result(job) == body
        used = [(one["role"], one["scheme"]) for one in tracker.objects(job)]
        assert used == [("result", "s3") for _ in s3.keys(bucket)]
        receipt = tracker.cleanup(older_than=-1)
    assert receipt.files.removed == (place == "file")
    assert receipt.objects.removed == (place == "object")
    assert files(project) == [] and s3.versions(bucket) == []


def test_s3_is_down(project, service, s3):
    """While S3 is down the result waits in a file and the job is not completed yet; when S3 is back
    it is stored, the job is completed, and the file goes."""
    bucket, job = keeping(project, service, s3, "object", SMALL)
    s3.pause()
    project.poll()
    assert project.row(job)["status"] == "retrieving"
    assert [path.read_bytes() for path in files(project)] == [SMALL]
    [owed] = project.rows("SELECT * FROM operations")
    assert (owed["kind"], owed["attempts"]) == ("store_result", 0)
    assert "Could not connect" in project.ok("explain", job).out
    s3.resume()
    project.poll()
    assert project.row(job)["status"] == "completed" and len(s3.keys(bucket)) == 1
    project.poll()
    assert files(project) == project.rows("SELECT * FROM operations") == []
    assert service.count("GET", "/result$") == 1


def test_it_cannot_be_stored(project, service, s3):
    """When S3 refuses for good, the job fails because of its result, which stays in its file."""
    _, job = keeping(project, service, s3, "object", SMALL)
    s3.interfere(lambda _: error(403, "AccessDenied", "no"), "PutObject")
    for _ in range(4):
        make_due(project)
        project.poll()
    row = project.row(job)
    assert (row["status"], row["failure_reason"]) == ("failed", "result")
    assert row["error_message"] == "Failed to retrieve result"
    assert "AccessDenied: no" in row["last_error"]
    assert project.ok("show", job, "--result").out == SMALL.decode()
    with project.tracker() as tracker:
        assert tracker.cleanup(older_than=-1).rows_deleted == 1 and files(project) == []


@pytest.mark.parametrize("trouble", ["down", "gone"])
def test_a_result_that_cannot_be_read(project, service, s3, trouble):
    """A kept result that S3 does not give out is one line with S3's reason, exit 1."""
    bucket, job = keeping(project, service, s3, "object", SMALL)
    project.poll()
    for key, version, _ in s3.versions(bucket):
        if trouble == "gone":
            s3.client.delete_object(Bucket=bucket, Key=key, VersionId=version)
    if trouble == "down":
        s3.pause()
    told = {"down": "Could not connect", "gone": "NoSuch"}[trouble]
    assert told in project.refused(1, "show", job, "--result")


def test_a_file_that_is_gone(project, service, s3):
    """A result whose file somebody removed is one line that names it, exit 5."""
    _, job = keeping(project, service, s3, "file", SMALL)
    project.poll()
    [path] = files(project)
    path.unlink()
    assert f"{path} cannot be read" in project.refused(5, "show", job, "--result")
    with project.tracker() as tracker:
        assert tracker.cleanup(older_than=-1).files.already_gone == 1


def test_a_result_without_a_bucket(project):
    """`keep = "object"` without a bucket is told by the key, before anything is called."""
    project.create()
    project.configure({"result": {"keep": "object"}})
    told = project.refused(2, "poll")
    assert told.startswith("services.docs.result.keep: there is no bucket to put results into")
