"""For how long a cleanup of 100,000 out of 1,000,000 rows holds the write lock at a time, and for
how long a process that submits jobs without a pause waits for it.

Half of the old jobs own an input in S3, half one in the spool, which is not there any more; S3
itself is not called: its answers are made up at once. Each job has an event, the old ones two.

``python benchmarks/cleanup.py [--rows 1000000] [--old 100000] [--runs 3] [--profile 1]``; aim: no
transaction holds the lock for more than 100 ms at p99.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from common import STATUS, arguments, folder, report, summary

import tracker.transports.s3
from tracker import Tracker, clock
from tracker.databases.sqlite import Database
from tracker.ids import new_id
from tracker.transports.base import Call, Reply
from tracker.transports.tasks import Remove, Removed

MORE = """
[services.bench.create]
request   = { method = "POST", path = "/jobs", json = { language = "{payload.language}" } }
server_id = "body.job_id"
[cleanup]
automatic = false
"""
DAY = 86400.0
BATCH = 20_000


# What there is.


def fill(tracker: Tracker, rows: int, old: int) -> None:
    """Put `rows` jobs on record in the order of their beginning: the first `old` of them ended more
    than a week ago, the others ended lately or run, in turn."""
    random.seed(7)
    database = tracker.store.database
    for start in range(0, rows, BATCH):
        jobs = [_job(tracker, number, rows, old) for number in range(start, start + BATCH)][
            : rows - start
        ]
        with database.transaction():
            database.write_many(JOB, jobs)
            old_jobs = [one for one in jobs if one["id"] <= old]
            database.write_many(OBJECT, old_jobs)
            database.write_many(USE, old_jobs)
            database.write_many(EVENT, [{**one, "type": "job:created"} for one in jobs])
            database.write_many(EVENT, [{**one, "type": "job:finalized"} for one in old_jobs])
    database.write("PRAGMA wal_checkpoint(TRUNCATE)")


JOB = """
INSERT INTO processing_jobs (id, local_id, server_id, server_key, service, job_type, document_id,
    status, payload, initiated_at, created_at, updated_at, accepted_at, completed_at, next_poll_at)
VALUES (:id, :local_id, :server_id, :server_key, 'bench', 'ocr', :document, :status,
    '{"language":"en"}', :begun, :begun, :begun, :begun, :ended, :due)
"""
OBJECT = """
INSERT INTO objects (id, scheme, bucket, key, version_id, size, etag, owned, state, created_at,
    updated_at)
