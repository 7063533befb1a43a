"""Cadence under `poll --for`, and under cron. Plain `pytest` scales the times down;
`TRACKER_CAMPAIGN=full` takes 300 jobs, the real 20 s, and cron's real minutes (10 minutes)."""

from __future__ import annotations

import subprocess
import threading
import time
from datetime import datetime
from itertools import pairwise

from conftest import MakeYard
from yard import FULL, PATIENCE, Yard, wait_for

START_SECONDS = 1.5 if FULL else 2.5  # a command under way, on a busy machine


def gaps(yard: Yard) -> list[float]:
    """The seconds between two polls of one job, over all jobs."""
    return [b - a for times in yard.service.polls_of().values() for a, b in pairwise(times)]


def busiest_minute(yard: Yard) -> int:
    """The most polls that any one job got in any 60 s."""
    return max(
        sum(start <= at < start + 60 for at in times)
        for times in yard.service.polls_of().values()
        for start in times
    )


def test_cadence(make_yard: MakeYard) -> None:
    """Every completion is seen within the cadence and a little, and no job is polled more often
    than its service's `max_per_minute`."""
    if FULL:
        jobs, every, within, life, seconds = 300, 20.0, 30.0, [5.0, 200.0], 260
        poll = 'first = "10s"\nevery = "20s"'
    else:
        jobs, every, within, life, seconds = 60, 1.0, 3.5, [0.5, 2.5], 6.5
        poll = 'first = "1s"\nevery = "1s"\nmax_per_minute = 120'
    yard = make_yard(life=life, status=[0, 0.05])
    yard.configure(poll=poll, rate="100/s", timeout="30s")
    yard.adopt(yard.service.make(jobs))
    poller = yard.start("poll", "--quiet", "--for", f"{int(seconds * 1000)}ms")
    assert poller.wait(seconds + PATIENCE) == 0
    assert yard.said(poller) == ("", "")
    assert yard.statuses() == {"completed": jobs}
    yard.check()
    done_at = {job: found["done_at"] for job, found in yard.service.record()["jobs"].items()}
    delays = [
        datetime.fromisoformat(completed_at).timestamp() - done_at[server_id]
        for server_id, completed_at in yard.rows(
            "SELECT server_id, completed_at FROM processing_jobs"
        )
    ]
    assert max(delays) <= within
    assert busiest_minute(yard) <= (10 if FULL else 120)
    assert min(gaps(yard)) >= every
    print(
        f"\n{jobs} jobs every {every:g} s: seen {sum(delays) / jobs:.1f} s after their end on"
        f" average, {max(delays):.1f} s at most; at most {busiest_minute(yard)} polls a minute;"
        f" gaps {min(gaps(yard)):.2f} to {max(gaps(yard)):.2f} s"
    )


def like_cron(yard: Yard, seconds: float, every: float, rounds: int) -> None:
    """Start a poller every `every` seconds, whether or not the one before has ended."""
    began = time.monotonic()
    pollers: list[subprocess.Popen[str]] = []
    for number in range(rounds):
        wait_for(
            lambda number=number: time.monotonic() - began >= number * every, "the minute", every
        )
        pollers.append(yard.start("poll", "--for", f"{int(seconds * 1000)}ms", "--quiet"))
    for poller in pollers:
        assert poller.wait(seconds + PATIENCE) == 0
        assert yard.said(poller) == ("", "")


def test_cron(make_yard: MakeYard) -> None:
    """`poll --for --quiet` from cron keeps the cadence without a gap and without a word, whether
    each start finds the one before at its end or still at work; no job is polled twice for one
    due time."""
    every = 20.0 if FULL else 0.5
    if FULL:
        poll = 'first = "10s"\nevery = "20s"'
        variants = [(55.0, 60.0, 3), (60.0, 60.0, 3)]
    else:
        poll = 'first = "100ms"\nevery = "500ms"\nmax_per_minute = 600'
        variants = [(1.0, 1.5, 3), (1.5, 1.0, 3)]
    yards = []
    for _ in variants:
        yard = make_yard(life=[1000, 1000], status=[0, 0.05])
        yard.configure(poll=poll, rate="100/s", timeout="30s")
        yard.adopt(yard.service.make(30))
        yards.append(yard)
    crons = [
        threading.Thread(target=like_cron, args=(yard, *variant))
        for yard, variant in zip(yards, variants, strict=True)
    ]
    for cron in crons:
        cron.start()
    for cron in crons:
        cron.join()
    for yard, (seconds, distance, rounds) in zip(yards, variants, strict=True):
        yard.check()
        found = gaps(yard)
        allowed = every + max(distance - seconds, 0) + START_SECONDS
        assert min(found) >= every, "polled twice for one due time"
        assert max(found) <= allowed, "a gap"
        polls = list(yard.service.polls_of().values())
        assert len(polls) == 30
        served = min(times[-1] - times[0] for times in polls)
        late = 0.0 if FULL else 1.0  # the first pass of a sample, on a busy machine
        assert served >= (rounds - 1) * distance - every - late, "not served to the end"
        counted = yard.rows("SELECT sum(poll_count) FROM processing_jobs")
        assert counted == [(sum(map(len, polls)),)]
        print(
            f"\n--for {seconds:g}s every {distance:g} s, {rounds} rounds:"
            f" gaps {min(found):.2f} to {max(found):.2f} s, {len(found)} of them"
        )
