"""A server on loopback that speaks HTTP/2 over TLS, as ALPN agrees."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events


class Second:
    """The server; ``paths`` is what it was asked for. No handshake begins before
    `open` is set, and no stream is answered before `together` of them wait at the same time."""

    def __init__(self, certificate: Path, key: Path, *, together: int) -> None:
        self.together = together
        self.open = threading.Event()
        self.connections = 0
        self.paths: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["h2"])
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self.open.wait()
        with suppress(OSError), self.context.wrap_socket(sock, server_side=True) as secure:
            config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
            talk = h2.connection.H2Connection(config=config)
            talk.initiate_connection()
            secure.sendall(talk.data_to_send())
            waiting: list[int] = []
            while data := secure.recv(2**16):
                for event in talk.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self.paths.append(dict(event.headers)[":path"])
                    if isinstance(event, h2.events.DataReceived):
                        talk.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                    if isinstance(event, h2.events.StreamEnded):
                        waiting.append(event.stream_id)
                if len(waiting) >= self.together:
                    for stream in waiting:
                        headers = [(":status", "200"), ("x-thing", "one"), ("x-thing", "two")]
                        talk.send_headers(stream, headers)
                        talk.send_data(stream, b"second", end_stream=True)
                    waiting.clear()
                secure.sendall(talk.data_to_send())
