"""Who makes status calls: Tracker, bare clients, and other programs, each set up as its
documentation recommends. One module a peer.

A module has ``CONTESTANTS``: a class by name, and ``NEEDS``: the modules that must be installed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Task:
    """What is to be done: one GET each of ``{url}/jobs/job-{number}``, `jobs` of them,
    `concurrency` at a time; `place` is a folder for this round only, `database` the URL of an empty
    PostgreSQL database, or Tracker's ledger that is due."""

    url: str
    jobs: int
    concurrency: int
    place: Path
    database: str = ""


class Contestant:
    """Does a task in a process of its own. The clock runs during `run` only."""

    database: ClassVar[bool] = False
    """Whether it needs a database on the PostgreSQL server."""

    records: ClassVar[bool] = True
    """Whether it keeps what it was told."""

    keeps: ClassVar[bool] = False
    """Whether its folder and its database are those of the round before."""

    pollers: ClassVar[int] = 1
    """How many processes do the task together."""

    def __init__(self, task: Task) -> None:
        """Import and connect."""
        self.task = task

    def fill(self) -> None:
        """Write down what is to be done; in the first process only, before the others begin."""

    def run(self) -> float:
        """Do all of it; the moment at which the last of it was on record."""
        raise NotImplementedError

    def recorded(self) -> int:
        """How many of the calls are on record afterwards."""
        return 0


def numbers(jobs: int) -> list[int]:
    """The jobs in a random order, another one each time."""
    import random

    return random.sample(range(jobs), jobs)


now = time.perf_counter  # the system's monotonic clock, the same in all processes
