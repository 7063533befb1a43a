"""Creates at a service without keys, which loses replies and is asked for what it has, by pollers
that are killed.

A sample runs with every `pytest`. The whole campaign of 150 kills takes about five minutes::

    TRACKER_CAMPAIGN=full pytest -s tests/campaigns/test_lookups.py
"""

from __future__ import annotations

import random
import time
from collections import Counter

from conftest import MakeYard
from test_kills import strike
from yard import FULL, Yard

KILLS, JOBS = (150, 300) if FULL else (2, 8)
BEFORE, AFTER = 1.6, 1.8
"""The longest time, in seconds, until a create has its effect; and how long the tracker waits."""

LOOKUP = f"""
[services.mill.create.lookup]
request = {{ path = "/jobs", query = {{ note = "{{client_id}}" }} }}
items = "body.jobs"
match = "body.note"
server_id = "body.id"
after = "{AFTER * 1000:g}ms"
"""


def one_round(yard: Yard, number: int) -> int:
    """Two pollers and a submission at once, each killed somewhere in its life; how many were."""
    started = [
        yard.start("submit", "mill", "-p", f"marker=s{number}"),
        yard.start("poll", "--overlap", "--quiet", "--for", "3s"),
        yard.start("poll", "--overlap", "--quiet", "--for", "3s"),
    ]
    now = time.monotonic()
    return strike({one: now + random.uniform(0.4, 1.8) for one in started})


def test_exactly_one(make_yard: MakeYard) -> None:
    """Whatever is lost on the way and whoever is killed: each job on record is created at its
    service exactly once, under its own local id, and ends."""
    yard = make_yard(
        keys=False, lose=0.4, before=[0, BEFORE], after=[0, 0.15], life=[0, 1], status=[0, 0.05]
    )
    yard.configure(
        idempotency="lookup",
        body='{ marker = "{payload.marker}", note = "{client_id}" }',
        more=LOOKUP,
    )
    yard.run("db", "migrate")
    yard.submit(JOBS)
    began, killed, rounds = time.monotonic(), 0, 0
    while killed < KILLS:
        killed += one_round(yard, rounds)
        rounds += 1
    yard.settle_down()
    yard.check()
    jobs = yard.service.record()["jobs"]
    made = Counter(str(one["payload"]["note"]) for one in jobs.values())
    assert set(made.values()) == {1}, made.most_common(3)
    on_record = dict(yard.rows("SELECT local_id, server_id FROM processing_jobs"))
    assert {one["payload"]["note"]: name for name, one in jobs.items()} == on_record
    assert len(on_record) >= JOBS and yard.rows("SELECT 1 FROM operations") == []
    attempts = len(yard.service.record()["creates"])
    print(
        f"\n{killed} kills, {len(on_record)} jobs, {attempts} creates that had an effect,"
        f" {time.monotonic() - began:.0f} s"
    )
