"""tracker update"""

from __future__ import annotations

import json

import pytest
from contract import JOB, has_keys
from service import Answer

UPDATE = {
    "update": {
        "request": {"method": "POST", "path": "/jobs/{server_id}", "json": "{changes}"},
        "fields": ["language", "pages"],
    }
}


@pytest.fixture(autouse=True)
def tells(project):
    """The service can be told of changes."""
    project.configure(UPDATE)


def told(service):
    return [one.json for one in service.requests("POST", "/jobs/srv")]


def test_online(project, service):
    """The service is told the changed fields, and nothing is owed then."""
    job = project.attempted({"language": "en", "pages": 1})
    assert project.ok("update", job, "-p", "pages:=1", "-p", "language=fr").line == job
    assert told(service) == [{"language": "fr"}]
    assert json.loads(project.row(job)["payload"]) == {"language": "fr", "pages": 1}
    assert project.row(job)["sync_status"] == "synced"


def test_json(project):
    """`update --json` prints the job with exactly the keys of every job, with the change."""
    found = project.json("update", project.attempted({"pages": 1}), "-p", "pages:=2")
    assert has_keys(found, JOB) and found["payload"] == {"pages": 2}


def test_nothing_changed(project, service):
    """What is as it was is not told, and owed to nobody."""
    job = project.attempted({"pages": 1})
    assert project.ok("update", job, "-p", "pages:=1") == (0, f"{job}\n", "")
    assert told(service) == [] and project.json("outbox") == []
    assert not any(data.get("by") == "person" for _, data in project.events(job))


def test_offline(project, service):
    """A change without a service is on record at once, said to be owed, and told later."""
    job = project.attempted({"pages": 1})
    project.configure({**UPDATE, "base_url": "http://127.0.0.1:9"})
    done = project.ok("update", job, "-p", "pages:=2")
    assert done.line == job and "not told the service yet: update" in done.err
    assert project.row(job)["sync_status"] == "pending" and told(service) == []
    project.configure(UPDATE)
    project.write("DELETE FROM budgets")
    project.poll()
    assert told(service) == [{"pages": 2}] and project.row(job)["sync_status"] == "synced"


def test_a_job_that_never_left(project, service):
    """A job that was not sent yet goes out once, as it is now, even where no update is defined."""
    project.configure()
    job = project.record({"pages": 1})
    project.ok("update", job, "-p", "pages:=2", "--no-sync")
    assert service.seen == []
    project.poll()
    [create] = service.requests("POST")
    assert create.json["pages"] == 2


def test_refused_by_the_service(project, service):
    """A change that the service refuses is kept in the outbox with the reason; the command is
    done."""
    job = project.attempted({"pages": 1})
    service.statuses = [Answer({"error": "no"}, 422)]
    assert "update" in project.ok("update", job, "-p", "pages:=2").err
    assert project.row(job)["sync_status"] == "failed"
    [dead] = project.json("outbox", "--state", "dead")
    assert (dead["kind"], dead["last_http_status"]) == ("update", 422)


def test_bad_input(project, service):
    """An unknown field, no field at all, an ended or deleted job, a job that is not there, or one
    whose service cannot be told: one line, and nothing changes."""
    job = project.attempted({"pages": 1})
    assert "has no field 'pagse' to change" in project.refused(2, "update", job, "-p", "pagse=2")
    assert "nothing to change" in project.refused(2, "update", job)
    assert "no job 'ffffffff'" in project.refused(4, "update", "ffffffff", "-p", "pages=2")
    project.configure()
    assert "its service has it already" in project.refused(5, "update", job, "-p", "pages:=2")
    project.configure({**UPDATE, "delete": {"request": {"path": "/jobs/{server_id}"}}})
    project.ok("delete", job, "--no-sync")
    assert "is being deleted" in project.refused(5, "update", job, "-p", "pages:=2")
    ended = project.ended("other")
    assert "is completed" in project.refused(5, "update", ended, "-p", "pages:=2")
    assert told(service) == []
