"""Tracker: each poll is claimed, settled and on record, with its progress."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from common import fill, folder, make_due, project

from peers import Contestant, Task, now
from tracker import Tracker
from tracker.commands.common import collect_seldom

NEEDS = {
    "tracker, requests, SQLite": "tracker",
    "tracker, curl, SQLite": "pycurl",
    **dict.fromkeys(
        [f"tracker, curl, PostgreSQL, {count} poller{'s' * (count > 1)}" for count in (1, 2, 4)],
        "pycurl",
    ),
}


class OnFile(Contestant):
    """One poller on SQLite, which goes through requests."""

    keeps = True
    transport: ClassVar[str] = "requests"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        configuration = project(task.place, task.url, task.concurrency, self.transport)
        self.tracker = Tracker(configuration, database=self._ledger())
        self._warm(configuration)
        collect_seldom()  # as `tracker poll` and `tracker run` do

    def _ledger(self) -> str | Path:
        return self.task.place / "tracker.db"

    def fill(self) -> None:
        """Have every job be due; a new ledger's were polled once before, as any but a job's first
        poll finds it."""
        tracker = self.tracker
        if not self._count("count(*)"):
            fill(tracker, rows=self.task.jobs, due=self.task.jobs)
            tracker.poll()
        make_due(tracker)

    def _warm(self, configuration: Path) -> None:
        """Import what a poller imports: a pass over one job of another ledger."""
        with (
            folder() as place,
            Tracker(configuration, database=place / "tracker.db") as another,
        ):
            fill(another, rows=1, due=1)
            assert another.poll().polled == 1

    def run(self) -> float:
        self.before = self._count("sum(poll_count)")
        done = self.tracker.poll()
        ended = now()
        assert done.errors == 0, done
        return ended

    def recorded(self) -> int:
        return self._count("sum(poll_count)") - self.before

    def _count(self, what: str) -> int:
        found = self.tracker.store.database.read(f"SELECT {what} FROM processing_jobs")
        return int(found[0][0] or 0)


class OverCurl(OnFile):
    """One poller on SQLite, which goes through libcurl."""

    transport = "curl"


class OnServer(OverCurl):
    """One poller on PostgreSQL."""

    database = True

    def _ledger(self) -> str:
        return self.task.database


class Two(OnServer):
    """Two of them, each a process with as many calls at a time."""

    pollers = 2


class Four(OnServer):
    """Four of them."""

    pollers = 4


CONTESTANTS = dict(zip(NEEDS, (OnFile, OverCurl, OnServer, Two, Four), strict=True))
