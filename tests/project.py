"""A folder in which the command `tracker` is used, with what there is to be seen of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from postgres import Ledger
from s3server import S3Server
from warm import FORKED, Forked, warm

from tracker import Tracker

TRACKER = Path(sys.executable).with_name("tracker")

DOCS: dict[str, Any] = {
    "rate": "unlimited",
    "timeout": "5s",
    "poll": {
        "first": "0s",
        "every": "20ms",
        "max_per_minute": 6000,
        "backoff": {"base": "20ms", "cap": "50ms"},
    },
    "retry": {"base": "20ms", "cap": "50ms", "attempts": 3},
    "create": {
        "request": {
            "path": "/jobs",
            "json": {"language": "{payload.language?}", "pages": "{payload.pages?}"},
        },
        "idempotency": "header",
        "server_id": "body.job_id",
    },
    "status": {
        "request": {"path": "/jobs/{server_id}"},
        "state": "body.status",
        "progress": "body.progress",
        "error": "body.error.message",
    },
    "states": {
        "processing": ["queued", "running"],
        "completed": ["done"],
        "failed": ["error"],
        "timeout": ["timeout"],
        "cancelled": ["cancelled"],
    },
    "result": {
        "request": {"path": "/jobs/{server_id}/result"},
        "content_id": "body.content_id",
    },
}
"""A service with short intervals; `Project.configure` merges a test's own settings over it."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line on standard output."""
        [line] = self.out.splitlines()
        return line

    @property
    def error(self) -> str:
        """The one line that an error is, after `tracker: `."""
        [line] = self.err.splitlines()
        assert line.startswith("tracker: ") and self.err.endswith("\n"), self.err
        return line.removeprefix("tracker: ")


