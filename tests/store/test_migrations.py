"""Bringing a database up to date: nothing is lost, however many do it at once, or it is refused."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
import subprocess
import sys
import time as real_time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from freezegun import freeze_time
from ledgers import NOON

from tracker.databases.migrate import migrate, rehearse
from tracker.errors import DatabaseError
from tracker.schema import script, statements
from tracker.schema.sqlite.migrations import STEPS
from tracker.store import open_store, server_key

COLUMNS = (
    "job_id TEXT PRIMARY KEY, job_type TEXT NOT NULL, status TEXT NOT NULL, "
    "initiated_at TEXT NOT NULL, estimated_completion_seconds INTEGER, completed_at TEXT, "
    "result_content_id TEXT, error_message TEXT"
)
NEWER = ", last_poll_at TEXT, next_poll_at TEXT, retry_count INTEGER DEFAULT 0"
OPEN = (
    "import sys; from pathlib import Path; from tracker.store import open_store; "
    "print('ready', flush=True); sys.stdin.read(); open_store(Path(sys.argv[1])).close()"
)


def old_database(path: Path, rows=(), *, more: str = "", user_version: int = 1) -> Path:
    """A database from before the ledger; `rows` are dicts by column."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE processing_jobs ({COLUMNS}{more})")
        for row in rows:
            full = {"job_type": "ocr", "status": "processing", "initiated_at": "2025-01-01"} | row
            connection.execute(
                f"INSERT INTO processing_jobs ({', '.join(full)}) "
                f"VALUES ({', '.join('?' * len(full))})",
                list(full.values()),
            )
        connection.execute(f"PRAGMA user_version = {user_version}")
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "tracker.db"


@pytest.fixture
def jobs(path):
    """Migrates the database and tells its jobs by their server ids."""

    def upgraded(*, zone: str = "UTC"):
        with freeze_time(NOON):
            store = open_store(path, zone=zone)
        try:
            return {job.server_id: job for job in store.list_jobs(limit=10**6)}
        finally:
            store.close()

    return upgraded


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.backup-*"))


def old_rows(path: Path) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM processing_jobs ORDER BY rowid").fetchall()


def layout(connection: sqlite3.Connection) -> dict[str, str]:
    """What is defined in a database, by name, without comments and spacing."""
    return {
        name: re.sub(r"\s+", "", re.sub(r"--[^\n]*", "", text))
        for name, text in connection.execute("SELECT name, sql FROM sqlite_master")
        if text and not name.startswith("sqlite_") and "_sqlite_migrations" not in name
    }


def files(path: Path) -> dict[str, bytes]:
    """Every file there is, by name."""
    return {one.name: one.read_bytes() for one in path.parent.iterdir()}


@pytest.mark.parametrize("old", [False, True])
def test_the_layout_is_the_documented_one(path, old):
    """The steps, from nothing or from an old database, end at exactly schema/sqlite/tables.sql."""
    if old:
        old_database(path, [{"job_id": "a"}])
    open_store(path).close()
    with closing(sqlite3.connect(path)) as real, closing(sqlite3.connect(":memory:")) as documented:
        for statement in statements(script("sqlite", "tables")):
            documented.execute(statement)
        assert layout(real) == layout(documented)
        assert real.execute("PRAGMA user_version").fetchone() == (3,)
        assert real.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert real.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_fresh_database(path):
    """A new ledger is made where there is none, with folders for its owner alone, and no backup."""
    deep = path.parent / "a" / "b" / "tracker.db"
    open_store(deep).close()
    assert stat.S_IMODE(deep.stat().st_mode) == 0o600
    assert stat.S_IMODE(deep.parent.stat().st_mode) == 0o700
    assert backups(deep) == []


def test_every_file_is_private(path):
    """B15: the database, what SQLite puts beside it, and the backup are for their owner alone."""
    old_database(path, [{"job_id": "a"}]).chmod(0o600)
    store = open_store(path)
    store.set_paused(True)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    store.close()
    assert len(modes) == 4 and set(modes.values()) == {0o600}, modes


