"""Query plans on SQLite: what is asked all day long costs what is due, not what is history."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ledgers import claim_operations, in_s3, running, sql, submitted, uploading

from tracker import clock
from tracker.model import REMOVALS
from tracker.schema import queries
from tracker.schema.sqlite.listing import listing
from tracker.store import Store, open_store
from tracker.store.cleaning import Farewell, Finished
from tracker.store.ledger import PARTS
from tracker.store.vitals import TABLES

VALUES = {
    "only": None,
    "limit": 50,
    "statuses": json.dumps(["completed", "failed", "cancelled"]),
    "kinds": json.dumps(["create"]),
    "local_ids": json.dumps(["x"]),
    "ids": "[1]",
    "object_ids": "[1]",
    "paths": '["x"]',
    "found": '[[1, "x"]]',
    "keep": 100,
    "length": 8,
    "from_statuses": '["processing"]',
}

JOB = "sqlite_autoindex_processing_jobs_1 (local_id=?)"
ROW = "INTEGER PRIMARY KEY (rowid=?)"
USERS = "job_objects_object (object_id=?)"
PLACE = "objects_place (scheme=? AND bucket=? AND key=?)"
CONTENTS = "sqlite_autoindex_contents_1 (local_id=?)"

PLANS: dict[str, tuple[str, ...]] = {
    "due_jobs": ("processing_jobs_due (service=? AND next_poll_at>? AND next_poll_at<?)",),
    "claim_jobs": ("processing_jobs USING INTEGER PRIMARY KEY (rowid=?)",),
    "claimed_jobs": ("processing_jobs USING INTEGER PRIMARY KEY (rowid=?)",),
    "settle_changed": ("SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",),
    "settle_running": ("SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",),
    "earliest_poll": ("processing_jobs_due (service=?)",),
    "count_due": ("processing_jobs_due (service=? AND next_poll_at<?)",),
    "release_jobs_of": ("processing_jobs_due (service=? AND next_poll_at<?)",),
    "services_with_running_jobs": ("processing_jobs_due (service>?)",),
    "claim_operations": ("operations_due (service=? AND priority=? AND next_attempt_at<?)",),
    "earliest_attempt": ("operations_due (service=? AND priority=?)",),
    "services_with_operations": ("operations_due (service>?)",),
    "removals_owed": ("operations_due (service=?)",),
    "doubt_operations_of": ("operations_sent", f"j USING INDEX {JOB}"),
    "doubt_overdue_operations": ("operations_sent (service=? AND", f"j USING INDEX {JOB}"),
    "end_of_kept": ("processing_jobs_finished",),
    "finished_page": (
        "processing_jobs_finished (completed_at>? AND completed_at<?)",
        "operations_job (local_id=?)",
    ),
    "still_cleanable": (f"j USING {ROW}", "operations_job (local_id=?)"),
    "release_objects": ("job_objects USING PRIMARY KEY (local_id=?)",),
    "request_removal_of_objects": (f"objects USING {ROW}", USERS),
    "forget_foreign_objects": (f"objects USING {ROW}", USERS),
    "hand_over_objects": (f"objects USING {ROW}", USERS),
    "request_removal_of_results": (CONTENTS,),
    "kept_files_of": (CONTENTS, PLACE),
    "delete_contents": (CONTENTS,),
    "delete_jobs": (f"processing_jobs USING {ROW}",),
    "owned_objects_of": ("jo USING PRIMARY KEY (local_id=?)", f"o USING {ROW}", USERS),
    "objects_of": ("jo USING PRIMARY KEY (local_id=?)", f"o USING {ROW}"),
    "inputs_of": ("jo USING PRIMARY KEY (local_id=?)", f"o USING {ROW}"),
    "objects_by_id": (f"o USING {ROW}",),
    "object_at": (PLACE,),
    "files_on_record": (PLACE,),
    "take_back_removal": ("operations_object (object_id=?)",),
    "forget_object": (f"objects USING {ROW}", USERS),
    "outbox": ("p USING INTEGER PRIMARY KEY (rowid>?)", f"o USING {ROW}"),
    "outbox_of": ("operations_job (local_id=?", f"o USING {ROW}"),
    "count_outbox_of": ("operations_job (local_id=?)",),
    "operations_of": ("operations_job (local_id=?)",),
    "whole_jobs": (JOB,),
    "whole_contents": (CONTENTS,),
    "whole_objects": ("jo USING PRIMARY KEY (local_id=?)", f"o USING {ROW}"),
    "whole_events": ("job_events_job (local_id=?)",),
    "counts": ("processing_jobs_active",),
    "job_with_server_key": ("processing_jobs_server_key (server_key=?)",),
    "find_by_short_id": ("processing_jobs_short_id (<expr>=?)",),
    "events_of": ("job_events_job (local_id=? AND seq>?)",),
}

GROWING = {"processing_jobs", "jobs", "operations", "objects", "job_objects", "contents"}
GROWING |= {"job_events"}
PARTIAL = ("processing_jobs_active", "processing_jobs_finished", "processing_jobs_due")
PARTIAL += ("processing_jobs_stuck",)
PARTIAL += ("operations_due", "operations_sent")

COUNTS_ALL = {"count_outbox", "operation_counts"} | {f"size_of_{table}" for table in TABLES}
"""Somebody asked how many there are: `tracker outbox`, `tracker health`."""


class Plans:
    """Tells how SQLite would run a statement, a line a step."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __call__(self, text: str) -> list[str]:
        rows = self.store.database.read("EXPLAIN QUERY PLAN " + text, _Parameters())
        return [row[3] for row in rows]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """The plans of an empty ledger."""
    store = open_store(tmp_path_factory.mktemp("plans") / "tracker.db")
    yield Plans(store)
    store.close()


