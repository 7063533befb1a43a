"""tracker delete"""

from __future__ import annotations

import pytest
from service import Answer

DELETE = {"delete": {"request": {"path": "/jobs/{server_id}"}}}


@pytest.fixture(autouse=True)
def tells(project):
    """The service can delete a job."""
    project.configure(DELETE)


def left(project):
    return project.rows("SELECT local_id FROM processing_jobs")


@pytest.mark.parametrize("code", [204, 404, 410])
def test_online(project, service, code):
    """The service deletes the job, or says that it is gone; then it is gone here."""
    job = project.attempted()
    service.statuses = [Answer(b"", code)]
    assert project.ok("delete", job) == (0, f"{job[-8:]} is deleted\n", "")
    assert service.count("DELETE", "srv-1") == 1
    assert left(project) == [] and project.json("outbox") == []
    assert "no job" in project.refused(4, "delete", job)


def test_offline(project, service):
    """A delete without a service is on record and said to be owed; a second one is refused; the
    job goes when the service is back."""
    job = project.attempted()
    project.configure({**DELETE, "base_url": "http://127.0.0.1:9"})
    done = project.ok("delete", job)
    assert done.line == f"{job[-8:]} is being deleted"
    assert "not told the service yet: delete" in done.err
    assert project.row(job)["sync_status"] == "pending_deletion"
    assert "is being deleted already" in project.refused(5, "delete", job)
    project.configure(DELETE)
    project.write("DELETE FROM budgets")
    project.poll()
    assert service.count("DELETE", "srv-1") == 1 and left(project) == []


def test_a_job_that_never_left(project, service):
    """A job that was not sent yet goes at once, and nobody is called."""
    job = project.record()
    found = project.json("delete", job)
    assert found == {"local_id": job, "deleted": True, "goes_on_there": False}
    project.poll()
    assert service.seen == [] and left(project) == []


def test_no_delete_call(project, service):
    """Where the service has no call for it the row goes, and the reason is said."""
    project.configure()
    job = project.attempted()
    done = project.ok("delete", job)
    assert done.line == f"{job[-8:]} is deleted"
    assert done.err == "'docs' has no delete call: the job goes on there\n"
    assert service.count("DELETE") == 0 and left(project) == []


def test_a_finished_job(project, service):
    """A job that ended is deleted at its service too."""
    project.ok("delete", project.ended())
    assert service.count("DELETE", "srv-1") == 1 and left(project) == []


def test_refused_by_the_service(project, service):
    """A delete that the service refuses keeps the job, as failed to sync."""
    job = project.attempted()
    service.statuses = [Answer(b"", 403)]
    project.ok("delete", job)
    assert project.row(job)["sync_status"] in ("failed", "pending_deletion")
    assert project.json("outbox")[0]["kind"] == "delete"


def test_bad_input(project):
    """A job that is not there: one line, exit 4."""
    project.create()
    assert "no job 'ffffffff'" in project.refused(4, "delete", "ffffffff")
