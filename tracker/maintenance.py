"""Looking after the database file itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from tracker import __version__
from tracker.databases.layout import pending
from tracker.databases.sqlite import Database
from tracker.errors import DatabaseError, UsageError
from tracker.store import Store, server_key


def ledger_path(database: str) -> Path:
    """The absolute path of an SQLite database. Raises UsageError for one of another kind."""
    if "://" in database:
        raise UsageError(
            f"only SQLite files are supported by this version, not {database.partition(':')[0]}",
            "name a file with --db",
        )
    return Path(database).expanduser().absolute()


def migrate_database(path: Path, zone: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Bring the database up to date, or with `dry_run` find out what that would do.

    Returns ``database``, ``steps``, ``rows`` (older jobs taken along), ``backup`` and ``dry_run``.
    """
    from tracker.databases.migrate import migrate, rehearse

    done = (rehearse if dry_run else migrate)(path, server_key, zone=zone)
    return {
        "database": str(path),
        "steps": list(done.steps),
        "rows": done.rows,
        "backup": str(done.backup) if done.backup else None,
        "dry_run": dry_run,
    }


def database_status(path: Path) -> dict[str, Any]:
    """What a database is and holds; it is not upgraded by being looked at. Raises DatabaseError
    when there is none."""
    if not path.exists():
        raise DatabaseError(f"there is no database {path}", "create it with: tracker init")
    database = Database(path)
    try:
        waiting = pending(database)
        found: dict[str, Any] = {
            "database": str(path),
            "bytes": path.stat().st_size,
            "program": __version__,
            "sqlite": sqlite3.sqlite_version,
            "pending_steps": waiting,
        }
        if not waiting:
            store = Store(database)
            found |= {
                "min_program": store.get_meta("min_program"),
                "ledger_id": store.get_meta("ledger_id"),
                "paused": store.is_paused(),
                "active_jobs": store.counts(),
                "operations": store.operation_counts(),
                "last_event": store.last_event(),
                "pollers": len(store.pollers()),
            }
        return found
    finally:
        database.close()
