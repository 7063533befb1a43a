"""The tracker's own folder: spooled inputs, kept results. Only its owner can read it."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tracker.errors import TrackerError, UsageError
from tracker.objects import Role, Scheme, StoredObject

CHUNK = 2**20

_OWN = re.compile(
    r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.[0-9]+\.[0-9]+\.[A-Za-z0-9]+)?"
)
"""Names that only the tracker gives: a local id; or one, an operation, a lease and a suffix."""


class Folder:
    """Where files are kept beside the ledger."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def results(self) -> Path:
        """Where results too large for a row are kept."""
        return self.path / "results"

    @property
    def spool(self) -> Path:
        """Where inputs wait until their job is cleaned up."""
        return self.path / "spool"

    def describe(self, source: Path) -> StoredObject:
        """`source` as a job's input, not spooled yet. Raises UsageError when it is no readable
        file, or empty."""
        try:
            size = source.stat().st_size
            if not source.is_file():
                raise UsageError(f"{source} is not a file")
            with source.open("rb"):
                pass
        except OSError as error:
            raise UsageError(f"{source}: {error.strerror}", "name a file you can read") from None
        if size == 0:
            raise UsageError(f"{source} is empty")
        media_type = mimetypes.guess_type(source.name)[0] or "application/octet-stream"
        name = source.name.encode("utf-8", "replace").decode("utf-8")
        return StoredObject(
            Scheme.FILE,
            str(source),
            role=Role.INPUT,
            size=size,
            sha256="",
            name=name,
            media_type=media_type,
        )

    def take_in(
        self, source: Path, local_id: str, on_bytes: Callable[[int], None] | None = None
    ) -> StoredObject:
        """Copy `source` into the spool, durably, and describe the copy: a submission can then be
        sent later even if the original has gone. Raises UsageError, or TrackerError when the disk
        does not take it, or when the file changes meanwhile; nothing is left behind then.
        `on_bytes` is told how many more bytes were copied."""
        described = self.describe(source)
        target = self.spool / local_id
        digest, size = hashlib.sha256(), 0
        try:
            self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as writer, source.open("rb") as reader:
                before = os.fstat(reader.fileno())
                while chunk := reader.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    if size > before.st_size:
                        break  # it grows, perhaps as fast as it is copied
                    writer.write(chunk)
                    if on_bytes is not None:
                        on_bytes(len(chunk))
                writer.flush()
                os.fsync(writer.fileno())
                changed = os.fstat(reader.fileno())
            if changed.st_size != size or changed.st_mtime_ns != before.st_mtime_ns:
                raise TrackerError(
                    f"{source} changed while it was copied", "submit it again when it is complete"
                )
        except BaseException as error:
            target.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise TrackerError(f"{source} cannot be spooled: {error.strerror}") from None
            raise
        return replace(described, key=str(target), size=size, sha256=digest.hexdigest())

    def files(self, before: float) -> Iterator[tuple[str, Path, int]]:
        """The tracker's own files that nobody touched since `before` (seconds since 1970), each
        with the local id of its job and its size in bytes."""
        for folder in (self.results, self.spool):
            for path in folder.iterdir() if folder.is_dir() else ():
                own = _OWN.fullmatch(path.name)
                try:
                    about = path.lstat()
                except FileNotFoundError:  # somebody else was at it
                    continue
                if own and about.st_mtime < before:
                    yield own[1], path, about.st_size

    def own(self, path: str) -> str | None:
        """`path` as the folder itself spells it; None when it leads outside, also by a link."""
        target = Path(path)
        inside = target.parent.resolve()
        if target.is_symlink() or not inside.is_relative_to(self.path.resolve()):
            return None
        return str(self.path / inside.relative_to(self.path.resolve()) / target.name)

    def remove(self, path: str) -> bool:
        """Remove one of the tracker's own files; False when it was not there any more. A path that
        leads outside of the folder, also through a link, is refused with OSError."""
        target = Path(path)
        if self.own(path) is None:
            raise OSError(f"it is not in {self.path}")
        try:
            target.unlink()
        except FileNotFoundError:
            return False
        return True
