"""Other rates, on SQLite and on PostgreSQL: jobs submitted (one by one, and by `tracker submit
--batch`), creates carried out (sync), finished jobs cleaned up, events read. Where a bare peer
makes sense it runs in the same round: a row of the same content, written and committed one by one,
or all with executemany; the same POSTs from a thread pool; one DELETE; one SELECT.

``python benchmarks/rates.py [--jobs 3000] [--rounds 3] [--database both] [--only submit,sync]``
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import creates
from bare_tables import Table
from common import folder, report, summary
from servers import database, postgres

from tracker import Tracker, clock
from tracker.ids import new_id

Seconds = float
CLEANUP = "\n[cleanup]\nautomatic = false\n"


class Rates:
    """One ledger and one bare table of the same database. Each method does one thing to `jobs` jobs
    and tells how long that took."""

    def __init__(self, place: Path, url: str, ledger: str | Path, jobs: int) -> None:
        self.jobs, self.url, self.place, self.ledger = jobs, url, place, str(ledger)
        self.configuration = place / "tracker.toml"
        text = creates.CREATE.format(url=url, concurrency=8) + CLEANUP
        self.configuration.write_text(text)
        self.tracker = Tracker(self.configuration, database=ledger)
        self.bare = Table(self.tracker, self.ledger, place)

    def close(self) -> None:
        """Close both."""
        self.bare.close()
        self.tracker.close()

    def submit(self) -> Seconds:
        """The library, job by job: each is on record, with what it owes, when `submit` returns."""
        began = time.perf_counter()
        for number in range(self.jobs):
            self.tracker.submit("bench", creates.payload(number), sync=False)
        return self._all(began, self._count("operations"))

    def inserts(self) -> Seconds:
        """Bare: one row and one commit a job."""
        return self.bare.insert_each([self._row(number) for number in range(self.jobs)])

    def batch(self) -> Seconds:
        """The command, its start included: ``tracker submit --batch FILE``."""
        file = self.place / "batch.jsonl"
        lines = (json.dumps(creates.payload(n)) for n in range(self.jobs))
        file.write_text("".join(f"{line}\n" for line in lines))
        words = ["submit", "bench", "--batch", str(file), "--no-sync"]
        began = time.perf_counter()
        self._command(words)
        return self._all(began, self._count("operations"))

    def executemany(self) -> Seconds:
        """Bare: all rows at once, one commit."""
        return self.bare.insert_all([self._row(number) for number in range(self.jobs)])

    def sync(self) -> Seconds:
        """A pass of a poller over jobs that are not created yet, 8 calls at a time."""
        self._pending()
        began = time.perf_counter()
        done = self.tracker.poll()
        return self._all(began, done.submitted)

    def posts(self) -> Seconds:
        """Bare: the same POSTs from a pool of 8 threads."""
        return self.jobs / creates.bare(self.url, self.jobs, 8)

    def cleanup(self) -> Seconds:
        """`Tracker.cleanup` of finished jobs, each with two events."""
        self._finished()
        began = time.perf_counter()
        return self._all(began, self.tracker.cleanup().rows_deleted)

    def delete(self) -> Seconds:
        """Bare: one DELETE of as many rows, their indexes included."""
        self.bare.insert_all([self._row(number) for number in range(self.jobs)])
        return self.bare.delete_all()

    def events(self) -> Seconds:
        """`Tracker.events` from the first to the last."""
        self._told()
        began = time.perf_counter()
        return self._all(began, sum(1 for _ in self.tracker.events()))

    def select(self) -> Seconds:
        """Bare: one SELECT of the same rows, their data read as JSON."""
        self._told()
        began = time.perf_counter()
        rows = self.tracker.store.database.read(
            "SELECT seq, at, local_id, type, data FROM job_events ORDER BY seq"
        )
        return self._all(began, sum(isinstance(json.loads(row[4]), dict) for row in rows))

    def events_command(self) -> Seconds:
        """`tracker events`, its start included."""
        self._told()
        began = time.perf_counter()
        lines = self._command(["events"]).count("\n")
        return self._all(began, lines)

    # What is there before.

    def clear(self) -> None:
        """Nothing is on record."""
        store = self.tracker.store.database
        with store.transaction():
            for name in ("job_events", "operations", "processing_jobs"):
                store.write(f"DELETE FROM {name}")
        self.bare.clear()
        store.fold()
        os.sync()

    def _pending(self) -> None:
        with self.tracker.store.database.transaction():
            for number in range(self.jobs):
                self.tracker.submit("bench", creates.payload(number), sync=False)

    def _finished(self) -> None:
        ids = self._jobs("completed", clock.to_text(clock.now() - 30 * 86400))
        self._events(ids, ("job:created", "job:finalized"))

    def _told(self) -> None:
        if self._count("job_events") != self.jobs:
            self.clear()
            self._events([new_id() for _ in range(self.jobs)], ("job:stream-progress",))

    def _jobs(self, status: str, at: str) -> list[str]:
        ids = [new_id() for _ in range(self.jobs)]
        store = self.tracker.store.database
        with store.transaction():
            store.write_many(JOB, [(one, f"job-{one}", status, at, at, at, at) for one in ids])
        return ids

    def _events(self, ids: list[str], types: tuple[str, ...]) -> None:
        store, at = self.tracker.store, clock.to_text(clock.now() - 60)
        told = {"now": at, "user_id": "", "origin": "", "data": '{"progress":0.5}'}
        rows = [{**told, "local_id": one, "type": kind} for kind in types for one in ids]
        with store.database.transaction():
            store.database.write_last(store.sql["insert_event"], rows)

    def _row(self, number: int) -> tuple[str, str, str, str]:
        return new_id(), "pending", json.dumps(creates.payload(number)), clock.to_text(clock.now())

    def _command(self, words: list[str]) -> str:
        options = ["--config", str(self.configuration), "--db", self.ledger]
        program = Path(sys.executable).with_name("tracker")
        done = subprocess.run([program, *words, *options], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"tracker {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def _count(self, table: str) -> int:
        return int(self.tracker.store.database.read(f"SELECT count(*) FROM {table}")[0][0])

    def _all(self, began: float, done: int) -> Seconds:
        taken = time.perf_counter() - began
        assert done == self.jobs, f"{done} of {self.jobs}"
        return taken


JOB = """
INSERT INTO processing_jobs (local_id, server_id, service, status, initiated_at, created_at,
    updated_at, completed_at)
