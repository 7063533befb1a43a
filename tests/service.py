"""A small HTTP service with jobs, on loopback, that does what a test tells it to.

``POST /jobs`` creates one, ``GET /jobs/ID`` tells its state, ``GET /jobs/ID/result`` its result.
What each answers is a script: a list of answers, the last of which is repeated; `scripts` has
those of single jobs by their ids, of results by ``ID/result``, and of any path. An answer is

- a word: ``{"job_id": ID, "status": word}``
- a dict or list: that JSON
- an `Answer`: any bytes at all
- a `Hang` or a `Broken` connection
- a callable that is given the `Seen` request and returns one of these
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """Any reply: bytes, code and headers."""

    body: bytes | str | dict[str, Any] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class Hang:
    """No answer until `JobService.release` is called (or for 60 s), then `answer`."""

    answer: Any = "running"


class Broken:
    """The connection is cut after the request was read."""


Script = Sequence[Any]


class JobService:
    """The service. ``honours_keys``: a create with a known Idempotency-Key makes no second job."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.creates: Script = ["accepted"]
        self.statuses: Script = ["running"]
        self.results: Script = [{"content_id": "content-1", "pages": 3}]
        self.scripts: dict[str, Script] = {}
        self.honours_keys = True
        self.jobs: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def release(self) -> None:
        """Let everything go on that hangs, now and later."""
        self._released.set()

    def close(self) -> None:
        """Stop listening."""
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def requests(self, method: str = "", path: str = "") -> list[Seen]:
        """The requests so far with this method and a path that matches this expression."""
        with self._changed:
            return [
                one
                for one in self.seen
                if one.method.startswith(method) and re.search(path, one.path)
            ]

    def count(self, method: str = "", path: str = "") -> int:
        """How many `requests` there were."""
        return len(self.requests(method, path))

    def wait_for(self, count: int, method: str = "", path: str = "", timeout: float = 15) -> None:
        """Wait until there were `count` such requests."""
        with self._changed:
            met = self._changed.wait_for(
                lambda: (
                    sum(
                        one.method.startswith(method) and bool(re.search(path, one.path))
                        for one in self.seen
                    )
                    >= count
                ),
                timeout,
            )
        assert met, f"{self.count(method, path)} of {count} {method} {path} within {timeout} s"

    def note(self, seen: Seen) -> None:
        """Record a request."""
        with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()

    def answer(self, seen: Seen) -> Answer | Broken:
        """What the script says to this request."""
        path = seen.path.partition("?")[0]
        if path in self.scripts:
            return self._resolve(self._step(path, self.scripts[path]), seen, "", None)
        if seen.method == "POST" and path == "/jobs":
            return self._resolve(self._step("POST", self.creates), seen, "", self._created(seen))
        match = re.fullmatch(r"/jobs/([^/]+)(/result)?", path)
        if match is None:
            return Answer({"error": "no such path"}, 404)
        server_id = unquote(match[1])
        if match[2]:
            told = self._step(path, self.scripts.get(f"{server_id}/result", self.results))
        else:
            told = self._step(path, self.scripts.get(server_id, self.statuses))
        return self._resolve(told, seen, server_id, None)

    def _step(self, name: str, script: Script) -> Any:
        with self._changed:
            index = self._counts.get(name, 0)
            self._counts[name] = index + 1
        return script[min(index, len(script) - 1)]

    def _created(self, seen: Seen) -> Callable[[], Answer]:
        def make() -> Answer:
            key = seen.headers.get("idempotency-key", "")
            with self._changed:
                server_id = self._keys.get(key) if self.honours_keys and key else None
                if server_id is None:
                    server_id = f"srv-{len(self.jobs) + 1}"
                    self.jobs[server_id] = {"key": key, "body": seen.body}
                    self._keys[key] = server_id
            return Answer({"job_id": server_id, "status": "queued"}, 201)

        return make

    def _resolve(
        self, told: Any, seen: Seen, server_id: str, create: Callable[[], Answer] | None
    ) -> Answer | Broken:
        if callable(told):
            told = told(seen)
        if isinstance(told, Hang):
            self._released.wait(60)
            told = told.answer
        if isinstance(told, Broken | Answer):
            if isinstance(told, Broken) and create is not None:
                create()
            return told
        if isinstance(told, str):
            if create is not None:
                return create()
            return Answer({"job_id": server_id, "status": told})
        return Answer(json.dumps(told))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, *_: object) -> None:
        """Nothing: clients that are killed leave broken connections."""


def _handler(service: JobService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else a reply waits 40 ms for the caller's kernel

        def do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(time.monotonic(), self.command, self.path, headers, body)
            service.note(seen)
            answer = service.answer(seen)
            with contextlib.suppress(OSError):
                self.tell(answer)

        do_GET = do_POST = do_DELETE = do

        def tell(self, answer: Answer | Broken) -> None:
            if isinstance(answer, Broken):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            content = answer.content
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing: tests look at `JobService.seen`."""

    return Handler
