"""tracker wait"""

from __future__ import annotations

import signal
import time

import pytest
from contract import JOB, has_keys
from service import Answer, Hang


def test_all_completed(project, service):
    """`wait` polls its jobs until all have completed: exit 0, a row each, results at home."""
    service.statuses = ["queued", "running", "done"]
    jobs = [project.record(), project.add("srv-7")]
    done = project.ok("wait", *jobs)
    heading, *rows = done.out.splitlines()
    assert heading == "JOB\tSERVICE\tSTATUS\tDOCUMENT\tERROR"
    assert [row.split("\t")[:3] for row in rows] == [
        [job[-8:], "docs", "completed"] for job in jobs
    ]
    assert project.ok("show", jobs[0], "--result").json["pages"] == 3


def test_json(project):
    """`wait --json` prints the jobs, each with exactly the keys of every job."""
    [job] = project.json("wait", project.ended())
    assert has_keys(job, JOB)
    assert job["status"] == "completed"


@pytest.mark.parametrize("word", ["error", "timeout", "cancelled"])
def test_one_that_did_not_complete(project, service, word):
    """One job that ended in any other way makes it exit 1, after all have ended."""
    project.configure({"result": None})
    service.scripts = {
        "bad": ["running", {"status": word, "error": {"message": "too many pages"}}],
        "good": ["running", "running", "running", "done"],
    }
    jobs = [project.add("bad"), project.add("good")]
    done = project.run("wait", *jobs)
    assert done.code == 1
    assert [project.row(job)["status"] for job in jobs][1] == "completed"
    assert "Processing timeout" in done.out if word == "timeout" else "too many pages" in done.out


def test_not_in_time(project):
    """After --timeout: exit 3 and one line that says which jobs go on; the jobs do."""
    job = project.add()
    began = time.monotonic()
    done = project.run("wait", job, "--timeout", "700ms")
    assert done.code == 3 and done.out == ""
    assert 0.7 <= time.monotonic() - began < 4
    assert "1 of 1 jobs did not end within 0.7 s" in done.error and job[-8:] in done.error
    row = project.row(job)
    assert (row["status"], row["claimed_by"]) == ("processing", None)


def test_what_has_ended_already(project, service):
    """Jobs that have ended need no call: 0 or 1 at once."""
    assert project.run("wait", project.ended("a")).code == 0
    assert project.run("wait", project.ended("b", failed=True)).code == 1
    assert service.seen == []


def test_quiet(project):
    """`--quiet` prints nothing but errors."""
    assert project.run("wait", "--quiet", project.ended()) == (0, "", "")


def test_a_create_that_was_refused(project, service):
    """A job whose create the service refused ends the wait with 1: nothing more will happen."""
    service.creates = [Answer({"message": "no"}, 400)]
    assert project.run("wait", project.record(), timeout=10).code == 1


def test_beside_another_poller(project, service):
    """Beside a `run` that polls the same job both see the end, and the job is polled by one
    at a time."""
    project.configure({"poll": {"every": "100ms"}})
    service.scripts["srv-1"] = ["running"] * 8 + ["done"]
    job = project.add()
    runner = project.start("run")
    service.wait_for(1, "GET")
    assert project.run("wait", job).code == 0
    assert service.count("GET", "^/jobs/srv-1$") == 9
    assert service.count("GET", "result$") == 1
    runner.signal(signal.SIGTERM)
    runner.end()
    types = [type_ for type_, _ in project.events(job)]
    assert types.count("job:finalized") == 1


def test_while_another_poller_holds_it(project, service):
    """A job that another poller has in hand is waited for, not called twice."""
    service.statuses = [Hang("done")]
    project.configure({"result": None})
    job = project.add()
    other = project.start("poll")
    service.wait_for(1, "GET")
    waiting = project.start("wait", job)
    project.until(lambda: project.rows("SELECT 1 FROM pollers"))
    service.release()
    assert waiting.end().code == 0
    assert other.end().code == 0
    assert service.count("GET") == 1


def test_unknown_jobs(project):
    """One job that there is not is exit 4, before any is polled."""
    job = project.add()
    assert "no job 'ffffffff'" in project.refused(4, "wait", job, "ffffffff")


def test_ctrl_c(project, service):
    """Ctrl-C ends the wait with 130, after the call that is in flight."""
    service.statuses = [Hang("running")]
    job = project.add()
    command = project.start("wait", job)
    service.wait_for(1, "GET")
    command.signal(signal.SIGINT)
    service.release()
    assert command.end().code == 130
    row = project.row(job)
    assert (row["poll_count"], row["claimed_by"]) == (1, None)


def test_sigterm(project, service):
    """A wait that was told to stop before its jobs completed exits 143, not 0."""
    service.statuses = [Hang("running")]
    command = project.start("wait", project.add())
    service.wait_for(1, "GET")
    command.signal(signal.SIGTERM)
    service.release()
    assert command.end().code == 143
