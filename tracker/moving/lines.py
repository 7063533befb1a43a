"""What a line is, and what lines add up to."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from tracker import __version__, clock
from tracker.databases.base import Database
from tracker.errors import DatabaseError
from tracker.schema import moving
from tracker.schema.postgres.migrations import STEPS as SERVER_STEPS
from tracker.schema.sqlite.migrations import STEPS as FILE_STEPS

FORMAT = 1
SCHEMA = FILE_STEPS[-1][0]
COUNTERS = "counters"
"""What looks like a table among the lines: the highest number that each table has given."""

OnRows = Callable[[int, int], None]
"""Called with how many rows were written and how many there are."""

LARGEST_EXPONENT = 10_000
_FRACTION = re.compile(r"\d[.eE]")
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_sorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


class Totals:
    """Counts and checksums of lines, by table."""

    def __init__(self) -> None:
        self.rows = dict.fromkeys((*moving.tables(), COUNTERS), 0)
        self._sums = {name: hashlib.sha256() for name in self.rows}

    def add(self, table: str, line: bytes) -> None:
        """Count a line of a table."""
        self.rows[table] += 1
        self._sums[table].update(line)

    @property
    def sums(self) -> dict[str, str]:
        """The SHA-256 of each table's lines."""
        return {name: one.hexdigest() for name, one in self._sums.items()}

    @property
    def ledger(self) -> str:
        """One SHA-256 over all rows: equal ledgers have the same, on whichever database."""
        return hashlib.sha256(_dumps(self.sums).encode()).hexdigest()

    def footer(self, header: bytes) -> bytes:
        """The last line of a file whose first one is `header`."""
        seal = hashlib.sha256(header).hexdigest()
        return _line({"end": True, "header": seal, "rows": self.rows, "sha256": self.sums})


def header(rows: dict[str, int], at: str) -> bytes:
    """The first line of a file with so many rows of each table."""
    return _line(
        {
            "tracker_export": FORMAT,
            "schema": SCHEMA,
            "program": __version__,
            "exported_at": at,
            "tables": {name: list(one.columns) for name, one in moving.tables().items()},
            "rows": rows,
        }
    )


def count_rows(database: Database) -> dict[str, int]:
    """How many lines each table will be."""
    found = {name: database.read(one.count)[0][0] for name, one in moving.tables().items()}
    return {**found, COUNTERS: len(moving.NUMBERED)}


def ledger_lines(database: Database) -> Iterator[tuple[str, bytes]]:
    """Every row as its table and its line, a page in memory at a time."""
    for table in moving.tables().values():
        for row in _rows(database, table):
            if table.name != "meta" or row["key"] != moving.OWN_META:
                yield table.name, row_line(table.name, row)
    for name, last in sorted(database.read(moving.counters(database.dialect))):
        yield COUNTERS, row_line(COUNTERS, {"name": name, "last": last})


def row_line(table: str, row: dict[str, Any]) -> bytes:
    """The line of a row in the form of the file."""
    return _line({"table": table, "row": row})


def check_schema(database: Database) -> None:
    """Raises DatabaseError when a newer program has changed the tables: what it added would be
    missing."""
    done = {row[0] for row in database.read(moving.STEPS_DONE[database.dialect])}
    steps = FILE_STEPS if database.dialect == "sqlite" else SERVER_STEPS
    if newer := sorted(done - {name for name, _ in steps}):
        raise DatabaseError(
            f"database {database.name} has had {', '.join(newer)}, which tracker {__version__} "
            "does not know",
            "export it with the version that did this",
        )


def _line(value: Any) -> bytes:
    return (_dumps(value) + "\n").encode()


def _rows(database: Database, table: moving.Table) -> Iterator[dict[str, Any]]:
    columns = list(table.columns)
    forms = [_FORMS.get(kind, _plain) for kind in table.columns.values()]
    places = [columns.index(name) for name in table.key]
    page = database.read(table.page(behind=False))
    while page:
        for values in page:
            yield {
                name: form(value)
                for name, form, value in zip(columns, forms, values, strict=True)
                if value is not None
            }
        page = database.read(table.page(behind=True), [page[-1][place] for place in places])


def canonical(text: Any) -> Any:
    """JSON text as both databases can give it back: keys sorted, the last of equal ones, numbers
    without an exponent. What is no JSON stays as it is."""
    if text == "{}":
        return text
    try:
        found = _written(_exactly(text)) if _FRACTION.search(text) else _sorted(_loads(text))
        found.encode()
    except (ValueError, TypeError, RecursionError):  # UnicodeEncodeError is a ValueError
        return _plain(text)
    return found


def _refuse(text: str) -> None:
    raise ValueError(text)


def _number(text: str) -> Decimal:
    value = Decimal(text)
    if abs(value.adjusted()) > LARGEST_EXPONENT:
        raise ValueError(text)
    return value


_loads = json.JSONDecoder(parse_constant=_refuse).decode
_exactly = json.JSONDecoder(parse_float=_number, parse_constant=_refuse).decode


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{','.join(f'{_dumps(key)}:{_written(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Decimal):
        return format(value if value else abs(value), "f")
    return _dumps(value)


def _time(value: Any) -> Any:
    """A time of the ledger's one width, also where somebody wrote another one by hand."""
    if isinstance(value, str) and (len(value) != 24 or value[-1] != "Z"):
        seconds = clock.read(value, -1.0)
        return value if seconds < 0 else clock.to_text(seconds)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        raise DatabaseError(f"{value[:20]!r} stands where text belongs", "correct it by hand")
    return value


def _real(value: Any) -> Any:
    # SQLite has no negative 0.
    return value + 0.0 if isinstance(value, int | float) else _plain(value)


def _body(value: Any) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


_FORMS: dict[str, Callable[[Any], Any]] = {
    "jsonb": canonical,
    "timestamptz": _time,
    "bytea": _body,
    "boolean": bool,
    "double precision": _real,
}
