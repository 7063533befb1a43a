"""tracker cancel"""

from __future__ import annotations

import pytest
from contract import JOB, has_keys

CANCEL = {
    "cancel": {"request": {"path": "/jobs/{server_id}", "query": {"stop": "yes"}}},
    "delete": {"request": {"path": "/jobs/{server_id}"}},
}


@pytest.fixture(autouse=True)
def tells(project):
    """The service can be asked to stop a job."""
    project.configure(CANCEL)


def test_online(project, service):
    """A cancel is a wish: the job goes on until its service says that it has stopped."""
    job = project.attempted()
    assert project.ok("cancel", job).line == f"{job[-8:]} is processing"
    assert service.count("POST", "stop=yes") == 1
    assert project.row(job)["cancel_requested_at"] and project.row(job)["sync_status"] == "synced"
    service.statuses = ["cancelled"]
    project.poll()
    assert project.row(job)["status"] == "cancelled"


def test_offline(project, service):
    """A wish without a service is on record, said to be owed, and told later."""
    job = project.attempted()
    project.configure({**CANCEL, "base_url": "http://127.0.0.1:9"})
    assert "not told the service yet: cancel" in project.ok("cancel", job).err
    assert project.row(job)["sync_status"] == "pending"
    project.configure(CANCEL)
    project.write("DELETE FROM budgets")
    project.poll()
    assert service.count("POST", "stop=yes") == 1


def test_a_job_that_never_left(project, service):
    """A job that was not sent yet is cancelled at once, and nobody is called."""
    found = project.json("cancel", project.record())
    assert has_keys(found, JOB) and found["status"] == "cancelled"
    project.poll()
    assert service.seen == []


def test_bad_input(project, service):
    """An ended or deleted job, a second cancel, a service without the call, a job that is not
    there: one line, and nothing changes."""
    job = project.attempted()
    project.ok("cancel", job, "--no-sync")
    assert "is being cancelled already" in project.refused(5, "cancel", job)
    project.ok("delete", job, "--no-sync")
    assert "is being deleted" in project.refused(5, "cancel", job)
    assert "is completed" in project.refused(5, "cancel", project.ended("other"))
    assert "no job 'ffffffff'" in project.refused(4, "cancel", "ffffffff")
    project.configure()
    assert "no call for it" in project.refused(5, "cancel", project.add("third"))
    assert service.count("POST", "stop=yes") == 0
