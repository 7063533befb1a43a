"""The glance: a pass with nothing to do is told from any other one, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from conftest import BACKENDS
from ledgers import claim, claim_operations, end, poller_row, running, sql, submitted

from tracker.glance import nothing_to_do
from tracker.store import Store, open_store

CHECKED = "a configuration"


class Ledger(NamedTuple):
    """A ledger, and its path or URL."""

    store: Store
    place: str

    @property
    def quiet(self) -> bool:
        return nothing_to_do(self.place, CHECKED)


@pytest.fixture(params=BACKENDS)
def ledger(request: pytest.FixtureRequest, tmp_path) -> Iterator[Ledger]:
    """One in which all is quiet: what runs and what is owed are due later."""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        place = server.create(request.getfixturevalue("template"))
    else:
        place = str(tmp_path / "tracker.db")
    store = open_store(place)
    store.note_checked(CHECKED)
    for service in ("docs", "speech"):
        running(store, service, due=3600)
        submitted(store, service)
    sql(store, "UPDATE operations SET next_attempt_at = '9000-01-01T00:00:00.000Z'")
    end(store, running(store))
    yield Ledger(store, place)
    store.close()
    if request.param == "postgres":
        server.drop(place)


def meta(key: str, value: str) -> Callable[[Store], object]:
    return lambda store: sql(
        store,
        "INSERT INTO meta (key, value) VALUES (?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [key, value],
    )


LISTED = "INSERT INTO services (service, next_refresh_at) VALUES ('docs', ?)"
PAST, FUTURE = "2020-01-01T00:00:00.000Z", "9000-01-01T00:00:00.000Z"

HARMLESS: dict[str, Callable[[Store], object]] = {
    "as it is": lambda store: None,
    "a claimed job": lambda store: (running(store, due=-1), claim(store)),
    "a claimed operation": lambda store: (submitted(store), claim_operations(store)),
    "a listing due later": lambda store: sql(store, LISTED, [FUTURE]),
    "a cleanup due later": meta("next_cleanup_at", FUTURE),
    "no cleanup": meta("next_cleanup_at", ""),
}

TO_DO: dict[str, Callable[[Store], object]] = {
    "a due job of the first service": lambda store: running(store, "a", due=-1),
    "a due job of the last service": lambda store: running(store, "z", due=-1),
    "a due job behind a claimed one": lambda store: (
        running(store, due=-2),
        claim(store),
        running(store, due=-1),
    ),
    "a claim that ran out": lambda store: (running(store, due=-1), claim(store, lease=-1.0)),
    "a due operation": lambda store: submitted(store, "z"),
    "an operation of the lowest priority": lambda store: (
        submitted(store, "z"),
        sql(store, "UPDATE operations SET priority = 3"),
    ),
    "a poller to watch": lambda store: store.beat(poller_row("p")),
    "a create whose fate nobody will tell": lambda store: (
        submitted(store),
        store.record_intent(claim_operations(store, lease=-1.0), "p1"),
    ),
    "a listing due": lambda store: sql(store, LISTED, [PAST]),
    "a cleanup due": meta("next_cleanup_at", PAST),
    "a clock that went back": meta("last_now", FUTURE),
    "another configuration": meta("checked", "another"),
    "a time that is none": meta("last_now", "tomorrow"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_nothing_to_do(ledger, name):
    """B12: where nothing is due, a glance is enough."""
    HARMLESS[name](ledger.store)
    assert ledger.quiet


@pytest.mark.parametrize("name", TO_DO)
def test_something_to_do(ledger, name):
    """P5: whatever a pass would attend to is seen by the glance."""
    assert ledger.quiet
    TO_DO[name](ledger.store)
    assert not ledger.quiet


@pytest.mark.parametrize(
    "place", ["no/such/file", "postgresql://nobody@127.0.0.1:1/x", "postgresql://[", "mysql://x"]
)
def test_what_cannot_be_told(place):
    """A ledger that cannot be asked is left to the whole pass, which says what is wrong."""
    assert not nothing_to_do(place, CHECKED)
