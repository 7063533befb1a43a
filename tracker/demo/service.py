"""The demo's service: real HTTP on loopback, over jobs that it makes up by its script."""

from __future__ import annotations

import hashlib
import json
import socketserver
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from tracker import clock
from tracker.demo import script
from tracker.demo.upload import Unreadable, Upload, read_upload
from tracker.model import Json

MAX_BYTES = 10**6
IDLE_SECONDS = 30.0


class Answer(NamedTuple):
    """An HTTP response with a JSON body."""

    status: int
    body: dict[str, Json]
    headers: Mapping[str, str] = {}


@dataclass(slots=True)
class RemoteJob:
    """A job as the service has it; ``accepted`` is of its monotonic clock."""

    id: str
    upload: Upload
    act: script.Act
    accepted: float
    polls: int = 0


@dataclass
class RemoteJobs:
    """The service without its HTTP. Safe to use from threads."""

    jobs: dict[str, RemoteJob] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, key: str | None, upload: Upload) -> Answer:
        """Accept a job; with a key that was seen before, find the one that it made then."""
        with self.lock:
            if key is not None and key in self.keys:
                return Answer(201, {"job_id": self.keys[key]})
            act = script.SCRIPT.get(upload.name, script.Act())
            job = RemoteJob(f"demo-{len(self.jobs) + 1}", upload, act, clock.monotonic())
            self.jobs[job.id] = job
            if key is not None:
                self.keys[key] = job.id
        if act.loses_reply:
            return _refused(500, "the job was accepted, but the answer got lost")
        return Answer(201, {"job_id": job.id})

    def status(self, job_id: str) -> Answer:
        """How a job is; or, where the script says so, a refusal."""
        with self.lock:
            job = self.jobs.get(job_id)
            if job is None:
                return _refused(404, "no such job")
            job.polls += 1
            polls = job.polls
        if polls in job.act.refusals:
            return _refused(job.act.refusals[polls], "not now")
        found = job.act.answer(clock.monotonic() - job.accepted, polls)
        return Answer(200, {"job_id": job.id, **found})

    def result(self, job_id: str) -> Answer:
        """What was found in the file, once the job is done."""
        job = self.jobs.get(job_id)
        if job is None or job.act.ending != "done":
            return _refused(404, "no such result")
        if clock.monotonic() - job.accepted < job.act.seconds:
            return _refused(409, "the job is not done")
        rows = [
            {"row": number, "text": f"finding {number} in {job.upload.name}"}
            for number in range(1, job.act.result_rows + 1)
        ]
        return Answer(
            200,
            {
                "content_id": f"{job.id}-result",
                "document": job.upload.name,
                "language": job.upload.fields.get("language"),
                "sha256": hashlib.sha256(job.upload.content).hexdigest(),
                "rows": rows,
            },
        )


def _refused(status: int, message: str) -> Answer:
    headers = {"Retry-After": "1"} if status == 429 else {}
    return Answer(status, {"error": {"message": message}}, headers)


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with kept connections; each response leaves in one piece."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """``/jobs``"""
        try:
            length = int(self.headers["Content-Length"] or "")
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_BYTES:
            self.close_connection = True  # the body stays unread
            self._send(_refused(411 if length < 0 else 413, "give a small Content-Length"))
            return
        body = self.rfile.read(length)
        if self.path != "/jobs":
            self._send(_refused(404, "no such path"))
            return
        try:
            upload = read_upload(self.headers.get("Content-Type", ""), self.headers, body)
        except Unreadable as error:
            self._send(_refused(400, str(error)))
            return
        self._send(self.server.jobs.create(self.headers.get("Idempotency-Key"), upload))

    def do_GET(self) -> None:
        """``/jobs/ID`` and ``/jobs/ID/result``"""
        match self.path.strip("/").split("/"):
            case ["jobs", job_id]:
                self._send(self.server.jobs.status(job_id))
            case ["jobs", job_id, "result"]:
                self._send(self.server.jobs.result(job_id))
            case _:
                self._send(_refused(404, "no such path"))

    def _send(self, answer: Answer) -> None:
        self.server.count(answer.status)
        body = json.dumps(answer.body, ensure_ascii=False).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the demo's output is the tracker's."""


# Not http.server's own server class: that one asks the DNS for the host's name, and the demo has
# to start without a network.
class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, jobs: RemoteJobs) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs = jobs
        self.answers: Counter[int] = Counter()
        self._lock = threading.Lock()

    def count(self, status: int) -> None:
        """Note that a response was given."""
        with self._lock:
            self.answers[status] += 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that hangs up is no error of the service."""


class DemoService:
    """The service in a thread of its own, for the time of a ``with``."""

    def __init__(self) -> None:
        self._server = _Server(RemoteJobs())
        # A short interval: `shutdown` returns only when it is over.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="demo-service", daemon=True
        )

    def __enter__(self) -> DemoService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def job_count(self) -> int:
        """How many jobs it was made to create."""
        return len(self._server.jobs.jobs)

    @property
    def answers(self) -> dict[int, int]:
        """How many responses it gave, by HTTP code."""
        return dict(sorted(self._server.answers.items()))
