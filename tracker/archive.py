"""Writing the rows of jobs to a file before they go."""

from __future__ import annotations

import base64
import gzip
import json
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from tracker.errors import TrackerError, UsageError
from tracker.model import Json


class Archive:
    """A file of JSON lines, one for each job, that only its owner can read; a name that ends in
    ``.gz`` is compressed. An existing file is added to.

    A context manager. Raises UsageError when the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise UsageError(
                f"--archive {path}: {error.strerror}", "name a file that you can write"
            ) from None
        self._file = FileIO(descriptor, "a+b")
        try:
            self._go_to_end()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _go_to_end(self) -> None:
        """Behind what is there, which has to be whole: what follows half a record is lost."""
        if self.path.suffix == ".gz":
            try:
                with gzip.open(self.path) as reader:
                    while reader.read(2**20):
                        pass
            except (OSError, EOFError, zlib.error):
                raise UsageError(
                    f"--archive {self.path}: what is there is no whole gzip file", "name a new file"
                ) from None
        elif self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
        self._file.seek(0, os.SEEK_END)

    def write(self, jobs: Iterable[dict[str, Json]]) -> None:
        """Add these jobs; they are on the disk when this returns. Raises TrackerError, and then
        none of them may go."""
        lines = "".join(
            json.dumps(_plain(job), ensure_ascii=False, separators=(",", ":")) + "\n"
            for job in jobs
        ).encode("utf-8", "replace")
        if self.path.suffix == ".gz":
            lines = gzip.compress(lines)  # a member of its own; readers join them
        before = self._file.seek(0, os.SEEK_END)
        try:
            left = memoryview(lines)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            # Half a record would make what follows it unreadable, and this is all of it.
            with suppress(OSError):  # a pipe or a device has no end to be cut
                self._file.truncate(before)
            raise TrackerError(
                f"{self.path}: {error.strerror}", "the jobs that were not written are still there"
            ) from None


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: a body is text, or ``{"base64": …}`` where it is none."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    return value
