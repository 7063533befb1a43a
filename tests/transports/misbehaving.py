"""An HTTP server on loopback that misbehaves on purpose; `misdeeds` says how.

Nothing in here waits for a fixed time to pass: whoever dawdles does so until the other end hangs
up or the server closes.
"""

from __future__ import annotations

import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conversation import Request
from misdeeds import Misdeeds

PATIENCE = 30.0  # seconds after which a test is broken, not slow


@dataclass
class Misbehaving:
    """The server: ``requests`` is everything that arrived, ``open`` counts living connections."""

    context: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    elsewhere: str = ""
    tunnel: ssl.SSLContext | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)
    closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, ValueError):
                    Misdeeds(outer, self.request).hold()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

            def shutdown_request(self, request: Any) -> None:
                with suppress(OSError):
                    request.close()  # nothing more polite: a reset has to stay a reset

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        scheme = "https" if self.context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; every arrival and every hang-up is looked at."""
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE)

    def change(self, arrived: Request | None = None, opened: int = 0) -> None:
        with self.changed:
            self.open += opened
            self.connections += max(opened, 0)
            if arrived:
                self.requests.append(arrived)
            self.changed.notify_all()

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1, and a server's context that uses it."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context
