"""A ledger in a PostgreSQL database, which any number of hosts share.

Nothing is kept in a session: no prepared statements, no settings, no locks, so that a pooler may
hand each transaction to another connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zlib import crc32

from tracker import clock
from tracker.databases.base import LEDGER, ROWS, Parameters, as_rows
from tracker.databases.connections import Connections, ReadOnly
from tracker.errors import DatabaseBusy, Impossible
from tracker.schema.postgres import translated
from tracker.schema.postgres.border import fitting

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

T = TypeVar("T")

STATEMENT_SECONDS = 30
LOCK_SECONDS = 10
"""How long a statement runs, and how long it waits for another transaction."""

PATIENCE_SECONDS = 10.0
"""How long one tries again after a deadlock or a lost connection."""

CLOCK_SECONDS = 10.0
"""How long the difference between the server's clock and this process's is taken for the same."""

IDLE_SECONDS = 60
"""How long a transaction may do nothing: a host that is gone without a word holds its locks no
longer than that."""

BEGIN = (
    f"BEGIN; SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'; "
    f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
)
BEGIN_SNAPSHOT = (
    # Whoever reads the lines may take his time.
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '1h'; "
    f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '1h'"
)
LOCKS = 0x7472636B
"""The first half of the keys of this program's advisory locks; all end with their transaction."""


class Transaction(threading.local):
    """The transaction that the current thread is in."""

    connection: Connection[Any] | None = None
    keeps: str = ROWS
    wrote: bool = False

    def __init__(self) -> None:
        self.last: dict[str, list[Parameters]] = {}


