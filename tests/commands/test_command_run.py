"""tracker run"""

from __future__ import annotations

import signal
import time

import pytest
from contract import SUMMARY, has_keys
from service import Hang


def test_sigterm(project, service):
    """`run` polls until SIGTERM, then lets what is in flight end, writes it, releases the rest,
    says what it did and exits 0."""
    project.configure({"concurrency": 1})
    service.scripts["srv-1"] = ["running", "running", Hang("running")]
    first = project.add("srv-1")
    command = project.start("run")
    service.wait_for(3, "GET")
    second = project.add("srv-2")
    command.signal(signal.SIGTERM)
    service.release()
    done = command.end()
    assert (done.code, done.out) == (0, "3 polled\n")
    assert project.row(first)["poll_count"] == 3
    assert project.row(second)["poll_count"] == 0
    claims = project.rows("SELECT claimed_by, lease_until FROM processing_jobs")
    assert claims == [{"claimed_by": None, "lease_until": None}] * 2
    assert project.rows("SELECT * FROM pollers") == []
    [run] = project.rows("SELECT kind, polled FROM poll_runs")
    assert run == {"kind": "run", "polled": 3}


def test_ctrl_c(project, service):
    """Ctrl-C ends a `run` in the same way, with 130."""
    service.statuses = ["running", Hang("done")]
    project.configure({"result": None})
    job = project.add()
    command = project.start("run")
    service.wait_for(2, "GET")
    command.signal(signal.SIGINT)
    service.release()
    done = command.end()
    assert done.code == 130
    assert project.row(job)["poll_count"] == 2


def test_what_ends_last_is_counted(project, service):
    """A job that ends with the last reply before the stop is in the summary too."""
    service.statuses = [Hang("error")]
    project.add()
    command = project.start("run")
    service.wait_for(1, "GET")
    command.signal(signal.SIGTERM)
    time.sleep(0.1)  # the signal is there before the reply is
    service.release()
    assert command.end().out == "1 polled, 1 failed\n"


def test_json(project, service):
    """`run --json` prints, when it ends, the same document as `poll --json`."""
    project.add()
    command = project.start("run", "--json")
    service.wait_for(1, "GET")
    command.signal(signal.SIGTERM)
    done = command.end()
    assert done.code == 0
    assert has_keys(done.json, SUMMARY)
    assert done.json["stopped"] is True


def test_quiet(project, service):
    """`run --quiet` prints nothing."""
    project.add()
    command = project.start("run", "--quiet")
    service.wait_for(2, "GET")
    command.signal(signal.SIGTERM)
    assert command.end() == (0, "", "")


def test_it_sees_what_others_write(project, service):
    """A `run` that has nothing to do takes up a job that another process records, at once."""
    service.statuses = ["done"]
    command = project.start("run")
    project.until(project.dump)
    job = project.record()
    project.until(lambda: project.row(job)["status"] == "completed", 5)
    command.signal(signal.SIGTERM)
    assert command.end().code == 0


def test_a_whole_life(project, service):
    """Submission, polls, result and end: a `run` alone brings a job from record to result."""
    service.statuses = ["queued", "running", "done"]
    job = project.record({"language": "en"})
    command = project.start("run")
    project.until(lambda: project.row(job)["status"] == "completed")
    command.signal(signal.SIGTERM)
    assert command.end().out == "1 submitted, 3 polled, 1 completed\n"
    types = [type_ for type_, _ in project.events(job)]
    assert types.count("job:finalized") == 1
    assert types[0] == "job:created"


def test_only_some_services(project):
    """An unknown --service is exit 4 before anything is polled."""
    project.create()
    assert "did you mean 'docs'" in project.refused(4, "run", "--service", "dogs")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_hanging_service_does_not_hold_it(project, service, number):
    """Told to stop while a service hangs, `run` ends within its grace and gives the claim back."""
    project.configure({"timeout": "2s"})
    service.statuses = [Hang()]
    job = project.add()
    command = project.start("run")
    service.wait_for(1, "GET")
    command.signal(number)
    assert command.end(14).code == (130 if number == signal.SIGINT else 0)
    row = project.row(job)
    assert (row["status"], row["claimed_by"]) == ("processing", None)
