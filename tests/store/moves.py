"""Ledgers that go from one database to another, for the tests."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

from ledgers import at, finished, in_s3, running, sql, storing, submitted, uploading

from tracker import clock
from tracker.model import Status
from tracker.moving.exporting import export_ledger
from tracker.moving.importing import Source, import_ledger
from tracker.moving.lines import Totals
from tracker.schema import moving
from tracker.store import Store

Lines = list[bytes]


def exported(store: Store) -> Lines:
    """The lines of a ledger."""
    file = io.BytesIO()
    export_ledger(store.database, file)
    return file.getvalue().splitlines(keepends=True)


def imported(store: Store, lines: Iterable[bytes], **options: Any) -> Totals:
    """A ledger from its lines."""
    return import_ledger(store.database, Source(iter(lines), "ledger.jsonl", **options))


def rows(lines: Lines, table: str) -> list[dict[str, Any]]:
    """The rows of a table among the lines."""
    found = [json.loads(line) for line in lines[1:-1]]
    return [one["row"] for one in found if one["table"] == table]


def sealed(lines: Lines) -> Lines:
    """These lines with the last one that fits them, as the documentation tells it."""
    head, *body = lines[:-1]
    first = json.loads(head)
    sums = {table: hashlib.sha256() for table in first["rows"]}
    counts = dict.fromkeys(sums, 0)
    for line in body:
        table = json.loads(line)["table"]
        if table not in counts:
            continue
        sums[table].update(line)
        counts[table] += 1
    head = json.dumps({**first, "rows": counts}, separators=(",", ":")).encode() + b"\n"
    end = {
        "end": True,
        "header": hashlib.sha256(head).hexdigest(),
        "rows": counts,
        "sha256": {table: one.hexdigest() for table, one in sums.items()},
    }
    return [head, *body, json.dumps(end, separators=(",", ":")).encode() + b"\n"]


def with_row(lines: Lines, table: str, change: Callable[[dict[str, Any]], Any]) -> Lines:
    """These lines, the first row of a table changed, and the sums with it."""
    number = next(i for i, line in enumerate(lines) if json.loads(line).get("table") == table)
    found = json.loads(lines[number])
    change(found["row"])
    line = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    return sealed([*lines[:number], line, *lines[number + 1 :]])


def furnish(store: Store) -> None:
    """A ledger with something in every table that goes along."""
    storing(store)
    running(store, "docs", in_s3("in/ä.pdf"), payload={"b": 1.5, "a": {"z": [], "y": "ü"}})
    submitted(store, payload={"amount": 1e16, "small": 1e-7, "id": 2**62, "none": -0.0})
    uploading(store)
    gone = finished(store, Status.CANCELLED)
    now = at(0)
    kept = {"local_id": gone, "role": "result", "id": "c", "size": 2, "sha256": "ab"}
    for table, row in {
        "contents": {**kept, "body": b"\x00\xff", "created_at": now},
        "services": {"service": "docs", "account": "", "next_refresh_at": now},
        "listed": {"operation_id": 1, "server_key": "k", "server_id": "s", "fields": '{"b":1}'},
        "strangers": {"server_key": "k", "seen_at": now},
        "tombstones": {"server_key": "k", "deleted_at": now},
        "budgets": {"service": "docs", "account": "", "kind": "", "paused_why": "429"},
    }.items():
        sql(store, moving.insert(table, tuple(row)), list(row.values()))
    numbers = {"polled": 1, "completed": 0, "failed": 0, "errors": 0}
    store.record_run("p1", "poll", clock.now(), 1.25, **numbers)
    store.set_paused(True)
