"""A ledger as lines."""

from __future__ import annotations

from typing import BinaryIO

from tracker import clock
from tracker.databases.base import Database
from tracker.moving.lines import (
    OnRows,
    Totals,
    check_schema,
    count_rows,
    header,
    ledger_lines,
)

EVERY = 500


def export_ledger(database: Database, file: BinaryIO, on_rows: OnRows | None = None) -> Totals:
    """Write the ledger, as it is at one moment, while pollers go on; what was written.

    Raises DatabaseError when a newer program has changed the tables, OSError for what `file` does.
    """
    check_schema(database)
    found, done = Totals(), 0
    with database.snapshot():
        rows = count_rows(database)
        total = sum(rows.values())
        first = header(rows, clock.to_text(database.now()))
        file.write(first)
        for table, line in ledger_lines(database):
            file.write(line)
            found.add(table, line)
            done += 1
            if on_rows is not None and done % EVERY == 0:
                on_rows(done, total)
    file.write(found.footer(first))
    return found
