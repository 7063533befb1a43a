"""People at work while the service is away, comes and goes: `kill -9` at random moments, then both
sides are compared. Plain `pytest` runs a sample; the whole campaign, 1,000 jobs, takes minutes::

    TRACKER_CAMPAIGN=full pytest -s tests/campaigns/test_sync.py
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from acts import FIELDS, payload_of
from conftest import MakeYard
from yard import FULL, PATIENCE, Yard, wait_for

from tracker import Tracker

JOBS = 1000 if FULL else 25
HANDS = 4  # that act at once, each with a field of its own; the last field is for commands
ACTS = 60 if FULL else 12
ENDLESS = 100_000  # acts of one who is to be killed
LIFE = 1.5 if FULL else 0.6  # seconds, about; a kill falls anywhere in it
SETTLING = 300.0 if FULL else PATIENCE
ACTS_PY = (sys.executable, str(Path(__file__).with_name("acts.py")))

REFUSALS = {
    "refresh": (1,),
    **dict.fromkeys(("update", "cancel", "delete"), (4, 5)),
}
"""Exit codes of commands besides 0: a listing that fails; a job that is gone, or over."""

whole = pytest.mark.skipif(not FULL, reason="a part of the whole campaign")

CHANGES = """
[services.mill.update]
version = "body.version"
[services.mill.update.request]
path = "/jobs/{server_id}"
json = "{changes}"
headers = { If-Match = "{job.remote_version?}" }
"""
WHOLE = """
[services.mill.update]
request = { method = "PUT", path = "/jobs/{server_id}", json = "{payload}" }
"""
SYNCED = """
[services.mill.cancel]
request = { path = "/jobs/{server_id}/cancel" }
[services.mill.delete]
request = { path = "/jobs/{server_id}" }
[services.mill.list]
request = { path = "/jobs", query = { cursor = "{cursor?}" } }
items = "body.jobs"
server_id = "body.id"
next = "body.next"
every = "2s"
authoritative = true
max_deletions = 1.0
[services.mill.list.fields]
""" + "\n".join(f'{name} = "body.payload.{name}"' for name in payload_of(""))
SETTINGS = {
    "body": '"{payload}"',
    "versions": 'version = "body.version"',
    "poll": 'first = "10m"\nevery = "10m"\nmax_per_minute = 600\n'
    'backoff = { base = "200ms", cap = "1s" }',
    "retry": 'base = "100ms"\ncap = "500ms"\nattempts = 100',
}


@dataclass
class Told:
    """What all who acted have said: which jobs there may be, and what each may say."""

    begun: set[str] = field(default_factory=set)  # markers of submissions
    submitted: dict[str, str] = field(default_factory=dict)  # their local ids, where told
    values: dict[tuple[str, str], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0])
    )
    deleting: set[str] = field(default_factory=set)  # perhaps
    deleted: set[str] = field(default_factory=set)  # told so
    cancelling: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    struck: set[str] = field(default_factory=set)  # jobs that a process which was killed worked at

    def read(self, lines: list[list[Any]], by: str, killed: bool) -> None:
        """Take in a diary; `by` is the field of its writer."""
        for word, act, job, value in lines:
            if word in ("ready", "over"):
                continue
            self.counts[f"{act} {word}"] += 1
            if killed and job:
                self.struck.add(job)
            self._take(word, act, job, value, by)

    def _take(self, word: str, act: str, job: str, value: Any, by: str) -> None:
        if act == "submit":
            self.begun.add(value)
            if word == "done":
                self.submitted[value] = job
        elif act == "update":
            known = self.values[job, by]
            if word == "begun":
                known.append(value)
            elif word == "done":
                known[:] = [value]
            else:
                known.remove(value)
        elif act in ("delete", "cancel"):
            possible, certain = (
                (self.deleting, self.deleted)
                if act == "delete"
                else (self.cancelling, self.cancelled)
            )
            if word == "begun":
                possible.add(job)
            elif word == "done":
                certain.add(job)


@dataclass
class Crowd:
    """Those who act, in rounds."""

    yard: Yard
    told: Told = field(default_factory=Told)
    rounds: int = 0
    kills: int = 0
    processes: int = 0

    def stock(self, jobs: int) -> None:
        """Jobs that the service has before anybody acts."""
        with Tracker(self.yard.folder / "tracker.toml") as tracker:
            for number in range(jobs):
                made = tracker.submit("mill", payload_of(f"s-{number}"), sync=False)
                self.told.read([["done", "submit", made.local_id, f"s-{number}"]], "", False)
        self.yard.run("poll")

    def act(self, jobs: int, sync: float) -> None:
        """Until so many more submissions were acknowledged, and processes that were killed had
        worked at half as many jobs; that share of the acts is followed by an attempt to tell the
        service."""
        before = len(self.told.submitted)
        while len(self.told.submitted) < before + jobs or len(self.told.struck) < jobs / 2:
            self.one_round(sync)
            self.rounds += 1

    def one_round(self, sync: float) -> None:
        """Some hands and some commands at once; half of them are killed somewhere in their lives,
        those hands always in the middle of their acts."""
        plans, doomed = [], set()
        for hand in range(HANDS):
            first = self.rounds * ENDLESS + 1
            acts = ENDLESS if hand % 2 else ACTS
            plan = {
                "name": f"w{hand}",
                "field": FIELDS[hand],
                "first": first,
                "acts": acts,
                "sync": sync,
            }
            diary = self.yard.folder / f"diary-{self.rounds}-{hand}"
            process = self.yard.start("tracker.toml", str(diary), json.dumps(plan), program=ACTS_PY)
            plans.append((process, diary, FIELDS[hand]))
            doomed |= {process} if hand % 2 else set()
        commands = self.commands()
        doomed |= {process for process, *_ in commands if random.random() < 0.5}
        self.strike(doomed, {process: diary for process, diary, _ in plans})
        for process, diary, name in plans:
            killed = self.end_of(process, process in doomed)
            self.told.read(read_diary(diary), name, killed)
        for process, act, job, value in commands:
            killed = self.end_of(process, process in doomed, REFUSALS.get(act, ()))
            if act in ("poll", "refresh"):
                continue
            lines = [["begun", act, job, value]]
            said = self.yard.said(process)[0].strip()
            if act == "submit" and said:
                lines.append(["done", act, said, value])
            elif not killed:
                lines.append(["refused" if process.returncode else "done", act, job, value])
            self.told.read(lines, FIELDS[-1], killed)

    def commands(self) -> list[tuple[subprocess.Popen[str], str, str, Any]]:
        """The installed command, at work: the process, the act, the job, a value."""
        yard, number = self.yard, self.rounds + 1
        marker = f"c-{number}"
        payload = json.dumps(payload_of(marker))
        submit = yard.start("submit", "mill", "--payload", payload)
        poll = yard.start("poll", "--overlap", "--quiet", "--for", f"{LIFE / 2:g}s")
        started = [(submit, "submit", "", marker), (poll, "poll", "", None)]
        known = sorted(set(self.told.submitted.values()) - self.told.deleting)
        if known:
            job = random.choice(known)
            act = random.choice(["update", "cancel", "delete", "refresh"])
            if act == "refresh":
                started.append((yard.start("refresh", "--force"), act, "", None))
            elif act == "update":
                changes = ("-p", f"{FIELDS[-1]}:={number}")
                started.append((yard.start("update", job, *changes), act, job, number))
            else:
                started.append((yard.start(act, job), act, job, None))
        return started

    def strike(
        self,
        doomed: set[subprocess.Popen[str]],
        diaries: dict[subprocess.Popen[str], Path],
    ) -> None:
        """Kill each of the doomed within its life, which begins when it is ready."""
        at: dict[subprocess.Popen[str], float] = {}
        while doomed and (left := {one for one in doomed if one.poll() is None}):
            for process in left:
                diary = diaries.get(process)
                if process in at:
                    if time.monotonic() >= at[process]:
                        process.kill()
                        process.wait(PATIENCE)
                elif diary is None or (diary.exists() and diary.stat().st_size):
                    at[process] = time.monotonic() + random.uniform(0, LIFE)
            time.sleep(0.002)

    def end_of(
        self, process: subprocess.Popen[str], doomed: bool, refusals: tuple[int, ...] = ()
    ) -> bool:
        """Whether it was killed; who was not, ended as it should."""
        code = process.wait(PATIENCE)
        killed = code == -signal.SIGKILL
        self.processes += 1
        self.kills += killed
        said = self.yard.said(process)
        assert (killed and doomed) or code in (0, *refusals), said
        assert "Traceback" not in said[1], said
        return killed


def read_diary(path: Path) -> list[list[Any]]:
    """All lines of a diary; there may be none yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def flapping(yard: Yard) -> Iterator[None]:
    """The service goes down and comes up, many times, and somebody says that it is back."""
    over = threading.Event()

    def flap() -> None:
        with Tracker(yard.folder / "tracker.toml") as tracker:
            while not over.wait(random.uniform(0.5, 2)):
                yard.service.go_down()
                over.wait(random.uniform(0.05, 0.5))
                yard.service.come_up()
                tracker.resume()

    flapper = threading.Thread(target=flap)
    flapper.start()
    try:
        yield
    finally:
        over.set()
        flapper.join()


