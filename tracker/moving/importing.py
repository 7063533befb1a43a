"""A ledger from lines: all of it, or nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from tracker import __version__
from tracker.databases.base import Database
from tracker.errors import DatabaseError, Impossible, UsageError
from tracker.moving.lines import (
    COUNTERS,
    FORMAT,
    SCHEMA,
    OnRows,
    Totals,
    canonical,
    ledger_lines,
    row_line,
)
from tracker.schema import moving
from tracker.schema.postgres.border import fitting

BATCH_ROWS, BATCH_BYTES = 1000, 4 * 2**20
"""What is held in memory before it is written."""

VALUES = {str, int, float, bool}

Batch = tuple[str, list[dict[str, Any]]]


class Source:
    """The lines of an export. The first one is read, and judged, at once.

    With `replace_nul`, what PostgreSQL cannot keep of a text is replaced. Raises UsageError for
    what is no export of a ledger of this version, here and wherever it goes on.
    """

    def __init__(self, lines: Iterator[bytes], name: str, *, replace_nul: bool = False) -> None:
        self.name = name
        self.replaced = 0
        self._lines = lines
        self._number = 1
        self._replace_nul = replace_nul
        self._seen, self._expected = Totals(), Totals()
        self._header = next(lines, b"")
        self.rows: dict[str, int] = self._judged(self._header)["rows"]

    @property
    def expected(self) -> Totals:
        """What a database has to hold that took all of it."""
        return self._expected if self.replaced else self._seen

    def batches(self, dialect: str) -> Iterator[Batch]:
        """The rows, some of one table at a time; at the end everything has been checked."""
        table, rows, size = "", list[dict[str, Any]](), 0
        for line in self._lines:
            self._number += 1
            found, row = self._read(line)
            if found is None:
                if rows:
                    yield table, rows
                self._check_end(line)
                return
            self._seen.add(found, line)
            row = self._fitting(found, row, line) if dialect == "postgres" else row
            if rows and (found != table or len(rows) >= BATCH_ROWS or size >= BATCH_BYTES):
                yield table, rows
                rows, size = [], 0
            table, size = found, size + len(line)
            rows.append(row)
        raise self._wrong("the file is cut off: its last line is missing")

    def _judged(self, line: bytes) -> dict[str, Any]:
        found = self._parsed(line)
        made_by = f"made by tracker {found.get('program')}"
        if "tracker_export" not in found:
            raise self._wrong("is not the beginning of an export")
        if found["tracker_export"] != FORMAT:
            raise self._wrong(
                f"the format is {found['tracker_export']}, this is {FORMAT}; {made_by}"
            )
        ours = {name: list(table.columns) for name, table in moving.tables().items()}
        if found.get("schema") != SCHEMA:
            raise UsageError(
                f"{self.name} has tables as of {found.get('schema')}, not {SCHEMA}; {made_by}, "
                f"this is {__version__}",
                "import it with that version into a new database, and upgrade there",
            )
        if (theirs := found.get("tables")) != ours:
            named = theirs if isinstance(theirs, dict) else {}
            strange = sorted(one for one in {*ours, *named} if named.get(one) != ours.get(one))
            raise self._wrong(f"other tables or columns than here: {', '.join(strange)}")
        rows = found.get("rows")
        if not isinstance(rows, dict) or not all(type(one) is int for one in rows.values()):
            raise self._wrong("no counts of rows")
        return found

    def _read(self, line: bytes) -> tuple[str | None, dict[str, Any]]:
        found = self._parsed(line)
        if found.get("end") is True:
            return None, {}
        table, row = found.get("table"), found.get("row")
        if len(found) != 2 or not isinstance(row, dict) or not isinstance(table, str):
            raise self._wrong("is not a row of a table")
        if table == COUNTERS:
            known = row.get("name") in moving.NUMBERED and type(row.get("last")) is int
            if len(row) != 2 or not known:
                raise self._wrong("is not a counter of this ledger")
        elif table not in moving.tables():
            raise self._wrong(f"unknown table {table!r:.60}")
        elif strange := row.keys() - moving.tables()[table].columns.keys():
            raise self._wrong(f"{table} has no column {min(strange)!r:.60}")
        elif not set(map(type, row.values())) <= VALUES:
            raise self._wrong(f"{table} has a value that is no text, number or truth value")
        return table, row

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._wrong("is not a line of an export" if line else "the file is empty")
        return found

    def _check_end(self, line: bytes) -> None:
        if line != self._seen.footer(self._header) or self._seen.rows != self.rows:
            told = self._parsed(line).get("sha256")
            sums = told if isinstance(told, dict) else {}
            bad = [name for name, one in self._seen.sums.items() if sums.get(name) != one]
            raise self._wrong(
                f"the file was altered or is damaged: {', '.join(bad) or 'first or last line'}"
            )
        if next(self._lines, None) is not None:
            self._number += 1
            raise self._wrong("lines behind the end")

    def _fitting(self, table: str, row: dict[str, Any], line: bytes) -> dict[str, Any]:
        """The row as PostgreSQL can keep it, which holds no NUL in texts."""
        fitted = fitting(row) if b"u0000" in line else row
        if fitted != row:
            if not self._replace_nul:
                raise UsageError(
                    f"{self.name} line {self._number}: {table} holds the character NUL, which "
                    "PostgreSQL cannot keep",
                    "--replace-nul puts U+FFFD in its place",
                )
            self.replaced += 1
            kinds = moving.tables()[table].columns
            fitted = {
                name: canonical(value) if kinds[name] == "jsonb" else value
                for name, value in fitted.items()
            }
            line = row_line(table, fitted)
        if self._replace_nul:
            self._expected.add(table, line)
        return fitted

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{self.name} line {self._number}: {what}", "nothing was imported")


def import_ledger(database: Database, source: Source, on_rows: OnRows | None = None) -> Totals:
    """Fill an empty ledger, in one transaction; what it holds then, read back and compared.

    Raises Impossible when it is not empty, UsageError for what the file or a value in it is,
    DatabaseError for what the database does, also when it holds something else than it was given.
    """
    done, total = 0, sum(source.rows.values())
    with database.transaction():
        _check_empty(database)
        for sql in moving.BEFORE[database.dialect]:
            database.write(sql)
        for table, rows in source.batches(database.dialect):
            try:
                _fill(database, table, rows)
            except database.broken as error:
                raise UsageError(f"{source.name}: {table} cannot be kept: {error}") from None
            except UsageError as error:
                raise UsageError(f"{source.name}: {table}: {error.message}", error.hint) from None
            except (ValueError, OverflowError) as error:
                raise UsageError(f"{source.name}: {table} has a wrong value: {error}") from None
            done += len(rows)
            if on_rows is not None:
                on_rows(done, total)
        for sql in moving.AFTER[database.dialect]:
            database.write(sql)
        held = Totals()
        for table, line in ledger_lines(database):
            held.add(table, line)
        _compare(database, held, source.expected)
    return held


def _check_empty(database: Database) -> None:
    for name, table in moving.tables().items():
        if name != "meta" and database.read(table.any):
            raise Impossible(
                f"the ledger in {database.name} is not empty: it has {name}",
                "import into a new database",
            )


def _fill(database: Database, table: str, rows: list[dict[str, Any]]) -> None:
    if table == COUNTERS:
        for row in rows:
            database.write(moving.SET_COUNTER[database.dialect], row)
        return
    kinds = moving.tables()[table].columns
    bodies = [name for name, kind in kinds.items() if kind == "bytea"]
    for row in rows:
        for name in bodies:
            if name in row:
                row[name] = base64.b64decode(row[name], validate=True)
    columns = tuple(kinds)
    database.fill(table, columns, ([row.get(name) for name in columns] for row in rows))


def _compare(database: Database, held: Totals, expected: Totals) -> None:
    other = [name for name, one in expected.sums.items() if held.sums[name] != one]
    if other:
        raise DatabaseError(
            f"database {database.name} would not hold what it was given: {', '.join(other)}",
            "nothing was imported; was the file made by tracker db export?",
        )
