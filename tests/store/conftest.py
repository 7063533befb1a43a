"""One suite for every database that can hold a ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory
from ledgers import NOON
from postgres import Postgres

from tracker import clock
from tracker.databases import postgres
from tracker.store import Store, open_store

BACKENDS = ("postgres", "sqlite")
UNUSED = ("test_store_on_postgres", "test_store_plans")
"""Who looks at more than rows, and wants a database that nobody has used."""


@pytest.fixture(params=BACKENDS)
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one more connection to the test's ledger, as another process would."""
    opened: list[Store] = []
    url = ""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        template = request.getfixturevalue("template")
        lent = request.module.__name__ not in UNUSED
        url = server.lend(template) if lent else server.create(template)

    def open_one() -> Store:
        # The clock of the tests is this process's, which they can stop.
        opened.append(
            Store(postgres.Database(url, now=clock.now))
            if url
            else open_store(tmp_path / "tracker.db")
        )
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
    if url:
        server.give_back(url) if lent else server.drop(url)


@pytest.fixture
def store(connect: Callable[[], Store]) -> Store:
    """An empty ledger."""
    return connect()


@pytest.fixture
def time() -> Iterator[FrozenDateTimeFactory]:
    """A clock that stands still at noon until it is told to `tick`."""
    with freeze_time(NOON, ignore=["_pytest.timing", "psycopg_pool"]) as frozen:
        yield frozen
