"""tracker outbox"""

from __future__ import annotations

import pytest
from contract import JOB, OWED, has_keys
from service import Answer

UPDATE = {
    "update": {"request": {"method": "POST", "path": "/jobs/{server_id}", "json": "{changes}"}}
}


@pytest.fixture
def dead(project, service):
    """A job whose submission was refused, and the number of that in the outbox."""
    service.creates = [Answer("no", 400), "accepted"]
    job = project.attempted({"pages": 1})
    [owed] = project.json("outbox", "--state", "dead")
    assert has_keys(owed, OWED) and owed["local_id"] == job and owed["last_http_status"] == 400
    return job, owed["id"]


def test_retry(project, service, dead):
    """`outbox retry` has it attempted again by the next poller."""
    job, id_ = dead
    line = project.ok("outbox", "retry", str(id_)).line
    assert line == f"operation {id_} of job {job[-8:]} is due now"
    project.poll()
    assert project.row(job)["sync_status"] == "synced" and project.json("outbox") == []
    assert service.count("POST", "/jobs$") == 2


def test_discard(project, service, dead):
    """`outbox discard` lets it go: the job whose submission it was has failed."""
    id_ = dead[1]
    found = project.json("outbox", "discard", str(id_))
    assert has_keys(found, JOB)
    assert (found["status"], found["failure_reason"]) == ("failed", "rejected")
    assert project.json("outbox") == []
    project.poll()
    assert service.count("POST") == 1


def test_what_waits(project, service):
    """What waits for the one before it is said to, and is not attempted by a retry."""
    project.configure(UPDATE)
    service.statuses = [Answer("no", 400)]
    job = project.attempted({"pages": 1})
    project.ok("update", job, "-p", "pages:=2")
    project.ok("update", job, "-p", "pages:=3")
    first, second = project.json("outbox", "--job", job)
    assert (first["state"], second["state"]) == ("dead", "pending")
    assert "after the one before it" in project.ok("outbox").out
    project.ok("outbox", "retry", str(second["id"]))
    project.poll()
    assert service.count("POST", "srv-1") == 1


def test_bad_input(project, dead):
    """A number that is none, or of nothing; what is on its way: one line, and nothing changes."""
    for act in ("retry", "discard"):
        assert "no operation 999" in project.refused(4, "outbox", act, "999")
        project.refused(2, "outbox", act, "x")
    project.write("UPDATE operations SET state = 'pending', claimed_by = 'p'")
    for act in ("retry", "discard"):
        assert "is on its way" in project.refused(5, "outbox", act, str(dead[1]))
