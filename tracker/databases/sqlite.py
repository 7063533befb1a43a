"""A ledger in one SQLite file.

`sqlite3` alone serves the running poller; sqlite-utils, which costs 70 ms to import, carries the
migrations (`tracker.databases.migrate`) and is there for whoever opens the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracker import clock
from tracker.databases.base import LEDGER, ROWS, Parameters, T, as_rows
from tracker.errors import DatabaseBusy, DatabaseError, UsageError

BUSY_SECONDS = 10.0
"""How long a statement waits for another process's write transaction."""

AUTOCHECKPOINT_PAGES = 10_000
"""A commit that meets so many WAL pages (40 MB) folds them into the database file. With SQLite's
own 1,000, one commit in ten waited 10 ms for that; pollers fold once a second, between claims."""

CACHE_KB = 4000
"""Memory for pages. With SQLite's own 2,000 the rows of a claim and of a settlement did not fit:
20,000 due jobs cost 10 writes a poll and 4 reads instead of 7.5 and 1.5."""

_HINTS = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", "try again, or find who holds it"),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", "try again, or find who holds it"),
    sqlite3.SQLITE_READONLY: ("is read-only", "give yourself write permission to file and folder"),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "free some space and try again"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "restore a backup made by 'tracker db backup'"),
    sqlite3.SQLITE_NOTADB: ("is not an SQLite database", "name another file with --db"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check that the folder exists and is yours"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "check the disk"),
    sqlite3.SQLITE_PERM: ("cannot be opened", "check its permissions"),
}


