"""APScheduler 3: jobs on an interval, all of which are due, in SQLAlchemy's job store on
PostgreSQL, which its guide recommends, or in a SQLite file, run by a thread pool.

A job that is late is run all the same, once: `misfire_grace_time` is None and `coalesce` is on.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from random import random
from typing import Any

from peers import Contestant, Task, now, numbers
from peers.bare import checked
from peers.sessions import session

NEEDS = {"APScheduler, PostgreSQL": "apscheduler", "APScheduler, SQLite": "apscheduler"}


def poll(url: str) -> float:
    """The job: jobs in a store are functions by their name."""
    reply = GET[0](url, timeout=30).json()
    checked(reply)
    return float(reply["progress"])


GET: list[Any] = []


class OnServer(Contestant):
    """A scheduler in the background."""

    database = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        from apscheduler.events import EVENT_JOB_EXECUTED, EVENT_JOB_SUBMITTED
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
        from apscheduler.schedulers.background import BackgroundScheduler

        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        GET[:] = [session(task.concurrency)]
        self.store = SQLAlchemyJobStore(url=self._url())
        self.scheduler = BackgroundScheduler(
            jobstores={"default": self.store},
            executors={"default": ThreadPoolExecutor(task.concurrency)},
            job_defaults={"coalesce": True, "misfire_grace_time": None},
            timezone=UTC,
        )
        self.executed = self.submitted = 0
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.scheduler.add_listener(self._executed, EVENT_JOB_EXECUTED)
        # Told after the pass over the due jobs, which writes when each is due next.
        self.scheduler.add_listener(self._submitted, EVENT_JOB_SUBMITTED)
        self.scheduler.start(paused=True)

    def _url(self) -> str:
        return self.task.database.replace("postgresql://", "postgresql+psycopg://")

    def fill(self) -> None:
        for number in numbers(self.task.jobs):
            self.scheduler.add_job(
                poll,
                "interval",
                args=[f"{self.task.url}/jobs/job-{number}"],
                hours=1,
                next_run_time=datetime.now(UTC) - timedelta(seconds=600 * random()),
            )

    def _executed(self, _: Any) -> None:
        with self.lock:
            self.executed += 1
        self._look()

    def _submitted(self, _: Any) -> None:
        with self.lock:
            self.submitted += 1
        self._look()

    def _look(self) -> None:
        if self.executed == self.submitted == self.task.jobs:
            self.ended.set()

    def run(self) -> float:
        self.scheduler.resume()
        self.ended.wait()
        ended = now()
        self.scheduler.pause()
        return ended

    def recorded(self) -> int:
        late = datetime.now(UTC)
        return sum(job.next_run_time > late for job in self.store.get_all_jobs())


class OnFile(OnServer):
    """The same on SQLite."""

    database = False

    def _url(self) -> str:
        return f"sqlite:///{self.task.place}/jobs.db"


CONTESTANTS = dict(zip(NEEDS, (OnServer, OnFile), strict=True))
