"""Listings for the tests of the ledger, in few words."""

from __future__ import annotations

import json
from typing import Any

from ledgers import (
    RULES,
    cell,
    claim_operations,
    running,
    sql,
)

from tracker import lifecycle
from tracker.listed import Listed, Merging, Page
from tracker.model import Failure, Kind
from tracker.store import Store, server_key
from tracker.store.refreshing import Wanted

DOCS = Wanted("docs", "", 900.0)
PLAIN = Merging()
ALL = Merging(authoritative=True, most_deletions=1.0)


def listed(server_id: str, **values: Any) -> Listed:
    """One item of a listing."""
    return Listed(server_id, server_key("docs", server_id), **values)


def page(*items: str | Listed, cursor: str | None = None) -> Page:
    """A page with these jobs."""
    return Page(tuple(listed(one) if isinstance(one, str) else one for one in items), cursor)


def turn(store: Store, result: Page | Failure, merging: Merging = PLAIN) -> None:
    """Attempt the one refresh that is due; this is what its call brings."""
    [operation] = claim_operations(store, kinds=[Kind.REFRESH])
    store.settle([lifecycle.after_page(operation, result, merging, RULES.retry, rnd=lambda: 0.0)])


def refresh(
    store: Store, *pages: Page | Failure, merging: Merging = PLAIN, wanted: Wanted = DOCS
) -> None:
    """A whole refresh that sees these pages."""
    assert store.owe_refreshes([wanted], force=True) == ["docs"]
    for one in pages:
        turn(store, one, merging)


def counts(store: Store) -> dict[str, Any]:
    """What the last complete listing did."""
    told = [one.data for one in store.events() if one.type == "service:refreshed"]
    return {name: value for name, value in told[-1].items() if name != "service" and value}


def ids(store: Store) -> set[str]:
    """The server ids of all jobs."""
    return {row[0] for row in store.database.read("SELECT server_id FROM processing_jobs")}


def payload(store: Store, job: str) -> Any:
    """A job's payload."""
    return json.loads(cell(store, "payload", job))


def synced(store: Store, **fields: Any) -> str:
    """A job that both sides agree about."""
    job = running(store, server_id="a", payload=dict(fields))
    sql(store, "UPDATE processing_jobs SET last_synced = payload")
    return job


def jobs(store: Store) -> list[Any]:
    """All that is on record of jobs."""
    return sorted(store.database.read("SELECT * FROM processing_jobs"))
