"""Somebody else holds the database's write lock. Plain `pytest` takes 3 s of it;
`TRACKER_CAMPAIGN=full` adds 15 s, which is longer than a statement waits."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import MakeYard
from postgres import in_file
from yard import FULL, PATIENCE, wait_for

LOCKER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def lock(ledger: str, seconds: float) -> subprocess.Popen[str]:
    """A process that holds the lock by now, and will for `seconds`."""
    arguments = [sys.executable, "-c", LOCKER, ledger, str(seconds)]
    locker = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert locker.stdout is not None and locker.stdout.readline() == "locked\n"
    return locker


@in_file
@pytest.mark.parametrize("keys", [True, False], ids=["keys", "no-keys"])
@pytest.mark.parametrize("seconds", [3, 15] if FULL else [3])
def test_locked_by_a_third(make_yard: MakeYard, seconds: float, keys: bool) -> None:
    """Pollers at work when somebody locks the database go on afterwards: no reply is lost, no
    call made again."""
    if not keys and not FULL:
        pytest.skip("a part of the whole campaign")
    yard = make_yard(keys=keys, status=[0.3, 0.3], after=[0.3, 0.3], life=[0, 1])
    yard.configure(
        concurrency=4,
        idempotency="header" if keys else "none",
        poll='first = "100ms"\nevery = "1s"\nmax_per_minute = 60',
        timeout="30s",
    )
    yard.submit(6)
    yard.adopt(yard.service.make(6))
    pollers = [yard.start("poll", "--overlap", "--json", "--for", "60s") for _ in range(2)]
    wait_for(lambda: yard.service.record()["creates"], "creates in flight")
    locker = lock(str(yard.ledger), seconds)
    assert locker.wait(PATIENCE) == 0
    assert locker.stdout is not None
    locker.stdout.close()
    wait_for(lambda: yard.statuses() == {"completed": 12} or pollers[0].poll() is not None, "all")
    codes = [yard.stop(poller) for poller in pollers]
    assert codes == [0, 0], [yard.said(poller) for poller in pollers]
    assert yard.statuses() == {"completed": 12}
    yard.check()
    record = yard.service.record()
    assert len(record["creates"]) == 6, "a create was sent twice"
    void = sum(json.loads(yard.said(poller)[0])["void"] for poller in pollers)
    print(f"\nlocked {seconds:g} s: {void} void, {len(record['polls'])} polls")