VALUES (:id, :scheme, :bucket, :key, :version_id, 1000, 'etag', 1, 'present', :begun, :begun)
"""
USE = "INSERT INTO job_objects (local_id, object_id, role) VALUES (:local_id, :id, 'input')"
EVENT = "INSERT INTO job_events (at, local_id, type) VALUES (:begun, :local_id, :type)"


def _job(tracker: Tracker, number: int, rows: int, old: int) -> dict[str, Any]:
    now, local_id = clock.now(), new_id()
    if number < old:
        begun = now - (30 - 22 * number / old) * DAY
    else:
        begun = now - 6 * DAY * (1 - (number - old) / (rows - old))
    running = number >= old and number % 2 == 0
    ended = min(begun + random.uniform(10, 6 * 3600), now)
    in_s3 = number % 2 == 0
    return {
        "id": number + 1,
        "local_id": local_id,
        "server_id": f"job-{number}",
        "server_key": f"{random.getrandbits(128):032x}",
        "document": f"document-{random.randrange(rows)}",
        "status": "processing" if running else "completed",
        "begun": clock.to_text(begun),
        "ended": None if running else clock.to_text(ended),
        "due": clock.to_text(now + DAY) if running else None,
        "scheme": "s3" if in_s3 else "file",
        "bucket": "bench" if in_s3 else "",
        "key": f"{local_id}/input/a.pdf" if in_s3 else str(tracker.folder.spool / local_id),
        "version_id": local_id if in_s3 else None,
    }


# What is measured.


class Watch:
    """Times of the transactions of a `Database`, in milliseconds; ``names`` are its statements."""

    def __init__(self, names: dict[str, str]) -> None:
        self.waited: list[float] = []
        self.held: list[float] = []
        self.computed: list[float] = []
        self.worst: list[tuple[float, Counter[str]]] = []
        self.sums: Counter[str] = Counter()
        self._names = names
        self._spent: Counter[str] = Counter()
        self._transaction = Database.transaction

    def install(self) -> None:
        """Watch every Database from now on."""
        watch, transaction = self, self._transaction

        @contextlib.contextmanager
        def timed(database: Database) -> Iterator[Database]:
            if database.connection.in_transaction:
                yield database
                return
            asked = time.perf_counter()
            with transaction(database):
                began, busy = time.perf_counter(), time.thread_time()
                watch._spent = Counter()
                yield database
                done = time.perf_counter()
            watch._spent["COMMIT"] = (time.perf_counter() - done) * 1000
            watch.computed.append((time.thread_time() - busy) * 1000)
            watch.note((began - asked) * 1000, (time.perf_counter() - began) * 1000)

        Database.transaction = timed  # type: ignore[assignment,method-assign]
        for name in ("read", "write", "write_many", "insert"):
            setattr(Database, name, self._counted(getattr(Database, name)))

    def _counted(self, method: Any) -> Any:
        def counted(database: Database, sql: str, *arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(database, sql, *arguments)
            finally:
                name = self._names.get(sql, sql[:30])
                self._spent[name] += (time.perf_counter() - began) * 1000

        return counted

    def note(self, waited: float, held: float) -> None:
        """One transaction is over."""
        self.waited.append(waited)
        self.held.append(held)
        self._spent["(Python)"] = held - self._spent.total()
        self.sums.update(self._spent)
        self.worst = sorted([*self.worst, (held, self._spent)], key=lambda one: -one[0])[:5]


def _perform(clients: object, call: Call) -> Reply:
    assert isinstance(call.task, Remove)
    return Reply(200, answer=[Removed(size=1000) for _ in call.task.items])


def clean(configuration: Path, pipe: Connection) -> None:
    """Clean up, in a process of its own; tell how it went."""
    tracker.transports.s3.perform = _perform
    with Tracker(configuration) as opened:
        watch = Watch({text: name for name, text in opened.store.sql.items()})
        watch.install()
        # SQLite gives the lock back before it folds the WAL: that is left to the submitter.
        opened.store.database.read("PRAGMA wal_autocheckpoint = 0")
        began = time.perf_counter()
        receipt = opened.cleanup()
        assert receipt.objects.owed == receipt.files.owed == 0
        took = time.perf_counter() - began
        pipe.send(
            {
                "rows": receipt.rows_deleted,
                "took": took,
                "held": watch.held,
                "computed": watch.computed,
                "worst": watch.worst,
                "sums": watch.sums,
            }
        )


def submit(configuration: Path, until: Any, pipe: Connection) -> None:
    """Submit jobs without a pause until told to end; tell how long each waited and took."""
    with Tracker(configuration) as opened:
        watch = Watch({})
        watch.install()
        took = []
        pipe.send(None)
        while not until.is_set():
            began = time.perf_counter()
            opened.submit("bench", {"language": "en"}, sync=False)
            took.append((time.perf_counter() - began) * 1000)
        pipe.send((watch.waited, took))


def one_run(configuration: Path, cleaning: bool = True) -> dict[str, Any]:
    """Both at once; or, without `cleaning`, 5 s of submissions alone."""
    spawn = multiprocessing.get_context("spawn")
    until = spawn.Event()
    (ours, theirs), (mine, yours) = spawn.Pipe(), spawn.Pipe()
    submitter = spawn.Process(target=submit, args=(configuration, until, theirs), daemon=True)
    submitter.start()
    theirs.close()  # so that its end is noticed if it fails
    ours.recv()
    found: dict[str, Any] = {}
    if cleaning:
        cleaner = spawn.Process(target=clean, args=(configuration, yours), daemon=True)
        cleaner.start()
        yours.close()
        found = mine.recv()
        cleaner.join()
    else:
        time.sleep(5)
    until.set()
    found["waited"], found["submits"] = ours.recv()
    submitter.join()
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Median, p99 and maximum."""
    ordered = sorted(values)
    return {
        "p50": round(ordered[len(ordered) // 2], 2),
        "p99": round(ordered[int(len(ordered) * 0.99)], 2),
        "max": round(ordered[-1], 2),
    }


def medians(runs: list[dict[str, Any]], name: str) -> dict[str, float]:
    """The medians over runs of the spread of a figure."""
    spreads = [spread(run[name]) for run in runs]
    return {key: summary([one[key] for one in spreads])["median"] for key in ("p50", "p99", "max")}


def main() -> None:
    args = arguments(__doc__ or "", rows=1_000_000, old=100_000, runs=3, profile=0)
    with folder() as place:
        configuration, ledger = place / "tracker.toml", place / "tracker.db"
        configuration.write_text(STATUS.format(url="http://127.0.0.1:1", concurrency=8) + MORE)
        with Tracker(configuration) as opened:
            fill(opened, args.rows, args.old)
        made = ledger.rename(place / "made.db")
        runs, alone = [], []
        for _ in range(args.runs):
            shutil.copyfile(made, ledger)
            alone.append(one_run(configuration, cleaning=False))
            runs.append(one_run(configuration))
            assert runs[-1]["rows"] == args.old, runs[-1]["rows"]
        figures: dict[str, Any] = {
            "the write lock was held by the cleanup (ms)": medians(runs, "held"),
            "of that the processor was busy (ms)": medians(runs, "computed"),
            "transactions of it": len(runs[0]["held"]),
            "seconds it took": summary([run["took"] for run in runs]),
            "a submission waited for the lock (ms)": medians(runs, "waited"),
            "the same, without a cleanup": medians(alone, "waited"),
            "a submission took (ms)": medians(runs, "submits"),
            "the same, without a cleanup ": medians(alone, "submits"),
            "submissions a second": summary([len(run["submits"]) / run["took"] for run in runs]),
            "bytes of the ledger": made.stat().st_size,
        }
        if args.profile:
            figures["ms by statement, all transactions"] = _rounded(runs[0]["sums"], 15)
            figures["the longest transactions"] = [
                (round(held, 1), _rounded(spent, 5)) for held, spent in runs[0]["worst"]
            ]
        report(args, "cleaning up beside submissions", figures)


def _rounded(spent: Counter[str], count: int) -> dict[str, float]:
    return {name: round(ms, 1) for name, ms in spent.most_common(count)}


if __name__ == "__main__":
    main()
