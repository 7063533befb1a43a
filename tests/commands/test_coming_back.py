"""What was away and is back is used at once, not when the next probe would be due."""

from __future__ import annotations

import json
import signal

import pytest
from service import Answer, JobService

PAUSES = "SELECT paused_until, pause_count, fault FROM budgets WHERE service = 'docs'"


def put_off(project):
    """The next probe of the service is due in an hour."""
    project.write("UPDATE budgets SET paused_until = '2999-01-01T00:00:00.000Z'")
    assert project.rows(PAUSES)[0]["pause_count"] > 0


def other(service):
    """Another service, which is there all the time."""
    status = {"request": {"path": "/other/{server_id}"}, "state": "body.status"}
    states = {"processing": ["running"], "completed": ["done"]}
    return {"other": {"base_url": service.url, "status": status, "states": states}}


def run(project, service):
    """A running poller, which is at work: on a job of another service."""
    with project.tracker() as tracker:
        tracker.add("other", "x")
    runner = project.start("run")
    service.wait_for(1, "GET", "/other/x")
    return runner


@pytest.fixture
def signed_out(project, service, tmp_path):
    """A job is owed to a service whose credentials are not there, and which is paused for that."""
    auth = {"bearer": f"file:{tmp_path / 'token'}"}
    project.configure({"auth": auth}, services=other(service))
    job = project.record()
    project.ok("poll")
    assert project.rows(PAUSES)[0]["fault"] == "signed_out"
    put_off(project)
    return job


def test_signing_in(project, service, signed_out, tmp_path):
    """J14: a running poller submits as soon as the credentials are there."""
    run(project, service)
    (tmp_path / "token").write_text("secret-token")
    service.wait_for(1, "POST")
    [create] = [seen for seen in service.seen if seen.method == "POST"]
    assert create.headers["authorization"] == "Bearer secret-token"


def test_signed_in_before_the_pass(project, service, signed_out, tmp_path):
    """J14: a single pass finds them too."""
    (tmp_path / "token").write_text("secret-token")
    assert "1 submitted" in project.ok("poll").line


def test_signed_out_still(project, service, signed_out):
    """J12: while there are none nobody is called, nothing is burnt and the pause stays."""
    assert project.ok("poll").line == "nothing due"
    assert service.seen == []
    assert project.rows("SELECT attempts FROM operations") == [{"attempts": 0}]
    assert project.rows(PAUSES)[0]["paused_until"].startswith("2999")


def test_other_credentials_after_a_401(project, service, tmp_path):
    """J14: credentials that were refused are not tried again and again; others are at once."""
    token = tmp_path / "token"
    token.write_text("the-old-token")
    project.configure({"auth": {"bearer": f"file:{token}"}})
    service.creates = [
        lambda seen: Answer("no", 401) if "old" in seen.headers["authorization"] else "accepted"
    ]
    project.record()
    project.start("run")
    service.wait_for(1, "POST")
    project.until(lambda: project.rows(PAUSES))
    put_off(project)
    refused = service.count("POST")
    project.until(lambda: project.rows("SELECT 1 FROM pollers WHERE seen_at > started_at"))
    assert service.count("POST") == refused
    token.write_text("the-new-token")
    service.wait_for(refused + 1, "POST")
    assert project.until(lambda: project.rows("SELECT 1 FROM jobs WHERE server_id <> ''"))


@pytest.fixture
def away(project, service):
    """A job is owed to a service that could not be reached, and is not to be probed soon."""
    project.configure({"base_url": "http://127.0.0.1:9"})
    project.record()
    project.ok("poll")
    assert project.rows(PAUSES)[0]["fault"] == "unreachable"
    put_off(project)
    project.configure({"base_url": service.url}, services=other(service))


def test_a_signal(project, service, away):
    """J14: SIGUSR1 has a running poller try at once who could not be reached."""
    runner = run(project, service)
    assert service.count("POST") == 0
    runner.process.send_signal(signal.SIGUSR1)
    service.wait_for(1, "POST")


def test_resume(project, service, away):
    """J14: so does `tracker resume`, by the next pass; who asked to be left alone is."""
    assert project.ok("resume").line == "resumed"
    assert "1 submitted" in project.ok("poll").line
    project.write("UPDATE budgets SET fault = 'throttled', pause_count = 1")
    put_off(project)
    assert project.ok("resume").line == "it was not paused"


def test_one_probe_first(project, service, away):
    """J12: whoever is back is asked by one call first, not by all that is owed."""
    for _ in range(5):
        project.record()
    other = JobService()
    other.close()
    project.configure({"base_url": other.url})
    project.ok("resume")
    assert json.loads(project.ok("poll", "--json").out)["errors"] == 1