class _Parameters(dict):
    """Every parameter has some value."""

    def __missing__(self, name: str) -> object:
        return VALUES.get(name, "x")


def scans(steps: list[str], text: str) -> list[str]:
    """The steps that walk through a whole growing table, or through an index that is not
    partial."""
    names = {alias: table for table, alias in re.findall(r"(\w+) AS (\w+)", text)}
    return [
        step
        for step in steps
        if step.startswith("SCAN")
        and "VIRTUAL TABLE" not in step
        and names.get(step.split()[1], step.split()[1]) in GROWING
        and not step.endswith(PARTIAL)
    ]


@pytest.mark.parametrize("name", sorted(PLANS))
def test_indexes_are_used(plan, name):
    """B12: each of these statements goes through the indexes that were made for it."""
    steps = plan(plan.store.sql[name])
    for wanted in PLANS[name]:
        assert any(wanted in step for step in steps), steps


@pytest.mark.parametrize(
    "name",
    [
        "due_jobs",
        "claim_operations",
        "earliest_poll",
        "earliest_attempt",
        "finished_page",
        "end_of_kept",
        "prune_events",
        "events",
        "outbox",
        "outbox_of",
    ],
)
def test_nothing_is_sorted(plan, name):
    """B12: the order comes from the index: no statement of these sorts what it found."""
    assert not [step for step in plan(plan.store.sql[name]) if "TEMP B-TREE" in step]


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name in queries("sqlite")
        # A short ending is typed by a person, and has no index.
        if not name.endswith(PARTS) and name not in COUNTS_ALL | {"find_by_end"}
    ),
)
def test_no_statement_scans_what_grows(plan, name):
    """B12: no statement of the store walks through a whole table of jobs, objects, operations,
    contents or events."""
    text = plan.store.sql[name]
    assert not scans(plan(text), text)


def test_a_scan_is_seen(plan):
    """The tests above can fail: a scan is seen also behind another name."""
    for text in ("SELECT * FROM objects", "SELECT 1 FROM processing_jobs AS j WHERE j.account = 1"):
        assert scans(plan(text), text)


@pytest.mark.parametrize(
    ("filters", "step"),
    [
        ({"statuses": "[]", "active": True}, "processing_jobs_active"),
        ({"document_id": "D"}, "processing_jobs_document (document_id=?)"),
        ({"session_id": "S"}, "processing_jobs_session (session_id=?)"),
        ({"project": "P"}, "processing_jobs_project (project=?)"),
    ],
)
def test_lists_use_an_index(plan, filters, step):
    """B12: a list of what is active, or of one document, session or project, costs only that."""
    steps = plan(listing(plan.store.sql["view_columns"], filters))
    assert any(step in one for one in steps), steps
    assert not [one for one in steps if one.startswith("SCAN j") and "INDEX" not in one]


# What cannot be seen in a plan: how many of SQLite's own steps an act takes.

HISTORY = 2000


