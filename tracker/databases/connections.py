"""Connections to a PostgreSQL server: psycopg's pool, and what its errors mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tracker import clock
from tracker.databases.base import is_server
from tracker.errors import DatabaseBusy, DatabaseError, UsageError
from tracker.schema.postgres.border import loads_text

if TYPE_CHECKING:
    from psycopg import Connection

MOST = 4
"""Connections of one process; most processes use one."""

WAIT_SECONDS = 3.0
"""How long one waits for a connection, before it is worth telling that there is none."""

GLANCE_SECONDS = 0.2

_HOPELESS = re.compile(
    r"does not exist|authentication failed|pg_hba\.conf|no password supplied|permission denied"
)
"""Refusals that no patience ends. There is no code to tell them by: libpq has only their text."""

_FULL = re.compile(r"too many (clients|connections)|connection slots are reserved")

_BUSY = {
    "40001": "was changed by somebody else at the same time",
    "40P01": "is locked by another process",
    "55P03": "is locked by another process",
    "57014": "took too long to answer",
    "53300": "has no connection left",
    "57P01": "is being shut down",
    "57P02": "has crashed",
    "57P03": "is starting up or shutting down",
    "25P03": "ended a transaction that had nothing to do",
}
READ_ONLY = "25006"

_HINTS = {
    "42501": ("does not let this user do that", "grant the user the right to create tables"),
    "53100": ("cannot grow: the disk is full", "free some space and try again"),
}


class ReadOnly(DatabaseBusy):
    """The server takes no writes: it is a replica, or about to be the primary. Whoever waits for a
    command is told at once; a poller goes on trying."""


class Connections:
    """Opened when they are first needed, by one thread each; ``were_there`` is whether there has
    ever been one."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
            from psycopg_pool import ConnectionPool
        except ImportError:
            raise DatabaseError(
                "a PostgreSQL database needs psycopg",
                "pip install 'tracker-jobs[postgres]'",
            ) from None
        assert is_server(url)
        try:
            place = conninfo_to_dict(url)
        except psycopg.Error:
            # What libpq says of it may quote the password.
            raise UsageError(
                "the database's URL cannot be read", "postgresql://USER@HOST:PORT/NAME"
            ) from None
        self.name = _name(place)
        self._refusal: psycopg.OperationalError | None = None
        self.were_there = False
        outer = self

        class Noting(psycopg.Connection[Any]):
            """Remembers why there is none: the pool only says that it took too long."""

            @classmethod
            def connect(cls, conninfo: str = "", **options: Any) -> Any:
                try:
                    found = super().connect(conninfo, **options)
                except psycopg.OperationalError as error:
                    outer._refusal = error
                    raise
                outer._refusal, outer.were_there = None, True
                return found

        # It would log every attempt to connect as a warning.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        self._pool: ConnectionPool[Any] = ConnectionPool(
            url,
            connection_class=Noting,
            kwargs={
                "autocommit": True,
                "prepare_threshold": None,
                "connect_timeout": 5,
                "application_name": "tracker",
                **{key: value for key, value in _KEEPALIVE.items() if key not in place},
            },
            configure=loads_text,
            min_size=0,
            max_size=MOST,
            num_workers=1,
            # Later on it would double its pause up to minutes; whoever asks tries again anyway.
            reconnect_timeout=1.0,
            open=True,
        )

    @contextmanager
    def take(self) -> Iterator[Connection[Any]]:
        """A connection, for a transaction; what it has left open is rolled back."""
        import psycopg

        with self.told():
            connection = self._wait()
            try:
                yield connection
            except BaseException as error:
                with suppress(psycopg.Error):
                    connection.rollback()
                if isinstance(error, ReadOnly | psycopg.errors.ReadOnlySqlTransaction):
                    connection.close()  # the next one may lead to the server that took over
                raise
            finally:
                self._pool.putconn(connection)

    def _wait(self) -> Connection[Any]:
        from psycopg_pool import PoolTimeout

        latest = clock.monotonic() + WAIT_SECONDS
        while True:
            try:
                found: Connection[Any] = self._pool.getconn(GLANCE_SECONDS)
                return found
            except PoolTimeout:
                refusal = self._refusal
                if refusal is None and clock.monotonic() < latest:
                    continue
                late = clock.monotonic() >= latest
                if late or _HOPELESS.search(str(refusal)):
                    raise refusal or self._busy("has no connection left") from None

    @contextmanager
    def told(self) -> Iterator[None]:
        """What psycopg raises inside the block is told in one line that says what to do."""
        import psycopg

        try:
            yield
        except psycopg.IntegrityError as error:
            # It is the caller's to understand, who may log it: without the row's values.
            raise type(error)(_first_line(error)) from None
        except psycopg.DataError as error:
            raise UsageError(f"PostgreSQL cannot hold that: {_first_line(error)}") from None
        except psycopg.Error as error:
            raise self._told(error) from error
        except UnicodeEncodeError as error:
            raise UsageError(f"{error.object!r:.80} is not UTF-8") from None

    def _told(self, error: Exception) -> DatabaseError:
        import psycopg

        code = getattr(error, "sqlstate", None)
        if code == READ_ONLY:
            hint = "name the primary server with --db"
            return ReadOnly(f"database {self.name} is read-only", hint)
        if code in _BUSY:
            return self._busy(_BUSY[code])
        if code in _HINTS:
            what, hint = _HINTS[code]
            return DatabaseError(f"database {self.name} {what}", hint)
        said = _first_line(error)
        lost = isinstance(error, psycopg.OperationalError) and (code or "08").startswith("08")
        if not lost:
            return DatabaseError(f"database {self.name} failed: {said}")
        if _HOPELESS.search(said):
            return DatabaseError(f"database {self.name} refuses: {said}", "check --db")
        if _FULL.search(said):
            return self._busy("has no connection left")
        return DatabaseBusy(
            f"database {self.name} cannot be reached: {said}", "is the server running?"
        )

    def _busy(self, what: str) -> DatabaseBusy:
        return DatabaseBusy(f"database {self.name} {what}", "try again")

    def close(self) -> None:
        """Close them all."""
        self._pool.close()


_KEEPALIVE = {
    # A server that is gone without a word is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


def _name(place: dict[str, Any]) -> str:
    host = place.get("host") or "localhost"
    port = f":{place['port']}" if place.get("port") else ""
    database = place.get("dbname") or place.get("user") or ""
    if str(host).startswith("/"):
        return f"postgresql:///{database}?host={host}"
    return f"postgresql://{host}{port}/{database}"


def _first_line(error: Exception) -> str:
    diagnosis = getattr(error, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(error)
    return said.strip().splitlines()[0] if said.strip() else type(error).__name__
