"""tracker poll"""

from __future__ import annotations

import signal
import time

from contract import SUMMARY, has_keys
from service import Answer, Hang

SLOWLY = {"poll": {"first": "1h", "every": "1h", "max_per_minute": 6000}}


def test_what_is_due_is_polled(project, service):
    """`poll` calls each due job once, says in one line what it did, and exits 0."""
    jobs = [project.add(f"srv-{number}") for number in range(3)]
    service.scripts["srv-2"] = ["done"]
    assert project.ok("poll").line == "3 polled, 1 completed"
    assert [project.row(job)["status"] for job in jobs] == ["processing", "processing", "completed"]
    assert service.count("GET", "^/jobs/srv-.$") == 3


def test_nothing_due(project, service):
    """With nothing due `poll` says so, calls nobody and exits 0."""
    assert project.ok("poll").line == "nothing due"
    assert service.seen == []


def test_json(project):
    """`poll --json` prints what was done, with exactly these keys."""
    project.add()
    summary = project.json("poll")
    assert has_keys(summary, SUMMARY)
    assert (summary["polled"], summary["stepped_back_for"], summary["stopped"]) == (1, None, False)


def test_quiet(project, service):
    """`--quiet` prints nothing: not for a completion, not for a failing service, not for none."""
    project.configure({"result": None})
    project.add("srv-1")
    project.add("srv-2")
    service.scripts = {"srv-1": ["done"], "srv-2": [Answer("oops", 500)]}
    for _ in range(2):
        done = project.ok("poll", "--quiet")
        assert (done.out, done.err) == ("", "")
    assert project.rows("SELECT max(retry_count) AS n FROM processing_jobs")[0]["n"] >= 1


def test_a_pass_ends(project, service):
    """A pass handles what was due when it began, however soon the jobs are due again."""
    project.configure({"poll": {"every": "1ms"}})
    for number in range(5):
        project.add(f"srv-{number}")
    assert project.ok("poll").line == "5 polled"
    assert service.count() == 5


def test_for_a_time(project, service):
    """`--for` goes on with what becomes due in that time, and ends with it."""
    service.scripts["srv-1"] = ["running", "running", "running", "done"]
    job = project.add()
    began = time.monotonic()
    assert "1 completed" in project.ok("poll", "--for", "3s").line
    assert 3 <= time.monotonic() - began < 10
    assert project.row(job)["poll_count"] == 4


def test_some_services(project, service):
    """--service serves only those; --limit bounds the number of polls."""
    other = {"base_url": service.url, "rate": "unlimited"}
    other |= {"status": {"request": {"path": "/jobs/{server_id}"}, "state": "body.status"}}
    project.configure(SLOWLY, services={"other": {**other, "states": {"completed": ["done"]}}})
    with project.tracker() as tracker:
        for number in range(3):
            tracker.add("docs", f"docs-{number}")
            tracker.add("other", f"other-{number}")
    assert project.ok("poll", "--service", "other").line == "3 polled"
    assert service.count("GET", "docs-") == 0
    assert project.ok("poll", "--limit", "2").line == "2 polled"
    assert service.count("GET", "docs-") == 2
    assert "did you mean 'other'" in project.refused(4, "poll", "--service", "othr")


def test_one_job_now(project, service):
    """`poll JOB` polls that job now, due or not, and no other."""
    project.configure(SLOWLY)
    one, other = project.attempted(), project.attempted()
    assert project.row(one)["next_poll_at"] > project.row(one)["accepted_at"]
    assert project.ok("poll", one[-8:]).line == "1 polled"
    assert project.row(one)["poll_count"] == 1
    assert project.row(other)["poll_count"] == 0
    assert service.count("GET") == 1


def test_a_finished_job_now(project, service):
    """`poll JOB` of a job that has ended does nothing, at once, and exits 0."""
    job = project.ended()
    assert project.ok("poll", job).line == "nothing due"
    assert service.seen == []
    assert project.refused(4, "poll", "ffffffff") == "no job 'ffffffff' (see: tracker list)"


def test_a_pending_job_now(project):
    """`poll JOB` of a job that was not submitted yet submits it."""
    job = project.record()
    project.ok("poll", job)
    assert project.row(job)["server_id"] == "srv-1"


def test_a_job_that_is_done_now(project, service):
    """`poll JOB` of a job that turns out to be done also brings its result home."""
    service.statuses = ["done"]
    job = project.add()
    project.ok("poll", job)
    assert project.row(job)["status"] == "completed"


def test_one_job_now_while_all_is_paused(project):
    """`poll JOB` while all polling is paused says so instead of waiting."""
    job = project.add()
    project.ok("pause")
    done = project.run("poll", job, timeout=4)
    assert "paused" in done.out + done.err


def test_one_job_now_without_its_service(project):
    """`poll JOB` of a job whose service the configuration no longer has says so, at once."""
    job = project.add()
    project.configure(services={"docs": None})
    done = project.run("poll", job, timeout=4)
    assert done.code in (2, 4) and "docs" in done.error


