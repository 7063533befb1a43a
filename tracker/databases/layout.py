"""Which layout a database has, and whether this program may open it."""

from __future__ import annotations

import re

from tracker import __version__
from tracker.databases.sqlite import Database
from tracker.errors import DatabaseError
from tracker.schema import script
from tracker.schema.sqlite import legacy
from tracker.schema.sqlite.migrations import STEPS

MIGRATION_SET = "tracker"


def pending(database: Database) -> list[str]:
    """Names of the steps that this database has not had. Raises DatabaseError when only a newer
    program may open it, or when it is nothing that this one knows."""
    tables = {row[0] for row in database.read("SELECT name FROM sqlite_master")}
    if "meta" in tables and "_sqlite_migrations" in tables:
        found = database.read("SELECT value FROM meta WHERE key = 'min_program'")
        check_program(database.name, found[0][0] if found else "0")
        done = {
            row[0]
            for row in database.read(
                "SELECT name FROM _sqlite_migrations WHERE migration_set = ?", [MIGRATION_SET]
            )
        }
        return [name for name, _ in STEPS if name not in done]
    try:
        old = legacy.layout(database.connection)
    except ValueError as error:
        raise refused(database.name, error) from None
    ours = set(re.findall(r"^CREATE (?:TABLE|VIEW) (\w+)", script("sqlite", "tables"), re.M))
    strange = tables & (ours - {"processing_jobs"} if old else ours)
    if strange:
        raise refused(database.name, f"{', '.join(sorted(strange))} is some other program's")
    return [name for name, _ in STEPS]


def refused(database: str, why: object) -> DatabaseError:
    """The error for a database that cannot be brought up to date."""
    return DatabaseError(
        f"database {database} cannot be upgraded: {why}",
        "nothing was changed; name another file with --db",
    )


def check_program(database: str, needed: str) -> None:
    """Raises DatabaseError when this program is older than the database's ``min_program``."""
    if _parts(needed) > _parts(__version__):
        raise DatabaseError(
            f"database {database} needs tracker {needed} or newer, this is {__version__}",
            "upgrade with: pip install --upgrade tracker-jobs",
        )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
