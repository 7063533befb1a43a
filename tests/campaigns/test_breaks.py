"""Further ways to break crash-safety, one at a time. Those that take long are a part of
`TRACKER_CAMPAIGN=full` only."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import MakeYard
from postgres import in_file
from test_locked import lock
from yard import FULL, PATIENCE, Yard, listens, wait_for

from tracker.store import open_store

SLOW = 'first = "10m"\nevery = "10m"'
whole = pytest.mark.skipif(not FULL, reason="a part of the whole campaign")


def test_told_to_stop_while_starting(make_yard: MakeYard) -> None:
    """A SIGTERM that comes while `run` is still loading ends it as surely as a later one."""
    yard = make_yard()
    yard.run("db", "migrate")
    running = yard.start("run")
    wait_for(lambda: listens(running), "a handler for SIGTERM")
    running.send_signal(signal.SIGTERM)
    wait_for(lambda: running.poll() is not None, "its end", 3)
    assert running.returncode == 0


@whole
def test_told_to_stop_impatiently(make_yard: MakeYard) -> None:
    """However many SIGTERMs come, and whenever, `run` ends."""
    yard = make_yard(life=[1000, 1000])
    yard.configure(poll=SLOW)
    yard.adopt(yard.service.make(1))
    yard.run("poll")
    for _ in range(30):
        _end_impatiently(yard)


def _end_impatiently(yard: Yard) -> None:
    running = yard.start("run")
    wait_for(lambda: listens(running), "a handler for SIGTERM")
    time.sleep(0.5)  # asleep by now; nothing that can be waited for says so
    for _ in range(300):
        running.send_signal(signal.SIGTERM)
    wait_for(lambda: running.poll() is not None, "its end", 5)


def test_replies_while_draining(make_yard: MakeYard) -> None:
    """A reply to a create that comes while a stopping poller waits for other calls is on record at
    once: a supervisor that loses patience and kills costs nothing."""
    yard = make_yard(keys=False, after=[0.5, 0.5], mute=["status"])
    yard.configure(idempotency="none", timeout="30s", poll=SLOW)
    yard.adopt(yard.service.make(1))
    yard.submit(1)
    running = yard.start("run")

    def in_flight() -> bool:
        record = yard.service.record()
        return bool(record["polls"] and record["creates"])

    wait_for(in_flight, "both calls in flight")
    running.send_signal(signal.SIGTERM)
    accepted = "SELECT 1 FROM processing_jobs WHERE server_id IS NOT NULL AND payload <> '{}'"
    wait_for(lambda: yard.rows(accepted), "the server's id on record", 3)
    assert running.poll() is None


@whole
def test_nobody_answers(make_yard: MakeYard) -> None:
    """Told to stop while a service accepts calls and never answers, a poller ends within its 10 s
    of grace, with exit code 0, and gives back all that it held, untouched."""
    yard = make_yard(mute=["status"])
    yard.configure(timeout="60s")
    yard.adopt(yard.service.make(20))
    running = yard.start("run")
    wait_for(lambda: len(yard.service.record()["polls"]) == 8, "calls in flight")
    assert yard.stop(running) == 0
    held = "SELECT count(claimed_by), sum(poll_count), sum(retry_count) FROM processing_jobs"
    assert yard.rows(held) == [(0, 0, 0)]
    assert yard.rows("SELECT * FROM pollers") == []
    yard.service.turn(mute=[])
    yard.settle_down()
    yard.check()
    assert yard.statuses() == {"completed": 20}


def test_a_poller_of_one_service(make_yard: MakeYard) -> None:
    """A poller that serves one service keeps nobody from polling the others."""
    yard = make_yard(life=[1000, 1000])
    yard.configure("mill", "press", poll=SLOW)
    yard.adopt(yard.service.make(1))
    yard.run("add", "press", "job-0")
    one = yard.start("poll", "--service", "mill", "--for", "30s")
    wait_for(lambda: yard.rows("SELECT 1 FROM pollers"), "the first poller")
    yard.run("poll")
    polled = yard.rows("SELECT poll_count FROM processing_jobs WHERE service = 'press'")
    assert polled == [(1,)]
    assert yard.stop(one) == 0


@whole
def test_one_file_twice(make_yard: MakeYard) -> None:
    """Two `submit`s of one file at once are two jobs, each with its own copy, whoever is killed."""
    yard = make_yard(life=[0, 0], after=[0.2, 0.2])
    (yard.folder / "input.txt").write_text("something to work on")
    yard.run("db", "migrate")
    first, second = (
        yard.start("submit", "mill", "input.txt", "-p", f"marker=m{number}") for number in range(2)
    )
    recorded = "SELECT 1 FROM operations WHERE claimed_by IS NOT NULL"
    wait_for(lambda: yard.rows(recorded), "an attempt")
    first.kill()
    first.wait(PATIENCE)
    assert second.wait(PATIENCE) == 0
    yard.settle_down()
    yard.check()
    copies = [row[0] for row in yard.rows("SELECT key FROM objects")]
    assert len(set(copies)) == len(copies) == sum(yard.statuses().values()) >= 1
    created = Counter(
        one["marker"] for one in yard.service.record()["creates"] if not one["repeat"]
    )
    assert set(created.values()) == {1}


@in_file
def test_migration_killed_after_its_backup(make_yard: MakeYard) -> None:
    """A migration killed after its backup can be started again at once."""
    yard = make_yard()
    yard.make_old(10_000)
    wait_for(lambda: time.time() % 1 < 0.1, "the start of a second")
    migrating = yard.start("db", "migrate")
    wait_for(lambda: list(yard.folder.glob("*.backup-*[0-9]")), "the backup")
    migrating.kill()
    migrating.wait(PATIENCE)
    yard.run("db", "migrate")


@whole
def test_no_file_is_left(make_yard: MakeYard) -> None:
    """What a killed download or a killed `submit` left in the tracker's folder goes with a
    cleanup a day later."""
    yard = make_yard(life=[0, 0], result=200_000, dribble=2.0)
    yard.adopt(yard.service.make(2))
    files = yard.folder / "tracker.db.files"
    poller = yard.start("poll", "--overlap", "--quiet", "--for", "20s")
    wait_for(lambda: any(one.stat().st_size for one in files.glob("*/*.part")), "a download")
    poller.kill()
    poller.wait(PATIENCE)
    (yard.folder / "input.bin").write_bytes(b"." * 50_000_000)
    submit = yard.start("submit", "mill", "input.bin", "-p", "marker=m0")
    wait_for(lambda: list(files.glob("spool/*")), "a copy begun")
    submit.kill()
    submit.wait(PATIENCE)
    yard.service.turn(dribble=0)
    yard.settle_down()
    for path in files.glob("*/*"):
        os.utime(path, (0, 0))
    yard.run("cleanup", "--older-than", "0s")
    assert list(files.glob("*/*")) == []


@whole
@in_file
def test_locked_while_watched(make_yard: MakeYard) -> None:
    """A poller that cannot beat because somebody else has locked the database is not taken for
    dead by one that merely watches: what it holds is not done twice."""
    yard = make_yard(keys=False, life=[1000, 1000])
    yard.configure(idempotency="none", rate="4/s", poll=SLOW)
    yard.submit(16)
    working = yard.start("run")
    wait_for(lambda: len(yard.service.record()["creates"]) >= 2, "first creates")
    watching = yard.start("run")
    time.sleep(1.5)  # it watches by now; an idle poller leaves no trace to wait for
    locker = lock(str(yard.ledger), 6.5)
    assert locker.wait(PATIENCE) == 0
    wait_for(lambda: yard.statuses()["processing"] == 16, "all created")
    assert yard.stop(working) == yard.stop(watching) == 0
    creates = Counter(one["marker"] for one in yard.service.record()["creates"])
    assert set(creates.values()) == {1}


@whole
def test_all_suspended(make_yard: MakeYard) -> None:
    """Pollers that were suspended together (a laptop, a paused container) go on together."""
    yard = make_yard(status=[3, 3], life=[1000, 1000])
    yard.configure(poll=SLOW, timeout="30s", concurrency=4)
    yard.adopt(yard.service.make(8))
    pollers = [yard.start("poll", "--overlap", "--json", "--for", "60s") for _ in range(2)]
    wait_for(lambda: len(yard.service.record()["polls"]) == 8, "all calls in flight")
    time.sleep(1.2)  # each has seen the other
    for poller in pollers:
        poller.send_signal(signal.SIGSTOP)
    time.sleep(6)
    for poller in pollers:
        poller.send_signal(signal.SIGCONT)
    unpolled = "SELECT count(*) FROM processing_jobs WHERE poll_count = 0"
    wait_for(lambda: yard.rows(unpolled) == [(0,)], "every job settled")
    assert [yard.stop(poller) for poller in pollers] == [0, 0]
    assert sum(json.loads(yard.said(poller)[0])["void"] for poller in pollers) == 0
    assert set(map(len, yard.service.polls_of().values())) == {1}


@whole
@in_file
def test_locked_at_the_end(make_yard: MakeYard) -> None:
    """A create's reply is not lost because the database was locked for a while when its poller was
    told to stop."""
    yard = make_yard(keys=False, after=[1, 1], life=[1000, 1000])
    yard.configure(idempotency="none", poll=SLOW)
    yard.submit(1)
    running = yard.start("run")
    wait_for(lambda: yard.service.record()["creates"], "the create in flight")
    locker = lock(str(yard.ledger), 14)
    running.send_signal(signal.SIGTERM)
    code = running.wait(PATIENCE)
    assert locker.wait(PATIENCE) == 0
    yard.run("poll", "--overlap")
    assert (code, yard.statuses()) == (0, {"processing": 1})


@whole
def test_late_download(make_yard: MakeYard) -> None:
    """A download that a suspended poller ends after another has brought the result home leaves the
    kept result alone."""
    yard = make_yard(life=[0, 0], result=200_000, dribble=4.0)
    yard.configure(timeout="60s")
    yard.adopt(yard.service.make(1))
    results = yard.folder / "tracker.db.files" / "results"
    frozen = yard.start("poll", "--overlap", "--json", "--for", "60s")
    wait_for(lambda: any(one.stat().st_size for one in results.glob("*.part")), "a download")
    frozen.send_signal(signal.SIGSTOP)
    yard.service.turn(dribble=0, result=300_000)
    other = yard.start("poll", "--overlap", "--json", "--for", "60s")
    wait_for(lambda: yard.statuses() == {"completed": 1}, "the result brought home by the other")
    frozen.send_signal(signal.SIGCONT)
    wait_for(lambda: not list(results.glob("*.part")), "the end of the late download")
    assert yard.stop(frozen) == yard.stop(other) == 0
    yard.check()
    [(path, size)] = yard.rows("SELECT path, size FROM contents")
    assert size == Path(path).stat().st_size == 300_000


def test_intent_without_a_claim(make_yard: MakeYard) -> None:
    """A create whose claim was released before its intent was recorded is attempted by the next
    poller, or in doubt: it is not forgotten."""
    yard = make_yard(keys=False)
    yard.configure(idempotency="none")
    yard.submit(1)
    store = open_store(yard.ledger)
    claimed = store.claim_due_operations(
        "mill", 1, "somebody", 60.0, cutoff=store.now(), kinds=["create"]
    )
    store.release_dead("somebody", ["mill"])
    store.record_intent(claimed.operations, "somebody")
    store.close()
    yard.run("poll", "--overlap")
    doubtful = yard.rows("SELECT 1 FROM operations WHERE state = 'in_doubt'")
    assert doubtful or yard.service.record()["creates"]


@whole
@in_file
def test_goodbye_with_replies_in_hand(make_yard: MakeYard) -> None:
    """What a poller could not settle before it ended is served by the next one at once."""
    yard = make_yard(status=[1, 1], life=[1000, 1000])
    yard.configure(poll=SLOW)
    yard.adopt(yard.service.make(4))
    running = yard.start("run")
    wait_for(lambda: len(yard.service.record()["polls"]) == 4, "calls in flight")
    locker = lock(str(yard.ledger), 14)
    running.send_signal(signal.SIGTERM)
    running.wait(PATIENCE)
    assert locker.wait(PATIENCE) == 0
    yard.run("poll", "--overlap")
    assert yard.rows("SELECT DISTINCT poll_count FROM processing_jobs") == [(1,)]
