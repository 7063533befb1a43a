"""The front of an S3 server for tests: it looks at requests, and can be closed and opened again."""

from __future__ import annotations

import http.client
import re
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

PATIENCE = 30.0  # seconds after which a test is broken, not slow

_MARKS = ("versions", "uploads", "uploadId", "delete", "versioning")
_OPERATIONS = {
    ("GET", "versions", False): "ListObjectVersions",
    ("GET", "uploads", False): "ListMultipartUploads",
    ("GET", "versioning", False): "GetBucketVersioning",
    ("GET", "", False): "ListObjects",
    ("HEAD", "", False): "HeadBucket",
    ("POST", "delete", False): "DeleteObjects",
    ("PUT", "", True): "PutObject",
    ("GET", "", True): "GetObject",
    ("HEAD", "", True): "HeadObject",
    ("DELETE", "", True): "DeleteObject",
    ("POST", "uploads", True): "CreateMultipartUpload",
    ("PUT", "uploadId", True): "UploadPart",
    ("GET", "uploadId", True): "ListParts",
    ("POST", "uploadId", True): "CompleteMultipartUpload",
    ("DELETE", "uploadId", True): "AbortMultipartUpload",
}


@dataclass
class Request:
    """A request as it came: ``operation`` is S3's own name for it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    bucket: str = ""
    key: str = ""
    query: dict[str, str] = field(default_factory=dict)
    operation: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.target)
        self.bucket, _, key = parts.path.removeprefix("/").partition("/")
        self.key = unquote(key)
        self.query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        mark = next((one for one in _MARKS if one in self.query), "")
        wanted = (self.method, mark, self.key != "")
        self.operation = _OPERATIONS.get(wanted, f"{self.method} {mark}")

    @property
    def items(self) -> list[dict[str, str]]:
        """What a DeleteObjects names: ``Key``, and perhaps ``VersionId``, of each."""
        found = [one for one in ElementTree.fromstring(self.body) if _name(one) == "Object"]
        return [{_name(inner): inner.text or "" for inner in one} for one in found]

    @property
    def keys(self) -> list[str]:
        """The keys that it is about: those of a DeleteObjects, or its own."""
        several = self.operation == "DeleteObjects"
        return [one["Key"] for one in self.items] if several else [self.key]


@dataclass
class Answer:
    """What is sent back. A ``cut`` one ends after that many bytes of its body: the connection is
    closed then (0: nothing is sent at all)."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class Front(ThreadingHTTPServer):
    """Hands each request to `answer`. Listens at `held`, a bound socket, until it is closed."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[Request], Answer], held: socket.socket) -> None:
        super().__init__(held.getsockname(), _handler(answer), bind_and_activate=False)
        self.socket.close()
        self.socket, self.server_address = held, held.getsockname()
        self.living: set[socket.socket] = set()
        self.server_activate()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> socket.socket:
        """Refuse connections and cut those there are; the socket that holds the port."""
        self.shutdown()
        self.server_close()
        for connection in list(self.living):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return bound(self.server_address[1])  # not listening: nobody else gets the port

    def process_request(self, request: Any, client_address: Any) -> None:
        self.living.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.living.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _handler(respond: Callable[[Request], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_method(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = respond(Request(self.command, self.path, dict(self.headers), body))
            self.close_connection = self.close_connection or answer.cut is not None
            if answer.cut == 0:
                return
            head = self.command == "HEAD"
            length = answer.headers.get("Content-Length", "0") if head else len(answer.body)
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(b"" if head else answer.body[: answer.cut])

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_method

    return Handler


def forward(upstream: str, request: Request) -> Answer:
    """What the server at `upstream` answers to `request`."""
    parts = urlsplit(upstream)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, PATIENCE)
    try:
        connection.putrequest(
            request.method, request.target, skip_host=True, skip_accept_encoding=True
        )
        for name, value in request.headers.items():
            if name.lower() not in ("expect", "connection", "content-length"):
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.putheader("Connection", "close")
        connection.endheaders(request.body)
        reply = connection.getresponse()
        return Answer(reply.status, reply.read(), dict(reply.getheaders()))
    except (OSError, http.client.HTTPException):
        return Answer(cut=0)
    finally:
        connection.close()


def bound(port: int) -> socket.socket:
    """A socket that has a port (0: any that is free) and does not listen yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def error(status: int, code: str, message: str = "", **headers: str) -> Answer:
    """S3's reply to a request that it does not carry out."""
    text = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    return xml(text, status, **headers)


def xml(text: str, status: int = 200, **headers: str) -> Answer:
    """A reply of S3 in XML."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return Answer(status, body, {"Content-Type": "application/xml", **headers})


def refusal(item: dict[str, str], code: str, message: str) -> str:
    """What a DeleteResult says of an object that was not removed."""
    told = {**item, "Code": code, "Message": message}
    return f"<Error>{_inner(told)}</Error>"


def refuse(request: Request, refused: dict[str, str], upstream: str) -> Answer:
    """What comes of a DeleteObjects of which S3 refuses some: `refused` is XML, by key."""
    others = [one for one in request.items if one["Key"] not in refused]
    errors = "".join(refused[one["Key"]] for one in request.items if one["Key"] in refused)
    done = b""
    if others:
        objects = "".join(f"<Object>{_inner(one)}</Object>" for one in others)
        request.body = f"<Delete>{objects}<Quiet>true</Quiet></Delete>".encode()
        done = b"".join(re.findall(b"<Error>.*?</Error>", forward(upstream, request).body, re.S))
    return xml(f"<DeleteResult>{done.decode()}{errors}</DeleteResult>")


def _inner(told: dict[str, str]) -> str:
    return "".join(f"<{tag}>{_text(text)}</{tag}>" for tag, text in told.items())


def _text(text: str) -> str:
    return escape(text, {"\r": "&#xD;", "\n": "&#xA;"})


def _name(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]
