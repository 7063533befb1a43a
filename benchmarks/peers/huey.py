"""huey: tasks in a SQLite file, worker threads for work that waits, results kept, as by default.

The number of its workers is that of the calls at a time. All else is the default, WAL included.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from peers import Contestant, Task, now, numbers
from peers.bare import checked
from peers.sessions import session

NEEDS = {"huey, SQLite": "huey"}


class Huey(Contestant):
    """A consumer with worker threads."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        from huey import SqliteHuey
        from huey.signals import SIGNAL_COMPLETE

        logging.getLogger("huey").setLevel(logging.WARNING)
        self.huey = SqliteHuey(filename=str(task.place / "huey.db"))
        self.left, self.lock, self.ended = task.jobs, threading.Lock(), threading.Event()
        get, url = session(task.concurrency), task.url

        @self.huey.task()  # type: ignore[untyped-decorator]
        def poll(number: int) -> float:
            reply = get(f"{url}/jobs/job-{number}", timeout=30).json()
            checked(reply)
            return float(reply["progress"])

        self.poll = poll
        self.huey.signal(SIGNAL_COMPLETE)(self._count)

    def _count(self, signal: str, task: Any) -> None:
        with self.lock:  # a task's result is on record by now
            self.left -= 1
        if not self.left:
            self.ended.set()

    def fill(self) -> None:
        for number in numbers(self.task.jobs):
            self.poll(number)

    def run(self) -> float:
        consumer = self.huey.create_consumer(workers=self.task.concurrency)
        consumer.start()
        self.ended.wait()
        ended = now()
        consumer.stop(graceful=True)
        return ended

    def recorded(self) -> int:
        return int(self.huey.result_count())


CONTESTANTS = {"huey, SQLite": Huey}
