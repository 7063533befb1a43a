"""What the transports through boto3 share: threads, and clients that are made when first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.pool import ThreadPool, monotonic

if TYPE_CHECKING:
    from tracker.transports.aws import Clients


class BotoTransport(ThreadPool):
    """Has `perform` do its calls, up to `threads` at a time; AWS's credential chain signs them."""

    def __init__(self, perform: Callable[[Clients, Call], Reply], threads: int, name: str) -> None:
        super().__init__(self._perform, threads, name)
        self._do = perform
        self._threads = threads
        self._lock = threading.Lock()
        self._clients: Clients | None = None

    def close(self) -> None:
        """Stop taking calls and drop connections; does not wait for what is in flight."""
        super().close()
        with self._lock:
            if self._clients is not None:
                self._clients.close()

    def _perform(self, call: Call) -> Reply:
        began = monotonic()
        clients = self._open()
        reply = self._do(clients, call)
        if reply.fault in (Fault.SIGNED_OUT, Fault.UNAUTHORISED):
            clients.forget()
        reply.elapsed = monotonic() - began
        return reply

    def _open(self) -> Clients:
        with self._lock:
            if self._clients is None:
                from tracker.transports.aws import Clients

                self._clients = Clients(self._threads)
            return self._clients
