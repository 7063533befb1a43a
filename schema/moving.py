"""The statements that carry a whole ledger from one database to another, made from its tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tracker.schema import script

STAYS = ("pollers", "event_counter")
"""Tables that do not go along: who polls is a matter of the place, and numbers are `COUNTERS`."""

OWN_META = "min_program"
"""The key of ``meta`` that tells of the database's layout, not of the ledger."""

PAGE, PAGE_OF_BODIES = 500, 8
"""Rows that are read at a time; a row with a body may have 16 MiB."""

_TABLE = re.compile(r"^CREATE TABLE (\w+) \(\n(.*?)^\)", re.M | re.S)
_COLUMN = re.compile(
    r"^    (\w+) (text|bigint|integer|smallint|boolean|jsonb|bytea|timestamptz|double precision)\b",
    re.M,
)
_KEY = re.compile(r"^    PRIMARY KEY \(([^)]+)\)|^    (\w+) .*\bPRIMARY KEY,$", re.M)


@dataclass(frozen=True)
class Table:
    """One that goes along: its columns in order, each with PostgreSQL's word for what it holds,
    and those that its rows are known by."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]

    def page(self, *, behind: bool) -> str:
        """Some rows in the order of the key; with `behind`, those behind the key that is given."""
        key = ", ".join(self.key)
        where = f"WHERE ({key}) > ({_marks(self.key)}) " if behind else ""
        limit = PAGE_OF_BODIES if "bytea" in self.columns.values() else PAGE
        columns = ", ".join(self.columns)
        return f"SELECT {columns} FROM {self.name} {where}ORDER BY {key} LIMIT {limit}"

    @property
    def count(self) -> str:
        """How many rows there are."""
        return f"SELECT count(*) FROM {self.name}{self._foreign}"

    @property
    def any(self) -> str:
        """Whether there is a row."""
        return f"SELECT 1 FROM {self.name}{self._foreign} LIMIT 1"

    @property
    def _foreign(self) -> str:
        return f" WHERE key <> '{OWN_META}'" if self.name == "meta" else ""


def insert(table: str, columns: tuple[str, ...]) -> str:
    """One row, its values in this order."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({_marks(columns)})"


def copy_in(table: str, columns: tuple[str, ...]) -> str:
    """PostgreSQL's way for many rows."""
    return f"COPY {table} ({', '.join(columns)}) FROM STDIN"


def _marks(columns: tuple[str, ...]) -> str:
    return ", ".join("?" for _ in columns)


@cache
def tables() -> dict[str, Table]:
    """All tables that go along, by name. The two databases have the same ones (a test compares);
    only PostgreSQL's say what is a time, a truth value or JSON."""
    found = {}
    for name, body in _TABLE.findall(script("postgres", "tables")):
        if name not in STAYS:
            [(several, one)] = _KEY.findall(body)
            key = tuple(several.split(", ")) if several else (one,)
            found[name] = Table(name, dict(_COLUMN.findall(body)), key)
    return found


NUMBERED = {"job_events": "seq", "operations": "id", "poll_runs": "id", "processing_jobs": "id"}
"""Tables whose numbers never come back, also when their last rows are gone."""

_GIVEN = {
    "sqlite": "max(({rows}), coalesce("
    "(SELECT max(seq) FROM sqlite_sequence WHERE name = '{table}'), 0))",
    "postgres": "greatest(({rows}), "
    "pg_sequence_last_value(pg_get_serial_sequence('{table}', '{key}')::regclass))",
}
_EVENTS_GIVEN = {**_GIVEN, "postgres": "greatest(({rows}), (SELECT last FROM event_counter))"}


def counters(dialect: str) -> str:
    """The highest number that was ever given, for each table of `NUMBERED`."""
    found = []
    for table, key in NUMBERED.items():
        given = (_EVENTS_GIVEN if table == "job_events" else _GIVEN)[dialect]
        rows = f"SELECT coalesce(max({key}), 0) FROM {table}"
        found.append(f"SELECT '{table}', {given.format(table=table, key=key, rows=rows)}")
    return " UNION ALL ".join(found)


SET_COUNTER = {
    "sqlite": "INSERT OR REPLACE INTO sqlite_sequence (rowid, name, seq) "
    "SELECT (SELECT rowid FROM sqlite_sequence WHERE name = :name), :name, :last",
    "postgres": "WITH told AS (UPDATE event_counter SET last = :last WHERE :name = 'job_events') "
    "SELECT setval(pg_get_serial_sequence(:name, 'id'), greatest(:last, 1), :last > 0) "
    "WHERE :name <> 'job_events'",
}
"""Has a table of `NUMBERED` go on behind ``:last``."""

BEFORE = {
    "sqlite": (f"DELETE FROM meta WHERE key <> '{OWN_META}'",),
    "postgres": (
        # Lines may come from far away, and nobody waits for an empty ledger.
        "SET LOCAL idle_in_transaction_session_timeout = '1h'",
        "SET LOCAL statement_timeout = '1h'",
        f"DELETE FROM meta WHERE key <> '{OWN_META}'",
    ),
}
"""What makes room for a ledger in an empty one."""

AFTER: dict[str, tuple[str, ...]] = {
    "sqlite": (),
    # SQLite numbers objects by the highest that there is; a sequence has to be told.
    "postgres": (
        "SELECT setval(pg_get_serial_sequence('objects', 'id'), max(id)) FROM objects "
        "HAVING count(*) > 0",
    ),
}

STEPS_DONE = {
    "sqlite": "SELECT name FROM _sqlite_migrations WHERE migration_set = 'tracker'",
    "postgres": "SELECT name FROM tracker_migrations",
}
"""Names of the migrations that a database has had."""
