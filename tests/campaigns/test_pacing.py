"""What a service asks for is kept by all pollers together: its rate, its pauses, its word that it
does not know a job. Plain `pytest` takes a sample; `TRACKER_CAMPAIGN=full` a minute at 50 calls a
second, 5,000 jobs and a `Retry-After` of 20 s."""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import MakeYard
from service import Answer, JobService, Seen
from yard import FULL, PATIENCE, Yard, wait_for

from tracker import Tracker
from tracker.store.budgets import HORIZON_SECONDS

RATE = 50
BURST = int(HORIZON_SECONDS * RATE) + 1
"""Tokens are handed out for at most 0.25 s ahead, and none is used later than 0.25 s after its
moment: into a second fall its own calls and at most those that are late by so much."""

POLLERS = 4
SECONDS = 60 if FULL else 6


def fullest(times: list[float], seconds: float = 1.0) -> int:
    """The most of `times`, which are in order, in any window of so many seconds."""
    return max(bisect_left(times, at + seconds) - index for index, at in enumerate(times))


def calls_of(yard: Yard) -> list[float]:
    """When status calls arrived, by the clock of the service's process."""
    return sorted(at for at, _ in yard.service.record()["polls"])


def test_a_rate_that_pollers_share(make_yard: MakeYard) -> None:
    """B3: four pollers on one ledger keep the rate of their service together, by the clock of the
    service, and use it up."""
    yard = make_yard(life=[1000, 1000], status=[0.02, 0.06])
    poll = 'first = "1s"\nevery = "1s"\nmax_per_minute = 120'
    yard.configure(rate=f"{RATE}/s", poll=poll, timeout="30s")
    yard.adopt(yard.service.make(300))
    pollers = [
        yard.start("poll", "--overlap", "--json", "--for", f"{SECONDS}s") for _ in range(POLLERS)
    ]
    for poller in pollers:
        assert poller.wait(SECONDS + PATIENCE) == 0
    shares = [json.loads(yard.said(poller)[0])["polled"] for poller in pollers]
    yard.check()
    times = calls_of(yard)
    took = times[-1] - times[0]
    used = (len(times) - 1) / took / RATE
    print(
        f"\n{len(times)} calls in {took:.1f} s by {POLLERS} pollers ({shares}): {used:.1%} of the"
        f" budget, at most {fullest(times)} in a second"
    )
    assert fullest(times) <= RATE + BURST
    assert len(times) == sum(shares)
    assert len(times) <= RATE * took + BURST + 1
    assert used >= (0.95 if FULL else 0.8)  # a sample is short, and its machine is busy


def test_the_first_calls_keep_their_distance(make_yard: MakeYard) -> None:
    """P5: between two calls of a pass lies the distance that the rate demands, from the first one
    on: no token is spent on a call that still has to get ready."""
    yard = make_yard(life=[1000, 1000])
    yard.configure(rate="4/s", timeout="30s")
    yard.adopt(yard.service.make(5))
    yard.run("poll", "--quiet")
    distances = [b - a for a, b in pairwise(calls_of(yard))]
    print(f"\nfirst calls: {[round(one, 3) for one in distances]} s apart")
    assert len(distances) == 4 and min(distances) >= 0.2  # loopback is not exact


def test_kinds_of_calls_with_rates_of_their_own(make_yard: MakeYard) -> None:
    """B3: reads and creates each keep to their own rate, and use it, whatever the other does, and
    by whichever of two pollers."""
    seconds, rates = 5, {"polls": 40, "creates": 10}
    yard = make_yard(life=[1000, 1000], status=[0.02, 0.06])
    kinds = '[services.mill.rates]\nreads = "40/s"\ncreates = "10/s"'
    yard.configure(rate="1/s", poll='first = "1s"\nevery = "1s"', more=kinds, timeout="30s")
    yard.adopt(yard.service.make(150))
    yard.submit(100)
    pollers = [yard.start("poll", "--overlap", "--quiet", "--for", f"{seconds}s") for _ in range(2)]
    for poller in pollers:
        assert poller.wait(seconds + PATIENCE) == 0
    record = yard.service.record()
    found = {"polls": [at for at, _ in record["polls"]]}
    found["creates"] = [one["at"] for one in record["creates"]]
    for kind, rate in rates.items():
        times = sorted(found[kind])
        used = (len(times) - 1) / (times[-1] - times[0]) / rate
        print(
            f"\n{len(times)} {kind}: {used:.1%} of {rate}/s, at most {fullest(times)} in a second"
        )
        assert fullest(times) <= rate + int(HORIZON_SECONDS * rate) + 1, kind
        assert used >= 0.8, kind