def settle(yard: Yard) -> int:
    """The service is back: passes until nothing is owed; how many."""
    yard.service.come_up()
    yard.run("resume")
    passes, latest = 1, time.monotonic() + SETTLING
    yard.run("poll", "--overlap", "--quiet")
    owed = (
        "SELECT local_id, kind, state, attempts, last_error FROM operations UNION ALL"
        " SELECT local_id, 'poll', status, retry_count, last_error FROM processing_jobs"
        " WHERE status = 'processing'"
        " AND next_poll_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 minute')"
    )
    while left := yard.rows(owed):
        assert time.monotonic() < latest, left[:20]
        yard.run("poll", "--overlap", "--quiet", "--for", "1s")
        passes += 1
    return passes


def check(yard: Yard, told: Told) -> None:
    """Both sides are the same, and are what people said."""
    yard.check()
    assert yard.rows("SELECT * FROM pollers") == []
    assert yard.rows("SELECT * FROM listed") == []
    yard.run("health")
    check_events(yard)
    here = {
        local_id: (server_id, status, sync, json.loads(payload))
        for local_id, server_id, status, sync, payload in yard.rows(
            "SELECT local_id, server_id, status, sync_status, payload FROM jobs"
        )
    }
    record = yard.service.record()
    assert {sync for _, _, sync, _ in here.values()} == {"synced"}
    never_left = {status for server_id, status, *_ in here.values() if server_id is None}
    assert never_left <= {"cancelled"}
    ours = {
        server_id: ({"processing": "running"}.get(status, status), payload)
        for server_id, status, _, payload in here.values()
        if server_id is not None
    }
    theirs = {job: (one["status"], one["payload"]) for job, one in record["jobs"].items()}
    assert ours == theirs
    check_creates(record, here)
    check_what_was_said(here, told)
    check_order(record)