class Running:
    """A command that has not ended."""

    def __init__(self, process: subprocess.Popen[bytes] | Forked) -> None:
        self.process = process

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def line(self) -> str:
        """The next line of its standard output, as soon as it is there."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def end(self, timeout: float = 20) -> Done:
        """Wait until it has ended."""
        out, err = self.process.communicate(timeout=timeout)
        return _done(self.process.returncode, out, err)


class Project:
    """``run`` and its relatives start the command as a shell would, in this folder, with an
    environment that says nothing of Tracker."""

    command = TRACKER
    installed = not FORKED
    """Whether to start what is installed; else a fork does what that does (`warm.py`)."""
    server: Ledger | None = None
    """Where the ledger is, if not in a file."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        self.home = path.with_name("home")
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
        }
        self.prefix: Sequence[str] = ()
        self._started: list[Running] = []
        path.mkdir()
        self.home.mkdir()

    @property
    def toml(self) -> Path:
        """The configuration."""
        return self.path / "tracker.toml"

    @property
    def db(self) -> Path:
        """The database."""
        return self.path / "tracker.db"

    def configure(self, docs: dict[str, Any] | None = None, **top: Any) -> None:
        """Write tracker.toml: `docs` is merged over the service `docs`, `top` over the rest;
        ``None`` removes a key."""
        service = _merged({"base_url": self.url, **deepcopy(DOCS)}, docs or {})
        # Where it is beside a file; two ledgers on one server are no reason to share it.
        place = {"database": self.server.url, "folder": "tracker.db.files"} if self.server else {}
        tables = _merged({**place, "services": {"docs": service}}, top)
        lines = [f"{key} = {_toml(value)}\n" for key, value in tables.items()]
        self.toml.write_text("".join(lines), "utf-8")

    def upload_to(
        self,
        s3: S3Server,
        docs: dict[str, Any] | None = None,
        *,
        versioned: bool = True,
        **top: Any,
    ) -> str:
        """Have `docs` take its inputs by URL from a new bucket, whose name is returned; the rest as
        in `configure`."""
        bucket = s3.bucket(versioned)
        self.env |= s3.env
        given = {"create": {"request": {"json": {"document": "{input.url?}"}}}}
        storage = {"storage": {"bucket": bucket, "endpoint_url": s3.url}}
        self.configure(_merged(given, docs or {}), **_merged(storage, top))
        return bucket

    def start(self, *arguments: str | Path, stdin: bytes | None = None, **env: str) -> Running:
        """Start a command, or what does the same (`installed`); it is killed with the test."""
        words, env = list(map(str, arguments)), self.env | env
        installed = self.installed or self.prefix or "PYTHONPATH" in env
        running = Running(
            self._popen(words, stdin, env)
            if installed
            else warm().start(words, self.path, env, stdin or b"")
        )
        self._started.append(running)
        return running

    def _popen(
        self, words: list[str], stdin: bytes | None, env: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*self.prefix, str(self.command), *words],
            cwd=self.path,
            env=env,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if stdin is not None:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.close()
            process.stdin = None
        return process

    def run(
        self,
        *arguments: str | Path,
        stdin: bytes | None = None,
        timeout: float = 40,
        **env: str,
    ) -> Done:
        """Run a command to its end."""
        return self.start(*arguments, stdin=stdin, **env).end(timeout)

    def ok(self, *arguments: str | Path, stdin: bytes | None = None, **env: str) -> Done:
        """Run a command that exits 0."""
        done = self.run(*arguments, stdin=stdin, **env)
        assert done.code == 0, done
        return done

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        """What a command prints with ``--json``: one document and nothing else."""
        done = self.run(*arguments, "--json")
        assert done.code == code, done
        return done.json

    def refused(
        self, code: int, *arguments: str | Path, stdin: bytes | None = None, **env: str
    ) -> str:
        """Run a command that has to fail: `code`, one line of error and nothing on standard
        output, nothing changed in the database. Returns the line."""
        before = self.dump()
        done = self.run(*arguments, stdin=stdin, **env)
        assert done.code == code, done
        assert done.out == ""
        assert self.dump() == before
        return done.error

    def mount(self, script: str) -> None:
        """Have commands see another file system here from now on: what `script`, a shell script,
        makes of the folder ``$1``. Nobody else sees it, and it goes with the test. Skips the test
        where that is not allowed."""
        if shutil.which("unshare") is None or shutil.which("nsenter") is None:
            pytest.skip("no unshare and nsenter here")
        root = os.geteuid() == 0
        holder = subprocess.Popen(
            ["unshare", *([] if root else ["-r"]), "-m", "sh", "-c",
             f"cd / && {script} && echo ready && exec sleep 120", "sh", str(self.path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._started.append(Running(holder))
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            pytest.skip(f"no mounts here: {holder.communicate()[1].decode().strip()}")
        user = [] if root else ["-U", "--preserve-credentials"]
        self.prefix = ["nsenter", "-t", str(holder.pid), *user, "-m", f"--wd={self.path}", "--"]

    # What a test starts from, without a process.

    def use(self, server: Ledger) -> None:
        """Have the ledger on a server."""
        self.server = server
        self.env["TRACKER_DB"] = server.url
        self.configure()

    def tracker(self) -> Tracker:
        """The library on this folder's configuration and database."""
        return Tracker(self.toml, database=self.server.url if self.server else self.db)

    def add(self, server_id: str = "srv-1", **options: Any) -> str:
        """Track a job that runs at `docs`; its local id."""
        with self.tracker() as tracker:
            return tracker.add("docs", server_id, **options).local_id

    def record(self, payload: dict[str, Any] | None = None, **options: Any) -> str:
        """Record a job for `docs` that is not submitted yet; its local id."""
        with self.tracker() as tracker:
            return tracker.submit("docs", payload, sync=False, **options).local_id

    def attempted(self, payload: dict[str, Any] | None = None, **options: Any) -> str:
        """Record a job for `docs` and attempt once to get it accepted; its local id."""
        with self.tracker() as tracker:
            job = tracker.submit("docs", payload, sync=False, **options)
            tracker.attempt([job.local_id])
            return job.local_id

    def poll(self) -> None:
        """Handle what is due."""
        with self.tracker() as tracker:
            tracker.poll()

    def create(self) -> None:
        """Have a database, with nothing in it."""
        self.tracker().close()

    def ended(self, server_id: str = "srv-1", *, failed: bool = False, **options: Any) -> str:
        """A job that a person called completed, or failed; its local id."""
        with self.tracker() as tracker:
            job = tracker.add("docs", server_id, **options)
            tracker.fail(job) if failed else tracker.complete(job)
            return job.local_id

    # Looking at the database, beside the command.

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the database, read beside the command."""
        if self.server:
            return self.server.rows(sql, parameters)
        with closing(sqlite3.connect(f"{self.db.absolute().as_uri()}?mode=ro", uri=True)) as found:
            found.row_factory = sqlite3.Row
            return [dict(row) for row in found.execute(sql, parameters)]

    def write(self, sql: str, *parameters: Any) -> None:
        """Change the database by hand."""
        if self.server:
            return self.server.write(sql, parameters)
        with closing(sqlite3.connect(self.db)) as database, database:
            database.execute(sql, parameters)

    def row(self, job: str) -> dict[str, Any]:
        """A job's row of the view `jobs`."""
        [found] = self.rows("SELECT * FROM jobs WHERE local_id = ?", job)
        return found

    def events(self, job: str) -> list[tuple[str, dict[str, Any]]]:
        """A job's events: (type, data)."""
        found = self.rows("SELECT type, data FROM job_events WHERE local_id = ? ORDER BY seq", job)
        return [(row["type"], json.loads(row["data"])) for row in found]

    def dump(self) -> list[str]:
        """The whole database as SQL; empty where there is none."""
        if self.server:
            return self.server.dump()
        if not self.db.is_file():
            return []
        with closing(sqlite3.connect(f"{self.db.absolute().as_uri()}?mode=ro", uri=True)) as found:
            return list(found.iterdump())

    def until(self, condition: Callable[[], Any], timeout: float = 15) -> Any:
        """Wait for a condition that somebody else brings about."""
        latest = time.monotonic() + timeout
        while not (met := condition()):
            assert time.monotonic() < latest, "it did not happen"
            time.sleep(0.02)
        return met

    def close(self) -> None:
        """End what was started."""
        for running in self._started:
            if running.process.poll() is None:
                running.process.kill()
                running.process.communicate()


def _done(code: int, out: bytes, err: bytes) -> Done:
    done = Done(code, out.decode("utf-8", "surrogateescape"), err.decode())
    assert "Traceback" not in done.out + done.err, done
    return done


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    for key, value in over.items():
        if value is None:
            base.pop(key, None)
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            base[key] = _merged(base[key], value)
        else:
            base[key] = value
    return base


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
