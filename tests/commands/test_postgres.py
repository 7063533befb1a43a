"""The commands on a PostgreSQL server."""

from __future__ import annotations

import signal

import pytest
from postgres import Ledger


@pytest.fixture
def project(project, new_database):
    """A project whose ledger is on a server."""
    project.use(Ledger(new_database()))
    return project


def test_the_whole_life_of_a_job(project, service):
    """B10: a job is submitted, polled, finished, shown and cleaned up on a server by the same
    commands as in a file."""
    service.statuses = ["running", "done"]
    job = project.ok("submit", "docs", "-p", "pages=3").line
    project.ok("wait", job, "--timeout", "20s")
    shown = project.json("show", job)
    assert shown["status"] == "completed" and shown["payload"] == {"pages": "3"}
    assert [one["local_id"] for one in project.json("list")] == [job]
    assert project.ok("poll").out == "nothing due\n"
    assert project.json("cleanup", "--older-than", "0s")["rows_deleted"] == 1
    assert project.json("list") == []


def test_where_it_is(project):
    """`db status` and `db migrate` tell of a database on a server, without its password."""
    url = project.env["TRACKER_DB"].replace("//tracker@", "//tracker:hunter2@")
    done = project.json("db", "migrate", "--db", url)
    assert done["steps"] == ["0001_ledger", "0002_vacuum"] and done["backup"] is None
    found = project.json("db", "status", "--db", url)
    assert found["pending_steps"] == [] and found["bytes"] > 0 and found["postgres"]
    assert "hunter2" not in str(done) + str(found)


def test_no_server(project):
    """O6: without its server a command ends with exit 6 and one line, which holds no password."""
    project.env["TRACKER_DB"] = "postgresql://me:hunter2@127.0.0.1:1/jobs"
    error = project.run("list")
    assert error.code == 6 and "127.0.0.1:1/jobs cannot be reached" in error.error
    assert "hunter2" not in error.err


def test_a_backup(project):
    """`db backup` says what backs up a server."""
    done = project.run("db", "backup", "copy.db")
    assert done.code == 5 and "pg_dump" in done.error


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_of_the_server(project, service, own_postgres, how):
    """B10: pollers carry on by themselves when the server has been restarted under them."""
    project.use(Ledger(own_postgres.create()))
    job = project.add("srv-1")
    poller = project.start("run")
    service.wait_for(3, "GET", "/jobs/srv-1")
    own_postgres.restart(how)
    service.statuses = ["done"]
    project.until(lambda: project.row(job)["status"] == "completed", timeout=40)
    poller.signal(signal.SIGTERM)
    done = poller.end()
    assert done.code == 0, done
    told = [kind for kind, _ in project.events(job)]
    assert told.count("job:finalized") == 1
