"""Request bodies: bytes, a form, a file as it is, or a file inside a multipart form.

A file is read while it is sent, never into memory.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

from tracker.transports.base import Call
from tracker.transports.faults import invalid


class Upload:
    """A request body: ``content`` for the connection, and the headers that go with it.

    ``defaults`` yield to the call's own headers, ``headers`` do not.
    """

    def __init__(
        self,
        content: bytes | Stream | None = None,
        headers: Mapping[str, str] | None = None,
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        self.content = content
        self.headers = headers or {}
        self.defaults = defaults or {}

    def close(self) -> None:
        """Close the file."""
        if isinstance(self.content, Stream):
            self.content.close()


NOTHING = Upload()
"""What a request without a body brings."""


class Stream:
    """`head`, then exactly `size` bytes of `file`, then `tail`, for whoever calls `read`.

    Raises OSError when the file turns out shorter than announced: the request then has to break
    off, because its Content-Length is already gone.
    """

    def __init__(self, file: BinaryIO, size: int, head: bytes = b"", tail: bytes = b"") -> None:
        self.length = len(head) + size + len(tail)
        self._head, self._tail = BytesIO(head), BytesIO(tail)
        self._file = file
        self._left = size

    def read(self, amount: int = -1) -> bytes:
        """Up to `amount` bytes, ``b""`` at the end."""
        if amount < 0:
            amount = self.length
        if data := self._head.read(amount):
            return data
        if not self._left:
            return self._tail.read(amount)
        data = self._file.read(min(amount, self._left))
        if not data:
            raise OSError("the file became shorter while it was sent")
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_upload(call: Call) -> Upload:
    """The body of `call`. Raises `Problem` (INVALID) when its file cannot be read."""
    if call.file is not None:
        return _file(call, call.file)
    if call.form is not None and call.multipart:
        boundary = secrets.token_hex(16)
        content = _fields(boundary, call.form) + f"--{boundary}--\r\n".encode()
        return Upload(content, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    if call.form is not None:
        content = urlencode(call.form).encode("ascii")
        return Upload(content, defaults={"Content-Type": "application/x-www-form-urlencoded"})
    return Upload(call.body) if call.body is not None else NOTHING


def _file(call: Call, path: Path) -> Upload:
    file, size = _open(path)
    name = call.file_name or path.name
    if call.file_field is None:
        stream = Stream(file, size)
        defaults = {"Content-Type": "application/octet-stream"}
        return Upload(stream, {"Content-Length": str(size)}, defaults)
    boundary = secrets.token_hex(16)
    head = _fields(boundary, call.form or {}) + _part(boundary, call.file_field, name)
    stream = Stream(file, size, head, f"\r\n--{boundary}--\r\n".encode())
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(stream.length),
    }
    return Upload(stream, headers)


def _open(path: Path) -> tuple[BinaryIO, int]:
    try:
        # Not blocking: opening a FIFO would otherwise wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "not a path"
        raise invalid(f"cannot read the file {path.name}: {reason.lower()}") from error
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise invalid(f"cannot read the file {path.name}: not a regular file")
    return os.fdopen(descriptor, "rb", buffering=0), about.st_size


def _quoted(text: str) -> str:
    """`text` inside the quotes of a Content-Disposition, as browsers write it (HTML standard)."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def _disposition(boundary: str, name: str) -> str:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'


def _fields(boundary: str, form: Mapping[str, str]) -> bytes:
    return b"".join(
        f"{_disposition(boundary, name)}\r\n\r\n{value}\r\n".encode()
        for name, value in form.items()
    )


def _part(boundary: str, field: str, name: str) -> bytes:
    import mimetypes  # reads the system's tables, for nothing where no file is sent

    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    head = f'{_disposition(boundary, field)}; filename="{_quoted(name)}"'
    return f"{head}\r\nContent-Type: {media_type}\r\n\r\n".encode("utf-8", "surrogateescape")
