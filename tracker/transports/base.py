"""What crosses the seam between the poller and the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tracker.model import Fault
from tracker.transports.tasks import Answer, Ask, Task


class Credential(Protocol):
    """Headers that sign a call in. Implementations cache, and are safe to use from threads."""

    def headers(self) -> Mapping[str, str]:
        """Headers to add. Raises `tracker.errors.TrackerError` when there are no credentials."""

    def at_hand(self) -> Mapping[str, str] | None:
        """The headers, or None where having them means asking the provider, or waiting."""

    def renew(self, used: Mapping[str, str]) -> bool:
        """Ask the provider again after a 401 to `used`; True when the headers are now others."""


@dataclass(slots=True)
class Call:
    """One request. A transport sends it as it is and knows nothing of jobs.

    ``service`` names the session (connections, TLS settings) that it goes through; ``timeout`` is
    the whole call's, in seconds, from the first byte sent to the last byte read;
    ``max_bytes`` bounds the decoded body. With ``sink`` the body of a 2xx reply goes to that file
    (created 0600) instead of memory. ``file`` is sent as the body, streamed; with ``file_field``
    it is sent as that field of a multipart form, beside ``form``; ``form`` alone is sent
    urlencoded, or as ``multipart``. ``argv`` is the command of a ``RUN`` call
    (`tracker.transports.command`), which gets ``body`` as its standard input; ``task`` is what
    `tracker.transports.s3` is asked to do. ``transport`` is the way out of a call that does not
    take its service's ("": it does); ``tag`` is the sender's own.
    """

    service: str
    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    form: dict[str, str] | None = None
    multipart: bool = False
    file: Path | None = None
    file_field: str | None = None
    file_name: str | None = None
    timeout: float = 30.0
    max_bytes: int = 8 * 2**20
    verify: bool | str = True
    sink: Path | None = None
    credential: Credential | None = None
    argv: list[str] | None = None
    task: Task | Ask | None = None
    transport: str = ""
    tag: Any = None


@dataclass(slots=True)
class Reply:
    """What came back. Either ``fault`` is None and there is an HTTP ``status``, or nothing usable
    came and ``fault`` with ``message`` say why. A fault met while reading the body leaves
    ``status`` and ``headers`` in place.

    ``headers`` have lower-case names, repeated ones joined by ``", "``; ``url`` is the one that
    answered, after redirects; ``elapsed`` is in seconds; ``message`` is one line of at most 200
    characters without query strings or credentials; ``sent`` is False only where it is known that
    not one byte of the request left. With a sink, ``body`` is empty and ``path``, ``size`` and
    ``sha256`` describe the file. ``answer`` is what a task brought.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    url: str = ""
    elapsed: float = 0.0
    fault: Fault | None = None
    message: str = ""
    sent: bool = True
    path: Path | None = None
    size: int = 0
    sha256: str = ""
    answer: Answer | None = None


class Transport(Protocol):
    """Sends calls, brings replies. One thread uses it; concurrency lives inside.

    `send` never blocks on the network and never raises for what the network does; every call sent
    comes back from `receive` exactly once.
    """

    @property
    def in_flight(self) -> int:
        """Calls sent and not received yet."""

    def send(self, *calls: Call) -> None:
        """Start `calls`. Raises RuntimeError after `close`."""

    def receive(self, timeout: float) -> list[tuple[Call, Reply]]:
        """All replies there are, waiting up to `timeout` seconds for the first."""

    def wake(self) -> None:
        """Make a blocked `receive` return early, with an empty list when there are no replies.

        Safe from any thread and from a signal handler. When nothing is blocked, the next
        `receive` does not wait.
        """

    def close(self) -> None:
        """Stop taking calls and drop connections; does not wait for what is in flight."""
