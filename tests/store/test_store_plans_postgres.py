"""Query plans on PostgreSQL: what pollers ask all day long costs what is due, not what is history,
also where the server has seen that nearly all rows are history."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from ledgers import at, sql
from test_store_plans import COUNTS_ALL, GROWING, PARTIAL

from tracker.schema import queries
from tracker.schema.postgres import _TIMES
from tracker.store import open_store
from tracker.store.ledger import PARTS

HISTORY, LIVE = 30_000, 300

FILL = (
    # What ended, or was given up.
    "INSERT INTO processing_jobs (local_id, service, server_id, server_key, status, initiated_at, "
    "created_at, updated_at, accepted_at, completed_at) SELECT 'old-' || i, 'docs', 's-' || i, "
    "'k-' || i, 'completed', now(), now(), now(), now(), now() - i * interval '1 minute' FROM n",
    "INSERT INTO operations (local_id, kind, service, state, next_attempt_at, created_at, "
    "object_id) SELECT 'old-' || i, 'create', 'docs', 'dead', now(), now(), i FROM n",
    "INSERT INTO objects (scheme, bucket, key, state, created_at, updated_at) "
    "SELECT 's3', 'b', 'k-' || i, 'present', now(), now() FROM n",
    "INSERT INTO objects (scheme, key, state, created_at, updated_at) "
    "SELECT 'file', '/spool/' || i, 'present', now(), now() FROM n",
    "INSERT INTO job_objects SELECT 'old-' || i, i, 'input' FROM n",
    "INSERT INTO contents (local_id, role, id, size, sha256, path, created_at) "
    "SELECT 'old-' || i, 'result', i, 1, '', '/results/' || i, now() FROM n",
    "INSERT INTO job_events (seq, at, local_id, type) SELECT i, now(), 'old-' || i, 'x' FROM n",
    "INSERT INTO listed (operation_id, server_key, server_id) SELECT i / 100, 'k-' || i, i FROM n",
    # What is alive: due, or tomorrow.
    "INSERT INTO processing_jobs (local_id, service, server_id, server_key, status, initiated_at, "
    "created_at, updated_at, accepted_at, next_poll_at, expires_at) SELECT 'new-' || i, "
    "(ARRAY['docs', 'speech'])[1 + i % 2], 'n-' || i, 'n-' || i, 'processing', now(), now(), "
    "now(), now(), now() + (i % 3 - 1) * interval '1 day', now() + i * interval '1 hour' FROM few",
    "INSERT INTO operations (local_id, kind, service, priority, next_attempt_at, created_at) "
    "SELECT 'new-' || i, (ARRAY['create', 'fetch_result'])[1 + i % 2], "
    "(ARRAY['docs', 'speech'])[1 + i % 2], i % 4, "
    "now() + (i % 3 - 1) * interval '1 day', now() FROM few",
)

NAMES = {
    "services": ["docs"], "kinds": ["create", "fetch_result"], "local_ids": ["new-1"],
    "only": ["new-1", "new-2"], "ids": [HISTORY + 1], "object_ids": [7], "paths": ["/results/7"],
    "keys": ["k-7"], "found": [[7, "2020-01-01T00:00:00.000Z"]], "fences": [[HISTORY + 1, 0]],
    "from_statuses": ["processing"], "statuses": ["completed"], "faults": ["unreachable"],
    "right": ["x"], "rows": [{"id": HISTORY + 1, "lease": 0, "now": "2020-01-01T00:00:00.000Z"}],
}  # fmt: skip
VALUES: dict[str, Any] = {
    **{name: json.dumps(value) for name, value in NAMES.items()},
    "service": "docs", "account": "", "local_id": "new-1", "id": HISTORY + 1, "object_id": 7,
    "operation_id": 7, "lease": 0, "limit": 50, "share": 6, "keep": 100, "skip": 100, "length": 8,
    "poller": "p", "after": 0, "after_id": 0, "last": "k-9", "server_key": "n-7", "state": None,
    "shift": "-60 seconds", "polled": 1, "raise_lease": 1, "burnt": 1, "pid": 1, "unknown": False,
    "priority": 2, "accepted": True, "retry_count": 0, "progress": 1.0, "bucket": "b", "key": "k-7",
    "scheme": "s3", "version_id": None, "status": "processing", "server_id": "n-7",
    "start": "old-7", "stop": "old-8", "ending": "12345678", "calls": "", "size": 1, "owned": True,
    "partial": False,
    "upload_id": "u", "etag": "e", "role": "input", "kind": "create", "failing_jobs": 0,
    "pause_count": 0, "duration": 1.0, "completed": 1, "failed": 1, "errors": 1,
    "estimated_seconds": 1.0, "http_status": 200, "payload": "{}", "vars": "{}", "fields": "{}",
    "last_synced": "{}", "data": "{}", "progress_event": True, "estimated_completion_seconds": 1.0,
    "body": None,
}  # fmt: skip
TIMES = {
    "soon": 60, "cutoff": 0, "now": 0, "overdue": -60, "stuck": -86400, "before": -86400,
    "completed_at": -3600, "far": 10**9,
}  # fmt: skip


OF_ITS_OWN = {"prune_events": {"last": 7}, "remove_poller": {"id": "p"}}


class Parameters(dict[str, Any]):
    """Every parameter has a value: a word, or a time where the name says so."""

    def __missing__(self, name: str) -> Any:
        if name in VALUES:
            return VALUES[name]
        return at(TIMES.get(name, 0)) if name in TIMES or name in _TIMES else "x"


PLANS: dict[str, tuple[str, ...]] = {
    "claim_jobs": ("processing_jobs_due (service = ) AND (next_poll_at <= )", "TID"),
    "claim_these_jobs": ("processing_jobs_local_id_key (local_id = ANY",),
    "earliest_poll": ("processing_jobs_due (service = )",),
    "earliest_poll_of": ("processing_jobs_local_id_key (local_id = ANY",),
    "count_due": ("processing_jobs_due (service = ) AND (next_poll_at <= )",),
    "release_jobs_of": ("processing_jobs_due (service = ) AND (next_poll_at <= )",),
    "services_with_running_jobs": ("processing_jobs_due",),
    "claim_operations": ("operations_due (service = ) AND (priority = ANY", "TID"),
    "claim_overdue_operations": ("operations_due (service = ) AND (priority = 3)",),
    "claim_these_operations": ("operations_job (local_id = ANY",),
    "earliest_attempt": ("operations_due (service = ) AND (priority = ",),
    "earliest_attempt_of": ("operations_job (local_id = ANY",),
    "services_with_operations": ("operations_due",),
    "doubt_operations_of": ("operations_sent",),
    "doubt_overdue_operations": ("operations_sent (service = )",),
    "overdue_doubts": ("operations_sent (service = )",),
    "release_operations_of": ("operations_due",),
    "settle_running": ("processing_jobs_pkey (id = s.id)",),
    "settle_changed": ("processing_jobs_pkey (id = s.id)",),
    "standing_claims": ("processing_jobs_pkey (id = ",),
    "transition": ("processing_jobs_pkey (id = )",),
    "jobs_of_operations": ("processing_jobs_local_id_key (local_id = ANY",),
    "extend_jobs": ("processing_jobs_pkey (id = )",),
    "extend_operations": ("operations_pkey (id = )",),
    "retry_operation": ("operations_pkey (id = )",),
    "open_refresh": ("operations_due (service = )",),
    "is_refreshing": ("operations_due (service = )",),
    "oldest_create_on_its_way": ("operations_due (service = )",),
    "unalerted": ("processing_jobs_stuck (alerted_at IS NULL) AND (accepted_at < )",),
    "alert_stuck": ("processing_jobs_stuck (alerted_at IS NULL) AND (accepted_at < )",),
    "expiring": ("processing_jobs_expiring (expires_at < )",),
    "kept_files_of": ("objects_place (scheme = ) AND (bucket = ) AND (key = c.path)",),
    "finished_page": ("processing_jobs_finished (ROW(completed_at, id) > ROW(, )) AND",),
    "glance": ("processing_jobs_due (service = polled", "operations_due (service = called"),
}
"""Indexes, each with the beginning of its condition, without the constants in it."""

LAST = ("last_event", "end_of_kept")
"""These read the end of an index, or so many of its entries."""

IN_PARTS = ("count_missing", "missing_jobs", "count_synced", "oldest_operation")
"""These look at all jobs of a service, after a listing, or are asked by `tracker health`."""


@pytest.fixture(scope="module")
def plan(postgres, template) -> Iterator[Callable[[str], list[str]]]:
    """Plans over a ledger that is nearly all history, and whose statistics are fresh."""
    url = postgres.create(template)
    store = open_store(url)
    for text in FILL:
        rows = f" FROM generate_series(1, {LIVE if text.endswith(' few') else HISTORY}) AS i"
        sql(store, re.sub(r" FROM (n|few)$", rows, text))
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("VACUUM ANALYZE")

    def steps(name: str, text: str = "") -> list[str]:
        parameters = Parameters(OF_ITS_OWN.get(name, {}))
        with store.database.transaction():
            explain = f"EXPLAIN (FORMAT JSON) {text or store.sql[name]}"
            [(found,)] = store.database.write(explain, parameters)
        return list(_steps(found[0]["Plan"]))

    yield steps
    store.close()
    postgres.drop(url)


def _steps(plan: dict[str, Any]) -> Iterator[str]:
    """Each scan of a plan as a line: what is scanned, by which condition."""
    condition = re.sub(r"'[^']*'(::\w+( with time zone)?)?", "", plan.get("Index Cond", ""))
    condition = condition.removeprefix("(") if condition.startswith("((") else condition
    if "Index Name" in plan:
        yield f"{plan['Index Name']} {condition}".strip()
    elif plan["Node Type"] == "Seq Scan":
        yield f"SCAN {plan['Relation Name']}"
    elif plan["Node Type"] == "Tid Scan":
        yield "TID"
    elif plan["Node Type"].endswith("Sort"):
        yield "SORT"
    for one in plan.get("Plans", ()):
        yield from _steps(one)


def scans(steps: list[str]) -> list[str]:
    """The steps that walk through a whole growing table, or through an index that is not
    partial."""
    return [
        step
        for step in steps
        if (step.startswith("SCAN ") and step.split()[1] in GROWING)
        or (" " not in step and step not in ("SORT", "TID") and step not in PARTIAL)
    ]


def test_indexes_are_used(plan):
    """B12: each of these statements goes through the indexes that were made for it, also where
    the planner takes the few rows that live for cheap to walk through."""
    for name in PLANS:
        steps = plan(name)
        for wanted in PLANS[name]:
            assert any(step.startswith(wanted) for step in steps), (name, steps)


def test_nothing_is_sorted(plan):
    """B12: the order comes from the index."""
    for name in ("claim_jobs", "earliest_poll", "earliest_attempt", "events", "finished_page"):
        assert "SORT" not in plan(name), name
    assert "SORT" in plan("outbox_of")


def test_no_statement_scans_what_grows(plan):
    """B12: no statement of the store walks through a whole table of jobs, objects, operations,
    contents or events."""
    excepted = {*COUNTS_ALL, *IN_PARTS, *LAST, "find_by_end"}
    names = [one for one in queries("postgres") if not one.endswith(PARTS) and one not in excepted]
    found = {name: scans(plan(name)) for name in names}
    assert len(found) > 100 and not {name: steps for name, steps in found.items() if steps}


def test_a_scan_is_seen(plan):
    """The tests above can fail."""
    for text in ("SELECT * FROM objects", "SELECT max(local_id || 'x') FROM processing_jobs"):
        assert scans(plan("", text)), text


def test_a_settlement_costs_its_own_rows(plan):
    """P3: what is settled is found by its id, not by a walk through all that lives."""
    for name in ("settle_running", "settle_changed", "standing_claims"):
        assert not [step for step in plan(name) if step.startswith(PARTIAL)]
