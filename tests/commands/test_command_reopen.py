"""tracker reopen"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from contract import JOB, has_keys
from service import Answer, Hang


@pytest.mark.parametrize("failed", [True, False])
def test_an_ended_job(project, service, failed):
    """`reopen` brings an ended job back: its end is cleared, it is due at once, and it can end
    again."""
    service.statuses = ["done"]
    job = project.ended(failed=failed)
    assert project.ok("reopen", job).line == f"{job[-8:]} is processing"
    row = project.row(job)
    cleared = ("completed_at", "failure_reason", "error_message", "result_content_id")
    assert [row[name] for name in cleared] == [None] * 4
    assert project.events(job)[-1][1]["by"] == "person"
    project.poll()
    assert project.row(job)["status"] == "completed"
    assert [type_ for type_, _ in project.events(job)].count("job:finalized") == 2


def test_json(project):
    """`reopen --json` prints the job with exactly the keys of every job."""
    job = project.json("reopen", project.ended())
    assert has_keys(job, JOB)
    assert job["status"] == "processing"


def test_a_result_again(project, service):
    """A reopened job that ends again keeps its newest result, once."""
    service.statuses = ["done"]
    service.results = [{"content_id": "first"}, {"content_id": "second"}]
    job = project.add()
    project.poll()
    project.ok("reopen", job)
    project.poll()
    assert project.row(job)["result_content_id"] == "second"
    assert project.ok("show", job, "--result").json == {"content_id": "second"}


def test_a_result_that_comes_too_late(project, service):
    """A large result of a reopened job that a person ends meanwhile does not land on the file of
    the result that is on record."""
    service.statuses = ["done"]
    service.results = [Answer(b"a" * 100_000), Hang(Answer(b"b" * 100_000))]
    job = project.add()
    project.poll()
    project.ok("reopen", job)
    command = project.start("poll")
    service.wait_for(2, "GET", "result$")
    project.ok("fail", job)
    service.release()
    assert command.end().code == 0
    [kept] = project.rows("SELECT path, sha256 FROM contents")
    assert hashlib.sha256(Path(kept["path"]).read_bytes()).hexdigest() == kept["sha256"]


def test_a_running_job(project):
    """A job that runs cannot be reopened: exit 5, and nothing changes."""
    running = project.add()
    assert f"job {running[-8:]} is processing, not finished" in project.refused(
        5, "reopen", running
    )


def test_impossible(project, service):
    """A job that its service never accepted cannot be reopened: exit 5."""
    service.creates = [Answer("no", 400)]
    refused = project.attempted()
    for _ in range(2):
        assert "its service never accepted it" in project.refused(5, "reopen", refused)
        project.run("fail", refused)
    assert "no job 'ffffffff'" in project.refused(4, "reopen", "ffffffff")
