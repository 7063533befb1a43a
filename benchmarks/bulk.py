"""Polls a second of a service that tells of 100 jobs in a reply, against one call for each job of
the same service, which takes 20 ms to answer. Progress changes with every poll, the rate is lifted.

``python benchmarks/bulk.py [--jobs 10000] [--concurrency 8] [--delay 20] [--runs 3]``; aim: a
ratio >= 10. With ``--delay 0`` it tells what a poll costs here, whatever the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import re
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from common import HEAD, STATUS, arguments, fill, folder, polled, report, summary

from tracker import Tracker

BULK = """
[services.bench.status.bulk]
request   = { path = "/jobs", query = { ids = "{server_ids.joined}" } }
items     = "body.jobs"
server_id = "body.id"
"""


@contextlib.contextmanager
def service(delay: float) -> Iterator[tuple[str, Connection]]:
    """A local HTTP service in a process of its own; its URL, and a pipe that tells how many calls
    there were whenever something is sent to it."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, delay), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}", ours
    finally:
        process.kill()
        process.join()


def _serve(pipe: Connection, delay: float) -> None:
    count = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                count += 1
                await asyncio.sleep(delay)
                one = {"status": "running", "progress": count % 100}
                ids = re.search(rb"ids=([^ &]*)", head)
                names = ids[1].decode().replace("%2C", ",").split(",") if ids else []
                told = {"jobs": [{"id": name, **one} for name in names]} if ids else one
                body = json.dumps(told).encode()
                writer.write(HEAD % len(body) + body)

    def tell() -> None:
        pipe.recv()
        pipe.send(count)

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        asyncio.get_running_loop().add_reader(pipe.fileno(), tell)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def _calls(pipe: Connection) -> int:
    pipe.send(None)
    return int(pipe.recv())


def main() -> None:
    args = arguments(__doc__ or "", jobs=10_000, concurrency=8, delay=20, runs=3)
    with folder() as place, service(args.delay / 1000) as (url, pipe):
        files = {}
        for name, more in (("single", ""), ("bulk", BULK)):
            (place / name).mkdir()
            files[name] = place / name / "tracker.toml"
            files[name].write_text(
                STATUS.format(url=url, concurrency=args.concurrency, transport="requests") + more
            )
            with Tracker(files[name]) as tracker:
                fill(tracker, rows=args.jobs, due=args.jobs)
                tracker.poll()
        pairs, calls = [], []
        for _ in range(args.runs):
            one_by_one = polled(Path(files["single"]), args.jobs)
            before = _calls(pipe)
            pairs.append((one_by_one, polled(Path(files["bulk"]), args.jobs)))
            calls.append(float(_calls(pipe) - before))
    report(
        args,
        "polls a second",
        {
            "one call for each job": summary([one for one, _ in pairs]),
            "100 jobs a call": summary([one for _, one in pairs]),
            "ratio": summary([many / one for one, many in pairs]),
            "calls of a round": summary(calls),
        },
    )


if __name__ == "__main__":
    main()
