"""One connection of the misbehaving server: a raw socket, so that it can break every rule."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from misbehaving import Misbehaving


@dataclass
class Request:
    """What arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class Conversation:
    """One connection."""

    def __init__(self, server: Misbehaving, sock: socket.socket) -> None:
        if server.context:
            sock = server.context.wrap_socket(sock, server_side=True)
        self.server = server
        self.sock = sock
        self.number = 0
        self.file = sock.makefile("rb")

    def hold(self) -> None:
        self.server.change(opened=1)
        self.number = self.server.connections
        try:
            while (request := self.read()) is not None:
                self.server.change(request)
                if request.method == "CONNECT":
                    if not self.tunnelled():
                        return
                    continue
                if not self.answer(request):
                    return
        finally:
            self.file.close()
            self.sock.close()
            self.server.change(opened=-1)

    def answer(self, request: Request) -> bool:
        """Answer `request`; False ends the connection."""
        raise NotImplementedError

    def tunnelled(self) -> bool:
        """Be a proxy, and the host behind it at the same time; without `tunnel`, refuse."""
        if self.server.tunnel is None:
            return not self.write("403 Forbidden")
        self.sock.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
        self.file.close()
        self.sock = self.server.tunnel.wrap_socket(self.sock, server_side=True)
        self.file = self.sock.makefile("rb")
        return True

    def read(self) -> Request | None:
        first = self.file.readline().decode("latin-1").split()
        if len(first) != 3:
            return None
        headers: dict[str, str] = {}
        while (line := self.file.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if first[1] == "/sip":
            self.sip()
        body = self.file.read(int(headers.get("content-length", "0")))
        return Request(first[0], first[1], headers, body, self.number)

    def write(self, status: str, body: bytes = b"", *headers: str, length: int = -1) -> bool:
        lines = [f"HTTP/1.1 {status}", *headers]
        if length != -2:
            lines.append(f"Content-Length: {len(body) if length < 0 else length}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self.sock.sendall(head + body)
        return True

    def gone(self) -> None:
        """Wait until the other end hangs up or the server closes."""
        self.sock.settimeout(0.02)
        while not self.server.closing.is_set():
            try:
                if not self.sock.recv(4096):
                    return
            except TimeoutError:
                continue

    def sip(self) -> None:
        """Take a little of the body now and then."""
        while not self.server.closing.wait(0.01):
            if not self.sock.recv(2**16):
                return

    def drip(self, data: bytes) -> None:
        while not self.server.closing.wait(0.02):
            self.sock.sendall(data)