def filled(folder: Path, jobs: int) -> Store:
    """A ledger with so many cleaned up and finished jobs, each with an S3 object, and as many
    removals that wait for their next attempt."""
    store = open_store(folder / "tracker.db")
    for text in (
        "INSERT INTO objects (id, scheme, bucket, key, state, created_at, updated_at) "
        "SELECT i, 's3', 'bucket', 'k' || i, 'present', '', '' FROM n",
        "INSERT INTO processing_jobs (local_id, service, server_id, status, initiated_at, "
        "created_at, updated_at, completed_at) "
        "SELECT 'old-' || i, 'docs', i, 'completed', '', '', '', '2020' || i FROM n",
        "INSERT INTO job_objects SELECT 'old-' || i, i, 'input' FROM n",
        "INSERT INTO objects (id, scheme, key, state, created_at, updated_at) "
        "SELECT i + 500000, 'file', '/spool/' || i, 'present', '', '' FROM n",
        "INSERT INTO job_objects SELECT 'old-' || i, i + 500000, 'input' FROM n",
        "INSERT INTO job_events (at, local_id, type) SELECT '', 'old-' || i, 'x' FROM n",
        "INSERT INTO contents (local_id, role, id, size, sha256, path, created_at) "
        "SELECT 'old-' || i, 'result', i, 1, '', '/results/' || i, '' FROM n",
        "INSERT INTO objects (id, scheme, bucket, key, state, created_at, updated_at) "
        "SELECT i + 1000000, 's3', 'denied', 'k' || i, 'removal_requested', '', '' FROM n",
        "INSERT INTO operations (local_id, kind, service, priority, attempts, next_attempt_at, "
        "created_at, object_id) SELECT 'gone-' || i, 'remove_object', 'storage:removals', 3, 1, "
        "'2999-01-01T00:00:00.000Z', '', i + 1000000 FROM n",
    ):
        numbers = (
            f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs})"
        )
        sql(store, text.replace("SELECT", f"{numbers} SELECT", 1))
    return store


def in_doubt(store: Store) -> None:
    local_id = submitted(store)
    operations = claim_operations(store, only=[local_id], poller="dying")
    assert store.record_intent(operations, "dying")


def page(store: Store, limit: int = 10) -> list[Finished]:
    return store.finished_page(None, clock.now(), limit=limit)


ACTS: dict[str, Callable[[Store], object]] = {
    "claim": lambda store: claim_operations(store, 1000, service=REMOVALS),
    "earliest": lambda store: store.earliest_due([REMOVALS, "docs"]),
    "services": lambda store: store.services_with_work(),
    "page": lambda store: page(store),
    "clean up": lambda store: store.clean_up(page(store)),
    "instead": lambda store: store.clean_up(page(store), {"docs": Farewell(True, True)}),
    "owned": lambda store: store.owned_by("old-49"),
    "archive": lambda store: store.whole(["old-49"]),
    "files": lambda store: store.paths_of(["old-49"], ["/results/48", "/spool/48"]),
    "outbox": lambda store: store.outbox(limit=5),
    "outbox of a job": lambda store: store.outbox(local_id="gone-49"),
    "count of a job": lambda store: store.count_outbox(local_id="gone-49"),
    "upload": uploading,
    "adopt": lambda store: running(store, "docs", in_s3("k15"), in_s3("new")),
    "goodbye": lambda store: (in_doubt(store), store.say_goodbye("dying", [])),
}


def steps_of(store: Store, act: Callable[[Store], object]) -> int:
    """How many steps SQLite takes for an act."""
    count = 0

    def one_more() -> int:
        nonlocal count
        count += 1
        return 0

    store.database.connection.set_progress_handler(one_more, 1)
    act(store)
    store.database.connection.set_progress_handler(None, 0)
    return count


@pytest.fixture(scope="module")
def ledgers_of_two_sizes(tmp_path_factory):
    """One with little history, and one with forty times as much."""
    made = [filled(tmp_path_factory.mktemp("history"), jobs) for jobs in (50, HISTORY)]
    yield made
    for one in made:
        one.close()


@pytest.mark.parametrize("name", ACTS)
def test_history_costs_nothing(ledgers_of_two_sizes, name):
    """B12, P9: what was long ago, and what waits for S3 to come back, makes no act dearer."""
    small, large = (steps_of(store, ACTS[name]) for store in ledgers_of_two_sizes)
    assert 0 < large < small * 1.2 + 100
