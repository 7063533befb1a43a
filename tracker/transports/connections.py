"""Connections that keep a deadline and know whether a byte of the request has left.

urllib3 has a timeout for each read; a server that sends a byte now and then is never late for one.
Here every read and write of a socket is given what is left of the whole call, so that slow
headers, bodies and uploads all end in time. Looking up a name is the exception: the C library
offers no way to stop it.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tracker.transports.dialogue import Exchange
from tracker.transports.faults import unreachable
from tracker.transports.pool import monotonic


class ThreadExchange(Exchange):
    """An exchange whose thread waits for ``sock``."""

    __slots__ = ("sock",)

    def __init__(self, method: str = "", timeout: float = 0.0) -> None:
        super().__init__(method, timeout)
        self.sock: socket.socket | None = None

    def abort(self) -> None:
        """Make the thread that waits for this exchange see the end of its connection, which is
        no reason to try once more."""
        self.repeatable = False
        if self.sock is not None:
            # Not SSLSocket.shutdown: it drops the encryption before it closes, and the waiting
            # thread could still write.
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


NOBODY = ThreadExchange()
"""The exchange of a thread that has none."""


class _Current(threading.local):
    exchange = NOBODY


current = _Current()
"""The exchange of this thread: urllib3 gives no other way to hand it down to a connection."""


class DeadlineSocket(socket.socket):
    """A socket whose operations end with its exchange's deadline."""

    exchange: ThreadExchange | None = None

    def recv_into(self, *args: Any, **options: Any) -> int:
        """As `socket.socket.recv_into`; raises TimeoutError at the deadline."""
        exchange = self.exchange
        if exchange is None:
            return super().recv_into(*args, **options)
        self.settimeout(exchange.remaining())
        count = super().recv_into(*args, **options)
        if count:
            exchange.received = True
        return count

    def send(self, *args: Any, **options: Any) -> int:
        """As `socket.socket.send`; raises TimeoutError at the deadline."""
        if self.exchange is not None:
            self.settimeout(self.exchange.remaining())
        return super().send(*args, **options)

    def sendall(self, *args: Any, **options: Any) -> None:
        """As `socket.socket.sendall`; raises TimeoutError at the deadline."""
        if self.exchange is not None:
            self.settimeout(self.exchange.remaining())
        super().sendall(*args, **options)


class DeadlineTLSSocket(DeadlineSocket, ssl.SSLSocket):
    """The same over TLS; made by the context (see `tracker.transports.routes`)."""


def connect(host: str, port: int, options: Any, exchange: ThreadExchange) -> DeadlineSocket:
    """A connected socket; each address of `host` gets its share of the time that is left.

    Raises OSError.
    """
    failure: OSError = OSError("the host has no address")
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    for tried, (family, kind, protocol, _, address) in enumerate(found):
        sock = DeadlineSocket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(exchange.remaining() / (len(found) - tried))
            exchange.sock = sock
            sock.connect(address)
            sock.settimeout(exchange.remaining())
            sock.exchange = exchange
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


class Connection(HTTPConnection):
    """A connection that works for the exchange of its thread.

    Raises `tracker.transports.faults.Problem` (UNREACHABLE) when it does not come about.
    """

    idle_since = 0.0

    def _new_conn(self) -> socket.socket:
        return connect(self._dns_host, self.port, self.socket_options, current.exchange)

    def _tunnel(self) -> None:
        sent = current.exchange.sent
        try:
            super()._tunnel()
        finally:
            current.exchange.sent = sent  # what left was for the proxy, not for the service

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:
            raise unreachable(error) from error
        self._attach()

    def request(self, *args: Any, **options: Any) -> None:
        exchange = current.exchange
        exchange.received = False
        exchange.reused = self.sock is not None and self.idle_since > 0
        self._attach()
        super().request(*args, **options)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        current.exchange.sent = True
        super().send(data)

    def close(self) -> None:
        self.idle_since = 0.0
        super().close()

    def _attach(self) -> None:
        if isinstance(self.sock, DeadlineSocket):
            self.sock.exchange = current.exchange
            current.exchange.sock = self.sock


class TLSConnection(Connection, HTTPSConnection):
    """The same over TLS."""


class ConnectionPool(HTTPConnectionPool):
    """Hands out kept-alive connections only to calls that may meet a dead one."""

    ConnectionCls: Any = Connection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        exchange = current.exchange
        # urllib3 has already seen to it that the other end has not closed the connection so far.
        if isinstance(connection, Connection) and connection.idle_since:
            idle = monotonic() - connection.idle_since
            if not exchange.trusts(idle):
                connection.close()
        return connection

    def _put_conn(self, connection: Any) -> None:
        if isinstance(connection, Connection):
            connection.idle_since = monotonic() if connection.sock is not None else 0.0
            if isinstance(connection.sock, DeadlineSocket):
                connection.sock.exchange = None
        super()._put_conn(connection)


class TLSConnectionPool(ConnectionPool, HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = TLSConnection

    def _validate_conn(self, connection: Any) -> None:
        # urllib3 would warn on stderr about each unverified host; whoever wrote ``verify = false``
        # knows.
        if connection.is_closed:
            connection.connect()


class Adapter(HTTPAdapter):
    """The adapter of requests, with the connections of this module (SOCKS keeps its own)."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """As in requests."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """As in requests."""
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS = {"http": ConnectionPool, "https": TLSConnectionPool}