class Database:
    """One database, over as many connections as threads use it at a time."""

    dialect = "postgres"
    pauses_at_rows = False

    def __init__(self, url: str, *, now: Callable[[], float] | None = None) -> None:
        """`now` is the clock of the ledger, where it is not the server's."""
        import psycopg

        self.broken: type[Exception] = psycopg.IntegrityError
        self._connections = Connections(url)
        self._transaction = Transaction()
        self._clock = now
        self._clock_read = (0.0, float("-inf"))
        self._counting = threading.Lock()
        self._moved = 0

    @property
    def name(self) -> str:
        """What the database is called in messages: where it is, not who asks."""
        return self._connections.name

    def now(self) -> float:
        """The server's clock, in seconds since 1970."""
        if self._clock is not None:
            return self._clock()
        there, here = self._clock_read
        if clock.monotonic() - here > CLOCK_SECONDS:
            asked = clock.monotonic()
            sql = "SELECT extract(epoch FROM clock_timestamp())::float8"
            there, here = self.read(sql)[0][0], (asked + clock.monotonic()) / 2
            self._clock_read = (there, here)
        return there + clock.monotonic() - here

    def read(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement that writes nothing."""
        with self._reading(sql, parameters) as cursor:
            return cursor.fetchall()

    def read_dicts(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """The same, each row as a dict by column."""
        with self._reading(sql, parameters) as cursor:
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    @contextmanager
    def _reading(self, sql: str, parameters: Parameters) -> Iterator[Cursor[Any]]:
        connection = self._transaction.connection
        if connection is not None:
            with self._connections.told():
                yield self._run(connection, sql, parameters)
            return
        with self._connections.take() as connection:
            connection.execute(f"{BEGIN}; SET TRANSACTION READ ONLY".encode())
            yield self._run(connection, sql, parameters)
            connection.execute("COMMIT")

    @staticmethod
    def _run(connection: Connection[Any], sql: str, parameters: Parameters) -> Cursor[Any]:
        cursor = connection.cursor(binary=True)
        return cursor.execute(translated(sql).encode(), fitting(parameters))

    @contextmanager
    def transaction(self, keeps: str = LEDGER) -> Iterator[Database]:
        """A write transaction: all of it is committed, or none. One inside another joins it.

        SQLite has one writer at a time, and the store is written for that. LEDGER keeps it so by
        an advisory lock, which transactions that keep ROWS, or something by its name, share:
        those run beside each other, and statement by statement row locks decide.
        """
        current = self._transaction
        if current.connection is not None:
            if keeps not in (ROWS, current.keeps) and current.keeps != LEDGER:
                self._lock(keeps)
            yield self
            return
        with self._connections.take() as connection:
            connection.execute(f"{BEGIN}; {_lock_of(keeps)}".encode())
            current.connection, current.keeps, current.wrote = connection, keeps, False
            try:
                yield self
                self._finish(connection)
            finally:
                current.connection = None
                current.last.clear()

    def _lock(self, keeps: str) -> None:
        with self._connections.told():
            assert self._transaction.connection is not None
            self._transaction.connection.execute(_lock_of(keeps).encode())

    def _finish(self, connection: Connection[Any]) -> None:
        current = self._transaction
        for sql, rows in current.last.items():
            self.write_many(sql, rows)
        number = None
        if current.wrote:
            found = connection.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone()
            number = found[0] if found else None
        import psycopg

        try:
            # In one message: behind the commit, so that who wakes finds what was written.
            moved = "; SELECT nextval('changes')" if current.wrote else ""
            connection.execute(f"COMMIT{moved}".encode())
            if moved:
                with self._counting:
                    self._moved += 1
        except psycopg.OperationalError:
            # Whether it was committed, the server knows, or the one that takes its place.
            if number is None or not self._is_committed(number):
                raise

    def _is_committed(self, number: str) -> bool:
        def ask() -> bool:
            sql = "SELECT pg_xact_status(CAST(? AS xid8))"
            with self._connections.take() as connection:
                state = self._run(connection, sql, [number]).fetchall()[0][0]
            if state == "in progress":
                raise DatabaseBusy(f"database {self.name} has not decided yet")
            return bool(state == "committed")

        return _again_and_again(ask)

    def write(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one writing statement in the current transaction; its RETURNING rows."""
        with self._connections.told():
            cursor = self._run(self._current(), sql, parameters)
            self._transaction.wrote = self._transaction.wrote or cursor.rowcount != 0
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def snapshot(self) -> Iterator[Database]:
        """Reads inside the block see the database as it is at one moment; nobody waits for it, but
        what is deleted meanwhile is not tidied up before it ends."""
        current = self._transaction
        with self._connections.take() as connection:
            connection.execute(BEGIN_SNAPSHOT.encode())
            current.connection = connection
            try:
                yield self
                connection.execute("COMMIT")
            finally:
                current.connection = None

    def fill(self, table: str, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> None:
        """Add many rows in the current transaction, with COPY."""
        from tracker.schema.moving import copy_in

        with self._connections.told():
            cursor = self._current().cursor()
            with cursor.copy(copy_in(table, columns).encode()) as copy:
                for row in rows:
                    copy.write_row(row)
            self._transaction.wrote = True

    def insert(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one INSERT in the current transaction; the new row's id."""
        return int(self.write(f"{sql} RETURNING id", parameters)[0][0])

    def run_script(self, text: str) -> None:
        """Run many statements without parameters in the current transaction."""
        with self._connections.told():
            self._current().execute(text.encode())
        self._transaction.wrote = True

    def write_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one writing statement for each of `rows`, or once for all of them where it takes
        them as ``:rows``; how many rows it changed."""
        found = list(rows)
        if not found:
            return 0
        with self._connections.told():
            if ":rows" in sql:
                document = as_rows(found)
                if "u0000" in document:  # also in JSON within the JSON
                    document = as_rows([fitting(row) for row in found])
                cursor = self._run(self._current(), sql, {"rows": document})
            else:
                cursor = self._current().cursor()
                cursor.executemany(translated(sql).encode(), [fitting(row) for row in found])
            self._transaction.wrote = True
            return cursor.rowcount

    def write_last(self, sql: str, rows: Iterable[Parameters]) -> None:
        """The same, at the end of the current transaction."""
        self._transaction.last.setdefault(sql, []).extend(rows)

    def _current(self) -> Connection[Any]:
        connection = self._transaction.connection
        if connection is None:
            raise RuntimeError("a statement that writes needs a transaction")
        return connection

    def persist(self, act: Callable[[], T]) -> T:
        """Do `act`; after a deadlock, a lost connection or a restart of the server once more. A
        server that was never there is told of at once: somebody may wait for a command."""
        if self.in_transaction:
            return act()
        try:
            return act()
        except DatabaseBusy as error:
            if isinstance(error, ReadOnly) or not self._connections.were_there:
                raise
            return _again_and_again(act)

    @property
    def in_transaction(self) -> bool:
        """Whether this thread has a transaction open, here or further out."""
        return self._transaction.connection is not None

    def change_count(self) -> int:
        """A number that differs after something was committed, by whomever."""
        # No LISTEN: a pooler would not pass on what it brings. In one message: it is asked for all
        # the time, and nobody polls meanwhile.
        asks = "SELECT last_value + is_called::int FROM changes"
        if self._transaction.connection is not None:
            return int(self.read(asks)[0][0])
        with self._connections.take() as connection:
            message = f"{BEGIN}; SET TRANSACTION READ ONLY; {asks}; COMMIT"
            cursor = connection.execute(message.encode())
            while cursor.description is None:
                cursor.nextset()
            return int(cursor.fetchall()[0][0])

    def foreign_change_count(self) -> int:
        """The same of what others committed."""
        own = self._moved
        return self.change_count() - own

    def fold(self) -> None:
        """Nothing: the server tidies up by itself."""

    def backup(self, target: Path) -> None:
        """Raises Impossible: the server's own tools do that."""
        raise Impossible(f"database {self.name} is no file", "back it up with pg_dump")

    def close(self) -> None:
        """Close all connections. The Database cannot be used afterwards."""
        self._connections.close()


def _lock_of(keeps: str) -> str:
    shared = f"SELECT pg_advisory_xact_lock_shared({LOCKS}, {_key(LEDGER)})"
    if keeps == ROWS:
        return shared
    alone = f"SELECT pg_advisory_xact_lock({LOCKS}, {_key(keeps)})"
    return alone if keeps == LEDGER else f"{shared}; {alone}"


def _key(keeps: str) -> int:
    return crc32(keeps.encode()) - 2**31


def _again_and_again(act: Callable[[], T]) -> T:
    import backoff

    once_more: Any = backoff.on_exception(
        backoff.expo,
        DatabaseBusy,
        factor=0.02,
        max_value=1.0,
        max_time=PATIENCE_SECONDS,
        logger=None,
    )
    done: T = once_more(act)()
    return done
