"""A job service in a process of its own, which remembers everything that was asked of it.

    python service.py '{"keys": true}'      # prints its port; ends when its standard input does

Knobs (JSON on the command line, later ``POST /_knobs``); a range is drawn from uniformly:

=========  ==========================================================================
keys       whether ``Idempotency-Key`` is honoured
before     seconds between a create's arrival and its effect (range)
after      seconds between a create's effect and its reply (range)
status     seconds before the reply to a status call (range)
life       seconds from a job's creation to its end (range)
fail       the share of jobs that end as failed
result     size of a result in bytes
dribble    seconds that the body of a result takes
mute       kinds of call (create, status, result) that are accepted and never answered
=========  ==========================================================================

``GET /_record`` gives all of it out as JSON; times are seconds since 1970.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECES = 20  # that a dribbled body is cut into


class Books:
    """What the service knows. One lock, held for moments."""

    def __init__(self, knobs: dict[str, Any]) -> None:
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.knobs: dict[str, Any] = {
            "keys": True,
            "before": [0, 0],
            "after": [0, 0],
            "status": [0, 0],
            "life": [1, 1],
            "fail": 0,
            "result": 100,
            "dribble": 0,
            "mute": [],
            **knobs,
        }
        self.creates: list[dict[str, Any]] = []
        self.polls: list[tuple[float, str]] = []
        self.results: list[tuple[float, str]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, str] = {}

    def wait(self, knob: str) -> None:
        """As long as the range `knob` says."""
        low, high = self.knobs[knob]
        if high:
            self.closing.wait(random.uniform(low, high))

    def new_job(self, marker: str) -> str:
        """A new job; the lock is held."""
        job, now = f"job-{len(self.jobs)}", time.time()
        self.jobs[job] = {
            "marker": marker,
            "created": now,
            "done_at": now + random.uniform(*self.knobs["life"]),
            "outcome": "error" if random.random() < self.knobs["fail"] else "done",
        }
        return job

    def create(self, marker: str, key: str | None) -> tuple[int, str]:
        """The job that a create call means, and the HTTP code for it."""
        with self.lock:
            known = self.by_key.get(key) if key and self.knobs["keys"] else None
            job = known or self.new_job(marker)
            if key:
                self.by_key.setdefault(key, job)
            note = {"at": time.time(), "key": key, "marker": marker, "job": job}
            self.creates.append({**note, "repeat": known is not None})
        return (200 if known else 201), job

    def status(self, job: str) -> dict[str, Any] | None:
        """What a status call is told."""
        now = time.time()
        with self.lock:
            self.polls.append((now, job))
            found = self.jobs.get(job)
        if found is None:
            return None
        word = found["outcome"] if now >= found["done_at"] else "running"
        return {"status": word, "error": "it broke" if word == "error" else None}

    def record(self) -> dict[str, Any]:
        """Everything."""
        with self.lock:
            return {
                "creates": list(self.creates),
                "polls": list(self.polls),
                "results": list(self.results),
                "jobs": {job: dict(found) for job, found in self.jobs.items()},
            }


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    books: Books

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        books = self.books
        if self.path == "/_knobs":
            books.knobs.update(body)
            self.answer(200, {})
        elif self.path == "/_jobs":
            with books.lock:
                made = [books.new_job(f"made-{index}") for index in range(body["count"])]
            self.answer(200, {"jobs": made})
        elif self.path == "/jobs":
            books.wait("before")
            code, job = books.create(str(body.get("marker")), self.headers.get("Idempotency-Key"))
            self.mute("create")
            books.wait("after")
            self.answer(code, {"job_id": job})
        else:
            self.answer(404, {})

    def do_GET(self) -> None:
        books = self.books
        if self.path == "/_record":
            self.answer(200, books.record())
            return
        job = self.path.removeprefix("/jobs/")
        if job.endswith("/result"):
            self.result(job.removesuffix("/result"))
            return
        found = books.status(job)
        self.mute("status")
        books.wait("status")
        self.answer(404 if found is None else 200, found or {})

    def result(self, job: str) -> None:
        books = self.books
        with books.lock:
            books.results.append((time.time(), job))
        self.mute("result")
        body = f"result of {job}\n".encode().ljust(books.knobs["result"], b".")
        self.head(200, len(body), "text/plain")
        size = max(len(body) // PIECES, 1) if books.knobs["dribble"] else len(body)
        for start in range(0, len(body), size):
            if start:
                books.closing.wait(books.knobs["dribble"] / PIECES)
            self.wfile.write(body[start : start + size])

    def mute(self, kind: str) -> None:
        """Never answer, if that is how it is set."""
        if kind in self.books.knobs["mute"]:
            self.books.closing.wait()

    def answer(self, code: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.head(code, len(body), "application/json", body)

    def head(self, code: int, length: int, media_type: str, body: bytes = b"") -> None:
        lines = (
            f"HTTP/1.1 {code} Told",
            f"Content-Type: {media_type}",
            f"Content-Length: {length}",
        )
        self.wfile.write("\r\n".join((*lines, "", "")).encode() + body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Callers that were killed in the middle are no news."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        pass


def main() -> None:
    """Serve until standard input ends."""
    Handler.books = Books(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print(server.server_address[1], flush=True)
    with suppress(KeyboardInterrupt):
        sys.stdin.read()
    Handler.books.closing.set()
    server.shutdown()


if __name__ == "__main__":
    main()
