"""Is there anything to do at all? Answered for less than the price of importing the rest.

A `tracker poll` runs every minute for years, and nearly always there is nothing due.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tracker import clock
from tracker.schema import queries

if TYPE_CHECKING:
    import sqlite3

PATIENCE_SECONDS = 2
"""For how long a server is asked. After that the whole pass asks it, which says what is wrong."""


def nothing_to_do(database: str, configuration: str) -> bool:
    """Whether a pass over `database`, a path or a server's URL, would find nothing due, nobody to
    watch and nothing to check, under a configuration with this fingerprint. False also whenever
    that cannot be told."""
    if "://" in database:
        return _quiet_on_server(database, configuration)
    if not os.path.isfile(database):  # noqa: PTH113  # pathlib takes 3 ms to import
        return False
    import sqlite3

    try:
        connection = sqlite3.connect(database, timeout=1.0, isolation_level=None)
        try:
            return _quiet(connection, configuration)
        finally:
            connection.close()
    except sqlite3.Error:
        return False


def _quiet(connection: sqlite3.Connection, configuration: str) -> bool:
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    now = clock.to_text(clock.now())
    if meta.get("checked") != configuration or meta.get("last_now", "") > now:
        return False
    if "" < meta.get("next_cleanup_at", "") <= now:
        return False
    if connection.execute("SELECT 1 FROM pollers LIMIT 1").fetchone():
        return False
    sql = queries("sqlite")
    (listing,) = connection.execute(sql["next_refresh"]).fetchone()
    if listing is not None and listing <= now:
        return False
    for services, earliest in (
        ("services_with_running_jobs", "earliest_poll"),
        ("services_with_operations", "earliest_attempt"),
    ):
        for (service,) in connection.execute(sql[services]).fetchall():
            parameters = {"service": service, "now": now, "kinds": None}
            row = connection.execute(sql[earliest], parameters).fetchone()
            if row is not None and row[0] is not None and row[0] <= now:
                return False
            # What was sent by a poller that is on no record: it ran elsewhere, before an import.
            if connection.execute(sql["overdue_doubts"], parameters).fetchone():
                return False
    return True


def _quiet_on_server(url: str, configuration: str) -> bool:
    """One connection without a pool, one round trip."""
    try:
        import psycopg
    except ImportError:
        return False
    asked = (
        f"BEGIN READ ONLY; SET LOCAL statement_timeout = '{PATIENCE_SECONDS}s'; "
        f"{queries('postgres')['glance']}; COMMIT"
    )
    try:
        connection = psycopg.connect(
            url, autocommit=True, connect_timeout=PATIENCE_SECONDS, application_name="tracker"
        )
        try:
            cursor = connection.execute(asked.encode())
            cursor.nextset(), cursor.nextset()
            checked, quiet = cursor.fetchone() or ("", False)
        finally:
            connection.close()
    except psycopg.Error:
        return False
    return quiet is True and checked == configuration