class Database:
    """One connection to one file; safe to use from several threads, one at a time.

    Every method raises `tracker.errors.DatabaseError` for what the file or the disk does.
    """

    dialect = "sqlite"
    pauses_at_rows = True
    broken: type[Exception] = sqlite3.IntegrityError

    def __init__(
        self, path: Path, *, busy_seconds: float = BUSY_SECONDS, read_only: bool = False
    ) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._commits = 0
        self._connection = _connect(path, busy_seconds, read_only)

    @property
    def name(self) -> str:
        """What the database is called in messages."""
        return str(self.path)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection itself, for migrations."""
        return self._connection

    def now(self) -> float:
        """This machine's clock: whoever opens the file has the same one."""
        return clock.now()

    def read(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement that writes nothing."""
        with self._lock, self._told():
            return self._connection.execute(sql, parameters).fetchall()

    def read_dicts(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """The same, each row as a dict by column."""
        with self._lock, self._told():
            cursor = self._connection.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    @contextmanager
    def snapshot(self) -> Iterator[Database]:
        """Reads inside the block see the database as it is at one moment; other connections go on
        reading and writing."""
        with self._lock:
            with self._told():
                self._connection.execute("BEGIN")
                # The moment is that of the first read.
                self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
            try:
                yield self
            finally:
                self._connection.execute("ROLLBACK")

    def fill(self, table: str, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> None:
        """Add many rows in the current transaction."""
        from tracker.schema.moving import insert

        self.write_many(insert(table, columns), rows)

    @contextmanager
    def transaction(self, keeps: str = LEDGER) -> Iterator[Database]:
        """A write transaction: all of it is committed, or none. One inside another joins it.
        Whatever it `keeps` to itself, SQLite lets nobody else write meanwhile.

        One that keeps ROWS changes few of them: the pages that SQLite copies before a statement
        that may fail half-way stay in memory, where a temporary file is half of all writes.
        """
        with self._lock:
            if self._connection.in_transaction:
                yield self
                return
            few = keeps == ROWS
            # IMMEDIATE: a deferred transaction that reads and then writes beside another writer
            # fails at once with SQLITE_BUSY_SNAPSHOT, whatever the busy timeout.
            with self._told():
                if few:
                    self._connection.execute("PRAGMA temp_store = MEMORY")
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self
                with self._told():
                    self._connection.execute("COMMIT")
                self._commits += 1
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                if few:
                    self._connection.execute("PRAGMA temp_store = DEFAULT")

    def write(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one writing statement in the current transaction; its RETURNING rows."""
        with self._lock, self._told():
            return self._connection.execute(sql, parameters).fetchall()

    def insert(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one INSERT in the current transaction; the new row's id."""
        with self._lock, self._told():
            return self._connection.execute(sql, parameters).lastrowid or 0

    def write_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one writing statement for each of `rows`, or once for all of them where it takes
        them as ``:rows``; how many rows it changed.

        Once for all is for what is written while another thread works: that one stands still for
        a moment after each single statement.
        """
        with self._lock, self._told():
            if ":rows" not in sql:
                return self._connection.executemany(sql, rows).rowcount
            found = list(rows)
            if not found:
                return 0
            return self._connection.execute(sql, {"rows": as_rows(found)}).rowcount

    def write_last(self, sql: str, rows: Iterable[Parameters]) -> None:
        """The same, at once: nobody else writes before this transaction ends."""
        self.write_many(sql, rows)

    def persist(self, act: Callable[[], T]) -> T:
        """Do `act`: SQLite has waited for its lock by then."""
        return act()

    @property
    def in_transaction(self) -> bool:
        """Whether a write transaction is open, here or further out."""
        return self._connection.in_transaction

    def change_count(self) -> int:
        """A number that differs after something was committed, by whomever."""
        return self.foreign_change_count() + self._commits

    def foreign_change_count(self) -> int:
        """The same of what others committed."""
        return int(self.read("PRAGMA data_version")[0][0])

    def fold(self) -> None:
        """Move what the WAL holds into the database file, as far as no reader or writer is in the
        way; nobody waits for anybody."""
        self.read("PRAGMA wal_checkpoint(PASSIVE)")

    def backup(self, target: Path) -> None:
        """Copy the database, as it is at one moment, to a new file that only its owner can read.

        Raises DatabaseError also when `target` exists.
        """
        partial = target.with_name(target.name + ".partial")
        if target.exists():
            raise DatabaseError(f"{target} exists already", "name a new file")
        with told_of(target):
            partial.unlink(missing_ok=True)
            create_private(partial)
            copy = sqlite3.connect(partial)
            try:
                with self._lock:
                    self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
            finally:
                copy.close()
            partial.replace(target)

    def close(self) -> None:
        """Close the connection. The Database cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def _told(self) -> Told:
        return told_of(self.path)


def _connect(path: Path, busy_seconds: float, read_only: bool) -> sqlite3.Connection:
    if path.is_dir():
        raise DatabaseError(f"database {path} is a directory", "name a file with --db")
    with told_of(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro" if read_only else path,
            timeout=busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            uri=read_only,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except BaseException:
            connection.close()
            raise
    return connection


def create_private(path: Path) -> None:
    """Create an empty file for its owner alone, unless there is one. SQLite gives its own files
    beside it (-wal, -shm) the same permissions."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    os.close(descriptor)


class Told:
    """Turns what SQLite and the file system raise into one line that says what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, sqlite3.IntegrityError):
            return  # A broken constraint is the caller's to understand.
        if isinstance(error, sqlite3.Error):
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code == sqlite3.SQLITE_CANTOPEN and not _writable(self._path):
                # A WAL database cannot even be read where its -shm file cannot be written.
                code = sqlite3.SQLITE_READONLY
            what, hint = _HINTS.get(code, (f"failed: {error}", ""))
            busy = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            told = DatabaseBusy if busy else DatabaseError
            raise told(f"database {self._path} {what}", hint) from error
        if isinstance(error, UnicodeEncodeError):
            raise UsageError(f"{error.object!r:.80} is not UTF-8") from None
        if isinstance(error, OSError):
            raise DatabaseError(f"database {self._path}: {error.strerror or error}") from error


def _writable(path: Path) -> bool:
    return not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def told_of(path: Path) -> Told:
    """Errors inside the block are told as being about `path`."""
    return Told(path)
