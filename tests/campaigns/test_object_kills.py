"""`kill -9` at random moments of submissions with uploads, of cleanups and of pollers; then the
bucket and the ledger are compared. Plain `pytest` runs a sample; the whole campaign, 100 kills for
each kind of bucket, takes about five minutes::

    TRACKER_CAMPAIGN=full pytest -s tests/campaigns/test_object_kills.py
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from bucket import Bucket
from conftest import MakeYard
from s3front import Answer, Request
from s3server import S3Server
from test_kills import strike
from test_objects import cleanup, finish, record
from yard import FULL, PATIENCE, Yard, wait_for

KILLS = 100 if FULL else 2
SMALL, LARGE = 20_000, 11_000_000
LIVES = {"small": 2.0, "large": 4.0, "poll": 4.0, "cleanup": 2.0}  # seconds, about


class Assassin:
    """Answers for S3, a moment late, and kills now and then one of those that wait for it, before
    or after what it does. Nothing comes of half a request."""

    def __init__(self, s3: S3Server) -> None:
        self.victims: list[subprocess.Popen[str]] = []
        self._s3 = s3
        self._never = threading.Event()

    def __call__(self, request: Request) -> Answer:
        if len(request.body) < int(request.headers.get("Content-Length", 0)):
            return Answer(cut=0)
        self._strike(0.1)
        answer = self._s3.pass_on(request)
        # What such a call begins is known to S3 alone until its reply is on record.
        self._strike(0.5 if request.operation == "CreateMultipartUpload" else 0.1)
        return answer

    def _strike(self, odds: float) -> None:
        self._never.wait(random.uniform(0, 0.1))
        if self.victims and random.random() < odds:
            random.choice(self.victims).kill()


def one_round(
    yard: Yard, number: int, assassin: Assassin
) -> tuple[list[subprocess.Popen[str]], int]:
    """Two submissions, a cleanup and a poller at once, each to be killed somewhere in its life;
    then somebody calls some of the jobs failed that were not created. The submissions and how many
    processes were killed."""
    submits = {
        size: yard.start("submit", "mill", size, "-p", f"marker=m{number}-{size}")
        for size in ("small", "large")
    }
    others = {
        "poll": yard.start("poll", "--overlap", "--quiet", "--for", "3s"),
        "cleanup": yard.start("cleanup", "--older-than", "0s"),
    }
    now = time.monotonic()
    doomed = {
        process: now + random.uniform(0, 2 * LIVES[name])
        for name, process in {**submits, **others}.items()
    }
    assassin.victims = list(doomed)
    strike(dict(doomed))
    assassin.victims = []
    for (local_id,) in yard.rows("SELECT local_id FROM processing_jobs WHERE status = 'pending'"):
        if random.random() < 0.5:
            yard.run("fail", local_id)
    return list(submits.values()), sum(one.returncode == -signal.SIGKILL for one in doomed)


def settle(yard: Yard) -> None:
    """Serve until no submission and no removal is on its way."""
    latest = time.monotonic() + PATIENCE
    moving = (
        "SELECT 1 FROM processing_jobs WHERE service = 'mill'"
        " AND status IN ('processing', 'retrieving') UNION ALL"
        " SELECT 1 FROM operations WHERE state = 'pending'"
    )
    yard.run("poll", "--overlap", "--quiet")
    while yard.rows(moving):
        assert time.monotonic() < latest, yard.rows("SELECT * FROM operations")
        yard.run("poll", "--overlap", "--quiet", "--for", "500ms")


def check(yard: Yard, bucket: Bucket) -> None:
    """The bucket has exactly what the ledger knows, and so has the tracker's own folder."""
    known = yard.rows(
        "SELECT o.key, coalesce(o.version_id, 'null'), o.state, count(jo.local_id) FROM objects o"
        " LEFT JOIN job_objects jo ON jo.object_id = o.id WHERE o.scheme = 's3' GROUP BY o.id"
    )
    assert all(users for _, _, _, users in known), "removed, and on record"
    present = {(key, version) for key, version, state, _ in known if state == "present"}
    unfinished = {key for key, _, state, _ in known if state in ("planned", "uploading")}
    there = bucket.contents()
    assert {one for one in there.versions if one[0] not in unfinished} == present
    assert {key for key, _ in there.uploads} <= unfinished
    assert there.markers == set()
    named = {
        Path(path)
        for (path,) in yard.rows(
            "SELECT key FROM objects WHERE scheme = 'file' UNION SELECT path FROM contents"
            " WHERE path IS NOT NULL"
        )
    }
    files = {one for one in (yard.folder / "tracker.db.files").rglob("*") if one.is_file()}
    assert named <= files, "the file of a job is gone"
    for path in files:
        os.utime(path, (0, 0))
    cleanup(yard, "--status", "cancelled")  # sweeps, and removes no job
    assert {one for one in files if one.exists()} == named, "files that nobody names"


