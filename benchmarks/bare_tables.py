"""A table with as much in a row as a submitted job has, written to without anything around it, in
a database of the same kind and with the same promise about what a commit is."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from tracker import Tracker

TABLE = """
CREATE TABLE bare (id {key}, local_id text UNIQUE, status text, payload text, created_at text)
"""
INSERT = "INSERT INTO bare (local_id, status, payload, created_at) VALUES ({values})"
Rows = list[tuple[str, str, str, str]]


class Table:
    """Beside a ledger: in a file of its own, or in the same database on a server."""

    def __init__(self, tracker: Tracker, ledger: str, place: Path) -> None:
        self.connection: Any
        if tracker.store.database.dialect == "sqlite":
            self.connection = sqlite3.connect(place / "bare.db", isolation_level=None)
            for pragma in ("journal_mode = WAL", "synchronous = FULL"):  # as the ledger's
                self.connection.execute(f"PRAGMA {pragma}")
            key, mark = "integer PRIMARY KEY", "?"
        else:
            import psycopg

            self.connection = psycopg.connect(ledger, autocommit=True)
            key, mark = "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "%s"
        self.connection.execute(TABLE.format(key=key))
        self.insert = INSERT.format(values=", ".join([mark] * 4))

    def insert_each(self, rows: Rows) -> float:
        """A row and a commit at a time; in how many seconds."""
        began = time.perf_counter()
        for row in rows:
            self.connection.execute(self.insert, row)
        return time.perf_counter() - began

    def insert_all(self, rows: Rows) -> float:
        """All rows in one transaction; in how many seconds."""
        began = time.perf_counter()
        self.connection.execute("BEGIN")
        self.connection.cursor().executemany(self.insert, rows)
        self.connection.execute("COMMIT")
        return time.perf_counter() - began

    def delete_all(self) -> float:
        """All rows in one statement; in how many seconds."""
        began = time.perf_counter()
        self.connection.execute("DELETE FROM bare WHERE created_at < '9999'")
        return time.perf_counter() - began

    def clear(self) -> None:
        """Nothing is in it."""
        self.connection.execute("DELETE FROM bare")

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
