"""Kill campaigns: `kill -9` at random moments, then look for what was lost or done twice.

A sample runs with every `pytest`. The whole campaign, 200 kills with idempotency keys and 200
without, with the other kills takes about five minutes::

    TRACKER_CAMPAIGN=full pytest -s tests/campaigns/test_kills.py
"""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import MakeYard
from postgres import in_file
from yard import FULL, PATIENCE, Yard, wait_for

KILLS = 200 if FULL else 4
SUBMIT_LIFE, POLL_LIFE = 0.7, 2.0 if FULL else 1.2  # seconds, about; a kill falls anywhere in it


def strike(living: dict[subprocess.Popen[str], float]) -> int:
    """Kill each process at its time, unless it has ended before; how many were killed."""
    killed = 0
    while living:
        now = time.monotonic()
        for process, at in list(living.items()):
            if process.poll() is not None:
                del living[process]
            elif now >= at:
                process.kill()
                process.wait(PATIENCE)
                killed += 1
                del living[process]
        time.sleep(0.002)
    return killed


def one_round(yard: Yard, number: int) -> tuple[list[subprocess.Popen[str]], int]:
    """Two submissions and a poller at once, each to be killed somewhere in its life; the
    submissions and how many were killed."""
    submits = [
        yard.start("submit", "mill", "input.txt", "-p", f"marker=m{number}-{index}")
        for index in range(2)
    ]
    poll = yard.start("poll", "--overlap", "--quiet", "--for", "1500ms" if FULL else "800ms")
    now = time.monotonic()
    doomed = {submit: now + random.uniform(0, SUBMIT_LIFE) for submit in submits}
    return submits, strike({**doomed, poll: now + random.uniform(0, POLL_LIFE)})


@pytest.mark.parametrize("keys", [True, False], ids=["keys", "no-keys"])
def test_kill_submit_and_poll(make_yard: MakeYard, keys: bool) -> None:
    """However often `submit` and `poll` are killed, no job is lost, none is created twice, and
    each that ends does so once; what may or may not have been created is in doubt and stays so."""
    yard = make_yard(
        keys=keys, before=[0, 0.1], after=[0, 0.15], status=[0, 0.1], life=[0, 2], fail=0.2
    )
    yard.configure(idempotency="header" if keys else "none")
    (yard.folder / "input.txt").write_text("something to work on")
    yard.run("db", "migrate")
    began, killed, rounds, submits = time.monotonic(), 0, 0, []
    while killed < KILLS:
        started, count = one_round(yard, rounds)
        submits += started
        killed += count
        rounds += 1
    yard.settle_down()
    yard.check()

    printed = {yard.said(submit)[0].strip() for submit in submits} - {""}
    marker_of = dict(yard.rows("SELECT local_id, payload ->> 'marker' FROM processing_jobs"))
    assert printed <= set(marker_of)
    assert len(set(marker_of.values())) == len(marker_of)
    record = yard.service.record()
    created = Counter(one["marker"] for one in record["creates"] if not one["repeat"])
    assert set(created.values()) <= {1}, "created twice"
    assert set(created) <= set(marker_of.values()), "created, but not on record"
    doubtful = {
        local_id
        for local_id, state in yard.rows("SELECT local_id, state FROM operations")
        if state == "in_doubt"
    }
    pending = {
        row[0] for row in yard.rows("SELECT local_id FROM processing_jobs WHERE status = 'pending'")
    }
    assert pending == doubtful, "neither accepted nor in doubt"
    if keys:
        assert not doubtful
    else:
        calls = Counter(one["marker"] for one in record["creates"])
        assert set(calls.values()) <= {1}, "sent again"
    assert {marker for local_id, marker in marker_of.items() if local_id not in pending} <= set(
        created
    )
    assert yard.rows("SELECT * FROM pollers") == []
    strays = len(list(Path(yard.folder).glob("tracker.db.files/*/*.part")))
    repeats = sum(one["repeat"] for one in record["creates"])
    print(
        f"\n{'keys' if keys else 'no keys'}: {killed} kills in {rounds} rounds,"
        f" {time.monotonic() - began:.0f} s; {len(printed)} ids printed, {len(marker_of)} jobs,"
        f" {dict(yard.statuses())}, {len(doubtful)} in doubt"
        f" ({len({marker_of[one] for one in doubtful} & set(created))} of them created),"
        f" {repeats} creates repeated, {len(record['polls'])} polls, {strays} stray files"
    )


def test_kill_while_a_result_comes(make_yard: MakeYard) -> None:
    """A poller killed in the middle of a download leaves a job whose result comes home whole, and
    once, by the next poller."""
    size = 200_000  # kept as a file
    yard = make_yard(life=[0, 0], result=size, dribble=1.0)
    yard.adopt(yard.service.make(4))
    poller = yard.start("poll", "--overlap", "--quiet", "--for", "20s")
    files = yard.folder / "tracker.db.files" / "results"
    wait_for(lambda: any(one.stat().st_size for one in files.glob("*.part")), "a download")
    poller.kill()
    poller.wait(PATIENCE)
    yard.service.turn(dribble=0)
    yard.settle_down()
    yard.check()
    assert yard.statuses() == {"completed": 4}
    for path, bytes_kept in yard.rows("SELECT path, size FROM contents"):
        assert bytes_kept == size == Path(path).stat().st_size


@in_file
def test_kill_while_migrating(make_yard: MakeYard) -> None:
    """A migration of an older database that is killed at any moment leaves it as it was or
    finished: no row is lost, and the next process gets it done."""
    rows, rounds = (20_000, 40) if FULL else (1500, 1)
    yard = make_yard()
    yard.make_old(rows)
    began = time.monotonic()
    yard.run("db", "migrate")
    life = time.monotonic() - began
    killed = torn = 0
    for _ in range(rounds):
        yard.make_old(rows)
        migrating = yard.start("db", "migrate")
        killed += strike({migrating: time.monotonic() + random.uniform(0.1, life)})
        assert yard.rows("PRAGMA integrity_check") == [("ok",)]
        assert yard.rows("SELECT count(*) FROM processing_jobs") == [(rows,)]
        torn += not yard.rows("SELECT 1 FROM sqlite_master WHERE name = 'meta'")
        yard.run("db", "migrate")
        migrated = "SELECT count(*), count(DISTINCT server_id) FROM processing_jobs"
        assert yard.rows(migrated) == [(rows, rows)]
    print(
        f"\nmigration: {killed} kills in {rounds} rounds, {torn} before its commit,"
        f" {time.monotonic() - began:.0f} s"
    )
