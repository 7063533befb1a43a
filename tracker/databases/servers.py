"""Bringing a ledger in PostgreSQL up to date: one process does it, the others wait for it."""

from __future__ import annotations

import re

from tracker import clock
from tracker.databases.layout import check_program, refused
from tracker.databases.migrate import MIN_PROGRAM, Migrated
from tracker.databases.postgres import Database
from tracker.ids import new_id
from tracker.schema import script
from tracker.schema.postgres.migrations import STEPS

MIGRATIONS = "CREATE TABLE tracker_migrations (name text PRIMARY KEY, applied_at timestamptz(3))"


def pending_steps(database: Database) -> list[str]:
    """Names of the steps that this database has not had. Raises DatabaseError when only a newer
    program may open it, or when its tables are some other program's."""
    ours = set(re.findall(r"^CREATE (?:TABLE|VIEW) (\w+)", script("postgres", "tables"), re.M))
    found = database.read(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND pg_table_is_visible(oid) AND relnamespace <> 'pg_catalog'::regnamespace"
    )
    tables = {row[0] for row in found}
    if "tracker_migrations" not in tables:
        if strange := tables & ours:
            why = f"{', '.join(sorted(strange))} is some other program's"
            raise refused(database.name, why)
        return [name for name, _ in STEPS]
    needed = database.read("SELECT value FROM meta WHERE key = 'min_program'")
    check_program(database.name, needed[0][0] if needed else "0")
    done = {row[0] for row in database.read("SELECT name FROM tracker_migrations")}
    return [name for name, _ in STEPS if name not in done]


def migrate_server(database: Database, *, dry_run: bool = False) -> Migrated:
    """Run the steps that are pending, in one transaction; with `dry_run`, say which they are."""
    steps = pending_steps(database)
    if not steps or dry_run:
        return Migrated(tuple(steps))
    # What nobody else does meanwhile is: write to the ledger, of whatever version.
    with database.transaction():
        # A step takes as long as there are rows; what it waits for is bounded all the same.
        database.run_script("SET LOCAL statement_timeout = 0")
        steps = pending_steps(database)
        for name, file in STEPS:
            if name in steps:
                _run(database, name, file)
    return Migrated(tuple(steps))


def _run(database: Database, name: str, file: str) -> None:
    if name == STEPS[0][0]:
        database.write(MIGRATIONS)
    database.run_script(script("postgres", file))
    at = clock.to_text(database.now())
    if name == STEPS[0][0]:
        known = {"ledger_id": new_id(), "min_program": MIN_PROGRAM, "last_now": at}
        for key, value in known.items():
            database.write("INSERT INTO meta (key, value) VALUES (?, ?)", [key, value])
    database.write("INSERT INTO tracker_migrations (name, applied_at) VALUES (?, ?)", [name, at])