def check_events(yard: Yard) -> None:
    """Every job came once and went once at most, by no listing, and those that have not gone are
    here."""
    listed = "type IN ('job:created', 'job:deleted') AND data ->> 'by' = 'service'"
    assert yard.rows(f"SELECT * FROM job_events WHERE {listed}") == []
    told = {
        kind: Counter(
            local_id
            for (local_id,) in yard.rows("SELECT local_id FROM job_events WHERE type = ?", kind)
        )
        for kind in ("job:created", "job:deleted")
    }
    assert {count for found in told.values() for count in found.values()} == {1}
    here = {local_id for (local_id,) in yard.rows("SELECT local_id FROM processing_jobs")}
    assert set(told["job:created"]) - set(told["job:deleted"]) == here


def check_creates(record: dict[str, Any], here: dict[str, Any]) -> None:
    """Each job was created once, under its key, and never with another body."""
    assert [one for one in record["creates"] if not one["same"]] == []
    made = [one for one in record["creates"] if not one["repeat"]]
    for name in ("key", "marker", "job"):
        assert set(Counter(one[name] for one in made).values()) <= {1}, f"two of one {name}"
    key_of = {one["job"]: one["key"] for one in made}
    gone = set(record["deleted"])
    assert set(key_of) - gone == {server_id for server_id, *_ in here.values() if server_id}
    assert all(
        key_of[server_id] == local_id for local_id, (server_id, *_) in here.items() if server_id
    )
    assert len(gone) == len(record["deleted"])


