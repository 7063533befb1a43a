"""Which pollers live: by their process where that can be seen, else by their silence."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from freezegun import freeze_time

from tracker import clock
from tracker.databases import postgres
from tracker.presence import Presence
from tracker.store import Store, open_store
from tracker.store.claims import PollerRow


@pytest.fixture
def time():
    """Both clocks stand still at noon until they are told to `tick`."""
    with freeze_time("2026-01-31T12:00:00Z", ignore=["_pytest.timing", "psycopg_pool"]) as frozen:
        yield frozen


@pytest.fixture
def store(tmp_path, time, database):
    one = (
        Store(postgres.Database(database.url, now=clock.now))
        if database
        else open_store(tmp_path / "tracker.db")
    )
    yield one
    one.close()


@pytest.fixture
def me(store) -> Presence:
    """The observer."""
    return Presence(store, "run")


@pytest.fixture
def sleeper():
    """Another process of this machine that lives until somebody ends it."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def neighbour(me: Presence, pid: int, poller: str = "other") -> PollerRow:
    """A poller of this machine with that process id."""
    return replace(me.me, id=poller, pid=pid)


def stranger(poller: str = "other", kind: str = "run") -> PollerRow:
    """A poller of another machine, whose process ids mean nothing here."""
    return PollerRow(poller, kind, "far", "another boot", os.getpid(), "", "")


def ids(rows) -> list[str]:
    return [row.id for row in rows]


def watch(me: Presence, time, seconds: float) -> list[str]:
    """Whom an observer that looks now and then once a second calls dead in so many seconds."""
    found = ids(me.dead())
    while seconds > 0:
        time.tick(min(seconds, 1))
        seconds -= 1
        found += ids(me.dead())
    return list(dict.fromkeys(found))


needs_scope = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells what a process id is unique in"
)


@needs_scope
def test_a_process_that_has_gone(store, me, sleeper):
    """P4: a poller whose process on this machine is gone is dead at once."""
    store.beat(neighbour(me, sleeper.pid))
    assert me.dead() == [] and ids(me.alive()) == ["other"]
    sleeper.kill()
    sleeper.wait()
    assert ids(me.dead()) == ["other"] and me.alive() == []


@needs_scope
def test_a_process_that_nobody_has_waited_for(store, me, sleeper):
    """P4: a killed poller is dead also while its parent has not looked after it (a zombie)."""
    store.beat(neighbour(me, sleeper.pid))
    assert me.dead() == []
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert ids(me.dead()) == ["other"] and me.alive() == []


@needs_scope
def test_a_number_that_was_never_given(store, me):
    """A process id that cannot be is as gone as one that was."""
    store.beat(neighbour(me, 2**22 + 1))
    assert ids(me.dead()) == ["other"]


def test_silence(store, me, time):
    """A poller that was silent for 4 s under the observer's own eyes is dead, and not before."""
    store.beat(stranger())
    assert watch(me, time, 3.999) == []
    time.tick(0.001)
    assert ids(me.dead()) == ["other"]


def test_whoever_beats_lives(store, me, time):
    """Each beat starts the four seconds anew."""
    for _ in range(20):
        store.beat(stranger())
        assert watch(me, time, 3) == []
    assert watch(me, time, 0.9) == []
    assert watch(me, time, 0.1) == ["other"]


@needs_scope
def test_silence_of_a_living_process(store, me, sleeper, time):
    """A process that is there and says nothing (stopped, or its number is another's now) is dead
    after 4 s like any other."""
    store.beat(neighbour(me, sleeper.pid))
    assert watch(me, time, 3.9) == []
    assert watch(me, time, 0.1) == ["other"]


def test_process_ids_of_elsewhere_mean_nothing(store, me):
    """In another container or on another machine the same number is another process: only silence
    counts there."""
    store.beat(replace(stranger(), pid=2**22 + 1))
    assert me.dead() == [] and ids(me.alive()) == ["other"]


def test_no_scope_no_judgement(store, me):
    """Where the system does not tell what process ids are unique in, only silence counts."""
    store.beat(replace(stranger(), scope="", pid=2**22 + 1))
    me.me = replace(me.me, scope="")
    assert me.dead() == []


def test_a_fresh_observer_does_not_judge(store, me, time):
    """A poller that was silent for an hour may have been suspended with the observer: the
    observer watches it for 4 s itself before it says so."""
    store.beat(stranger())
    time.tick(3600)
    assert me.dead() == [] and me.suspects() and me.alive() == []
    assert watch(me, time, 3.9) == []
    store.beat(stranger())
    assert me.dead() == [] and not me.suspects()
    assert watch(me, time, 3.9) == []


def test_an_observer_that_was_stopped_does_not_judge(store, me, time):
    """An observer that was stopped for a minute, perhaps together with all others, does not take
    that minute for their silence."""
    store.beat(stranger())
    assert me.dead() == []
    time.tick(1)
    assert me.dead() == []
    time.tick(60)
    assert watch(me, time, 3.9) == []
    assert watch(me, time, 0.1) == ["other"]


@pytest.mark.parametrize(("seconds", "seen"), [(2, ["other"]), (2.1, [])])
def test_how_often_an_observer_has_to_look(store, me, time, seconds, seen):
    """Looks that are more than two beats apart are no watch: none of them says who is dead."""
    store.beat(stranger())
    for _ in range(10):
        found = ids(me.dead())
        time.tick(seconds)
    assert found == seen


def test_one_comes_back(store, me, time):
    """A poller whose row was removed and that beats again is new, and watched from then on."""
    store.beat(stranger())
    assert watch(me, time, 4) == ["other"]
    assert store.release_dead("other", [])
    assert me.dead() == []
    store.beat(stranger())
    assert watch(me, time, 3.9) == []


def test_nobody_watches_itself(store, me, time):
    """A poller is never dead, alive or suspect in its own eyes."""
    assert not me.registered
    me.beat()
    assert me.registered and ids(store.pollers()) == [me.id]
    time.tick(3600)
    assert me.dead() == me.alive() == [] and not me.suspects()


@pytest.mark.parametrize(
    ("kind", "counts"),
    [("poll", True), ("run", True), ("part", False), ("wait", False), ("submit", False)],
)
def test_stepping_back(store, me, time, kind, counts):
    """P4: `poll` steps back for pollers that serve every job, not for those of some."""
    store.beat(stranger(kind=kind))
    assert bool(me.alive()) is counts
    time.tick(4)
    assert me.alive() == []


def test_each_process_start_is_another_poller(store):
    """A poller's id is made at its start: no two ever share one."""
    assert len({Presence(store, "run").id for _ in range(50)}) == 50
