"""tracker complete"""

from __future__ import annotations

import pytest
from contract import JOB, has_keys
from service import Hang


def test_a_running_job(project, service):
    """`complete` ends a running job, says so, tells it in events as a person's act, and the job is
    polled no more."""
    job = project.add()
    assert project.ok("complete", job).line == f"{job[-8:]} is completed"
    row = project.row(job)
    assert (row["status"], row["failure_reason"], row["next_poll_at"]) == ("completed", None, None)
    assert row["completed_at"]
    assert [(type_, data.get("by")) for type_, data in project.events(job)][1:] == [
        ("job:status-changed", "person"),
        ("job:finalized", "person"),
    ]
    project.poll()
    assert service.seen == []


def test_json(project):
    """`complete --json` prints the job with exactly the keys of every job."""
    job = project.json("complete", project.add())
    assert has_keys(job, JOB)
    assert job["status"] == "completed"


def test_a_job_that_was_never_submitted(project, service):
    """A recorded job that a person completes is not submitted any more."""
    job = project.record()
    project.ok("complete", job)
    project.poll()
    assert service.seen == []
    assert project.json("show", job)["operations"] == []


@pytest.mark.parametrize("failed", [True, False])
def test_an_ended_job(project, failed):
    """A job that has ended stays as it ended: exit 5."""
    job = project.ended(failed=failed)
    error = project.refused(5, "complete", job)
    assert f"job {job[-8:]} is {'failed' if failed else 'completed'} already" in error


def test_while_it_is_polled(project, service):
    """A poll that was under way changes nothing any more: the person's end stands."""
    service.statuses = [Hang("error")]
    job = project.add()
    poll = project.start("poll")
    service.wait_for(1, "GET")
    project.ok("complete", job)
    service.release()
    assert poll.end().code == 0
    row = project.row(job)
    assert (row["status"], row["failure_reason"]) == ("completed", None)
    assert [type_ for type_, _ in project.events(job)].count("job:finalized") == 1


def test_unknown_jobs(project):
    """A job that there is not is exit 4."""
    project.add()
    assert "no job 'ffffffff'" in project.refused(4, "complete", "ffffffff")
