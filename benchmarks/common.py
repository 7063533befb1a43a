"""What the benchmarks share: a filled ledger, a quick local service, medians, one way to print."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tracker import Tracker, __version__, clock
from tracker.ids import new_id

STATUS = """
concurrency = {concurrency}
[services.bench]
base_url    = "{url}"
rate        = "unlimited"
concurrency = {concurrency}
transport   = "{transport}"
[services.bench.status]
request  = {{ path = "/jobs/{{server_id}}" }}
state    = "body.status"
progress = "body.progress"
error    = "body.error.message"
[services.bench.states]
processing = ["queued", "running"]
completed  = ["done"]
failed     = ["error"]
"""


def project(folder: Path, url: str, concurrency: int, transport: str = "requests") -> Path:
    """A tracker.toml for the local service; its path."""
    target = folder / f"{transport}.toml"
    target.write_text(STATUS.format(url=url, concurrency=concurrency, transport=transport))
    return target


def fill(tracker: Tracker, *, rows: int, due: int, batch: int = 50_000) -> None:
    """Put `rows` jobs on record: `due` of them running and due, in random order of their due
    times, the others half finished long ago, half running and due later."""
    random.seed(7)
    now = clock.now()
    kinds = ["due"] * due + ["later"] * ((rows - due) // 2)
    kinds += ["finished"] * (rows - len(kinds))
    random.shuffle(kinds)
    database = tracker.store.database
    for start in range(0, rows, batch):
        part = kinds[start : start + batch]
        with database.transaction():
            database.write_many(INSERT, [_row(start + i, kind, now) for i, kind in enumerate(part)])
    database.fold()


INSERT = """
INSERT INTO processing_jobs (local_id, server_id, server_key, service, job_type, status,
    initiated_at, created_at, updated_at, accepted_at, completed_at, next_poll_at)
VALUES (?, ?, ?, 'bench', 'ocr', ?, ?, ?, ?, ?, ?, ?)
"""


def _row(number: int, kind: str, now: float) -> tuple[Any, ...]:
    # Younger than what is told of as stuck: that is another piece of work.
    begun = clock.to_text(now - 300 - random.random() * 600)
    ended = clock.to_text(now - random.random() * 300) if kind == "finished" else None
    due = None
    if kind == "due":
        due = clock.to_text(now - random.random() * 600)
    elif kind == "later":
        due = clock.to_text(now + 86400 + random.random() * 86400)
    status = "completed" if kind == "finished" else "processing"
    key = f"{number:032x}"
    return (new_id(), f"job-{number}", key, status, begun, begun, begun, begun, ended, due)


def make_due(tracker: Tracker) -> None:
    """Have every running job that was polled be due again, in a new random order."""
    database, now = tracker.store.database, clock.now()
    polled = database.read(
        "SELECT local_id FROM processing_jobs "
        "WHERE status = 'processing' AND last_poll_at IS NOT NULL"
    )
    dues = [(clock.to_text(now - 600 * random.random()), local_id) for (local_id,) in polled]
    with database.transaction():
        database.write_many("UPDATE processing_jobs SET next_poll_at = ? WHERE local_id = ?", dues)
    database.fold()


def polled(configuration: Path, jobs: int) -> float:
    """Polls a second of one pass over `jobs` due jobs."""
    with Tracker(configuration) as tracker:
        make_due(tracker)
        began = time.perf_counter()
        done = tracker.poll()
        taken = time.perf_counter() - began
    assert done.polled == jobs and done.errors == 0, done
    return jobs / taken


@contextlib.contextmanager
def service(delay: float = 0.0) -> Iterator[str]:
    """A local HTTP service in a process of its own, whose progress changes with every reply; its
    URL. Each reply takes `delay` seconds."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, delay), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def _serve(pipe: Connection, delay: float) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                count += 1
                if delay:
                    await asyncio.sleep(delay)
                body = b'{"status":"running","progress":%d}' % (count % 100)
                writer.write(HEAD % len(body) + body)

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def summary(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(one, 4) if one < 100 else round(one) for name, one in found.items()}


def arguments(description: str, **defaults: int) -> argparse.Namespace:
    """``--json`` and an option for each of `defaults`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default: {value}")
    return parser.parse_args()


def report(args: argparse.Namespace, name: str, figures: dict[str, Any]) -> None:
    """Print the figures: a document with --json, else a line each."""
    if args.json:
        machine = {
            "tracker": __version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": multiprocessing.cpu_count(),
            "load": [round(one, 1) for one in os.getloadavg()],
        }
        settings = {key: value for key, value in vars(args).items() if key != "json"}
        document = {"benchmark": name, "settings": settings, "figures": figures, **machine}
        print(json.dumps(document, indent=2))
        return
    print(name)
    for key, value in figures.items():
        print(f"  {key:<50}{value}")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder."""
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as name:
        yield Path(name)
