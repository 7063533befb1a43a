"""Reply bodies: decoded in pieces, bounded, into memory or into a file."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tracker.model import Fault
from tracker.transports.base import Reply
from tracker.transports.faults import Problem

PIECE = 2**16
"""Bytes read or inflated at once."""

_UNREADABLE = ("br", "zstd", "compress", "x-compress")
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Decoder:
    """Undoes a Content-Encoding, at most `PIECE` bytes at a time, so that a bomb stays small.

    gzip (also in several members) and deflate (with or without its zlib wrapper) are known;
    anything that is no compression passes as it is. Raises `Problem` (UNREADABLE) for data that
    is damaged or ends early, and for compressions that were never asked for.
    """

    def __init__(self, encoding: str) -> None:
        names = [name for name in encoding.replace(" ", "").lower().split(",") if name]
        packed = [name for name in names if name in (*_UNREADABLE, "gzip", "x-gzip", "deflate")]
        if len(packed) > 1 or (packed and packed[0] in _UNREADABLE):
            raise Problem(Fault.UNREADABLE, f"the body is compressed as {encoding}")
        self._name = packed[0] if packed else ""
        self._seen = False
        self._start = b""
        self._inflater = zlib.decompressobj(_GZIP) if self._name.endswith("gzip") else None

    @property
    def transparent(self) -> bool:
        """Whether bytes pass as they are."""
        return not self._name

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that `data` decodes to."""
        if not self._name:
            yield data
            return
        self._seen = True
        if self._inflater is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            wrapped = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._inflater = zlib.decompressobj(_ZLIB if wrapped else _RAW)
        try:
            yield from self._inflate(self._inflater, data)
        except zlib.error as error:
            raise Problem(Fault.UNREADABLE, f"the body is not valid {self._name}") from error

    def finish(self) -> None:
        """Say that the body has ended."""
        if self._seen and (self._inflater is None or not self._inflater.eof):
            raise Problem(Fault.UNREADABLE, f"the {self._name} body ends too early")

    def _inflate(self, inflater: zlib._Decompress, data: bytes) -> Iterator[bytes]:
        while True:
            if inflater.eof:
                # Another member follows, or padding that gunzip ignores as well.
                if self._name == "deflate" or not data.startswith(b"\x1f\x8b"):
                    return
                self._inflater = inflater = zlib.decompressobj(_GZIP)
            piece = inflater.decompress(data, PIECE)
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if piece:
                yield piece
            if not data and len(piece) < PIECE:  # a full piece may have left more inside zlib
                return


class FileSink:
    """A new file, readable by its owner only, that is there in full or not at all.

    A context manager: left by an exception, it removes the file. Raises `Problem` (INVALID) when
    the file cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        try:
            with suppress(FileNotFoundError):
                path.unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise self._problem(error) from error

    def __enter__(self) -> FileSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
        if kind is not None:
            with suppress(OSError):
                self.path.unlink()

    def write(self, piece: bytes) -> None:
        """Append `piece`."""
        self._hash.update(piece)
        self.size += len(piece)
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise self._problem(error) from error

    def settle(self, reply: Reply) -> None:
        """Make file and name durable, and describe them in `reply`."""
        try:
            os.fsync(self._descriptor)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._problem(error) from error
        reply.path, reply.size, reply.sha256 = self.path, self.size, self._hash.hexdigest()

    def _problem(self, error: OSError) -> Problem:
        reason = os.strerror(error.errno or 0).lower()
        return Problem(Fault.INVALID, f"cannot write the file {self.path.name}: {reason}")


def copy(
    pieces: Iterator[bytes], decoder: Decoder, limit: int, write: Callable[[bytes], object]
) -> None:
    """Write what `pieces` decode to. Raises `Problem` (OVERSIZED) beyond `limit` bytes."""
    total = 0
    for data in pieces:
        for piece in decoder.feed(data):
            total += len(piece)
            if total > limit:
                raise oversized(limit)
            write(piece)
    decoder.finish()


def oversized(limit: int) -> Problem:
    """The body is, or says that it is, larger than `limit` bytes."""
    return Problem(Fault.OVERSIZED, f"the body is larger than {limit} bytes")
