"""Looking after the database itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker import __version__
from tracker.databases.base import is_server
from tracker.databases.layout import pending
from tracker.databases.sqlite import Database
from tracker.errors import DatabaseError, UsageError
from tracker.schema import queries
from tracker.store import Store, open_store, server_key

if TYPE_CHECKING:
    from tracker.moving.lines import OnRows, Totals

Json = dict[str, Any]


def ledger_place(database: str) -> Path | str:
    """The absolute path of an SQLite database, or the URL of one on a PostgreSQL server, which may
    hold a password. Raises UsageError for one of another kind."""
    if is_server(database):
        return database
    if "://" in database:
        raise UsageError(
            f"a database is a file or at postgresql://…, not {database.partition(':')[0]}",
            "name one with --db",
        )
    return Path(database).expanduser().absolute()


def migrate_database(place: Path | str, zone: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Bring the database up to date, or with `dry_run` find out what that would do.

    Returns ``database``, ``steps``, ``rows`` (older jobs taken along), ``backup`` and ``dry_run``.
    """
    from tracker.databases.migrate import migrate, rehearse

    if isinstance(place, Path):
        name, done = str(place), (rehearse if dry_run else migrate)(place, server_key, zone=zone)
    else:
        from tracker.databases import postgres, servers

        database = postgres.Database(place)
        try:
            name = database.name
            done = database.persist(lambda: servers.migrate_server(database, dry_run=dry_run))
        finally:
            database.close()
    return {
        "database": name,
        "steps": list(done.steps),
        "rows": done.rows,
        "backup": str(done.backup) if done.backup else None,
        "dry_run": dry_run,
    }


def export_ledger(place: Path | str, zone: str, name: str, on_rows: OnRows | None) -> Json:
    """Write the whole ledger to the file `name`, or to standard output for ``-``, as JSON lines.

    Returns ``database``, ``file``, ``rows`` by table and ``sha256``, which two equal ledgers have
    in common. Raises DatabaseError when there is no ledger, UsageError when the file is there.
    """
    from tracker.moving import exporting, files

    if isinstance(place, Path) and not place.exists():
        raise _none_at(place)
    store = open_store(place, zone=zone)
    try:
        with files.writing(name) as file:
            found = exporting.export_ledger(store.database, file, on_rows)
        return _moved(store, name, found)
    finally:
        store.close()


def import_ledger(
    place: Path | str, zone: str, name: str, on_rows: OnRows | None, *, replace_nul: bool = False
) -> Json:
    """Fill an empty ledger, or a new one, from the file `name`, or standard input for ``-``; all
    of it or nothing.

    Returns the same as `export_ledger`, and ``replaced``: how many rows are kept without the NUL
    that PostgreSQL cannot hold. Raises as `tracker.moving.importing` does.
    """
    from tracker.moving import files, importing

    with files.reading(name) as lines:
        source = importing.Source(lines, files.called(name), replace_nul=replace_nul)
        store = open_store(place, zone=zone)
        try:
            found = importing.import_ledger(store.database, source, on_rows)
            return {**_moved(store, name, found), "replaced": source.replaced}
        finally:
            store.close()


def _moved(store: Store, name: str, found: Totals) -> Json:
    return {
        "database": store.database.name,
        "file": name,
        "rows": found.rows,
        "sha256": found.ledger,
    }


def _none_at(path: Path) -> DatabaseError:
    return DatabaseError(f"there is no database {path}", "create it with: tracker init")


def database_status(place: Path | str) -> dict[str, Any]:
    """What a database is and holds; it is not upgraded by being looked at. Raises DatabaseError
    when there is none."""
    return _status_of_file(place) if isinstance(place, Path) else _status_on_server(place)


def _status_of_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise _none_at(path)
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
        return found if waiting else found | _contents(Store(database))
    finally:
        database.close()


def _status_on_server(url: str) -> dict[str, Any]:
    from tracker.databases import postgres, servers

    database = postgres.Database(url)
    try:
        waiting = servers.pending_steps(database)
        found: dict[str, Any] = {
            "database": database.name,
            "bytes": database.read(queries("postgres")["database_bytes"])[0][0],
            "program": __version__,
            "postgres": database.read("SHOW server_version")[0][0],
            "pending_steps": waiting,
        }
        return found if waiting else found | _contents(Store(database))
    finally:
        database.close()


def _contents(store: Store) -> dict[str, Any]:
    return {
        "min_program": store.get_meta("min_program"),
        "ledger_id": store.get_meta("ledger_id"),
        "paused": store.is_paused(),
        "active_jobs": store.counts(),
        "operations": store.operation_counts(),
        "last_event": store.last_event(),
        "pollers": len(store.pollers()),
    }
