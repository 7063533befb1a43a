"""Reply bodies: decoded in pieces, bounded, into memory or into a file."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.faults import Problem

PIECE = 2**16
"""Bytes read or inflated at once."""

MAX_ERROR_BODY = 8 * 2**20
"""Bytes of a reply kept in memory where ``max_bytes`` was meant for a file."""

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


_AS_IT_IS = Decoder("")


class FileSink:
    """A new file, readable by its owner only, that is there in full or not at all: closed before
    it was settled, it is removed. Raises `Problem` (INVALID) when the file cannot be made or
    written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        self._settled = False
        try:
            with suppress(FileNotFoundError):
                path.unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise self._problem(error) from error

    def close(self) -> None:
        """Close the file, once."""
        os.close(self._descriptor)
        if not self._settled:
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
        self._settled = True

    def _problem(self, error: OSError) -> Problem:
        reason = os.strerror(error.errno or 0).lower()
        return Problem(Fault.INVALID, f"cannot write the file {self.path.name}: {reason}")


class Body:
    """The body of `reply`, whose status and headers are known: decoded, bounded, into memory or
    into the call's sink. `length` is how long the reply says that it is, None when it does not.

    Raises `Problem`: OVERSIZED, UNREADABLE, or INVALID when the sink cannot be written.
    """

    __slots__ = ("_decoder", "_limit", "_pieces", "_reply", "_sink", "_total", "_write")

    def __init__(self, call: Call, reply: Reply, length: int | None) -> None:
        success = 200 <= reply.status < 300
        self._limit = call.max_bytes
        if call.sink is not None and not success:
            self._limit = min(self._limit, MAX_ERROR_BODY)
        encoding = reply.headers.get("content-encoding", "")
        self._decoder = Decoder(encoding) if encoding else _AS_IT_IS
        if (length or 0) > self._limit and self._decoder.transparent:
            raise oversized(self._limit)
        self._reply = reply
        self._total = 0
        self._pieces: list[bytes] = []
        self._write = self._pieces.append
        self._sink = FileSink(call.sink) if call.sink is not None and success else None
        if self._sink is not None:
            self._write = self._sink.write

    @property
    def lasting(self) -> bool:
        """Whether `finish` waits for a disk."""
        return self._sink is not None

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        for piece in (data,) if self._decoder is _AS_IT_IS else self._decoder.feed(data):
            self._total += len(piece)
            if self._total > self._limit:
                raise oversized(self._limit)
            self._write(piece)

    def finish(self) -> None:
        """Nothing more comes: complete the reply."""
        self._decoder.finish()
        if self._sink is not None:
            self._sink.settle(self._reply)
        else:
            pieces = self._pieces
            self._reply.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Be done with it, once; a sink that was not finished is removed."""
        if self._sink is not None:
            self._sink.close()


def oversized(limit: int) -> Problem:
    """The body is, or says that it is, larger than `limit` bytes."""
    return Problem(Fault.OVERSIZED, f"the body is larger than {limit} bytes")
