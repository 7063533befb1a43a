"""One suite for every database that can hold a ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory
from ledgers import NOON

from tracker.store import Store, open_store

BACKENDS: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: open_store(folder / "tracker.db"),
}
"""How each backend opens the ledger that belongs to a test's folder."""


@pytest.fixture(params=sorted(BACKENDS))
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one more connection to the test's ledger, as another process would."""
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(BACKENDS[request.param](tmp_path))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def store(connect: Callable[[], Store]) -> Store:
    """An empty ledger."""
    return connect()


@pytest.fixture
def time() -> Iterator[FrozenDateTimeFactory]:
    """A clock that stands still at noon until it is told to `tick`."""
    with freeze_time(NOON, ignore=["_pytest.timing"]) as frozen:
        yield frozen
