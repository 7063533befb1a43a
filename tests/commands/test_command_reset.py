"""tracker reset"""

from __future__ import annotations

from contract import JOB, has_keys
from service import Answer


def test_a_refused_submission(project, service):
    """`reset` has a submission that was given up tried again, with the key that it had."""
    service.creates = [Answer("no", 400), "accepted"]
    job = project.attempted()
    assert project.row(job)["sync_status"] == "failed"
    found = project.json("reset", job)
    assert has_keys(found, JOB) and found["sync_status"] == "pending"
    assert "no failed sync" in project.refused(5, "reset", job)
    project.poll()
    assert project.row(job)["sync_status"] == "synced"
    first, second = service.requests("POST", "/jobs$")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_bad_input(project, service):
    """A job without a failed sync, or none at all: one line, and nothing changes."""
    for job in (project.record(), project.add(), project.ended("other")):
        assert f"job {job[-8:]} has no failed sync" in project.refused(5, "reset", job)
    assert "no job 'ffffffff'" in project.refused(4, "reset", "ffffffff")
    assert service.seen == []
