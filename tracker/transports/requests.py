"""The transport that is always there: a pool of threads over `requests`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tracker.transports.base import Call, Reply
from tracker.transports.pool import ThreadPool

if TYPE_CHECKING:
    from tracker.transports.client import Client


class RequestsTransport(ThreadPool):
    """Sends calls over HTTP, up to `threads` at a time, with one session for each service.

    Proxies and certificate authorities come from the environment as requests reads it, once for
    each host. Of requests, only sessions, adapters and their settings are used; a call goes
    straight to the adapter's connection pool, because the way through `Session.send` costs more
    than half of the calls a second.
    """

    def __init__(self, threads: int = 32) -> None:
        super().__init__(self._perform, threads, "requests")
        self._threads = threads
        self._lock = threading.Lock()
        self._client: Client | None = None

    def close(self) -> None:
        """Stop taking calls and drop connections; does not wait for what is in flight."""
        super().close()
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _perform(self, call: Call) -> Reply:
        return (self._client or self.open()).perform(call)

    def open(self) -> Client:
        """Be ready for calls: importing requests takes 0.1 s, which a pass with nothing due shall
        not pay for, and which shall not make two calls go out at once."""
        with self._lock:
            if self._client is None:
                from tracker.transports.client import Client

                self._client = Client(self._threads)
            return self._client
