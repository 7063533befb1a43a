"""A fleet on one PostgreSQL: pollers are killed at random, and the server restarts under them.

A sample runs with every `pytest`. The whole campaign, 20,000 jobs and two minutes of kills, and
that again with restarts of the server, takes about six minutes::

    TRACKER_CAMPAIGN=full pytest -s tests/campaigns/test_fleet.py
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fleet import POLLERS, Crew, Fleet, calls_by_job
from postgres import ON, Postgres
from yard import FULL, PATIENCE, Service, wait_for

whole = pytest.mark.skipif(not FULL, reason="a part of the whole campaign")
pytestmark = pytest.mark.skipif(ON == "sqlite", reason="is about a server")

JOBS, CREATES, SECONDS = (18_000, 2_000, 120) if FULL else (100, 30, 5)
LIVES = (4.0, 20.0) if FULL else (0.8, 4.0)
EVERY = 60 if FULL else 2
LATE = 10.0 if FULL else 30.0
"""Seconds that a due job may wait for a living poller; on a busy machine at least less than the
minute that a claim lasts."""

MakeFleet = Callable[..., Fleet]


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[MakeFleet]:
    """Make a fleet on a database of a server; its processes end with the test."""
    fleets: list[Fleet] = []

    def make(server: Postgres, **knobs: Any) -> Fleet:
        folder = tmp_path / f"fleet-{len(fleets)}"
        folder.mkdir()
        fleets.append(Fleet(folder, Service(**knobs), server.create()))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()
        fleet.service.close()


def man(fleet: Fleet, lives: tuple[float, float] | None) -> Crew:
    """A crew for jobs that end all through the campaign, and for creates that must not be sent
    twice."""
    poll = f'first = "1s"\nevery = "{EVERY}s"\nmax_per_minute = 30'
    fleet.configure(idempotency="none", poll=poll, timeout="30s")
    fleet.submit(CREATES)
    fleet.adopt(fleet.service.make(JOBS))
    fleet.spread(EVERY)
    crew = Crew(fleet, lives)
    crew.get_up()
    return crew


@pytest.mark.parametrize(
    "restarts",
    [
        pytest.param((), id="kills", marks=whole),
        pytest.param(("fast", "immediate"), id="and-restarts"),
    ],
)
def test_killed_pollers(
    make_fleet: MakeFleet, own_postgres: Postgres, restarts: tuple[str, ...]
) -> None:
    """P4, B10: four pollers that are killed and restarted at random, also while their server is
    restarted, finish each job once, and no due job waits longer than 10 s for a living one."""
    fleet = make_fleet(own_postgres, keys=False, life=[SECONDS / 2, SECONDS * 1.5], status=[0, 0.1])
    load = os.getloadavg()[0]
    reader = fleet.follow()
    crew = man(fleet, LIVES)
    acts = [
        ((number + 1) / (len(restarts) + 1), lambda how=how: own_postgres.restart(how))
        for number, how in enumerate(restarts)
    ]
    began = time.monotonic()
    crew.serve(SECONDS, *acts)
    crew.finish(SECONDS + 6 * LATE + EVERY)
    took = time.monotonic() - began
    fleet.check()
    record = fleet.service.record()
    doubtful = check_creates(fleet, record)
    expected = {"completed": JOBS + CREATES - doubtful, "pending": doubtful}
    assert fleet.statuses() == Counter({key: value for key, value in expected.items() if value})
    assert fleet.repeated_events() == []
    check_reader(fleet, reader)
    results = calls_by_job(record)
    assert len(results) == JOBS + CREATES - doubtful
    print(
        f"\n{JOBS + CREATES} jobs, {POLLERS} pollers, {crew.kills} kills in {SECONDS} s,"
        f" restarts {restarts}, load {load:.1f}, {took:.0f} s: {len(record['polls'])} polls,"
        f" {results.total()} results for {len(results)} jobs, {doubtful} creates in doubt, due"
        f" {max(crew.late):.1f} s at most (median {sorted(crew.late)[len(crew.late) // 2]:.2f}),"
        f" {fleet.close_polls(EVERY / 2)} polls repeated, {max(crew.connections)} connections"
    )
    assert max(crew.late) < LATE


@pytest.mark.parametrize(
    "how",
    ["away", pytest.param("fast", marks=whole), pytest.param("immediate", marks=whole)],
)
def test_restarts_of_the_server(make_fleet: MakeFleet, own_postgres: Postgres, how: str) -> None:
    """B10: while the server is restarted, or away for longer than a poller may be silent, calls are
    in flight: all pollers carry on, what they hold is not taken away, and no call is made twice."""
    jobs, every = (200, 20) if FULL else (40, 10)
    fleet = make_fleet(own_postgres, life=[6, 12], status=[1.0, 3.0], result=100)
    fleet.configure(poll=f'first = "1s"\nevery = "{every}s"\nmax_per_minute = 30', timeout="30s")
    fleet.adopt(fleet.service.make(jobs))
    fleet.spread(every)
    crew = Crew(fleet)
    crew.get_up()
    if how == "away":
        crew.serve(12, (0.3, own_postgres.end), (0.8, lambda: own_postgres.restart("fast")))
    else:
        crew.serve(12, *((share, lambda: own_postgres.restart(how)) for share in (0.3, 0.7)))
    crew.finish()
    fleet.check()
    results = calls_by_job(fleet.service.record())
    print(
        f"\n{jobs} jobs, {how}: due {max(crew.late):.1f} s at most, {results.total()} results,"
        f" {fleet.close_polls(every / 2)} polls repeated, {max(crew.connections)} connections"
    )
    assert fleet.statuses() == {"completed": jobs} and fleet.repeated_events() == []
    assert fleet.close_polls(every / 2) == 0 and results == dict.fromkeys(results, 1)
    assert len(results) == jobs and "released" not in crew.said()


@whole
def test_a_table_that_is_locked(make_fleet: MakeFleet, postgres: Postgres) -> None:
    """B10: while another session locks a table for longer than one waits, a command ends with one
    line that says so, and a poller goes on when the lock is gone."""
    fleet = make_fleet(postgres, life=[5, 10])
    fleet.adopt(fleet.service.make(20))
    poller = fleet.start("run", "--quiet")
    wait_for(fleet.service.polls_of, "a poll")
    with closing(psycopg.connect(fleet.url)) as other:
        other.execute("LOCK TABLE processing_jobs, meta IN ACCESS EXCLUSIVE MODE")
        listing = fleet.start("list")
        assert listing.wait(PATIENCE) == 6
        [line] = fleet.said(listing)[1].splitlines()
        assert "is locked by another process" in line
        assert poller.poll() is None, fleet.said(poller)
    wait_for(fleet.is_quiet, "the end of all jobs")
    assert fleet.stop(poller) == 0
    fleet.check()


def check_creates(fleet: Fleet, record: dict[str, Any]) -> int:
    """No create was sent twice; how many may have been carried out or not."""
    sent = Counter(one["marker"] for one in record["creates"])
    assert set(sent.values()) <= {1}, "sent again"
    doubtful = fleet.rows("SELECT count(*) FROM operations WHERE state = 'in_doubt'")[0][0]
    assert fleet.rows("SELECT count(*) FROM operations") == [(doubtful,)]
    return int(doubtful)


def check_reader(fleet: Fleet, reader: Any) -> None:
    """Who followed the events was told of all of them, in order."""
    last = fleet.rows("SELECT last FROM event_counter")[0][0]
    wait_for(
        lambda: reader.poll() is not None or len(fleet.heard(reader)) >= last, "the last event"
    )
    assert reader.poll() is None, fleet.said(reader)[1]
    assert fleet.heard(reader) == list(range(1, last + 1))