# A service that has had enough.

JOBS, PAUSE = (5000, 20) if FULL else (500, 3)
CONCURRENCY = 8
LATE = 1.5
"""Seconds that a poll may be late on a busy machine, and be on time."""

STRICT = """
[services.mill]
base_url = "%s"
rate = "unlimited"
concurrency = %d
timeout = "30s"
[services.mill.poll]
first = "1s"
every = "10m"
[services.mill.status]
request = { path = "/jobs/{server_id}" }
state = "body.status"
[services.mill.states]
processing = ["running"]
completed = ["done"]
"""


class Strict:
    """A service that answers as `answer` says, and its jobs beside those of a patient one."""

    def __init__(self, yard: Yard, answer: Callable[[Seen], Any]) -> None:
        self.yard = yard
        self.service = JobService()
        self.service.statuses = [answer]
        patient = 'first = "1s"\nevery = "1s"\nmax_per_minute = 120'
        strict = STRICT % (self.service.url, CONCURRENCY)
        yard.configure("press", poll=patient, timeout="30s", more=strict)

    def arrivals(self) -> list[float]:
        """When calls arrived."""
        return sorted(one.at for one in self.service.requests())


@pytest.fixture
def make_strict(make_yard: MakeYard) -> Iterator[Callable[..., Strict]]:
    """Makes a `Strict`; it ends with the test."""
    made: list[Strict] = []

    def make(answer: Callable[[Seen], Any]) -> Strict:
        made.append(Strict(make_yard(life=[1000, 1000], status=[0, 0.05]), answer))
        return made[-1]

    yield make
    for one in made:
        one.yard.close()
        one.service.close()


def test_too_many_requests(make_strict: Callable[..., Strict]) -> None:
    """B3: a 429 with `Retry-After` pauses the service, not the job: until the pause ends nothing
    goes out but what was in flight, one probe ends it, no job's `retry_count` is raised, and the
    jobs of another service are polled when they are due."""
    refused: list[float] = []
    later = count()

    def answer(seen: Seen) -> Any:
        if refused and seen.at >= refused[0] + PAUSE:
            if next(later) == 0:
                time.sleep(0.05)  # the probe is on its way for so long
            return "running"
        refused.append(seen.at)
        return Answer({"error": "slow down"}, 429, {"Retry-After": str(PAUSE)})

    strict = make_strict(answer)
    yard = strict.yard
    with Tracker(yard.folder / "tracker.toml") as tracker:
        for server_id in yard.service.make(20):
            tracker.add("press", server_id)
    yard.adopt(f"strict-{number}" for number in range(JOBS))
    pollers = [yard.start("poll", "--overlap", "--quiet", "--for", "10m") for _ in range(2)]
    wait_for(lambda: refused, "a call")
    failures = "SELECT max(retry_count) FROM processing_jobs"
    wait_for(lambda: yard.rows("SELECT 1 FROM budgets WHERE paused_until IS NOT NULL"), "the pause")
    assert yard.rows(failures) == [(0,)]
    unpolled = "SELECT count(*) FROM processing_jobs WHERE coalesce(last_http_status, 0) <> 200"
    wait_for(lambda: yard.rows(unpolled) == [(0,)], "every job polled", PAUSE + PATIENCE)
    for poller in pollers:
        assert yard.stop(poller) == 0
        assert yard.said(poller) == ("", "")
    yard.check()

    assert len(refused) <= CONCURRENCY * len(pollers)
    after = [at for at in strict.arrivals() if at >= refused[0] + PAUSE]
    assert len(after) == JOBS
    assert max(refused) - refused[0] < LATE, "called in the pause"
    assert after[1] - after[0] >= 0.05, "no probe before the others"
    assert yard.rows(failures) == [(0,)]
    gaps = [b - a for times in yard.service.polls_of().values() for a, b in pairwise(times)]
    assert min(gaps) >= 1 and max(gaps) <= 1 + LATE, "the other service's jobs were delayed"
    assert all(len(times) >= PAUSE for times in yard.service.polls_of().values())
    print(
        f"\n{JOBS} due jobs: {len(refused)} calls until the pause of {PAUSE} s, then"
        f" {after[1] - after[0]:.3f} s between the probe and the others; the other service's jobs"
        f" every {min(gaps):.2f} to {max(gaps):.2f} s"
    )