VALUES (?, ?, 'bench', ?, ?, ?, ?, ?)
"""

Way = Callable[[Rates], Seconds]
WAYS: dict[str, dict[str, Way]] = {  # Tracker first, then its peer
    "submit": {"submit": Rates.submit, "bare INSERT and commit": Rates.inserts},
    "batch": {"submit --batch": Rates.batch, "bare executemany": Rates.executemany},
    "sync": {"sync": Rates.sync, "bare POSTs": Rates.posts},
    "cleanup": {"cleanup": Rates.cleanup, "bare DELETE": Rates.delete},
    "events": {"events read": Rates.events, "bare SELECT": Rates.select},
    "command": {"tracker events": Rates.events_command},
}


def arguments() -> argparse.Namespace:
    """The options."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--jobs", type=int, default=3000, help="default: 3000")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--only", default=",".join(WAYS), help=f"of {', '.join(WAYS)}")
    return parser.parse_args()


def measure(rates: Rates, only: list[str], rounds: int) -> dict[str, object]:
    """Rates a second, Tracker and its peer in turns, and their ratio round by round."""
    told: dict[str, object] = {}
    for topic in only:
        found: dict[str, list[float]] = {name: [] for name in WAYS[topic]}
        for number in range(rounds):
            names = list(found) if number % 2 else list(reversed(found))
            for name in names:
                rates.clear()
                found[name].append(rates.jobs / WAYS[topic][name](rates))
        told |= {f"{name}, 1/s": summary(values) for name, values in found.items()}
        ours, *peers = found.values()
        for peer in peers:
            ratios = [mine / other for mine, other in zip(ours, peer, strict=True)]
            told[f"{topic}: ratio"] = summary(ratios)
    return told


def main() -> None:
    args = arguments()
    only = args.only.split(",")
    databases = ("sqlite", "postgres") if args.database == "both" else (args.database,)
    told: dict[str, object] = {}
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(creates.service())
        server = stack.enter_context(postgres()) if "postgres" in databases else ""
        for dialect in databases:
            place = stack.enter_context(folder())
            ledger = place / "tracker.db" if dialect == "sqlite" else database(server, "rates")
            rates = Rates(place, url, ledger, args.jobs)
            found = measure(rates, only, args.rounds)
            told |= {f"{dialect}, {name}": value for name, value in found.items()}
            rates.close()
    report(args, "rates", told)


if __name__ == "__main__":
    main()