def check_what_was_said(here: dict[str, Any], told: Told) -> None:
    """What was acknowledged has happened, and nothing has that nobody began."""
    markers = Counter(payload["marker"] for *_, payload in here.values())
    assert set(markers.values()) <= {1}
    assert set(markers) <= told.begun
    for marker, local_id in told.submitted.items():
        assert local_id in here or local_id in told.deleting, "lost"
        assert local_id not in here or here[local_id][3]["marker"] == marker
    assert not told.deleted & set(here), "deleted, and here"
    for local_id, (_, status, _, payload) in here.items():
        for name in FIELDS:
            assert payload[name] in told.values.get((local_id, name), [0]), (local_id, name)
        assert set(payload) == set(payload_of(""))
        if local_id in told.cancelled:
            assert status == "cancelled", local_id
        elif status == "cancelled":
            assert local_id in told.cancelling


def check_order(record: dict[str, Any]) -> None:
    """The service has heard of changes in the order in which they were made."""
    heard: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in record["changes"]:
        if one["code"] == 200:
            for name in set(one["changes"]) & set(FIELDS):
                heard[one["job"], name].append(one["changes"][name])
    for (job, name), values in heard.items():
        assert all(a <= b for a, b in pairwise(values)), (job, name, values)


def check_by_listing(yard: Yard) -> None:
    """The service's own list of jobs changes nothing here."""
    [listed] = json.loads(yard.run("refresh", "--force", "--json"))
    assert listed["refreshed"] and not listed["error"]
    assert listed["listed"] == len(yard.service.record()["jobs"])
    counts = {name: listed[name] for name in ("added", "changed", "deleted", "conflicts")}
    assert not any(counts.values()), counts