@pytest.mark.parametrize("versioned", [True, False] if FULL else [True], ids=str)
def test_kill_uploads_and_cleanups(make_yard: MakeYard, s3: S3Server, versioned: bool) -> None:
    """However often submissions with uploads, cleanups and pollers are killed: in the end no
    object, version, delete marker or unfinished upload is in the bucket, and no file in the folder,
    that no job knows; none of a living job is gone; no job was created twice."""
    yard, bucket = make_yard(life=[0, 1], fail=0.1), Bucket(s3, versioned=versioned)
    yard.configure("mill", "press", upload="true", keep="object", storage=bucket.settings())
    assassin = Assassin(s3)
    s3.interfere(assassin)
    (yard.folder / "small").write_bytes(random.randbytes(SMALL))
    (yard.folder / "large").write_bytes(random.randbytes(LARGE))
    uris = bucket.put([f"made/{number}" for number in range(12)])
    shared = {f"alive-{index}": uris[index : index + 3] for index in range(5)}
    living = record(yard, shared, "press")
    ended = record(yard, {f"over-{index}": uris[index:] for index in range(12)})
    finish(yard, list(ended.values()))
    began, killed, rounds, submits = time.monotonic(), 0, 0, []
    while killed < KILLS:
        started, count = one_round(yard, rounds, assassin)
        submits += started
        killed += count
        rounds += 1
    settle(yard)
    check(yard, bucket)
    created = Counter(
        one["marker"] for one in yard.service.record()["creates"] if not one["repeat"]
    )
    assert set(created.values()) <= {1}, "created twice"
    printed = {yard.said(submit)[0].strip() for submit in submits} - {""}
    told = {row[0] for row in yard.rows("SELECT local_id FROM job_events")}
    assert printed <= told, "printed, and not on record"
    left = dict(yard.statuses())
    assert set(left) <= {"processing", "completed", "failed"}, "still owed"
    cleanup(yard)
    settle(yard)
    check(yard, bucket)
    assert {row[0] for row in yard.rows("SELECT local_id FROM processing_jobs")} == {
        *living.values()
    }
    assert {key for key, _ in bucket.contents().versions} == {f"made/{n}" for n in range(7)}
    print(
        f"\n{'versioned' if versioned else 'unversioned'}: {killed} kills in {rounds} rounds,"
        f" {time.monotonic() - began:.0f} s; {len(printed)} ids printed, {len(created)} created,"
        f" {left} before the last cleanup"
    )


@pytest.mark.skipif(not FULL, reason="a part of the whole campaign")
@pytest.mark.parametrize("call", ["PutObject", "CreateMultipartUpload", "CompleteMultipartUpload"])
def test_upload_that_comes_late(make_yard: MakeYard, s3: S3Server, call: str) -> None:
    """What a suspended process puts into the bucket after others have done its work, and cleaned
    up after it, is noticed when it goes on, and removed."""
    yard, bucket = make_yard(life=[0, 0]), Bucket(s3)
    yard.configure(upload="true", storage=bucket.settings())
    size = SMALL if call == "PutObject" else LARGE
    (yard.folder / "input").write_bytes(random.randbytes(size))
    arrived, go_on = threading.Event(), threading.Event()

    def hold(request: Request) -> Answer:
        arrived.set()
        go_on.wait(PATIENCE)
        return s3.pass_on(request)

    s3.interfere(hold, call, times=1)
    late = yard.start("submit", "mill", "input", "-p", "marker=m")
    assert arrived.wait(PATIENCE)
    late.send_signal(signal.SIGSTOP)
    other = yard.start("poll", "--overlap", "--quiet", "--for", "60s")
    wait_for(lambda: yard.statuses() == {"completed": 1}, "the other's work")
    assert yard.stop(other) == 0
    cleanup(yard)
    assert yard.statuses() == {} and bucket.contents().is_empty
    go_on.set()
    late.send_signal(signal.SIGCONT)
    late.wait(PATIENCE)
    yard.settle_down()
    assert bucket.contents().is_empty
    assert yard.rows("SELECT * FROM operations") == yard.rows("SELECT * FROM objects") == []
