"""Waiting for many sockets at once."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import Any

import pycurl

from tracker.transports.pool import monotonic

NOTICED_AFTER = 1.1
"""Seconds after which libcurl looks for itself whether a kept connection is still there."""

_IN, _OUT = select.POLLIN, select.POLLOUT
_WATCH = {pycurl.POLL_IN: _IN, pycurl.POLL_OUT: _OUT, pycurl.POLL_INOUT: _IN | _OUT}


class Sockets:
    """The sockets of libcurl, and an alarm that any thread may ring.

    Those that libcurl has no interest in at the moment are watched on: kept connections, of which
    it would not notice within a second of their last use that the other end has closed them.
    """

    def __init__(self) -> None:
        self._wanted: set[int] = set()
        self._masks: dict[int, int] = {}
        self._died_at = -NOTICED_AFTER
        self._closed = False
        self._bell, self._clapper = socket.socketpair()
        self._bell.setblocking(False)
        self._clapper.setblocking(False)
        # The wait of epoll is in seconds, that of poll in milliseconds.
        self._poller: Any = getattr(select, "epoll", select.poll)()
        self._unit = 1 if hasattr(select, "epoll") else 1000
        self._poller.register(self._bell.fileno(), _IN)

    def watch(self, what: int, descriptor: int, multi: pycurl.CurlMulti, data: object) -> None:
        """libcurl wants to know, or no longer, when something happens to a socket."""
        if self._closed:
            return
        mask = _WATCH.get(what, _IN)
        if what == pycurl.POLL_REMOVE:
            self._wanted.discard(descriptor)
            if self._masks.get(descriptor) == _IN:
                return  # it is watched already as those are that nobody uses
        else:
            self._wanted.add(descriptor)
        self._masks[descriptor] = mask
        try:
            self._poller.modify(descriptor, mask)
        except OSError:  # a new one, or another one that has the number of one that was closed
            self._poller.register(descriptor, mask)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """What happened to which socket, in libcurl's words, waiting up to `seconds`."""
        events = []
        for descriptor, mask in self._poller.poll(seconds * self._unit):
            if descriptor in self._wanted:
                happened = pycurl.CSELECT_OUT if mask & _OUT else 0
                if mask & ~_OUT:
                    happened |= pycurl.CSELECT_IN
                events.append((descriptor, happened))
            elif descriptor == self._bell.fileno():
                with suppress(BlockingIOError):
                    self._bell.recv(4096)
            else:
                self._died_at = monotonic()
                self._poller.unregister(descriptor)
        return events

    @property
    def doubtful(self) -> bool:
        """Whether libcurl may hold a connection for alive that the other end has closed."""
        self.wait(0.0)  # what happened to the others is told again
        return monotonic() - self._died_at < NOTICED_AFTER

    def alarm(self) -> None:
        """End the present or the next `wait`."""
        with suppress(OSError):  # full: it rings already; closed: nobody listens
            self._clapper.send(b"!")

    def close(self) -> None:
        """Watch nothing any more."""
        self._closed = True
        self._bell.close()
        self._clapper.close()
        if hasattr(self._poller, "close"):
            self._poller.close()
