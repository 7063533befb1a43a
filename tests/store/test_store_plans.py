"""Query plans on SQLite: what is asked all day long costs what is due, not what is history."""

from __future__ import annotations

import json

import pytest

from tracker.schema import queries
from tracker.schema.sqlite.listing import listing
from tracker.store import Store, open_store

VALUES = {
    "only": None,
    "limit": 50,
    "statuses": json.dumps(["completed", "failed", "cancelled"]),
    "kinds": json.dumps(["create"]),
    "local_ids": json.dumps(["x"]),
    "ids": "[1]",
    "keep": 100,
    "length": 8,
    "from_statuses": '["processing"]',
}

PLANS = {
    "claim_jobs": "processing_jobs_due (service=? AND next_poll_at<?)",
    "earliest_poll": "processing_jobs_due (service=?)",
    "count_due": "processing_jobs_due (service=? AND next_poll_at<?)",
    "release_jobs_of": "processing_jobs_due (service=? AND next_poll_at<?)",
    "services_with_running_jobs": "processing_jobs_due (service>?)",
    "claim_operations": "operations_due (service=?",
    "earliest_attempt": "operations_due (service=?)",
    "services_with_operations": "operations_due (service>?)",
    "cleanable": "processing_jobs_finished (completed_at<?)",
    "end_of_kept": "processing_jobs_finished",
    "counts": "processing_jobs_active",
    "job_with_server_key": "processing_jobs_server_key (server_key=?)",
    "find_by_short_id": "processing_jobs_short_id (<expr>=?)",
    "events_of": "job_events_job (local_id=? AND seq>?)",
    "operations_of": "operations_job (local_id=?)",
    "files_to_remove": "objects_owed",
}


class Plans:
    """Tells how SQLite would run a statement, a line a step."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __call__(self, text: str) -> list[str]:
        rows = self.store.database.read("EXPLAIN QUERY PLAN " + text, _Parameters())
        return [row[3] for row in rows]


@pytest.fixture
def plan(tmp_path):
    """The plans of an empty ledger."""
    store = open_store(tmp_path / "tracker.db")
    yield Plans(store)
    store.close()


class _Parameters(dict):
    """Every parameter has some value."""

    def __missing__(self, name: str) -> object:
        return VALUES.get(name, "x")


def scans(steps: list[str], table: str) -> list[str]:
    """The steps that walk through a whole table, or through an index that is not partial."""
    partial = ("processing_jobs_active", "processing_jobs_finished", "processing_jobs_due")
    return [
        step
        for step in steps
        if step.startswith("SCAN") and table in step.split()[:2] and not step.endswith(partial)
    ]


@pytest.mark.parametrize("name", sorted(PLANS))
def test_partial_indexes_are_used(plan, name):
    """B12: each of these statements goes through the index that was made for it."""
    steps = plan(plan.store.sql[name])
    assert any(PLANS[name] in step for step in steps), steps
    assert not scans(steps, "processing_jobs") and not scans(steps, "operations"), steps


@pytest.mark.parametrize(
    "name", ["claim_jobs", "earliest_poll", "cleanable", "end_of_kept", "prune_events", "events"]
)
def test_nothing_is_sorted(plan, name):
    """B12: the order comes from the index: no statement of these sorts what it found."""
    assert not [step for step in plan(plan.store.sql[name]) if "TEMP B-TREE" in step]


@pytest.mark.parametrize(
    "name",
    sorted(
        set(queries("sqlite"))
        # A short ending is typed by a person, and has no index.
        - {"job_columns", "operation_columns", "view_columns", "find_by_end"}
    ),
)
def test_no_statement_scans_the_jobs(plan, name):
    """B12: no statement of the store walks through the whole table of jobs."""
    assert not scans(plan(plan.store.sql[name]), "processing_jobs")


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
