"""A process that does to jobs what people do, at random, and writes down what it does.

    python acts.py tracker.toml DIARY '{"name": "w0", "field": "f0", "first": 1, "acts": 40,
        "sync": 0.2}'

A line of the diary is written before each act and after it, so that whoever kills this process
knows what it had said was done, and what may have been. No two processes write the same field.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from tracker import Tracker
from tracker.errors import Impossible, NotFound

WEIGHTS = {"submit": 30, "update": 50, "delete": 9, "cancel": 6, "poll": 3, "attempt": 2}
FIELDS = ("f0", "f1", "f2", "f3", "f4")


def payload_of(marker: str) -> dict[str, Any]:
    """What a new job is submitted with."""
    return {"marker": marker, "shared": 0, **dict.fromkeys(FIELDS, 0)}


class Diary:
    """Lines that are there whatever happens to their writer."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, word: str, act: str = "", job: str = "", value: Any = None) -> None:
        """One line: begun, done or refused; of a submission, `value` is its marker."""
        os.write(self._file, json.dumps([word, act, job, value]).encode() + b"\n")


class Person:
    """Somebody who acts."""

    def __init__(self, tracker: Tracker, diary: Diary, plan: dict[str, Any]) -> None:
        self.tracker, self.diary, self.plan = tracker, diary, plan
        self.number = plan["first"]

    def act(self) -> None:
        """Do something, to whichever job."""
        act = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        sync = random.random() < self.plan["sync"]
        if act == "poll":
            self.diary.note("begun", act)
            self.tracker.poll()
            self.diary.note("done", act)
        elif act == "submit":
            self.submit(sync)
        elif job := self.any_job():
            self.change(act, job, sync)

    def submit(self, sync: bool) -> None:
        """A new job."""
        marker = f"{self.plan['name']}-{self.number}"
        self.number += 1
        self.diary.note("begun", "submit", value=marker)
        made = self.tracker.submit("mill", payload_of(marker), sync=sync)
        self.diary.note("done", "submit", made.local_id, marker)

    def change(self, act: str, job: str, sync: bool) -> None:
        """Something to a job, which another process may just have deleted."""
        self.number += 1
        value = self.number if act == "update" else None
        self.diary.note("begun", act, job, value)
        try:
            if act == "update":
                changes = {self.plan["field"]: value, "shared": random.randint(0, 2)}
                left_out = random.choice([None, None, "shared"])
                changes.pop(left_out or "", None)
                self.tracker.update(job, changes, sync=sync)
            elif act == "attempt":
                self.tracker.attempt([job])
            else:
                getattr(self.tracker, act)(job, sync=sync)
        except (Impossible, NotFound):
            self.diary.note("refused", act, job, value)
        else:
            self.diary.note("done", act, job, value)

    def any_job(self) -> str:
        """One of the jobs on record, if there are any."""
        found = self.tracker.store.database.read(
            "SELECT local_id FROM processing_jobs ORDER BY random() LIMIT 1"
        )
        return str(found[0][0]) if found else ""


def main() -> None:
    """Act as often as the plan says."""
    configuration, path, plan = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    diary = Diary(path)
    with Tracker(configuration) as tracker:
        person = Person(tracker, diary, plan)
        diary.note("ready")
        for _ in range(plan["acts"]):
            person.act()
    diary.note("over")


if __name__ == "__main__":
    main()