def test_an_old_file_becomes_private(path):
    """B15: a database taken along from before is its owner's alone from then on."""
    old_database(path, [{"job_id": "a"}]).chmod(0o644)
    open_store(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_up_to_date_is_left_alone(path):
    """Opening a ledger that is up to date writes nothing, and keeps its identity."""
    open_store(path).close()
    before = files(path)
    store = open_store(path)
    identity = store.get_meta("ledger_id")
    store.close()
    assert files(path) == before and identity
    assert migrate(path, server_key).steps == ()


@pytest.mark.parametrize("user_version", [0, 1, 2])
@pytest.mark.parametrize("newer", [False, True])
def test_an_old_database(path, jobs, user_version, newer):
    """P11: rows of every status are taken along, with or without the newer columns."""
    extra = {"last_poll_at": "2025-01-01T09:00:00Z", "retry_count": 3} if newer else {}
    rows = [
        {"job_id": "run", "estimated_completion_seconds": 90, **extra},
        {"job_id": "done", "status": "completed", "completed_at": "2025-01-02T10:00:00+02:00",
         "result_content_id": "c-1"},
        {"job_id": "bad", "status": "failed", "completed_at": "2025-01-02", "error_message": "oh"},
        {"job_id": "silent", "status": "failed", "completed_at": "2025-01-02"},
        {"job_id": "late", "status": "timeout", "completed_at": "2025-01-02"},
    ]  # fmt: skip
    old_database(path, rows, more=NEWER if newer else "", user_version=user_version)
    before = old_rows(path)
    found = jobs()
    assert set(found) == {"run", "done", "bad", "silent", "late"}
    run = found["run"]
    assert (run.status, run.service, run.job_type) == ("processing", "default", "ocr")
    assert run.initiated_at == run.accepted_at == "2025-01-01T00:00:00.000Z"
    assert run.next_poll_at == "2026-01-31T12:00:00.000Z" and run.completed_at is None
    assert run.estimated_completion_seconds == 90 and run.sync_status == "synced"
    assert run.retry_count == (3 if newer else 0)
    assert run.last_poll_at == ("2025-01-01T09:00:00.000Z" if newer else None)
    done = found["done"]
    assert (done.status, done.result_content_id) == ("completed", "c-1")
    assert done.completed_at == done.updated_at == "2025-01-02T08:00:00.000Z"
    ends = {key: (job.status, job.failure_reason, job.error_message) for key, job in found.items()}
    assert ends["bad"] == ("failed", "service", "oh")
    assert ends["silent"] == ("failed", "service", "Processing failed")
    assert ends["late"] == ("failed", "timeout", "Processing timeout")
    assert all(job.next_poll_at is None for key, job in found.items() if key != "run")
    assert all(not job.vars for job in found.values())
    (backup,) = backups(path)
    assert old_rows(backup) == before
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_running_jobs_are_due_at_once(path):
    """P11: what was running before the upgrade is polled right after it."""
    old_database(path, [{"job_id": f"r{n}"} for n in range(60)])
    store = open_store(path)
    claimed = store.claim_due_jobs("default", 50, "p", 60.0, cutoff=real_time.time())
    assert len(claimed.jobs) == 50 and not claimed.unreadable
    assert store.count_due("default") == 60
    store.close()


def test_old_ids_are_known(path):
    """P11: a job taken along is found by its old id, and cannot be adopted a second time."""
    odd = ["plain", "a/b?c=../d", "🙂", "x" * 10_000, "with:colon", "'", " ", "NULL", "0"]
    old_database(path, [{"job_id": one} for one in odd])
    store = open_store(path)
    for one in odd:
        (row,) = store.database.read(
            "SELECT local_id, server_key FROM processing_jobs WHERE server_id = ?", [one]
        )
        assert row[1] == server_key("default", one)
        if one.strip():
            assert store.resolve(f"default:{one}") == row[0]
    store.close()


@pytest.mark.parametrize(
    ("written", "zone", "read"),
    [
        ("2025-01-01T10:00:00Z", "UTC", "2025-01-01T10:00:00.000Z"),
        ("2025-01-01T10:00:00+02:00", "Asia/Tokyo", "2025-01-01T08:00:00.000Z"),
        ("2025-01-01T10:00:00", "UTC", "2025-01-01T10:00:00.000Z"),
        ("2025-01-01T10:00:00", "Europe/Berlin", "2025-01-01T09:00:00.000Z"),
        ("2025-07-01 10:00:00.123456", "Europe/Berlin", "2025-07-01T08:00:00.123Z"),
        ("2025-01-01", "Asia/Tokyo", "2024-12-31T15:00:00.000Z"),
        (1735689600, "Asia/Tokyo", "2025-01-01T00:00:00.000Z"),
        ("20250101T100000Z", "UTC", "2025-01-01T10:00:00.000Z"),
    ],
)
def test_old_times(path, jobs, written, zone, read):
    """P11: a time with an offset keeps its moment, one without is in the zone that was set."""
    # Without an affinity of its own the column keeps numbers as they are.
    old_database(path, [{"job_id": "a"}], more=", created_at")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE processing_jobs SET initiated_at = ?", [written])
        connection.execute("UPDATE processing_jobs SET created_at = ?", [written])
    job = jobs(zone=zone)["a"]
    assert job.created_at == read
    if isinstance(written, str):
        assert job.initiated_at == read


@pytest.mark.parametrize(
    "garbage", ["", "soon", "2025-13-01", "2025-02-30T00:00:00Z", "0000-00-00", b"\xff", "🕐"]
)
def test_times_that_are_none(path, jobs, garbage):
    """P11: what is no time is kept as it was, beside a time that makes sense."""
    old_database(
        path,
        [{"job_id": "a", "status": "completed", "initiated_at": garbage, "completed_at": garbage}],
    )
    job = jobs()["a"]
    assert job.initiated_at == job.completed_at == "2026-01-31T12:00:00.000Z"
    kept = garbage.hex() if isinstance(garbage, bytes) else garbage
    assert job.vars["legacy"] == {"initiated_at": kept, "completed_at": kept}


@pytest.mark.parametrize("written", [1735689600000, -86400, 1e300])
def test_times_beyond_all_years(path, jobs, written):
    """P11: a time that the ledger cannot hold (milliseconds, say) is understood, or kept."""
    old_database(path, [{"job_id": "a"}], more=", created_at")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE processing_jobs SET created_at = ?", [written])
    job = jobs()["a"]
    assert job.created_at.startswith("2025-01-01T00:00:00") or job.vars["legacy"]["created_at"]


def test_rows_without_an_id(path, jobs):
    """P11: rows without a job_id are kept; those that were running are failed: nobody can ask."""
    old_database(
        path,
        [
            {"job_id": None},
            {"job_id": None, "status": "completed"},
            {"job_id": ""},
            {"job_id": "x"},
        ],
    )
    jobs()
    store = open_store(path)
    found = sorted((one.status, one.failure_reason or "") for one in store.list_jobs())
    assert found == [("completed", ""), ("failed", "lost"), ("failed", "lost"), ("processing", "")]
    store.close()


@pytest.mark.parametrize("status", ["queued", "RUNNING", "", "cancelled", "0", "🙂", "completed "])
def test_unknown_statuses(path, jobs, status):
    """P11: a status nobody knows is asked about again, and kept as it was."""
    old_database(path, [{"job_id": "a", "status": status}])
    job = jobs()["a"]
    assert job.status == "processing" and job.next_poll_at
    assert job.vars == {"legacy": {"status": status}}


@pytest.mark.parametrize("status", ["Completed", "FAILED", "TimeOut", "Processing"])
def test_statuses_in_capitals(path, jobs, status):
    """P11: the four known statuses are known however they are written."""
    old_database(path, [{"job_id": "a", "status": status}])
    job = jobs()["a"]
    expected = {"completed": "completed", "processing": "processing"}
    assert job.status == expected.get(status.lower(), "failed")


def test_columns_of_ones_own(path, jobs):
    """P11: columns that somebody added are taken over where the ledger has them, else kept."""
    more = ', user_id TEXT, document_id TEXT, "my column" TEXT, cost REAL, raw BLOB, server_id TEXT'
    row = {
        "job_id": "a", "user_id": "ann", "document_id": "D", '"my column"': "ü", "cost": 1.5,
        "raw": b"\x00\xff", "server_id": "other",
    }  # fmt: skip
    old_database(path, [row], more=more)
    job = jobs()["a"]
    assert (job.user_id, job.document_id) == ("ann", "D")
    assert job.vars == {
        "legacy": {"my column": "ü", "cost": 1.5, "raw": "00ff", "server_id": "other"}
    }


def test_numbers_that_are_none(path, jobs):
    """P11: an estimate or count that is no number is kept as it was, and stops nothing."""
    row = {"job_id": "a", "estimated_completion_seconds": "a while", "retry_count": "some"}
    old_database(path, [row], more=NEWER)
    job = jobs()["a"]
    assert job.estimated_completion_seconds is None and job.retry_count == 0
    assert job.vars["legacy"]["estimated_completion_seconds"] == "a while"


@pytest.mark.parametrize("count", ["nan", "inf", 9e999])
def test_counts_that_are_no_counts(path, jobs, count):
    """P11: one absurd number in one old row does not keep the whole database from its upgrade."""
    old_database(path, [{"job_id": "a", "retry_count": count}], more=NEWER)
    assert jobs()["a"].retry_count == 0


def test_text_that_is_no_text(path, jobs):
    """P11: one old row with broken text does not keep the whole database from its upgrade."""
    old_database(path, [{"job_id": "a"}, {"job_id": "b"}])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE processing_jobs SET error_message = CAST(x'6fff' AS TEXT)")
    assert set(jobs()) == {"a", "b"}


def test_indexes_and_triggers_of_ones_own(path, jobs):
    """P11: what somebody put on the old table neither stops the upgrade nor survives it."""
    old_database(path, [{"job_id": "a"}])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('CREATE INDEX "my ""index""" ON processing_jobs (status)')
        connection.execute("CREATE INDEX processing_jobs_due ON processing_jobs (initiated_at)")
        connection.execute(
            "CREATE TRIGGER t AFTER INSERT ON processing_jobs BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        connection.execute("CREATE TABLE notes (text)")
        connection.execute("INSERT INTO notes VALUES ('mine')")
    assert set(jobs()) == {"a"}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM notes").fetchall() == [("mine",)]


# The rehearsal.


@pytest.mark.parametrize("rows", [0, 3])
def test_a_rehearsal_changes_nothing(path, rows):
    """P11: a dry run tells what would be done, and changes not one byte and leaves no file."""
    old_database(path, [{"job_id": str(n)} for n in range(rows)])
    before = files(path)
    done = rehearse(path, server_key)
    assert done.steps == tuple(name for name, _ in STEPS)
    assert (done.rows, done.backup) == (rows, None)
    assert files(path) == before


def test_a_rehearsal_beside_work(path):
    """P11: a dry run of a database that is up to date, or is not there, finds nothing to take."""
    assert rehearse(path, server_key).rows == 0 and not path.exists()
    store = open_store(path)
    assert rehearse(path, server_key).steps == ()
    store.close()


def test_a_rehearsal_that_fails(path):
    """P11: a dry run finds out that the real one would fail, and still changes nothing."""
    old_database(path, [{"job_id": "a"}], user_version=7)
    before = files(path)
    with pytest.raises(DatabaseError):
        rehearse(path, server_key)
    assert files(path) == before


def test_a_rehearsal_of_a_crashed_one(path, tmp_path):
    """P11: a dry run changes not one byte of a database whose last writer was killed either."""
    original = old_database(tmp_path / "original.db", [{"job_id": "a"}])
    with closing(sqlite3.connect(original)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE processing_jobs SET job_type = 'new'")
        writer.commit()
        for suffix in ("", "-wal"):
            Path(f"{path}{suffix}").write_bytes(Path(f"{original}{suffix}").read_bytes())
    before = path.read_bytes()
    assert rehearse(path, server_key).rows == 1
    assert path.read_bytes() == before


# Refusals.


@contextmanager
def one_step_more() -> Iterator[None]:
    """A step more than there are, which fails after the others have done their work."""

    def boom(connection, context) -> None:
        connection.execute("DELETE FROM processing_jobs")
        connection.execute("INSERT INTO nowhere VALUES (1)")

    STEPS.append(("9999_boom", boom))
    try:
        yield
    finally:
        STEPS.pop()


def test_a_migration_that_fails_leaves_the_old_one(path):
    """P11: a step that fails takes all others back with it: the old database is as it was."""
    old_database(path, [{"job_id": str(n)} for n in range(5)])
    before = old_rows(path)
    with one_step_more(), pytest.raises(DatabaseError) as caught:
        migrate(path, server_key)
    assert caught.value.exit_code == 6
    assert old_rows(path) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        assert names == {"processing_jobs", "sqlite_autoindex_processing_jobs_1"}


def test_a_fresh_one_that_fails_is_empty(path):
    """P11: a failed start leaves no half of a ledger behind, and the next one succeeds."""
    with one_step_more(), pytest.raises(DatabaseError):
        open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    open_store(path).close()


def test_a_killed_migration_leaves_the_old_one(path):
    """P11: a process that dies in the middle of a migration has changed nothing."""
    old_database(path, [{"job_id": str(n)} for n in range(5)])
    before = old_rows(path)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tracker.schema.sqlite.migrations import STEPS\n"
        "from tracker.store import open_store\n"
        "STEPS.append(('9999_die', lambda connection, context: os._exit(9)))\n"
        "open_store(Path(sys.argv[1]))"
    )
    assert (
        subprocess.run([sys.executable, "-P", "-c", code, str(path)], check=False).returncode == 9
    )
    assert old_rows(path) == before
    with freeze_time(NOON):
        open_store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM processing_jobs").fetchone() == (5,)


REFUSED = {
    "newer": lambda path: old_database(path, [{"job_id": "a"}], user_version=7),
    "unknown": lambda path: _make(path, "CREATE TABLE processing_jobs (id, state)"),
    "no status": lambda path: _make(
        path, "CREATE TABLE processing_jobs (job_id, job_type, initiated_at)"
    ),
    "in the way": lambda path: _make(path, "CREATE TABLE meta (key, value, more)"),
}


def _make(path: Path, text: str) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(text)
    return path


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_nobody_knows_is_refused(path, kind):
    """P11: a database of some other program, or of a later one, is refused with exit code 6; its
    tables and rows are untouched."""
    REFUSED[kind](path)
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    with pytest.raises(DatabaseError, match="cannot be upgraded") as caught:
        open_store(path)
    assert caught.value.exit_code == 6 and "\n" not in str(caught.value)
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_is_refused_is_not_touched_at_all(path, kind):
    """P11: a refusal changes no byte and leaves no backup (cron would leave one a minute)."""
    REFUSED[kind](path)
    before = files(path)
    with pytest.raises(DatabaseError):
        open_store(path)
    assert files(path) == before


def test_the_reason_of_a_refusal_stays_the_same(path):
    """P11: however often one tries, even in one second, the error is the real one."""
    REFUSED["newer"](path)
    with freeze_time(NOON):
        for _ in range(2):
            with pytest.raises(DatabaseError, match="user_version 7"):
                open_store(path)


def test_a_newer_program_may_be_needed(path):
    """`meta.min_program` decides who may open a ledger: an older program changes nothing in it."""
    store = open_store(path)
    with store.database.transaction():
        store.database.write("UPDATE meta SET value = '99.0' WHERE key = 'min_program'")
    store.close()
    before = path.read_bytes()
    for attempt in (open_store, lambda it: migrate(it, server_key), lambda it: rehearse(it, None)):
        with pytest.raises(DatabaseError, match=r"needs tracker 99\.0") as caught:
            attempt(path)
        assert caught.value.exit_code == 6
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", ["0.0.1", "0.1", "0.1.0"])
def test_an_older_program_is_not_needed(path, version):
    """A ledger that older programs may open as well is opened."""
    store = open_store(path)
    with store.database.transaction():
        store.database.write("UPDATE meta SET value = ? WHERE key = 'min_program'", [version])
    store.close()
    open_store(path).close()


@pytest.mark.parametrize("kind", ["directory", "text", "truncated", "nowhere"])
def test_what_is_no_database(path, kind):
    """Bad input: what is no database is one plain error with exit code 6, and stays as it is."""
    if kind == "directory":
        path.mkdir()
    elif kind == "text":
        path.write_text("dear diary, " * 100)
    elif kind == "truncated":
        old_database(path, [{"job_id": str(n) * 50} for n in range(500)])
        path.write_bytes(path.read_bytes()[:3000])
    else:
        (path.parent / "file").write_text("")
        path = path.parent / "file" / "tracker.db"
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(DatabaseError) as caught:
        open_store(path)
    assert caught.value.exit_code == 6 and "\n" not in str(caught.value)
    if kind == "text":
        assert path.read_bytes() == before


# Many at once.


def open_at_once(path: Path, count: int) -> list[tuple[int, str]]:
    """Have `count` processes open a database at one moment; their exit codes and errors."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", OPEN, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for one in processes:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in processes:
        assert one.stdin is not None
        one.stdin.close()
        one.stdin = None
    return [(one.wait(60), one.communicate()[1]) for one in processes]


def test_eight_at_once_on_an_old_database(path):
    """P11: of eight that start at once on 10,000 old rows one upgrades, all succeed, and every row
    is there once."""
    old_database(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO processing_jobs (job_id, job_type, status, initiated_at, error_message) "
            "VALUES (?, 'ocr', ?, '2025-01-01T00:00:00', ?)",
            [
                (f"r-{n}", ("processing", "completed", "failed", "timeout")[n % 4], f"e{n}")
                for n in range(10_000)
            ],
        )
    before = old_rows(path)
    assert open_at_once(path, 8) == [(0, "")] * 8
    with closing(sqlite3.connect(path)) as connection:
        after = connection.execute(
            "SELECT server_id, error_message FROM processing_jobs ORDER BY id"
        ).fetchall()
        counts = dict(
            connection.execute("SELECT status, count(*) FROM processing_jobs GROUP BY status")
        )
        ids = connection.execute("SELECT count(DISTINCT local_id) FROM processing_jobs").fetchone()
        steps = connection.execute("SELECT count(*) FROM _sqlite_migrations").fetchone()
    assert after == [(row[0], row[7]) for row in before]
    assert counts == {"processing": 2500, "completed": 2500, "failed": 5000}
    assert ids == (10_000,) and steps == (len(STEPS),)
    (backup,) = backups(path)
    assert old_rows(backup) == before


def test_forty_at_once_on_nothing(path):
    """P11: forty processes that start at once where there is no database all succeed."""
    results = open_at_once(path, 40)
    assert results == [(0, "")] * 40
    assert backups(path) == []
    store = open_store(path)
    names = [row[0] for row in store.database.read("SELECT name FROM _sqlite_migrations")]
    store.close()
    assert names == [name for name, _ in STEPS]


def test_old_values_are_json(path, jobs):
    """What is kept of an old row is an object that SQLite's own JSON functions read."""
    old_database(path, [{"job_id": "a", "status": "queued", "note": 'say "hi"'}], more=", note")
    jobs()
    with closing(sqlite3.connect(path)) as connection:
        (text,) = connection.execute("SELECT vars ->> '$.legacy' FROM processing_jobs").fetchone()
    assert json.loads(text) == {"status": "queued", "note": 'say "hi"'}
