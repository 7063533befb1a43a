"""Objects and cleanup under load, without S3, with a denied key, and many at once. Plain `pytest`
runs samples; `TRACKER_CAMPAIGN=full` takes 2,500 jobs with 5,000 objects, and more rounds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bucket import Bucket
from conftest import MakeYard
from s3server import S3Server
from yard import FULL, PATIENCE, Yard, wait_for

from tracker import Tracker, ids
from tracker.errors import TrackerError
from tracker.model import ProcessingJob, Status
from tracker.objects import StoredObject
from tracker.storage.uris import read_uri
from tracker.store import open_store, server_key

JOBS, ADDED, ROUNDS = (2500, 50, 10) if FULL else (60, 5, 1)


def record(
    yard: Yard, objects: Mapping[str, Sequence[str]], service: str = "mill"
) -> dict[str, str]:
    """Put running jobs on record, by the service's id, each with the objects that it uses and
    owns, in one transaction; their local ids."""
    store = open_store(yard.ledger)
    found = {}
    try:
        with store.database.transaction():
            for server_id, uris in objects.items():
                job = ProcessingJob(ids.new_id(), service, Status.PROCESSING, server_id)
                used = [read_uri(uri, owned=True) for uri in uris]
                store.adopt(job, server_key(service, server_id), 86400.0, used)
                found[server_id] = job.local_id
    finally:
        store.close()
    return found


def finish(yard: Yard, local_ids: Sequence[str]) -> None:
    """Have these jobs end."""
    with Tracker(yard.folder / "tracker.toml") as tracker:
        for local_id in local_ids:
            tracker.complete(local_id)


def cleanup(yard: Yard, *arguments: str) -> dict[str, Any]:
    """The receipt of a cleanup of everything that has ended."""
    done = yard.run("cleanup", "--older-than", "0s", "--json", *arguments)
    return dict(json.loads(done))


def peak_of(process: subprocess.Popen[str]) -> float:
    """The most memory that a process had, in MB, once it has ended."""
    peak = 0

    def look() -> bool:
        nonlocal peak
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            return True
        peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if "HWM" in line)])
        return process.poll() is not None

    wait_for(look, "its end", 10 * PATIENCE)
    return peak / 1024


def test_everything_goes_at_once(make_yard: MakeYard, s3: S3Server) -> None:
    """One cleanup removes the very versions that its jobs own, a thousand by a call; its receipt
    says what two listings of the bucket say; other versions of the same keys stay."""
    yard, bucket = make_yard(), Bucket(s3)
    yard.configure(storage=bucket.settings())
    keys = [f"made by/üs +{number:05d}" for number in range(2 * JOBS)]
    older = bucket.put(keys[:5])
    uris = bucket.put(keys)
    newer = bucket.put(keys[-5:])
    used = {f"job-{number}": uris[2 * number : 2 * number + 2] for number in range(JOBS)}
    with Tracker(yard.folder / "tracker.toml") as tracker:
        for name in list(used)[:ADDED]:
            tracker.add("mill", name, objects=used.pop(name), owned=True)
        record(yard, used)
        finish(yard, [job.local_id for job in tracker.list(limit=JOBS)])
    before = bucket.contents()
    began = time.monotonic()
    running = yard.start("cleanup", "--older-than", "0s", "--json")
    peak = peak_of(running)
    took = time.monotonic() - began
    assert running.returncode == 0, yard.said(running)
    receipt = json.loads(yard.said(running)[0])
    after = bucket.contents()
    assert len(after.versions) == len(older + newer) and not (after.markers or after.uploads)
    stay = {f"s3://{bucket.name}/{key}?versionId={version}" for key, version in after.versions}
    assert stay == {*older, *newer}
    gone = len(before.versions) - len(after.versions)
    assert receipt["rows_deleted"] == JOBS and gone == 2 * JOBS
    assert receipt["objects"] == {
        "requested": gone,
        "removed": gone,
        "already_gone": 0,
        "failed": 0,
        "owed": 0,
        "bytes_freed": before.size - after.size,
    }
    assert s3.count("DeleteObjects") <= -(-gone // 1000) + 1
    for table in ("processing_jobs", "job_objects", "objects", "operations"):
        assert yard.rows(f"SELECT count(*) FROM {table}") == [(0,)]
    assert peak <= 80
    print(
        f"\n{JOBS} jobs, {gone} objects: {took:.1f} s, {peak:.0f} MB at most,"
        f" {s3.count('DeleteObjects')} calls of DeleteObjects"
    )


def test_s3_is_down(make_yard: MakeYard, s3: S3Server) -> None:
    """With S3 out of reach the jobs go all the same and every removal is owed; once it is back,
    one `tracker poll` removes all, however often it was tried in vain."""
    yard, bucket = make_yard(), Bucket(s3)
    yard.configure(storage=bucket.settings())
    uris = bucket.put([f"input-{number}" for number in range(40)])
    used = {f"job-{number}": uris[2 * number : 2 * number + 2] for number in range(20)}
    finish(yard, list(record(yard, used).values()))
    before = bucket.contents()
    s3.pause()
    receipt = cleanup(yard)
    assert receipt["rows_deleted"] == 20 and yard.statuses() == {}
    objects = receipt["objects"]
    assert (objects["requested"], objects["removed"], objects["owed"]) == (40, 0, 40)
    for _ in range(5 if FULL else 1):
        yard.run("poll")
    assert bucket.contents() == before
    s3.resume()
    told = json.loads(yard.run("poll", "--json"))
    assert told["objects_removed"] == 40
    assert bucket.contents().is_empty
    assert yard.rows("SELECT * FROM operations") == yard.rows("SELECT * FROM objects") == []


# Many at once.


def cleanups(yard: Yard, count: int = 2) -> list[dict[str, Any]]:
    """The receipts of so many cleanups at once."""
    running = [yard.start("cleanup", "--older-than", "0s", "--json") for _ in range(count)]
    for process in running:
        assert process.wait(PATIENCE) == 0, yard.said(process)
    return [json.loads(yard.said(process)[0]) for process in running]


def total(receipts: Sequence[dict[str, Any]], name: str) -> int:
    """The sum of a figure about objects over receipts."""
    return sum(receipt["objects"][name] for receipt in receipts)


@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "unversioned"])
def test_two_cleanups_share_objects(make_yard: MakeYard, s3: S3Server, versioned: bool) -> None:
    """Of jobs that share objects, cleaned up by two processes at once, each object goes exactly
    when its last job goes, once; the two receipts add up to what is gone from the bucket."""
    yard, bucket = make_yard(), Bucket(s3, versioned=versioned)
    yard.configure(storage=bucket.settings())
    for number in range(ROUNDS):
        uris = bucket.put([f"round-{number}/{index}" for index in range(60)])
        used = {
            f"job-{number}-{index}": random.sample(uris, random.randint(1, 4))
            for index in range(60)
        }
        used["last"] = uris
        local_ids = record(yard, used)
        while used:
            ending = random.sample(sorted(used), min(40, len(used)))
            finish(yard, [local_ids[name] for name in ending])
            before = bucket.contents()
            receipts = cleanups(yard)
            after = bucket.contents()
            for name in ending:
                del used[name]
            needed = {uri for some in used.values() for uri in some}
            assert len(after.versions) == len(needed) and not (after.markers or after.uploads)
            assert {key for key, _ in after.versions} == {_key_of(uri) for uri in needed}
            assert sum(receipt["rows_deleted"] for receipt in receipts) == len(ending)
            gone = len(before.versions) - len(after.versions)
            assert total(receipts, "requested") == total(receipts, "removed") == gone
            assert total(receipts, "already_gone") == total(receipts, "failed") == 0
            assert total(receipts, "bytes_freed") == before.size - after.size
        assert yard.rows("SELECT * FROM objects") == []


def _key_of(uri: str) -> str:
    return uri.split("/", 3)[3].partition("?")[0]


# One that cannot go.


@pytest.mark.parametrize("why", ["policy", "legal hold"] if FULL else ["policy"])
def test_one_is_denied(make_yard: MakeYard, s3: S3Server, why: str) -> None:
    """A key that S3 refuses to remove keeps no other from going; it is tried again after growing
    delays, from a minute to an hour, `outbox` says why in S3's own words, and it goes when S3
    lets it."""
    yard, bucket = make_yard(), Bucket(s3, locked=why == "legal hold")
    yard.configure(storage=bucket.settings())
    uris = bucket.put([f"input-{number}" for number in range(20)])
    finish(yard, list(record(yard, {"job": uris}).values()))
    bucket.deny("input-7", by_policy=why == "policy")
    receipt = cleanup(yard)
    objects = receipt["objects"]
    assert (receipt["rows_deleted"], objects["removed"], objects["failed"]) == (1, 19, 1)
    assert objects["owed"] == 1 and {key for key, _ in bucket.contents().versions} == {"input-7"}
    assert json.loads(yard.run("poll", "--json"))["objects_failed"] == 0, "tried too early"
    delays = [_delay(yard, bucket, 1)]
    for attempts in range(2, 10 if FULL else 4):
        _make_due(yard)
        yard.run("poll")
        delays.append(_delay(yard, bucket, attempts))
    assert 60 <= delays[0] <= 66
    assert all(1.8 <= b / a <= 2.2 for a, b in pairwise(delays[:6])), delays
    _make_due(yard, attempts=100)
    yard.run("poll")
    assert 3600 <= _delay(yard, bucket, 101) <= 3960
    bucket.allow("input-7")
    _make_due(yard)
    yard.run("poll")
    assert bucket.contents().is_empty and yard.rows("SELECT * FROM objects") == []


def _make_due(yard: Yard, attempts: int | None = None) -> None:
    at = "next_attempt_at = '2020-01-01T00:00:00.000Z'"
    yard.write(f"UPDATE operations SET {at}, attempts = {attempts or 'attempts'}")


def _delay(yard: Yard, bucket: Bucket, attempts: int) -> float:
    """The seconds until the next attempt, as `outbox` shows them, after so many."""
    [owed] = json.loads(yard.run("outbox", "--json"))
    assert (owed["attempts"], owed["state"]) == (attempts, "pending")
    assert owed["last_error"].startswith("AccessDenied: Access Denied")
    assert owed["object"] == f"s3://{bucket.name}/input-7"
    start, end = (datetime.fromisoformat(owed[f"{one}_attempt_at"]) for one in ("last", "next"))
    return (end - start).total_seconds()


# An object that is used again while it goes.


@pytest.mark.parametrize("named", ["by version", "by key"])
def test_used_again_while_it_goes(
    make_yard: MakeYard, s3: S3Server, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """A job that is put on record with an object which a cleanup removes at that very moment is
    either refused, or has its object."""
    yard, bucket = make_yard(), Bucket(s3)
    yard.configure(storage=bucket.settings())
    [uri] = bucket.put(["shared"])
    finish(yard, list(record(yard, {"over": [uri]}).values()))
    identify = Tracker.identify

    def slowly(self: Tracker, stored: StoredObject) -> StoredObject:
        found = identify(self, stored)
        cleanup(yard)
        return found

    monkeypatch.setattr(Tracker, "identify", slowly)
    with Tracker(yard.folder / "tracker.toml") as tracker, suppress(TrackerError):
        again = uri if named == "by version" else uri.partition("?")[0]
        tracker.add("mill", "again", objects=[again], owned=True)
    there = {version for _, version in bucket.contents().versions}
    assert {row[0] for row in yard.rows("SELECT version_id FROM objects")} <= there


# Files of the tracker's own.


def test_a_file_that_two_jobs_use(make_yard: MakeYard) -> None:
    """A spooled input that another job uses too stays when the job that it is named for goes,
    however old it gets, and goes with the other."""
    yard = make_yard(life=[0, 0])
    (yard.folder / "input.txt").write_text("something to work on")
    yard.run("submit", "mill", "input.txt", "-p", "marker=m")
    yard.settle_down()
    [spooled] = (yard.folder / "tracker.db.files" / "spool").iterdir()
    [other] = record(yard, {"other": [f"input=file://{spooled}"]}).values()
    assert cleanup(yard)["files"]["requested"] == 0
    os.utime(spooled, (0, 0))
    assert cleanup(yard)["files"]["removed"] == 0 and spooled.exists()
    finish(yard, [other])
    assert cleanup(yard)["files"]["removed"] == 1 and not spooled.exists()


def test_many_sweep_at_once(make_yard: MakeYard) -> None:
    """Files that killed processes left behind go once, however many cleanups find them."""
    yard = make_yard()
    spool = yard.folder / "tracker.db.files" / "spool"
    spool.mkdir(parents=True)
    for _ in range(2000):
        path = spool / ids.new_id()
        path.write_text("left behind")
        os.utime(path, (0, 0))
    receipts = cleanups(yard, 3)
    assert sum(receipt["files"]["removed"] for receipt in receipts) == 2000
    assert sum(receipt["files"]["failed"] for receipt in receipts) == 0
    assert sum(receipt["bytes_freed"] for receipt in receipts) == 2000 * len("left behind")
    assert list(spool.iterdir()) == []
