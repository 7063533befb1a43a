"""A yard whose ledger is on a PostgreSQL server, and a crew of pollers that die and come back."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
from yard import PATIENCE, Service, Yard, wait_for

from tracker.schema.postgres import translated
from tracker.schema.postgres.border import loads_text

POLLERS = 4

LATE = """
SELECT extract(epoch FROM clock_timestamp() - min(due))::float8 FROM (
    SELECT min(next_poll_at) AS due FROM processing_jobs WHERE status = 'processing'
    UNION ALL SELECT min(next_attempt_at) FROM operations WHERE state = 'pending'
) AS owed
"""
"""For how long the oldest of what is due has been waiting: until it is settled."""

CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'tracker'
"""


class Fleet(Yard):
    """Like a yard's, its ledger is looked at beside the program."""

    def __init__(self, folder: Path, service: Service, url: str) -> None:
        self.url = url
        super().__init__(folder, service)
        self.ledger = url

    def configure(self, *names: str, **settings: Any) -> None:
        super().configure(*names, **settings)
        toml = self.folder / "tracker.toml"
        place = f'database = "{self.url}"\nfolder = "files"'
        toml.write_text(toml.read_text().replace('database = "tracker.db"', place))

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            loads_text(connection)
            cursor = connection.cursor(binary=True).execute(translated(sql).encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def write(self, sql: str) -> None:
        self.rows(sql)

    def is_whole(self) -> bool:
        """Whether events have the numbers from 1 on, none left out, and none twice."""
        numbers = "SELECT count(*), coalesce(max(seq), 0), (SELECT last FROM event_counter)"
        return len(set(self.rows(f"{numbers} FROM job_events")[0])) == 1

    def repeated_events(self) -> list[tuple[Any, ...]]:
        """What was told twice of a job."""
        return self.rows(
            "SELECT local_id, type, data::text, count(*) FROM job_events WHERE local_id <> ''"
            " GROUP BY 1, 2, 3 HAVING count(*) > 1"
        )

    def spread(self, seconds: float) -> None:
        """Have all that is on record be due one after another, over so many seconds from now on."""
        then = f"clock_timestamp() + random() * interval '{seconds} seconds'"
        running = "WHERE status = 'processing'"
        self.write(f"UPDATE processing_jobs SET next_poll_at = {then} {running}")
        self.write(f"UPDATE operations SET next_attempt_at = {then}")

    def follow(self) -> subprocess.Popen[str]:
        """A reader of all events that there will be."""
        return self.start("events", "--follow", "--json")

    def heard(self, reader: subprocess.Popen[str]) -> list[int]:
        """The numbers of the events that a reader has been told of, in its order."""
        lines = self.said(reader)[0].splitlines(keepends=True)
        return [json.loads(line)["seq"] for line in lines if line.endswith("\n")]

    def close_polls(self, seconds: float) -> int:
        """How often a job was polled twice within so many seconds."""
        found = self.service.polls_of().values()
        return sum(b - a < seconds for times in found for a, b in pairwise(times))


class Crew:
    """Pollers that serve a fleet; those that are killed are replaced at once."""

    def __init__(self, fleet: Fleet, lives: tuple[float, float] | None = None) -> None:
        """Each lives for so many seconds from its first claim on, drawn from `lives`; None: until
        it is told to stop. There is always one that has got so far."""
        self.fleet, self.lives = fleet, lives
        self.kills = 0
        self.late: list[float] = []
        self.connections: list[int] = []
        self.pollers = [self._join() for _ in range(POLLERS)]
        self._until: dict[int, float] = {}
        self._up: set[int] = set()
        self._next_look = self._since = 0.0

    def _join(self) -> subprocess.Popen[str]:
        return self.fleet.start("run", "--quiet")

    def get_up(self) -> None:
        """Wait until there is one that has claimed something: from now on what is due may not have
        to wait."""
        wait_for(lambda: self._look() or self._up, "a poller that is up")
        self._since = time.monotonic()
        self.late.clear()

    def serve(self, seconds: float, *acts: tuple[float, Callable[[], object]]) -> None:
        """Go on for so many seconds; each of `acts` is done at its share of them."""
        began = time.monotonic()
        waiting = sorted(acts, key=lambda one: one[0])
        while (now := time.monotonic()) < began + seconds:
            if waiting and now >= began + seconds * waiting[0][0]:
                waiting.pop(0)[1]()
            self._strike(now)
            if now >= self._next_look:
                self._look()
            time.sleep(0.01)

    def _strike(self, now: float) -> None:
        for poller in list(self.pollers):
            assert poller.poll() is None, self.fleet.said(poller)
            if poller.pid not in self._up or not self.lives:
                continue
            latest = self._until.setdefault(poller.pid, now + random.uniform(*self.lives))
            if now >= latest and len(self._up) > 1:
                self._up.remove(poller.pid)
                poller.kill()
                poller.wait(PATIENCE)
                self.kills += 1
                self.pollers[self.pollers.index(poller)] = self._join()

    def _look(self) -> None:
        """Note who lives, what waits, and how many are connected, if the server is there."""
        self._next_look = time.monotonic() + 0.25
        with suppress(psycopg.OperationalError):
            beating = {row[0] for row in self.fleet.rows("SELECT pid FROM pollers")}
            self._up = beating & {poller.pid for poller in self.pollers}
            late = self.fleet.rows(LATE)[0][0] or 0.0
            self.late.append(min(max(late, 0.0), time.monotonic() - self._since))
            self.connections.append(self.fleet.rows(CONNECTIONS)[0][0])

    def finish(self, patience: float = PATIENCE) -> None:
        """Serve on until nothing is owed, without further deaths; then stop all."""

        def is_quiet() -> bool:
            self._look()
            return self.fleet.is_quiet()

        wait_for(is_quiet, "the end of all work", patience)
        for poller in self.pollers:
            assert self.fleet.stop(poller) == 0, self.fleet.said(poller)

    def said(self) -> str:
        """All that the pollers at the end said on standard error."""
        return "".join(self.fleet.said(poller)[1] for poller in self.pollers)


def calls_by_job(record: dict[str, Any]) -> Counter[str]:
    """How often each job's result was asked for."""
    return Counter(job for _, job in record["results"])
