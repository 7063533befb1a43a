"""tracker add"""

from __future__ import annotations

import json

from contract import JOB, has_keys


def test_a_running_job_is_tracked(project, service):
    """`add` prints the id of a job that is due at once and calls nobody."""
    job = project.ok("add", "docs", "4711", "--project", "spring").line
    row = project.row(job)
    assert (row["status"], row["server_id"], row["project"]) == ("processing", "4711", "spring")
    assert service.seen == []
    project.ok("poll")
    assert service.count("GET", "^/jobs/4711$") == 1


def test_json(project):
    """`add --json` prints the job, with exactly the keys of every job."""
    job = project.json("add", "docs", "4711", "--type", "ocr", "--session", "s", "--document", "d")
    assert has_keys(job, JOB)
    assert (job["job_type"], job["session_id"], job["document_id"]) == ("ocr", "s", "d")


def test_variables(project, service):
    """-p gives the status call what it needs besides the id; without it nothing is recorded."""
    project.configure({"status": {"request": {"path": "/jobs/{vars.folder}-{server_id}"}}})
    project.create()
    assert "vars.folder" in project.refused(2, "add", "docs", "42")
    job = project.ok("add", "docs", "42", "-p", "folder=a b").line
    assert json.loads(project.row(job)["vars"]) == {"folder": "a b"}
    project.ok("poll")
    assert service.count("GET", "^/jobs/a%20b-42$") == 1


def test_a_job_that_is_tracked_already(project):
    """The same job twice is exit 5, and names the one that is there."""
    job = project.add("4711")
    error = project.refused(5, "add", "docs", "4711")
    assert f"docs:4711 is tracked already as job {job[-8:]}" in error


def test_what_cannot_be_added(project):
    """An unknown service is exit 4; an empty id and a service without a status call are exit 2."""
    project.create()
    assert "did you mean 'docs'" in project.refused(4, "add", "doks", "1")
    assert "the server id is empty" in project.refused(2, "add", "docs", "")
    assert "expected KEY=VALUE" in project.refused(2, "add", "docs", "1", "-p", "x")
    project.configure({"status": None, "result": None})
    assert "has no status call" in project.refused(2, "add", "docs", "1")
