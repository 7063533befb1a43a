"""Bringing an SQLite ledger up to date: atomic, backed up first, safe under concurrent start."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tracker import clock
from tracker.databases.layout import MIGRATION_SET, pending, refused
from tracker.databases.sqlite import Database, create_private, told_of
from tracker.errors import DatabaseError
from tracker.ids import new_id
from tracker.schema.sqlite.migrations import STEPS

MIN_PROGRAM = "0.1.0"
"""The oldest program that can work on the present layout; kept in ``meta``."""

WAIT_SECONDS = 60.0
"""How long a process waits for another one that migrates."""

ServerKey = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done, or would be. ``rows`` counts the jobs taken along from an older layout."""

    steps: tuple[str, ...]
    rows: int = 0
    backup: Path | None = None


def migrate(path: Path, server_key: ServerKey, *, zone: str = "UTC") -> Migrated:
    """Bring the database at `path` up to date, creating it where there is none.

    One with tables in it is copied to ``<name>.backup-<time>`` first. Any number of processes may
    do this at once: one works, the others wait for it (60 s) and find nothing left to do.
    """
    with told_of(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.is_dir():
            create_private(path)
    database = Database(path, busy_seconds=WAIT_SECONDS)
    try:
        if not pending(database):
            return Migrated(())
        _use_wal(database)
        # The lock comes first: what is pending is only known once nobody else can change it.
        with database.transaction():
            steps = pending(database)
            if not steps:
                return Migrated(())
            backup = _back_up(path) if _tables(database) else None
            try:
                rows = _apply(database, server_key, zone)
            except BaseException:
                # The transaction is undone: the copy says nothing that the database does not.
                if backup is not None:
                    backup.unlink()
                raise
        path.chmod(0o600)
        return Migrated(tuple(steps), rows, backup)
    finally:
        database.close()


def rehearse(path: Path, server_key: ServerKey, *, zone: str = "UTC") -> Migrated:
    """What `migrate` would do, found out on a copy; the database itself is not written to."""
    if not path.exists():
        return Migrated(tuple(name for name, _ in STEPS))
    import tempfile

    with tempfile.TemporaryDirectory(prefix="tracker-") as folder:
        copy = Path(folder) / "rehearsal.db"
        # Read-only: the last ordinary connection to close would fold a WAL that was left behind
        # into the file.
        source = Database(path, read_only=True)
        try:
            if not pending(source):
                return Migrated(())
            source.backup(copy)
        finally:
            source.close()
        done = migrate(copy, server_key, zone=zone)
    return Migrated(done.steps, done.rows)


def _tables(database: Database) -> bool:
    return bool(database.read("SELECT 1 FROM sqlite_master WHERE type = 'table' LIMIT 1"))


def _use_wal(database: Database) -> None:
    import backoff

    # Changing the journal mode does not wait for a lock as other statements do.
    @backoff.on_exception(backoff.expo, DatabaseError, factor=0.01, max_value=0.2, max_time=30)
    def switch() -> None:
        if database.read("PRAGMA journal_mode")[0][0] != "wal":
            database.write("PRAGMA journal_mode = WAL")

    switch()


def _back_up(path: Path) -> Path:
    stamp = clock.to_text(clock.now())[:19].replace(":", "").replace("-", "")
    target = path.with_name(f"{path.name}.backup-{stamp}")
    for number in count(2):
        if not target.exists():
            break
        target = path.with_name(f"{path.name}.backup-{stamp}-{number}")
    # A second connection: it reads the last commit while this process holds the write lock.
    source = Database(path)
    try:
        source.backup(target)
    finally:
        source.close()
    return target


def _apply(database: Database, server_key: ServerKey, zone: str) -> int:
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

    context: dict[str, Any] = {
        "ledger_id": new_id(),
        "min_program": MIN_PROGRAM,
        "last_now": clock.to_text(clock.now()),
        "new_id": new_id,
        "server_key": server_key,
        "time": _time_reader(zone),
        "rows": 0,
    }
    steps = Migrations(MIGRATION_SET)
    for name, step in STEPS:
        steps(name=name)(_bound(step, context))
    with told_of(database.path):
        try:
            steps.apply(sqlite_utils.Database(database.connection))
        except (ValueError, sqlite3.Error) as error:
            # Code 1 is SQLite's "this statement makes no sense here"; others are told as they are.
            if getattr(error, "sqlite_errorcode", 1) & 0xFF not in (1, sqlite3.SQLITE_CONSTRAINT):
                raise
            raise refused(database.name, error) from error
    return int(context["rows"])


def _bound(step: Any, context: dict[str, Any]) -> Any:
    def run(db: Any) -> None:
        step(db.conn, context)

    return run


def _time_reader(zone: str) -> Callable[[Any], str | None]:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    local = UTC if zone == "UTC" else ZoneInfo(zone)

    def read(value: Any) -> str | None:
        try:
            if isinstance(value, int | float):
                inside = 0 <= value <= clock.LAST_SECOND
                return clock.to_text(float(value)) if inside else None
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            return None
        aware = moment if moment.tzinfo else moment.replace(tzinfo=local)
        return clock.to_text(aware.timestamp())

    return read
