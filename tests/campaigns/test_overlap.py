"""Many pollers on one ledger: killed, stopped and continued. `TRACKER_CAMPAIGN=full` makes the
crowd ten pollers on 500 jobs; plain `pytest` takes four on 100."""

from __future__ import annotations

import json
import signal
import time

from conftest import MakeYard
from yard import FULL, PATIENCE, wait_for

JOBS, POLLERS, KILLED = (500, 10, 4) if FULL else (100, 4, 2)
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
    doomed = sorted(yard.holders(), key=yard.holders().get)[-KILLED:]  # type: ignore[arg-type]
    for pid in doomed:
        by_pid[pid].send_signal(signal.SIGSTOP)
    held = yard.held_by(doomed)
    asked = set(yard.service.polls_of())
    for pid in doomed:
        by_pid[pid].kill()
        by_pid[pid].wait(PATIENCE)
    killed_at = time.time()

    everyone = "SELECT count(*) FROM processing_jobs WHERE poll_count = 0"
    wait_for(lambda: yard.rows(everyone) == [(0,)], "every job settled", 10.0)
    late = time.time() - killed_at
    for poller in pollers:
        if poller.pid not in doomed:
            assert yard.stop(poller) == 0
            assert yard.said(poller) == ("", "") or "released" in yard.said(poller)[1]
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


def test_stopped_and_continued(make_yard: MakeYard) -> None:
    """What a suspended poller held is polled by another after 4 s of silence; when it comes back,
    its stale replies count for nothing."""
    yard = make_yard(status=[0.5, 0.5], life=[0, 0])
    yard.configure(concurrency=4, timeout="30s")
    yard.adopt(yard.service.make(8))
    frozen = yard.start("poll", "--overlap", "--json", "--for", "60s")
    wait_for(lambda: len(yard.service.record()["polls"]) == 4, "calls in flight")
    frozen.send_signal(signal.SIGSTOP)
    stopped_at = time.monotonic()
    other = yard.start("poll", "--overlap", "--json", "--for", "60s")
    wait_for(lambda: yard.statuses() == {"completed": 8}, "all jobs completed by the other", 12)
    took = time.monotonic() - stopped_at
    assert took > 3.5, "taken away from one that was silent for less than 4 s"
    wait_for(lambda: time.monotonic() - stopped_at > 6, "6 s of silence", 8)
    frozen.send_signal(signal.SIGCONT)
    finished_before = yard.rows("SELECT count(*), max(seq) FROM job_events")
    wait_for(lambda: yard.rows("SELECT 1 FROM pollers WHERE pid = ?", frozen.pid), "its return")
    assert yard.stop(frozen) == yard.stop(other) == 0
    yard.check()
    told = json.loads(yard.said(frozen)[0])
    assert told["void"] >= 4 and told["completed"] == 0
    assert yard.rows("SELECT count(*), max(seq) FROM job_events") == finished_before
    print(f"\nreleased and completed {took:.1f} s after SIGSTOP; {told['void']} void on return")