def test_a_pause_that_pollers_share(make_strict: Callable[..., Strict]) -> None:
    """B3: a pause that one poller was told of is kept by the others, who were not: what was in
    flight arrives, then nothing until one probe does, and the rest follows its reply."""
    number = count(1)
    paused: list[float] = []

    def answer(seen: Seen) -> Any:
        if next(number) == 100:
            paused.append(seen.at)
            return Answer({"error": "slow down"}, 429, {"Retry-After": "3"})
        time.sleep(0.02)  # so that calls are in flight
        return "running"

    strict = make_strict(answer)
    strict.yard.adopt(f"strict-{index}" for index in range(3000))
    pollers = [strict.yard.start("poll", "--overlap", "--quiet", "--for", "10m") for _ in range(3)]
    wait_for(lambda: paused, "a hundred calls")
    wait_for(lambda: strict.arrivals()[-50] > paused[0] + 2.9, "the end of the pause")
    for poller in pollers:
        assert strict.yard.stop(poller) == 0
    passed = [at - paused[0] for at in strict.arrivals() if at > paused[0]]
    within = [one for one in passed if one < 2.9]
    after = [one for one in passed if one >= 2.9]
    print(
        f"\n{len(within)} calls after the 429, the last after {max(within, default=0):.2f} s; after"
        f" the pause of 3 s {[round(one, 3) for one in after[:4]]}"
    )
    assert max(within, default=0) < 0.5, "called in the pause"
    assert after[1] - after[0] >= 0.02, "no probe before the others"
    assert strict.yard.rows("SELECT max(retry_count) FROM processing_jobs") == [(0,)]


SLOTS = """
[services.brisk]
base_url = "http://127.0.0.1:%d"
rate = "unlimited"
[services.brisk.poll]
first = "1s"
every = "1s"
max_per_minute = 120
[services.brisk.status]
request = { path = "/jobs/{server_id}" }
state = "body.status"
[services.brisk.states]
processing = ["running"]
completed = ["done"]
"""


@pytest.mark.parametrize(("slots", "rate"), [(4, "unlimited"), (1, "6/m")])
def test_slots_that_services_share(make_yard: MakeYard, slots: int, rate: str) -> None:
    """B3: where slots are short a slow service with much to do does not keep them all, neither with
    its calls nor while it waits for its rate: the jobs of another one are polled in time."""
    yard = make_yard(life=[1000, 1000], status=[0.1, 0.1])
    brisk = JobService()
    port = urlsplit(brisk.url).port
    yard.configure(rate=rate, poll='first = "1s"\nevery = "1s"', more=SLOTS % port)
    toml = yard.folder / "tracker.toml"
    toml.write_text(f"concurrency = {slots}\n" + toml.read_text())
    yard.adopt(yard.service.make(200))
    with Tracker(toml) as tracker:
        for number in range(3):
            tracker.add("brisk", f"brisk-{number}")
    try:
        poller = yard.start("run", "--quiet")
        wait_for(lambda: yard.service.record()["polls"], "a poll of the slow service")
        brisk.wait_for(6, "GET", timeout=5)
        assert yard.stop(poller) == 0
    finally:
        brisk.close()


# A service that does not know a job.

GRACE = 10.0 if FULL else 1.0
GONE = Answer({"error": {"message": "deleted by retention"}}, 404)


