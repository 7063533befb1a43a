"""Stands between a program and PostgreSQL, and cuts the line at the worst moment."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from psycopg.conninfo import conninfo_to_dict


class Proxy:
    """Passes everything on, on a port of its own. Whoever says `cut_at` loses its connection:
    before that reaches the server, or once the server has answered it (`heard`)."""

    def __init__(self, url: str) -> None:
        place = conninfo_to_dict(url)
        self._server = f"{place['host']}/.s.PGSQL.{place.get('port') or 5432}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = f"postgresql://{place['user']}@127.0.0.1:{port}/{place['dbname']}"
        self.cut_at: bytes | None = None
        self.heard = False
        self.cuts = 0
        self._open: list[socket.socket] = []
        self._deaf: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._open += [client, server]
                answered = threading.Event()
                for act in (self._ask, self._answer):
                    threading.Thread(
                        target=act, args=(client, server, answered), daemon=True
                    ).start()

    def _ask(self, client: Any, server: Any, answered: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut_at is not None and self.cut_at in data:
                    self.cut_at = None
                    self.cuts += 1
                    if self.heard:
                        self._deaf.add(client)
                        answered.clear()
                        server.sendall(data)
                        answered.wait(10)
                    break
                server.sendall(data)
        _end(client, server)

    def _answer(self, client: Any, server: Any, answered: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                answered.set()
                if client not in self._deaf:
                    client.sendall(data)
        answered.set()
        _end(client, server)

    def close(self) -> None:
        """Let go of everything."""
        self._listener.close()
        _end(*self._open)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
