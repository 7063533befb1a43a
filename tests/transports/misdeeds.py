"""What the misbehaving server does, one way for each path."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import zlib
from typing import Any

from conversation import Conversation, Request

BOMB = gzip.compress(b"\0" * 2**26)
"""64 MiB of zeros in 64 KiB."""


class Misdeeds(Conversation):
    """One method for each path; True keeps the connection."""

    def answer(self, request: Request) -> bool:
        name = request.path.strip("/").partition("/")[0].replace("-", "_")
        kept: bool = getattr(self, f"do_{name}", self.do_ok)(request)
        return kept

    def do_ok(self, request: Request) -> bool:
        return self.write("200 OK", b'{"state": "done"}', "Content-Type: application/json")

    def do_echo(self, request: Request) -> bool:
        seen: dict[str, Any] = {
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
        }
        seen["body"] = request.body.decode("latin-1")
        body = b"" if request.method == "HEAD" else json.dumps(seen).encode()
        return self.write("200 OK", body, "Content-Type: application/json")

    def do_status(self, request: Request) -> bool:
        return self.write(f"{request.path.rpartition('/')[2]} Whatever", b"words")

    def do_head(self, request: Request) -> bool:
        return self.write("200 OK", b"", "Content-Encoding: gzip", length=10**9)

    def do_repeated(self, request: Request) -> bool:
        return self.write("200 OK", b"", "X-Thing: one", "x-thing: two", "X-LOUD: yes")

    def do_never(self, request: Request) -> bool:
        self.gone()
        return False

    def do_drip_body(self, request: Request) -> bool:
        self.write("201 Created", b"", "Location: /made", length=10**6)
        self.drip(b"x")
        return False

    def do_drip_head(self, request: Request) -> bool:
        self.sock.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self.drip(b"x")
        return False

    def do_close(self, request: Request) -> bool:
        return False

    def do_reset(self, request: Request) -> bool:
        self.reset()
        return False

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.file.close()

    def do_reset_body(self, request: Request) -> bool:
        self.write("200 OK", b"half", length=1000)
        self.reset()
        return False

    def do_garbage(self, request: Request) -> bool:
        self.sock.sendall(b"220 mail.example ESMTP\r\n" * 3)
        return False

    def do_binary(self, request: Request) -> bool:
        self.sock.sendall(bytes(range(256)) * 4)
        return False

    def do_many_headers(self, request: Request) -> bool:
        return self.write("200 OK", b"", *(f"X-{n}: y" for n in range(5000)))

    def do_more_headers(self, request: Request) -> bool:
        return self.write("200 OK", b"", *(f"X-{n}: y" for n in range(150)))

    def do_long_header(self, request: Request) -> bool:
        return self.write("200 OK", b"", "X-Long: " + "y" * 2**20)

    def do_endless(self, request: Request) -> bool:
        self.write("200 OK", b"", "Transfer-Encoding: chunked", length=-2)
        return self.chunks_without_end()

    def chunks_without_end(self) -> bool:
        while not self.server.closing.is_set():
            self.sock.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        return False

    def do_bad_chunk(self, request: Request) -> bool:
        self.write("200 OK", b"what\r\n", "Transfer-Encoding: chunked", length=-2)
        return False

    def do_chunked(self, request: Request) -> bool:
        chunks = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        return self.write("200 OK", chunks, "Transfer-Encoding: chunked", length=-2)

    def do_until_close(self, request: Request) -> bool:
        self.write("200 OK", b"all of it", "Connection: close", length=-2)
        return False

    def do_bomb(self, request: Request) -> bool:
        return self.write("200 OK", BOMB, "Content-Encoding: gzip")

    def do_gzip(self, request: Request) -> bool:
        return self.write("200 OK", gzip.compress(b"packed" * 99), "Content-Encoding: gzip")

    def do_members(self, request: Request) -> bool:
        body = gzip.compress(b"one") + gzip.compress(b"two") + b"\0" * 8
        return self.write("200 OK", body, "Content-Encoding: gzip")

    def do_deflate(self, request: Request) -> bool:
        return self.write("200 OK", zlib.compress(b"zlib"), "Content-Encoding: deflate")

    def do_raw_deflate(self, request: Request) -> bool:
        return self.write("200 OK", zlib.compress(b"raw")[2:-4], "Content-Encoding: deflate")

    def do_bad_gzip(self, request: Request) -> bool:
        return self.write("200 OK", b"not packed", "Content-Encoding: gzip")

    def do_cut_gzip(self, request: Request) -> bool:
        return self.write("200 OK", gzip.compress(b"z" * 999)[:-9], "Content-Encoding: gzip")

    def do_brotli(self, request: Request) -> bool:
        return self.write("200 OK", b"\x0b\x02\x80", "Content-Encoding: br")

    def do_short(self, request: Request) -> bool:
        self.write("200 OK", b"short", length=500)
        return False

    def do_big(self, request: Request) -> bool:
        return self.write("200 OK", b"0123456789" * 10**5)

    def do_big_error(self, request: Request) -> bool:
        return self.write("503 Busy", b"0123456789" * 10**5)

    def do_latin(self, request: Request) -> bool:
        return self.write("200 OK", "grün".encode("latin-1"))

    def do_redirect(self, request: Request) -> bool:
        status = request.path.split("/")[2]
        return self.write(f"{status} There", b"moved", "Location: /echo/there?x=1")

    def do_elsewhere(self, request: Request) -> bool:
        return self.write("302 There", b"", f"Location: {self.server.elsewhere}/echo?key=s3cret")

    def do_file_scheme(self, request: Request) -> bool:
        return self.write("302 There", b"", "Location: file:///etc/passwd")

    def do_nowhere(self, request: Request) -> bool:
        return self.write("302 There")

    def do_loop(self, request: Request) -> bool:
        return self.write("302 There", b"", "Location: /loop")

    def do_endless_redirect(self, request: Request) -> bool:
        self.write(
            "302 There", b"", "Location: /echo/there", "Transfer-Encoding: chunked", length=-2
        )
        return self.chunks_without_end()

    def do_login(self, request: Request) -> bool:
        if request.headers.get("authorization") == "Bearer new":
            return self.do_echo(request)
        return self.write("401 Who", b"who are you", "WWW-Authenticate: Bearer")

    def do_login_close(self, request: Request) -> bool:
        return request.headers.get("authorization") != "Bearer new" and self.do_login(request)

    def do_cookie(self, request: Request) -> bool:
        return self.write("200 OK", b"", "Set-Cookie: session=1; Path=/")

    def do_then_close(self, request: Request) -> bool:
        """Promise to keep the connection, and close it."""
        self.do_echo(request)
        return False

    def do_close_on_second(self, request: Request) -> bool:
        """Answer the first request of a connection, and drop the second one unanswered.

        To a client that is what a close crossing its request on the way looks like.
        """
        self.do_echo(request)
        following = self.read()
        if following:
            self.server.change(following)
        return False

    def do_together(self, request: Request) -> bool:
        """The same, for three connections that have to be open at the same time."""
        self.server.wait_for(lambda: self.server.paths().count("/together") >= 3)
        return self.do_close_on_second(request)

    def do_half_status(self, request: Request) -> bool:
        self.sock.sendall(b"HTTP/1.1 2")
        return False

    def do_login_gone(self, request: Request) -> bool:
        """Ask for other credentials, and take no more connections."""
        self.server.server.shutdown()
        self.server.server.server_close()
        self.write("401 Who", b"", "Connection: close")
        return False
