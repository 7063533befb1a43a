"""Is there anything to do at all? Answered for less than the price of importing the rest.

A `tracker poll` runs every minute for years, and nearly always there is nothing due.
"""

from __future__ import annotations

import os
import sqlite3

from tracker import clock
from tracker.schema import queries


def nothing_to_do(database: str, configuration: str) -> bool:
    """Whether a pass over `database` would find nothing due, nobody to watch and nothing to check,
    under a configuration with this fingerprint. False also whenever that cannot be told."""
    if not os.path.isfile(database):  # noqa: PTH113  # pathlib takes 3 ms to import
        return False
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
