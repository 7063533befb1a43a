"""The commands on a PostgreSQL server."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from itertools import pairwise

import pytest
from bouncer import Bouncer
from postgres import Ledger
from psycopg.conninfo import conninfo_to_dict

from tracker.databases import servers
from tracker.databases.postgres import Database


@pytest.fixture
def project(project, new_database):
    """A project whose ledger is on a server."""
    project.use(Ledger(new_database()))
    return project


@pytest.fixture
def bounced(project):
    """The same by way of PgBouncer."""
    one = Bouncer(project.env["TRACKER_DB"])
    project.env["TRACKER_DB"] = one.url
    yield project
    one.close()


@pytest.mark.parametrize("way", ["project", "bounced"], ids=["server", "pgbouncer"])
def test_the_whole_life_of_a_job(way, service, request):
    """B10: a job is submitted, polled, finished, shown and cleaned up on a server by the same
    commands as in a file, also behind a pooler that gives each transaction another connection."""
    project = request.getfixturevalue(way)
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


class Trouble:
    """What may befall a database while it is in use, and be over again. Its user is none that
    limits do not count for."""

    def __init__(self, postgres, url):
        self.run, self.place = postgres.run, conninfo_to_dict(url)
        self.name = self.place["dbname"]
        self.user = f"user_of_{self.name}"
        self.run(f"CREATE ROLE {self.user} LOGIN")
        self.run(f"ALTER DATABASE {self.name} OWNER TO {self.user}")
        self.url = url.replace("//tracker@", f"//{self.user}@")

    def cut(self):
        """End all connections."""
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{self.name}' AND application_name = 'tracker'"
        )

    def begin(self, kind):
        """Have it happen."""
        self.run(f"ALTER {self.acts(kind)[0]}")
        self.cut()

    def end(self, kind):
        """Have it be over. Connections stay as they are."""
        self.run(f"ALTER {self.acts(kind)[1]}")

    def acts(self, kind):
        database = f"DATABASE {self.name}"
        return {
            "full": (
                f"ROLE {self.user} CONNECTION LIMIT 0",
                f"ROLE {self.user} CONNECTION LIMIT 9",
            ),
            "read-only": (
                f"{database} SET default_transaction_read_only = on",
                f"{database} RESET default_transaction_read_only",
            ),
            "closed": (f"{database} ALLOW_CONNECTIONS false", f"{database} ALLOW_CONNECTIONS true"),
            "moved": (
                f"{database} RENAME TO {self.name}_old",
                f"DATABASE {self.name}_old RENAME TO {self.name}",
            ),
        }[kind]

    def close(self):
        self.run(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
        self.run(f"DROP ROLE {self.user}")


@pytest.fixture
def trouble(project, postgres):
    """A ledger of its own for a user of its own."""
    one = Trouble(postgres, postgres.create())
    project.use(Ledger(one.url))
    yield one
    one.close()


TOLD = {
    "full": "has no connection left",
    "read-only": "is read-only",
    "closed": "is not currently accepting connections",
    "moved": "does not exist",
}


@pytest.mark.parametrize("kind", TOLD)
def test_a_server_that_refuses(project, trouble, kind):
    """B10: whatever keeps the server from serving, a command ends with exit 6 and one line that
    says what; once it is over the next command works."""
    project.create()
    trouble.begin(kind)
    done = project.run("add", "docs", "srv-1")
    assert done.code == 6 and TOLD[kind] in done.error
    trouble.end(kind)
    assert project.ok("add", "docs", "srv-1").line


@pytest.mark.parametrize("kind", ["full", "read-only", "closed"])
def test_a_poller_goes_on_after_trouble(project, trouble, service, kind):
    """B10: a poller outlives what may be over soon, and goes on by itself when it is."""
    job = project.add("srv-1")
    poller = project.start("run")
    service.wait_for(2, "GET", "/jobs/srv-1")
    trouble.begin(kind)
    time.sleep(2)  # for as long nothing can be waited for: it has to live
    assert poller.process.poll() is None, poller.end()
    trouble.end(kind)
    service.statuses = ["done"]
    project.until(lambda: project.row(job)["status"] == "completed", timeout=40)
    poller.signal(signal.SIGTERM)
    done = poller.end()
    assert done.code == 0, done


def test_a_database_that_is_dropped(project, trouble, service):
    """B10: what cannot be over soon ends a poller, with exit 6 and one line that says what."""
    project.add("srv-1")
    poller = project.start("run")
    service.wait_for(2, "GET", "/jobs/srv-1")
    trouble.run(f"DROP DATABASE {trouble.name} WITH (FORCE)")
    done = poller.end(40)
    assert done.code == 6 and "does not exist" in done.err.splitlines()[-1], done


def test_connections_that_break_all_the_time(project, trouble, service):
    """B10: a poller whose connections are ended again and again finishes each job once."""
    jobs = [project.add(f"srv-{number}") for number in range(10)]
    service.statuses = ["running"] * 40 + ["done"]
    poller = project.start("run")
    over = "SELECT count(*) AS n FROM processing_jobs WHERE status = 'completed'"
    cuts = 0
    while project.rows(over)[0]["n"] < len(jobs):
        trouble.cut()
        cuts += 1
        assert cuts < 1000 and poller.process.poll() is None, poller.end()
        time.sleep(random.uniform(0.0, 0.3))
    poller.signal(signal.SIGTERM)
    done = poller.end()
    assert done.code == 0, done
    told = Counter((job, kind, str(data)) for job in jobs for kind, data in project.events(job))
    assert set(told.values()) == {1}, told
    assert [kind for _, kind, _ in told].count("job:finalized") == len(jobs)
    assert cuts > 2


def test_a_wrong_password(project, own_postgres):
    """O6, B10: a password that the server refuses is told of at once, in one line without it."""
    url = own_postgres.create()
    own_postgres.run("CREATE ROLE me LOGIN SUPERUSER PASSWORD 'right'")
    rules = own_postgres.folder / "data" / "pg_hba.conf"
    rules.write_text("local all tracker trust\nlocal all all scram-sha-256\n")
    own_postgres.run("SELECT pg_reload_conf()")
    project.env["TRACKER_DB"] = url.replace("//tracker@", "//me:hunter2@")
    done = project.run("list")
    assert done.code == 6 and "password authentication failed" in done.error
    assert "hunter2" not in done.err
    assert project.ok("list", "--db", url.replace("//tracker@", "//me:right@")).out


CONNECTED = """
SELECT count(*) AS n FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'tracker'
"""


def test_connections(project, service):
    """B10: a poller holds one connection, whatever it does, and a command leaves none behind."""
    for number in range(8):
        project.add(f"srv-9{number}")
        project.record({"pages": number})
    poller = project.start("run")
    held = set()
    while service.count("GET", "/result") < 8:
        held.add(project.rows(CONNECTED)[0]["n"])
        if service.count("GET") > 50:
            service.statuses = ["done"]
    held.add(project.rows(CONNECTED)[0]["n"])
    poller.signal(signal.SIGTERM)
    assert poller.end().code == 0 and held <= {0, 1}, held
    for command in (["list"], ["submit", "docs"], ["poll"], ["show", "no-such"], ["health"]):
        project.run(*command)
        project.until(lambda: project.rows(CONNECTED) == [{"n": 0}])


WRONG = """
import os, sys
from tracker import clock
right = clock.now
clock.now = lambda: right() + float(os.environ["OFF"])
from tracker.commands import main
del sys.argv[0]
sys.exit(main())
"""


def test_hosts_whose_clocks_are_wrong(project, service):
    """B10: of two pollers one is an hour early, one an hour late: by the server's clock no job is
    polled before it is due, and all times are right."""
    project.configure({"poll": {"first": "0s", "every": "3s", "max_per_minute": 60}})
    jobs = [project.add(f"srv-9{number}") for number in range(6)]
    program = project.path / "wrong.py"
    program.write_text(WRONG)
    project.prefix = [sys.executable, program]
    pollers = [project.start("run", OFF=off) for off in ("3600", "-3600")]
    for number in range(6):
        service.wait_for(3, "GET", f"/jobs/srv-9{number}$", timeout=40)
    service.statuses = ["done"]
    for job in jobs:
        project.until(lambda job=job: project.row(job)["status"] == "completed", timeout=40)
    for poller in pollers:
        poller.signal(signal.SIGTERM)
        assert poller.end().code == 0
    assert {row["type"] for row in project.rows("SELECT * FROM job_events")}.isdisjoint(
        {"ledger:clock-shifted", "job:stuck"}
    )
    for number in range(6):
        times = [one.at for one in service.requests("GET", f"/jobs/srv-9{number}$")]
        assert min(b - a for a, b in pairwise(times)) > 1.5
    wrong = "SELECT count(*) AS n FROM job_events WHERE abs(extract(epoch FROM now() - at)) > 600"
    assert project.rows(wrong) == [{"n": 0}]


ADDED = """
CREATE TABLE tracker_notes (local_id text PRIMARY KEY, note text);
ALTER TABLE processing_jobs ADD COLUMN colour text, ADD COLUMN weight integer NOT NULL DEFAULT 1;
ALTER TABLE operations ADD COLUMN colour text;
ALTER TABLE job_events ADD COLUMN colour text NOT NULL DEFAULT 'blue';
ALTER TABLE meta ADD COLUMN colour text;
ALTER TABLE pollers ADD COLUMN colour text;
CREATE INDEX processing_jobs_colour ON processing_jobs (colour);
"""


def test_an_upgrade_while_pollers_of_the_version_before_work(project, service, monkeypatch):
    """B10: what a newer version adds to the schema stops nobody: a poller of this one works on
    through its migration, and this version's commands and next pollers work as before."""
    first, later = project.add("srv-99"), project.record({"pages": 1})
    poller = project.start("run")
    service.wait_for(2, "GET", "/jobs/srv-99")
    monkeypatch.setattr(servers, "STEPS", [*servers.STEPS, ("0002_colours", "colours")])
    monkeypatch.setattr(servers, "script", lambda dialect, name: ADDED)
    database = Database(project.env["TRACKER_DB"])
    try:
        assert servers.migrate_server(database).steps == ("0002_colours",)
        assert servers.pending_steps(database) == []
    finally:
        database.close()
    service.wait_for(service.count("GET") + 2, "GET", "/jobs/srv-99")
    service.statuses = ["done"]
    for job in (first, later, project.ok("submit", "docs").line):
        project.until(lambda job=job: project.row(job)["status"] == "completed", timeout=30)
    poller.signal(signal.SIGTERM)
    done = poller.end()
    assert (done.code, done.err) == (0, "")
    last = project.ok("submit", "docs").line
    project.ok("poll")
    assert project.json("show", last)["status"] == "completed"
    assert project.rows("SELECT DISTINCT colour FROM job_events") == [{"colour": "blue"}]
    assert project.json("db", "status")["pending_steps"] == []


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