def test_stepping_back(project, service):
    """Beside a living `run` a `poll` does nothing and says for whom; with --overlap it polls."""
    project.configure({"concurrency": 1, "timeout": "60s"})
    service.scripts["srv-1"] = [Hang()]
    project.add("srv-1")
    held = project.add("srv-2")
    runner = project.start("run")
    service.wait_for(1, "GET")
    assert project.row(held)["claimed_by"]
    job = project.add("srv-3")
    told = project.ok("poll").line
    expected = f"nothing done: another poller is at work (pid {runner.process.pid} on "
    assert told.startswith(expected)
    assert project.json("poll")["stepped_back_for"].startswith(f"pid {runner.process.pid} on ")
    assert project.ok("poll", "--for", "500ms", "--quiet").out == ""
    assert project.row(job)["poll_count"] == 0
    assert project.ok("poll", "--overlap").line == "1 polled"
    assert service.count("GET", "srv-1$") == 1


def test_a_run_for_another_service(project, service):
    """A `run` that serves only one service does not keep `poll` from the others."""
    project.configure(
        services={"other": {"base_url": service.url, "create": {
            "request": {"path": "/jobs"}, "server_id": "body.job_id"}}}
    )  # fmt: skip
    with project.tracker() as tracker:
        tracker.submit("other", sync=False)
    service.creates = [Hang()]
    project.start("run", "--service", "other")
    service.wait_for(1, "POST")
    job = project.add()
    project.ok("poll")
    assert project.row(job)["poll_count"] == 1


def test_a_poller_that_was_killed(project, service):
    """What a killed poller had in hand is polled by the next pass, within seconds."""
    service.scripts["srv-1"] = [Hang(), "done"]
    job = project.add()
    first = project.start("poll")
    service.wait_for(1, "GET")
    first.signal(signal.SIGKILL)
    first.end()
    assert project.row(job)["claimed_by"]
    began = time.monotonic()
    project.ok("poll")
    assert project.row(job)["status"] == "completed"
    assert time.monotonic() - began < 6


def test_ctrl_c(project, service):
    """Ctrl-C lets what is in flight end, writes it, releases the rest and exits 130."""
    project.configure({"concurrency": 1, "result": None})
    service.scripts["srv-1"] = [Hang("done")]
    first, second = project.add("srv-1"), project.add("srv-2")
    command = project.start("poll")
    service.wait_for(1, "GET")
    command.signal(signal.SIGINT)
    time.sleep(0.1)  # the signal is on its way before the reply is
    service.release()
    done = command.end()
    assert done.code == 130
    assert done.out.startswith("1 polled")
    assert project.row(first)["status"] == "completed"
    assert (project.row(second)["poll_count"], project.row(second)["claimed_by"]) == (0, None)
    assert project.rows("SELECT * FROM pollers") == []


def test_a_second_ctrl_c(project, service):
    """A second Ctrl-C does not wait: exit 130 at once, with nothing lost."""
    service.statuses = [Hang()]
    job = project.add()
    command = project.start("poll")
    service.wait_for(1, "GET")
    for _ in range(2):
        command.signal(signal.SIGINT)
        time.sleep(0.3)  # two signals at once are one
    done = command.end(3)
    assert done.code == 130
    assert "interrupted" in done.err
    row = project.row(job)
    assert (row["status"], row["claimed_by"]) == ("processing", None)


def test_one_line_for_ctrl_c(project, service):
    """An interrupted command says so in exactly one line."""
    service.statuses = [Hang()]
    project.add()
    command = project.start("events", "--follow")
    command.line()
    command.signal(signal.SIGINT)
    assert command.end().error.startswith("interrupted")


def test_one_bad_job(project, service):
    """A job whose call cannot be built, and one whose row was spoilt, do not keep a third from
    being polled."""
    jobs = [project.add(f"srv-{number}") for number in range(3)]
    project.configure({"status": {"request": {"path": "/jobs/{vars.place}"}}})
    with project.tracker() as tracker:
        jobs.append(tracker.add("docs", "good", variables={"place": "good"}).local_id)
    spoilt = "7" if project.server else "{"  # a column of JSON holds nothing else
    project.write("UPDATE processing_jobs SET payload = ? WHERE local_id = ?", spoilt, jobs[0])
    done = project.ok("poll")
    assert "4 polled" in done.out
    assert project.row(jobs[3])["remote_state"] == "running"
    assert "vars.place" in project.row(jobs[1])["last_error"]
    assert [project.row(job)["status"] for job in jobs] == ["processing"] * 4


def test_a_service_that_is_down(project, service):
    """A service that cannot be reached is left alone: exit 0, one probe, and the jobs go on."""
    service.close()
    jobs = [project.add(f"srv-{number}") for number in range(20)]
    project.ok("poll")
    rows = [project.row(job) for job in jobs]
    assert {row["status"] for row in rows} == {"processing"}
    assert {row["claimed_by"] for row in rows} == {None}
    assert project.ok("poll").out == "nothing due\n"
    [budget] = project.rows("SELECT paused_until, paused_why FROM budgets")
    assert budget["paused_until"]
    assert "refused" in budget["paused_why"]
