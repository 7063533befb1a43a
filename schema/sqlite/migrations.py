"""The steps from an empty or older database to the present one, in order.

A step's name, once released, never changes. Each runs inside one write transaction, together with
the record of it, on a plain `sqlite3.Connection`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from tracker.schema import script, statements

USER_VERSION = 3
"""``PRAGMA user_version`` of this layout. 1 and 2 are the layouts before the ledger."""

Step = Callable[[sqlite3.Connection, dict[str, Any]], None]


def m0001_ledger(connection: sqlite3.Connection, context: dict[str, Any]) -> None:
    """Create the ledger; a ``processing_jobs`` from before it is taken along with its rows."""
    from tracker.schema.sqlite import legacy

    old = legacy.layout(connection)
    if old:
        legacy.step_aside(connection)
    _run(connection, "0001_ledger")
    for key in ("ledger_id", "min_program", "last_now"):
        connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (key, context[key]))
    if old:
        context["rows"] = legacy.take_along(connection, context)
    connection.execute(f"PRAGMA user_version = {USER_VERSION}")


def m0002_objects(connection: sqlite3.Connection, context: dict[str, Any]) -> None:
    """Operations about objects; a pause remembers by which fault."""
    _run(connection, "0002_objects")


def m0003_sync(connection: sqlite3.Connection, context: dict[str, Any]) -> None:
    """What is known of claims that never came back."""
    _run(connection, "0003_sync")


def m0004_expiry(connection: sqlite3.Connection, context: dict[str, Any]) -> None:
    """Until when services keep jobs and results."""
    _run(connection, "0004_expiry")


def _run(connection: sqlite3.Connection, name: str) -> None:
    for statement in statements(script("sqlite", name)):
        connection.execute(statement)


STEPS: list[tuple[str, Step]] = [
    ("0001_ledger", m0001_ledger),
    ("0002_objects", m0002_objects),
    ("0003_sync", m0003_sync),
    ("0004_expiry", m0004_expiry),
]