@pytest.fixture
def graced(project: Any) -> Any:
    """A project whose jobs are lost after `GRACE`."""
    project.configure({"poll": {"lost_after": GRACE}})
    return project


def until_it_ends(project: Any, job: str) -> dict[str, Any]:
    """Pass after pass, as cron would; the job's row when it has ended."""
    latest = time.monotonic() + GRACE + PATIENCE
    while (row := project.row(job))["status"] == "processing":
        assert time.monotonic() < latest, "it goes on for ever"
        project.poll()
    return row


def test_lost_after_its_grace(graced: Any, service: JobService) -> None:
    """B5: a job that its service does not know is polled until its grace is over, not longer, and
    is lost then, not earlier; its neighbours go on."""
    met: list[tuple[float, str]] = []

    def answer(seen: Seen) -> Any:
        met.append((seen.at, graced.row(job)["status"]))
        return GONE

    job, neighbour = graced.add("srv-1"), graced.add("srv-2")
    service.scripts["srv-1"] = [answer]
    graced.start("run", "--quiet")
    graced.until(lambda: graced.row(job)["status"] == "failed", GRACE + PATIENCE)
    polls = len(met)
    service.wait_for(service.count("GET", "srv-2") + 5, "GET", "srv-2")
    assert len(met) == polls, "polled although it has ended"
    assert {status for _, status in met} == {"processing"}
    took = met[-1][0] - met[0][0]
    assert GRACE <= took < GRACE + LATE
    assert graced.row(job)["failure_reason"] == "lost"
    assert graced.row(neighbour)["status"] == "processing"
    [error] = [data for kind, data in graced.events(job) if kind == "job:error-details"]
    assert error["reason"] == "lost"
    print(f"\nlost {took:.2f} s after the first of {polls} polls, grace {GRACE:g} s")


def test_known_again_within_the_grace(graced: Any, service: JobService) -> None:
    """B5: a job that its service knows again within the grace goes on to its end, and the next time
    that it is unknown has a grace of its own."""
    polls: list[float] = []

    def moods() -> Iterator[Any]:
        """Away for seven tenths of the grace, back for two polls, the same again, done."""
        for _ in range(2):
            began = time.monotonic()
            while time.monotonic() < began + 0.7 * GRACE:
                yield GONE
            yield from ("running", "running")
        yield "done"

    mood = moods()
    service.statuses = [lambda seen: (polls.append(seen.at), next(mood))[1]]
    job = graced.add()
    row = until_it_ends(graced, job)
    assert row["status"] == "completed" and row["unknown_since"] is None
    assert polls[-1] - polls[0] > 1.4 * GRACE
    assert [kind for kind, _ in graced.events(job)].count("job:finalized") == 1


def test_a_lost_job_is_reopened(graced: Any, service: JobService) -> None:
    """B5: `reopen` brings a lost job back with a whole grace; if its service knows it by then, it
    goes on to its end."""
    service.statuses = [GONE]
    job = graced.add()
    assert until_it_ends(graced, job)["failure_reason"] == "lost"
    assert graced.ok("reopen", job).line == f"{job[-8:]} is processing"
    graced.ok("poll")
    row = graced.row(job)
    assert (row["status"], row["last_http_status"]) == ("processing", 404)
    assert row["failure_reason"] is None and row["unknown_since"] is not None
    service.statuses = ["done"]
    assert until_it_ends(graced, job)["status"] == "completed"


def test_the_evidence_of_a_lost_job(graced: Any, service: JobService) -> None:
    """B5: why a job is lost stays on record: how long it was unknown, the last code and the words
    of the service, in `show --json` and in `explain`."""
    service.statuses = [GONE]
    job = graced.add()
    until_it_ends(graced, job)
    shown = graced.json("show", job)
    assert (shown["failure_reason"], shown["last_http_status"]) == ("lost", 404)
    assert f"for {GRACE:g} s" in shown["error_message"]
    told = graced.json("explain", job)
    assert "[lost]" in told["state"] and "HTTP 404" in told["last"]
    assert told["remedies"] == [f"tracker reopen {job[-8:]}"]
    assert "deleted by retention" in (shown["last_error"] or "")
    assert "deleted by retention" in told["last"]
