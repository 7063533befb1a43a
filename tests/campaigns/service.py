"""A job service in a process of its own, which remembers everything that was asked of it.

    python service.py '{"keys": true}'      # prints its port, then one that is never closed;
                                            # ends when its standard input does

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
mute       kinds of call (create, status, result, change) that are accepted and never answered
lose       the share of creates that end without a usable reply: half of them before their effect
told       seconds between the effect of a change, a cancel or a deletion and its reply (range)
ill        whether changes are answered by 503
down       whether its port is closed and all connections are cut
=========  ==========================================================================

``GET /_record`` gives all of it out as JSON; times are seconds since 1970.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PIECES = 20  # that a dribbled body is cut into
PAGE = 50  # jobs that a page of the listing has
HERE = "127.0.0.1"


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
            "lose": 0,
            "told": [0, 0],
            "ill": False,
            **knobs,
        }
        self.creates: list[dict[str, Any]] = []
        self.polls: list[tuple[float, str]] = []
        self.results: list[tuple[float, str]] = []
        self.changes: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.made = 0
        self.jobs: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, str] = {}
        self.bodies: dict[str, dict[str, Any]] = {}

    def wait(self, knob: str) -> None:
        """As long as the range `knob` says."""
        low, high = self.knobs[knob]
        if high:
            self.closing.wait(random.uniform(low, high))

    def new_job(self, body: dict[str, Any]) -> str:
        """A new job; the lock is held."""
        job, now = f"job-{self.made}", time.time()
        self.made += 1
        self.jobs[job] = {
            "number": self.made,
            "marker": str(body.get("marker")),
            "payload": body,
            "version": 1,
            "created": now,
            "done_at": now + random.uniform(*self.knobs["life"]),
            "outcome": "error" if random.random() < self.knobs["fail"] else "done",
        }
        return job

    def create(self, body: dict[str, Any], key: str | None) -> tuple[int, str]:
        """The job that a create call means, and the HTTP code for it. A key goes with one body."""
        with self.lock:
            known = self.by_key.get(key) if key and self.knobs["keys"] else None
            job = known or self.new_job(body)
            if key:
                self.by_key.setdefault(key, job)
            same = not known or self.bodies.setdefault(job, body) == body
            same = self.bodies.setdefault(job, dict(body)) == body
            note = {"at": time.time(), "key": key, "marker": str(body.get("marker")), "job": job}
            self.creates.append({**note, "repeat": known is not None, "same": same})
        return (422 if not same else 200 if known else 201), job

    def change(self, job: str, changes: dict[str, Any], version: str | None) -> tuple[int, Any]:
        """Change a job, if it still has the version that the caller knows of."""
        with self.lock:
            found = self.jobs.get(job)
            code = 503 if self.knobs["ill"] else 404 if found is None else 200
            if found is not None and version not in (None, str(found["version"])):
                code = 412 if code == 200 else code
            self.changes.append({"at": time.time(), "job": job, "changes": changes, "code": code})
            if found is None or code != 200:
                return code, {"error": f"refused with {code}"}
            found["payload"] = {**found["payload"], **changes}
            found["version"] += 1
            return code, {"version": found["version"]}

    def cancel(self, job: str) -> int:
        """Have a job stopped."""
        with self.lock:
            found = self.jobs.get(job)
            if found is None or word_of(found) != "running":
                return 404 if found is None else 409
            found["cancelled"] = True
            found["version"] += 1
            return 202

    def delete(self, job: str) -> int:
        """Forget a job; its key stays known."""
        with self.lock:
            if self.jobs.pop(job, None) is None:
                return 404
            self.deleted.append(job)
            return 200

    def page(self, cursor: int) -> dict[str, Any]:
        """The jobs behind this one, oldest first, up to a page of them."""
        with self.lock:
            behind = [
                {"id": job, "number": found["number"], "status": word_of(found),
                 "version": found["version"], "payload": found["payload"]}
                for job, found in self.jobs.items() if found["number"] > cursor
            ]  # fmt: skip
        page = behind[:PAGE]
        return {"jobs": page, "next": str(page[-1]["number"]) if len(behind) > PAGE else None}

    def noted(self, note: str) -> list[dict[str, Any]]:
        """The jobs that were created with this note."""
        with self.lock:
            return [
                {"id": job, "note": note}
                for job, found in self.jobs.items()
                if found["payload"].get("note") == note
            ]

    def status(self, job: str) -> dict[str, Any] | None:
        """What a status call is told."""
        with self.lock:
            self.polls.append((time.time(), job))
            found = self.jobs.get(job)
            if found is None:
                return None
            word, version = word_of(found), found["version"]
        return {
            "status": word,
            "error": "it broke" if word == "error" else None,
            "version": version,
        }

    def record(self) -> dict[str, Any]:
        """Everything."""
        with self.lock:
            return {
                "creates": list(self.creates),
                "polls": list(self.polls),
                "results": list(self.results),
                "changes": list(self.changes),
                "deleted": list(self.deleted),
                "jobs": {
                    job: {**found, "status": word_of(found)} for job, found in self.jobs.items()
                },
            }


def word_of(found: dict[str, Any]) -> str:
    """What a job does at this moment."""
    if found.get("cancelled"):
        return "cancelled"
    return str(found["outcome"]) if time.time() >= found["done_at"] else "running"


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    books: Books
    door: Door

    def do_POST(self) -> None:
        body = self.body()
        books = self.books
        if self.path == "/_knobs":
            books.knobs.update(body)
            if "down" in body:
                self.door.close() if body["down"] else self.door.open()
            self.answer(200, {})
        elif self.path == "/_jobs":
            with books.lock:
                made = [
                    books.new_job({"marker": f"made-{index}"}) for index in range(body["count"])
                ]
            self.answer(200, {"jobs": made})
        elif self.path == "/jobs":
            fate = random.random() / (books.knobs["lose"] or 1e-9)  # from 0 to 1: it is lost
            if fate < 0.5:
                self.cut()
                return
            books.wait("before")
            code, job = books.create(body, self.headers.get("Idempotency-Key"))
            if fate < 1:
                self.answer(500, {}) if fate < 0.75 else self.cut()
                return
            self.mute("create")
            books.wait("after")
            self.answer(code, {"job_id": job})
        elif self.path.endswith("/cancel"):
            code = books.cancel(self.path.removeprefix("/jobs/").removesuffix("/cancel"))
            books.wait("told")
            self.answer(code, {})
        else:
            self.answer(404, {})

    def do_PATCH(self) -> None:
        changes = self.body()
        if self.has_hung_up():  # as a proxy does: what nobody waits for is not done later
            return
        job = self.path.removeprefix("/jobs/")
        code, told = self.books.change(job, changes, self.headers.get("If-Match"))
        self.mute("change")
        self.books.wait("told")
        self.answer(code, told)

    do_PUT = do_PATCH

    def do_DELETE(self) -> None:
        code = self.books.delete(self.path.removeprefix("/jobs/"))
        self.books.wait("told")
        self.answer(code, {})

    def do_GET(self) -> None:
        books = self.books
        path = urlsplit(self.path)
        if path.path == "/_record":
            self.answer(200, books.record())
            return
        if path.path == "/jobs":
            query = {name: value for name, [value] in parse_qs(path.query).items()}
            noted = {"jobs": books.noted(query["note"])} if "note" in query else None
            self.answer(200, noted or books.page(int(query.get("cursor", "0"))))
            return
        job = self.path.removeprefix("/jobs/")
        if job.endswith("/result"):
            self.result(job.removesuffix("/result"))
            return
        found = books.status(job)
        self.mute("status")
        books.wait("status")
        self.answer(404 if found is None else 200, found or {})

    def body(self) -> dict[str, Any]:
        """The JSON object of a request. Nothing comes of half a request."""
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        if len(sent) < length:
            raise ConnectionError("half a request")
        found: dict[str, Any] = json.loads(sent or b"{}")
        return found

    def has_hung_up(self) -> bool:
        """Whether nobody waits for an answer any more."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

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

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

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

    def __init__(self, port: int = 0) -> None:
        self.callers: set[Any] = set()
        super().__init__((HERE, port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.callers.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.callers.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        pass

    def stop(self) -> None:
        """Listen no more, and cut all connections."""
        self.shutdown()
        self.server_close()
        for caller in list(self.callers):
            with suppress(OSError):
                caller.shutdown(socket.SHUT_RDWR)


class Door:
    """The port for jobs, open or closed; nobody else gets it while it is closed."""

    def __init__(self) -> None:
        self._keeper = socket.socket()
        self._keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._keeper.bind((HERE, 0))
        self.port = int(self._keeper.getsockname()[1])
        self._server: Server | None = None

    def open(self) -> None:
        """Let callers in."""
        if self._server is None:
            self._server = Server(self.port)

    def close(self) -> None:
        """Refuse callers, and send home those that are in."""
        if self._server is not None:
            self._server.stop()
            self._server = None


def main() -> None:
    """Serve until standard input ends."""
    Handler.books = Books(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    Handler.door = Door()
    Handler.door.open()
    control = Server()
    print(Handler.door.port, control.server_address[1], sep="\n", flush=True)
    with suppress(KeyboardInterrupt):
        sys.stdin.read()
    Handler.books.closing.set()
    Handler.door.close()
    control.stop()


if __name__ == "__main__":
    main()
