"""Many pollers on one ledger: killed, stopped and continued. `TRACKER_CAMPAIGN=full` makes the
crowd ten pollers on 500 jobs; plain `pytest` takes four on 100."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import MakeYard
from yard import FULL, PATIENCE, Service, Yard, wait_for

JOBS, POLLERS, KILLED = (500, 10, 4) if FULL else (60, 4, 2)
LONG = 'first = "1s"\nevery = "10m"'


def test_ten_overlapping_pollers(make_yard: MakeYard) -> None:
    """Each due job is polled once, by whichever of many pollers claimed it; of a killed one only
    the calls that were in flight are made again, within 10 s."""
    yard = make_yard(status=[0.2, 0.4], life=[1000, 1000])
    yard.configure(poll=LONG, timeout="30s")
    yard.adopt(yard.service.make(JOBS))
    pollers = [
        yard.start("poll", "--overlap", "--quiet", "--for", "30s" if FULL else "15s")
        for _ in range(POLLERS)
    ]
    by_pid = {poller.pid: poller for poller in pollers}
    wait_for(lambda: len(yard.holders()) >= KILLED, "pollers at work")
    wait_for(lambda: len(yard.service.record()["polls"]) >= JOBS // 10, "a tenth of the polls")
    # Stopped first, so that what they hold can be read before they die with it.
    holders = yard.holders()
    doomed = sorted(holders, key=lambda pid: holders[pid])[-KILLED:]
    for pid in doomed:
        by_pid[pid].send_signal(signal.SIGSTOP)
    held = yard.held_by(doomed)
    asked = set(yard.service.polls_of())
    for pid in doomed:
        by_pid[pid].kill()
        by_pid[pid].wait(PATIENCE)
    killed_at = time.time()

    unpolled = "SELECT count(*) FROM processing_jobs WHERE poll_count = 0"
    wait_for(lambda: yard.rows(unpolled) == [(0,)], "every job settled", 10.0)
    late = time.time() - killed_at
    for poller in pollers:
        if poller.pid not in doomed:
            assert yard.stop(poller) == 0
    yard.check()
    polls = yard.service.polls_of()
    twice = {job for job, times in polls.items() if len(times) > 1}
    assert len(polls) == JOBS
    assert twice <= held, "polled again though nobody had died with it"
    assert max(len(times) for times in polls.values()) <= 2
    assert len(twice) <= 8 * KILLED  # the calls that could be in flight
    assert yard.rows("SELECT DISTINCT poll_count FROM processing_jobs") == [(1,)]
    print(
        f"\n{JOBS} jobs, {POLLERS} pollers, {KILLED} killed holding {len(held)} jobs"
        f" ({len(held & asked)} in flight): all settled after {late:.1f} s,"
        f" {len(twice)} polled twice"
    )


@dataclass
class Thawed:
    """What is left after a poller was suspended with 8 jobs and 8 creates in hand, half of them in
    flight, replaced by another, and continued."""

    yard: Yard
    took: float
    told: dict[str, Any]
    events: tuple[list[Any], list[Any]]  # before and after it was continued


@pytest.fixture(scope="module")
def thawed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thawed]:
    yard = Yard(
        tmp_path_factory.mktemp("thawed"),
        Service(keys=False, status=[0.5, 0.5], after=[0.5, 0.5], life=[0, 0]),
    )
    # In `press` a job takes part in nothing but its creation.
    slow = 'first = "10m"\nevery = "10m"'
    yard.configure("mill", "press", idempotency="none", concurrency=4, timeout="30s", poll=slow)
    yard.adopt(yard.service.make(8))
    yard.submit(8, "press")
    frozen = yard.start("poll", "--overlap", "--json", "--for", "60s")

    def in_flight() -> bool:
        record = yard.service.record()
        return len(record["polls"]) == len(record["creates"]) == 4

    try:
        wait_for(in_flight, "calls in flight")
        frozen.send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        other = yard.start("poll", "--overlap", "--json", "--for", "60s")
        wait_for(lambda: yard.statuses()["completed"] == 8, "all jobs polled by the other", 12)
        took = time.monotonic() - stopped_at
        wait_for(lambda: yard.statuses()["processing"] == 4, "the waiting creates made", 12)
        wait_for(lambda: time.monotonic() - stopped_at > 6, "6 s of silence", 8)
        finalized = "SELECT local_id FROM job_events WHERE type = 'job:finalized' ORDER BY seq"
        before = yard.rows(finalized)
        frozen.send_signal(signal.SIGCONT)
        wait_for(lambda: yard.rows("SELECT 1 FROM pollers WHERE pid = ?", frozen.pid), "its return")
        assert yard.stop(frozen) == yard.stop(other) == 0
        told = json.loads(yard.said(frozen)[0])
        yield Thawed(yard, took, told, (before, yard.rows(finalized)))
    finally:
        yard.close()
        yard.service.close()


def test_stopped_and_continued(thawed: Thawed) -> None:
    """What a suspended poller held is polled by another after 4 s of silence; when it comes back,
    its stale replies count for nothing."""
    assert thawed.took > 3.5, "taken away from one that was silent for less than 4 s"
    thawed.yard.check()
    assert thawed.told["void"] >= 4 and thawed.told["completed"] == 0
    before, after = thawed.events
    assert before == after and len(before) == 8
    print(f"\npolled by another {thawed.took:.1f} s after SIGSTOP; {thawed.told['void']} void")


def test_late_replies_to_creates(thawed: Thawed) -> None:
    """A create that is in doubt because its poller was suspended is accepted after all when that
    poller comes back with the reply."""
    assert thawed.yard.statuses() == {"completed": 8, "processing": 8}
    assert thawed.yard.rows("SELECT * FROM operations") == []


def test_stopped_before_a_create(thawed: Thawed) -> None:
    """A create whose claim was taken away before it was sent is not sent by its former owner."""
    creates = Counter(one["marker"] for one in thawed.yard.service.record()["creates"])
    assert set(creates.values()) == {1}


def test_stopped_before_a_poll(thawed: Thawed) -> None:
    """A poll whose claim was taken away before it was sent is not sent by its former owner."""
    polls = thawed.yard.service.polls_of()
    assert sum(map(len, polls.values())) == 12  # 8, and the 4 that were in flight again
