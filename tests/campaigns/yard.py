"""A yard to break things in: a ledger, a service in its own process, the installed `tracker`."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from postgres import Ledger
from warm import FORKED, warm

from tracker import Tracker, ids
from tracker.model import ProcessingJob, Status
from tracker.store import open_store, server_key

FULL = os.environ.get("TRACKER_CAMPAIGN") == "full"
"""Whether the whole campaigns are asked for, or the samples that every `pytest` runs."""

BESIDE = Path(sys.executable).with_name("tracker")
COMMAND = str(BESIDE if BESIDE.exists() else shutil.which("tracker"))
PATIENCE = 60.0  # seconds after which a test is broken, not slow

QUICK: dict[str, Any] = {
    "idempotency": "header",
    "concurrency": 8,
    "rate": "unlimited",
    "timeout": "8s",
    "poll": 'first = "100ms"\nevery = "300ms"\nmax_per_minute = 600\n'
    'backoff = { base = "200ms", cap = "1s" }',
    "retry": 'base = "200ms"\ncap = "1s"\nattempts = 100',
    "upload": "false",
    "keep": "auto",
    "storage": "",
    "body": '{ marker = "{payload.marker}" }',
    "versions": "",
    "more": "",
}
"""A service whose jobs are over in seconds."""

SERVICE = """
[services.%(name)s]
base_url = "http://127.0.0.1:%(port)d"
rate = "%(rate)s"
concurrency = %(concurrency)d
timeout = "%(timeout)s"
[services.%(name)s.poll]
%(poll)s
[services.%(name)s.retry]
%(retry)s
[services.%(name)s.create]
request = { method = "POST", path = "/jobs", json = %(body)s }
idempotency = "%(idempotency)s"
server_id = "body.job_id"
upload = %(upload)s
[services.%(name)s.status]
request = { path = "/jobs/{server_id}" }
state = "body.status"
error = "body.error"
%(versions)s
[services.%(name)s.states]
processing = ["running"]
completed = ["done"]
failed = ["error"]
cancelled = ["cancelled"]
[services.%(name)s.result]
request = { path = "/jobs/{server_id}/result" }
keep = "%(keep)s"
%(more)s
"""


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """What `condition` returns as soon as that is true; fails after `patience` seconds."""
    latest = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < latest, f"waited {patience:g} s for: {what}"
        time.sleep(0.02)
    return found


def _environment() -> dict[str, str]:
    """What commands see: nothing that is said of Tracker to the tests."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("TRACKER_")
    }


def listens(process: subprocess.Popen[str]) -> bool:
    """Whether a process has a handler for SIGTERM by now, or has ended."""
    if process.poll() is not None:
        return True
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


