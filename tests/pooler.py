"""A pooler as PgBouncer is in transaction mode: each transaction gets another connection to the
server, from which everything is gone that the one before it left in its session."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from queue import Queue
from typing import Any

from psycopg.conninfo import conninfo_to_dict

NO_ENCRYPTION = (80877103, 80877104)
"""Requests for TLS and for GSSAPI."""

KNOWN = {"user", "database", "application_name", "client_encoding"}
"""What may be set when a session begins; PgBouncer refuses nearly all the rest."""


ANSWERED = (b"Q", b"S", b"c", b"f")
"""What a client waits after: a statement, a row of messages, the end of a COPY or its failure."""


class Pooler:
    """Serves any number of clients over `size` connections."""

    def __init__(self, url: str, size: int = 2) -> None:
        place = conninfo_to_dict(url)
        self._place = place
        self._idle: Queue[Server] = Queue()
        for _ in range(size):
            self._idle.put(Server(place))
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = f"postgresql://{place['user']}@127.0.0.1:{port}/{place['dbname']}"
        self.transactions = 0
        self.refused: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server: Server | None = None
        with suppress(OSError, EOFError), client:
            self._greet(client)
            while True:
                kind, message = receive(client)
                if kind == b"X":
                    break
                if server is None:
                    server = self._idle.get()
                    self.transactions += 1
                server.socket.sendall(message)
                if kind in ANSWERED and server.answer(client) == b"I":
                    server.forget()
                    self._idle.put(server)
                    server = None
        if server is not None:
            server.socket.close()
            self._idle.put(Server(self._place))

    def _greet(self, client: socket.socket) -> None:
        while True:
            (length,) = struct.unpack("!i", exactly(client, 4))
            body = exactly(client, length - 4)
            if struct.unpack("!i", body[:4])[0] not in NO_ENCRYPTION:
                break
            client.sendall(b"N")
        words = body[4:].rstrip(b"\0").split(b"\0")
        if strange := {word.decode() for word in words[::2]} - KNOWN:
            self.refused += strange
            raise EOFError
        server = self._idle.get()
        client.sendall(server.greeting)
        self._idle.put(server)

    def close(self) -> None:
        """Let go of everything."""
        self._listener.close()
        while not self._idle.empty():
            self._idle.get().socket.close()


class Server:
    """One connection to the server."""

    def __init__(self, place: dict[str, Any]) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(f"{place['host']}/.s.PGSQL.{place.get('port') or 5432}")
        words = ["user", place["user"], "database", place["dbname"], "", ""]
        body = struct.pack("!i", 196608) + "\0".join(words).encode()
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        self.greeting = self._until_ready()

    def _until_ready(self) -> bytes:
        found = b""
        while True:
            kind, message = receive(self.socket)
            found += message
            if kind == b"Z":
                return found

    def answer(self, client: socket.socket) -> bytes:
        """Pass on what the server says, until it is ready, or waits for the rows of a COPY; whether
        it is in a transaction."""
        while True:
            kind, message = receive(self.socket)
            client.sendall(message)
            if kind == b"Z":
                return message[-1:]
            if kind == b"G":
                return b"T"

    def forget(self) -> None:
        """Drop what is left in the session."""
        sql = b"DISCARD ALL\0"
        self.socket.sendall(b"Q" + struct.pack("!i", len(sql) + 4) + sql)
        self._until_ready()


def receive(one: socket.socket) -> tuple[bytes, bytes]:
    """The next message: its kind, and the whole of it."""
    head = exactly(one, 5)
    (length,) = struct.unpack("!i", head[1:])
    return head[:1], head + exactly(one, length - 4)


def exactly(one: socket.socket, count: int) -> bytes:
    """So many bytes. Raises EOFError when the other side has gone."""
    found = b""
    while len(found) < count:
        data = one.recv(count - len(found))
        if not data:
            raise EOFError
        found += data
    return found
