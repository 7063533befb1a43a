"""What a ledger asks of a database, whichever it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

Parameters = Mapping[str, Any] | Sequence[Any]

LEDGER = "ledger"
"""What a transaction keeps to itself by default: nobody else writes anything meanwhile."""

ROWS = "rows"
"""What a transaction keeps to itself that may run beside others of its kind: the rows it writes."""

SERVERS = ("postgresql://", "postgres://")


def is_server(database: str | Path) -> bool:
    """Whether this names a database server, not a file."""
    return str(database).lower().startswith(SERVERS)


def as_rows(rows: Sequence[Parameters]) -> str:
    """Many rows of parameters as one document of JSON, without the character NUL: SQLite reads
    JSON's texts up to there, and PostgreSQL not at all."""
    import msgspec

    text = msgspec.json.encode(rows).decode()
    return _NUL.sub("\\1\ufffd", text) if "\\u0000" in text else text


_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class Database(Protocol):
    """Safe to use from several threads. Statements have their parameters as ``:name`` or ``?``;
    times are text of one width, JSON is text.

    Every method raises `tracker.errors.DatabaseError` for what the database does, DatabaseBusy
    where it is worth trying again, and ``broken`` for a broken constraint.
    """

    dialect: str
    broken: type[Exception]
    pauses_at_rows: bool
    """Whether a thread that reads rows gives way to the others at each of them."""

    @property
    def name(self) -> str:
        """What the database is called in messages; never a secret."""

    def now(self) -> float:
        """The database's clock, in seconds since 1970."""

    def read(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement that writes nothing."""

    def read_dicts(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """The same, each row as a dict by column."""

    def transaction(self, keeps: str = LEDGER) -> AbstractContextManager[Database]:
        """A write transaction: all of it is committed, or none. One inside another joins it.

        `keeps` is what nobody else may write meanwhile: LEDGER, ROWS, or the name of something
        that only transactions with that name write. It may keep more than that.
        """

    def snapshot(self) -> AbstractContextManager[Database]:
        """Reads inside the block see the database as it is at one moment, however long it takes;
        nobody waits for that."""

    def fill(self, table: str, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> None:
        """Add many rows in the current transaction, the fastest way that there is."""

    def write(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one writing statement in the current transaction; its RETURNING rows."""

    def insert(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one INSERT in the current transaction; the new row's id."""

    def write_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one writing statement for each of `rows`, or once for all of them where it takes
        them as ``:rows``; how many rows it changed."""

    def write_last(self, sql: str, rows: Iterable[Parameters]) -> None:
        """The same, at the end of the current transaction: what everybody waits for is written
        when nothing else is left to do."""

    def persist(self, act: Callable[[], T]) -> T:
        """Do `act`, again and again where it is worth trying; inside a transaction just once."""

    @property
    def in_transaction(self) -> bool:
        """Whether a write transaction is open, here or further out."""

    def change_count(self) -> int:
        """A number that differs after something was committed, by whomever."""

    def foreign_change_count(self) -> int:
        """A number that differs after something was committed, but not by way of this object."""

    def fold(self) -> None:
        """Tidy up after many commits, where nobody waits for it."""

    def backup(self, target: Path) -> None:
        """Copy the database, as it is at one moment, to a new file."""

    def close(self) -> None:
        """Close it. The Database cannot be used afterwards."""
