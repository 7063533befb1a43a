"""tracker fail"""

from __future__ import annotations

import pytest
from contract import JOB, has_keys


def test_a_running_job(project, service):
    """`fail` ends a running job with the person as reason, and the job is polled no more."""
    job = project.add()
    assert project.ok("fail", job).line == f"{job[-8:]} is failed"
    row = project.row(job)
    assert (row["failure_reason"], row["error_message"]) == ("person", "Processing failed")
    assert [type_ for type_, _ in project.events(job)][1:] == [
        "job:status-changed", "job:error-details", "job:finalized"
    ]  # fmt: skip
    project.poll()
    assert service.seen == []


def test_with_a_message(project):
    """--message is what list, show and the events say."""
    job = project.json("fail", project.add(), "--message", "upside down")
    assert has_keys(job, JOB)
    assert job["error_message"] == "upside down"
    assert project.events(job["local_id"])[-1][1]["error"] == "upside down"
    assert "upside down" in project.ok("list").out


@pytest.mark.parametrize("failed", [True, False])
def test_an_ended_job(project, failed):
    """A job that has ended stays as it ended: exit 5."""
    job = project.ended(failed=failed)
    status = "failed" if failed else "completed"
    assert f"job {job[-8:]} is {status} already" in project.refused(5, "fail", job)


def test_unknown_jobs(project):
    """A job that there is not is exit 4."""
    project.add()
    assert "no job 'ffffffff'" in project.refused(4, "fail", "ffffffff")