class Service:
    """`service.py` in its own process."""

    def __init__(self, **knobs: Any) -> None:
        script = str(Path(__file__).with_name("service.py"))
        self._process = subprocess.Popen(
            [sys.executable, script, json.dumps(knobs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self._control = int(self._process.stdout.readline())

    def record(self) -> dict[str, Any]:
        """All calls so far."""
        return self._ask("GET", "/_record")

    def turn(self, **knobs: Any) -> None:
        """Set knobs."""
        self._ask("POST", "/_knobs", knobs)

    def go_down(self) -> None:
        """Close the port for jobs and cut all connections."""
        self.turn(down=True)

    def come_up(self) -> None:
        """Open it again."""
        self.turn(down=False)

    def make(self, count: int) -> list[str]:
        """The ids of `count` new jobs."""
        return list(self._ask("POST", "/_jobs", {"count": count})["jobs"])

    def polls_of(self) -> dict[str, list[float]]:
        """When each job was asked for, by job."""
        found: dict[str, list[float]] = {}
        for at, job in self.record()["polls"]:
            found.setdefault(job, []).append(at)
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=PATIENCE)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


class Yard:
    """One ledger in a folder, with all commands that were started on it."""

    def __init__(self, folder: Path, service: Service, server: Ledger | None = None) -> None:
        self.folder, self.service, self.server = folder, service, server
        self.file = folder / "tracker.db"
        self.ledger: Path | str = server.url if server else str(self.file)
        self._started: list[subprocess.Popen[str]] = []
        self.configure()

    def configure(self, *names: str, **settings: Any) -> None:
        """Write the configuration: services called `names` (default: mill), `settings` over those
        of `QUICK`."""
        values = {**QUICK, **settings, "port": self.service.port}
        services = [SERVICE % {**values, "name": name} for name in names or ("mill",)]
        place = 'database = "tracker.db"\n'
        if self.server:
            place = f'database = "{self.ledger}"\nfolder = "tracker.db.files"\n'
        text = place + values["storage"] + "".join(services)
        (self.folder / "tracker.toml").write_text(text)

    def start(self, *arguments: str, program: Sequence[str] = (COMMAND,)) -> subprocess.Popen[str]:
        """The command `tracker`, or another `program`, running; see `said` for its output."""
        count = len(self._started)
        out, err = (self.folder / f"{count}.{end}" for end in ("out", "err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                [*program, *arguments],
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                text=True,
            )
        process.number = count  # type: ignore[attr-defined]
        self._started.append(process)
        return process

    def said(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """Standard output and error of a command so far."""
        number = process.number  # type: ignore[attr-defined]
        out, err = (self.folder / f"{number}.{end}" for end in ("out", "err"))
        return out.read_text(), err.read_text()

    def run(self, *arguments: str, code: int = 0) -> str:
        """The standard output of a command that ends with `code`: the installed one, or a fork
        that does what that does."""
        if FORKED:
            command = warm().start(arguments, self.folder, _environment())
            out, err = command.communicate(PATIENCE)
            assert command.returncode == code, (out, err)
            return out.decode()
        process = self.start(*arguments)
        assert process.wait(PATIENCE) == code, self.said(process)
        return self.said(process)[0]

    def stop(self, process: subprocess.Popen[str], patience: float = 15.0) -> int:
        """End a command politely, once it listens to that; its exit code."""
        wait_for(lambda: listens(process), "a handler for SIGTERM")
        process.send_signal(signal.SIGTERM)
        return process.wait(patience)

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait(PATIENCE)

    # The ledger, read past the program.

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        if self.server:
            return self.server.tuples(sql, parameters)
        connection = sqlite3.connect(self.ledger, timeout=PATIENCE)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def write(self, sql: str) -> None:
        """Change the ledger by hand."""
        if self.server:
            return self.server.write(sql)
        with closing(sqlite3.connect(self.ledger, timeout=PATIENCE)) as connection, connection:
            connection.execute(sql)

    def submit(self, count: int, service: str = "mill") -> None:
        """Record `count` jobs, marked m0, m1 …, without attempting them."""
        with (
            Tracker(self.folder / "tracker.toml") as tracker,
            tracker.store.database.transaction(),
        ):
            for number in range(count):
                tracker.submit(service, {"marker": f"m{number}"}, sync=False)

    def adopt(self, jobs: Iterable[str]) -> None:
        """Put jobs that run at the service on record, all due now, in one transaction."""
        store = open_store(self.ledger)
        try:
            with store.database.transaction():
                for server_id in jobs:
                    job = ProcessingJob(ids.new_id(), "mill", Status.PROCESSING, server_id)
                    store.adopt(job, server_key("mill", server_id), 0.0)
        finally:
            store.close()

    def make_old(self, rows: int) -> None:
        """Replace the ledger by one of an older version, with running jobs."""
        for path in self.folder.glob("tracker.db*"):
            path.unlink()
        connection = sqlite3.connect(self.ledger)
        with closing(connection), connection:
            connection.execute(
                "CREATE TABLE processing_jobs (job_id TEXT PRIMARY KEY, job_type TEXT NOT NULL,"
                " status TEXT NOT NULL, initiated_at TEXT NOT NULL,"
                " estimated_completion_seconds INTEGER, completed_at TEXT,"
                " result_content_id TEXT, error_message TEXT)"
            )
            connection.executemany(
                "INSERT INTO processing_jobs (job_id, job_type, status, initiated_at)"
                " VALUES (?, 'x', 'processing', '2024-01-01T00:00:00')",
                [(f"old-{number}",) for number in range(rows)],
            )
            connection.execute("PRAGMA user_version = 1")

    def settle_down(self, patience: float = PATIENCE) -> None:
        """Serve until nothing runs and nothing is owed that may be sent."""
        latest = time.monotonic() + patience
        self.run("poll", "--overlap", "--quiet")
        while not self.is_quiet():
            assert time.monotonic() < latest, self.statuses()
            self.run("poll", "--overlap", "--quiet", "--for", "500ms")

    def is_quiet(self) -> bool:
        """Whether all that is left is over or in doubt."""
        return not self.rows(
            "SELECT 1 FROM processing_jobs WHERE status IN ('processing', 'retrieving')"
            " UNION ALL SELECT 1 FROM operations WHERE state = 'pending'"
        )

    def statuses(self) -> Counter[str]:
        """How many jobs there are by status."""
        return Counter(row[0] for row in self.rows("SELECT status FROM processing_jobs"))

    def holders(self) -> dict[int, int]:
        """How many running jobs each living poller holds, by process id."""
        return dict(
            self.rows(
                "SELECT pid, count(*) FROM processing_jobs JOIN pollers ON claimed_by = pollers.id"
                " WHERE status = 'processing' GROUP BY pid"
            )
        )

    def held_by(self, pids: Iterable[int]) -> set[str]:
        """The service's ids of the running jobs that these processes hold."""
        marks = ",".join(str(pid) for pid in pids)
        return {
            row[0]
            for row in self.rows(
                "SELECT server_id FROM processing_jobs JOIN pollers ON claimed_by = pollers.id"
                f" WHERE status = 'processing' AND pid IN ({marks})"
            )
        }

    def is_whole(self) -> bool:
        """Whether the database says so of itself."""
        return bool(self.server) or self.rows("PRAGMA integrity_check") == [("ok",)]

    def check(self) -> None:
        """What holds for every ledger that has come to rest: it is whole, every finished job was
        finished once, with one result if it completed, and nobody holds anything."""
        assert self.is_whole()
        finalized = Counter(
            row[0]
            for row in self.rows("SELECT local_id FROM job_events WHERE type = 'job:finalized'")
        )
        results = Counter(row[0] for row in self.rows("SELECT local_id FROM contents"))
        for local_id, status in self.rows("SELECT local_id, status FROM processing_jobs"):
            over = status in ("completed", "failed", "cancelled")
            assert finalized[local_id] == over, (local_id, status, finalized[local_id])
            assert results[local_id] == (status == "completed"), (local_id, status)
        held = "SELECT {} FROM {} WHERE claimed_by IS NOT NULL"
        assert self.rows(held.format("local_id, status", "processing_jobs")) == []
        assert self.rows(held.format("local_id, kind, state", "operations")) == []
