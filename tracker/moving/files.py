"""Where lines go and where they come from: a file, one that is compressed, or a pipe."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from tracker.errors import TrackerError, UsageError

PIPE = "-"
GZIP = b"\x1f\x8b"


@contextmanager
def writing(name: str) -> Iterator[BinaryIO]:
    """A new file that only its owner can read, compressed if its name ends in ``.gz``; ``-`` is
    standard output. It has its name when it is whole and on the disk, or never.

    Raises UsageError when it is there already or cannot be made, TrackerError for a full disk.
    """
    if name == PIPE:
        if sys.stdout is None:
            raise UsageError("standard output is closed", "name a file")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name).absolute()
    try:
        if path.exists():
            raise UsageError(f"{name} exists already", "name a new file")
        descriptor, partial = tempfile.mkstemp(".partial", f".{path.name}.", path.parent)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}", "name a file that you can write") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile("", "wb", 6, cast(io.BytesIO, file), mtime=0) as packed:
                    yield cast(BinaryIO, packed)
            else:
                yield file
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except OSError as error:
        _forget(partial)
        raise TrackerError(f"{name}: {error.strerror or error}", "nothing was exported") from None
    except BaseException:
        _forget(partial)
        raise


def _forget(partial: str) -> None:
    with suppress(OSError):
        Path(partial).unlink()


def called(name: str) -> str:
    """What messages call a file to be read."""
    return "standard input" if name == PIPE else name


@contextmanager
def reading(name: str) -> Iterator[Iterator[bytes]]:
    """The lines of a file, compressed or not; ``-`` is standard input. Raises UsageError when it
    cannot be read, or is cut off."""
    if name == PIPE:
        if sys.stdin is None:
            raise UsageError("standard input is closed", "name a file")
        yield _lines(sys.stdin.buffer, called(name))
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115  # only what opening raises is told so
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}", "name a file of tracker db export") from None
    with file:
        yield _lines(cast(BinaryIO, file), name)


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        begins = cast(io.BufferedReader, file).peek(2)[:2]
        yield from cast(BinaryIO, gzip.GzipFile(fileobj=file)) if begins == GZIP else file
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"{name} cannot be read to its end: {error}", "nothing was imported"
        ) from None
