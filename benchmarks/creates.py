"""Creates a second: pending jobs that reach a local service, against a bare `requests` thread pool
of the same concurrency that sends the same bodies and records nothing. The rate is lifted.

``python benchmarks/creates.py [--jobs 10000] [--concurrency 8] [--runs 3] [--profile 0]``; aim: a
ratio >= 0.7.
"""

from __future__ import annotations

import asyncio
import contextlib
import cProfile
import multiprocessing
import pstats
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import requests
from common import HEAD, arguments, folder, report, summary
from requests.adapters import HTTPAdapter

from tracker import Tracker
from tracker.ids import new_id

CREATE = """
[services.bench]
base_url    = "{url}"
rate        = "unlimited"
concurrency = {concurrency}
transport   = "requests"
[services.bench.create]
request     = {{ path = "/jobs", json = "{{payload}}" }}
idempotency = "header"
server_id   = "body.job_id"
[services.bench.status]
request = {{ path = "/jobs/{{server_id}}" }}
state   = "body.status"
[services.bench.states]
completed = ["done"]
"""


def payload(number: int) -> dict[str, str | int]:
    """What a job is submitted with."""
    return {"language": "en", "pages": number}


def bare(url: str, jobs: int, concurrency: int) -> float:
    """Calls a second of a thread pool around one session."""
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=concurrency))

    def call(number: int) -> str:
        key = {"Idempotency-Key": new_id()}
        reply = session.post(f"{url}/jobs", json=payload(number), headers=key, timeout=30)
        return str(reply.json()["job_id"])

    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        found = set(pool.map(call, range(jobs)))
    assert len(found) == jobs
    return jobs / (time.perf_counter() - began)


def tracked(configuration: Path, jobs: int, profile: cProfile.Profile | None) -> float:
    """Creates a second of one pass over `jobs` pending jobs."""
    with Tracker(configuration) as tracker:
        with tracker.store.database.transaction():
            for number in range(jobs):
                tracker.submit("bench", payload(number), sync=False)
        began = time.perf_counter()
        if profile is not None:
            profile.enable()
        done = tracker.poll()
        if profile is not None:
            profile.disable()
        taken = time.perf_counter() - began
        assert done.submitted == jobs and done.errors == 0, done
        owed = tracker.store.database.read("SELECT count(*) FROM operations")
        assert owed == [(0,)], owed
    return jobs / taken


@contextlib.contextmanager
def service() -> Iterator[str]:
    """A service in a process of its own that makes a job of every POST; its URL."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def _serve(pipe: Connection) -> None:
    made = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal made
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                made += 1
                body = b'{"job_id":"job-%d","status":"queued"}' % made
                writer.write(HEAD % len(body) + body)

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def main() -> None:
    args = arguments(__doc__ or "", jobs=10_000, concurrency=8, runs=3, profile=0)
    profile = cProfile.Profile() if args.profile else None
    pairs = []
    with service() as url:
        for _ in range(args.runs):
            with folder() as place:
                configuration = place / "tracker.toml"
                configuration.write_text(CREATE.format(url=url, concurrency=args.concurrency))
                peer = bare(url, args.jobs, args.concurrency)
                pairs.append((peer, tracked(configuration, args.jobs, profile)))
    if profile is not None:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(30)
    report(
        args,
        "creates a second",
        {
            "bare requests pool": summary([one for one, _ in pairs]),
            "tracker, requests, SQLite": summary([one for _, one in pairs]),
            "ratio": summary([ours / peer for peer, ours in pairs]),
        },
    )


if __name__ == "__main__":
    main()