def test_away_and_back(make_yard: MakeYard) -> None:
    """Jobs are created, changed, cancelled and deleted while the service is away and half of those
    who do it are killed; when it is back, passes make both sides the same, each job is created
    once, and nothing is owed."""
    yard = make_yard(life=[10_000, 10_000])
    yard.configure(**SETTINGS, more=CHANGES + SYNCED)
    yard.run("db", "migrate")
    crowd = Crowd(yard)
    crowd.stock(JOBS // 4)
    yard.service.go_down()
    began, before = time.monotonic(), yard.service.record()
    crowd.act(JOBS, sync=0.1)
    acted, owed = time.monotonic(), yard.rows("SELECT count(*) FROM operations")[0][0]
    assert yard.service.record() == before
    passes = settle(yard)
    report("away", crowd, began, acted, owed, passes)
    check(yard, crowd.told)
    check_by_listing(yard)


@pytest.mark.parametrize(
    "update", [CHANGES, pytest.param(WHOLE, marks=whole)], ids=["patch", "put"]
)
def test_comes_and_goes(make_yard: MakeYard, update: str) -> None:
    """The same while the service comes and goes, and calls are on their way when their callers
    die; where the service knows versions, and where it is told the whole payload."""
    times = {name: [0, 0.05] for name in ("before", "after", "told", "status")}
    yard = make_yard(life=[10_000, 10_000], **times)
    yard.configure(**SETTINGS, more=update + SYNCED)
    yard.run("db", "migrate")
    crowd = Crowd(yard)
    crowd.stock(JOBS // 4)
    began = time.monotonic()
    with flapping(yard):
        crowd.act(JOBS, sync=0.5)
    acted, owed = time.monotonic(), yard.rows("SELECT count(*) FROM operations")[0][0]
    passes = settle(yard)
    report("put" if update == WHOLE else "patch", crowd, began, acted, owed, passes)
    check(yard, crowd.told)
    check_by_listing(yard)


def test_ended_with_an_update_owed(make_yard: MakeYard) -> None:
    """A change that the service was not told of before the job ended is told after it."""
    yard = make_yard(life=[0, 0], ill=True)
    ended_with_an_update_owed(yard)
    yard.service.turn(ill=False)
    yard.settle_down()
    check_shared(yard)


def test_ended_with_an_update_that_arrived(make_yard: MakeYard) -> None:
    """So is one that had arrived after the job's end, although that was not answered: the version
    that it made there stands in nobody's way, also where jobs cannot be listed."""
    yard = make_yard(life=[0, 0], ill=True)
    ended_with_an_update_owed(yard)
    yard.service.turn(ill=False, mute=["change"])
    poller = yard.start("poll", "--overlap", "--quiet", "--for", "20s")
    wait_for(lambda: 200 in [one["code"] for one in yard.service.record()["changes"]], "a change")
    yard.service.turn(mute=[])
    assert yard.stop(poller) == 0
    yard.settle_down()
    check_shared(yard)


def ended_with_an_update_owed(yard: Yard) -> None:
    """A job that is completed; a change of it waits for its second attempt."""
    unlisted = CHANGES + SYNCED.partition("[services.mill.list]")[0]
    yard.configure(
        **{**SETTINGS, "retry": 'base = "500ms"\ncap = "500ms"\nattempts = 12', "timeout": "1s"},
        more=unlisted,
    )
    job = yard.run("submit", "mill", "--payload", json.dumps(payload_of("m"))).strip()
    yard.run("update", job, "-p", "shared:=1")
    yard.run("poll", job)
    assert yard.statuses() == {"completed": 1}


def check_shared(yard: Yard) -> None:
    """The change is on both sides, and nothing is owed."""
    assert yard.rows("SELECT kind, state, last_error FROM operations") == []
    [[payload]] = yard.rows("SELECT payload FROM processing_jobs")
    [there] = yard.service.record()["jobs"].values()
    assert json.loads(payload) == there["payload"] == {**payload_of("m"), "shared": 1}


def test_listed_before_it_was_accepted(make_yard: MakeYard) -> None:
    """A job whose create has arrived and was not answered is one job, also for a listing: nobody
    can change or delete a second one that is about to go."""
    yard = make_yard(life=[10_000, 10_000], mute=["create"])
    yard.configure(**{**SETTINGS, "timeout": "1s"}, more=CHANGES + SYNCED)
    yard.run("submit", "mill", "--payload", json.dumps(payload_of("m")))
    assert len(yard.service.record()["jobs"]) == 1
    yard.service.turn(mute=[])
    yard.run("refresh", "--force")
    assert yard.statuses() == {"pending": 1}
    settle(yard)
    assert yard.statuses() == {"processing": 1}


def test_deleted_while_it_is_submitted(make_yard: MakeYard) -> None:
    """A submission that was recorded has succeeded, also where somebody deletes the job while the
    service is being told of it."""
    yard = make_yard(before=[2, 2])
    yard.configure(**SETTINGS, more=CHANGES + SYNCED)
    submitting = yard.start("submit", "mill", "--payload", json.dumps(payload_of("m")))
    job = wait_for(lambda: yard.said(submitting)[0].strip(), "its id")
    wait_for(lambda: yard.rows("SELECT 1 FROM operations WHERE claimed_by IS NOT NULL"), "a call")
    with Tracker(yard.folder / "tracker.toml") as tracker:
        assert not tracker.delete(job, sync=False)
    submitting.wait(PATIENCE)
    assert yard.statuses() == {} and yard.service.record()["jobs"] == {}
    assert submitting.returncode == 0, yard.said(submitting)


def report(name: str, crowd: Crowd, began: float, acted: float, owed: int, passes: int) -> None:
    """Figures for people."""
    told, record = crowd.told, crowd.yard.service.record()
    acts = sum(count for word, count in told.counts.items() if word.endswith("begun"))
    repeats = sum(one["repeat"] for one in record["creates"])
    codes = Counter(one["code"] for one in record["changes"])
    print(
        f"\n{name}: {acts} acts on {len(told.submitted)} jobs by {crowd.processes} processes in"
        f" {acted - began:.0f} s, {crowd.kills} of them killed ({len(told.struck)} jobs struck);"
        f" {owed} owed, through in {passes} passes and {time.monotonic() - acted:.0f} s;"
        f" {len(record['creates'])} creates ({repeats} repeated), changes {dict(codes)},"
        f" {len(record['deleted'])} deleted, {len(record['jobs'])} left,"
        f" {dict(crowd.yard.statuses())}; {dict(told.counts)}"
    )
