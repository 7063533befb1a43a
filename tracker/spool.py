"""The tracker's own folder: spooled inputs, kept results. Only its owner can read it."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tracker.errors import TrackerError, UsageError
from tracker.model import Json

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

    def describe(self, source: Path) -> dict[str, Json]:
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
        return {"path": str(source), "name": name, "size": size, "media_type": media_type,
                "sha256": ""}  # fmt: skip

    def take_in(self, source: Path, local_id: str) -> dict[str, Json]:
        """Copy `source` into the spool, durably, and describe the copy: a submission can then be
        sent later even if the original has gone. Raises UsageError, or TrackerError when the disk
        does not take it; nothing is left behind then."""
        described = self.describe(source)
        target = self.spool / local_id
        digest, size = hashlib.sha256(), 0
        try:
            self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
                while chunk := reader.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    writer.write(chunk)
                writer.flush()
                os.fsync(writer.fileno())
        except BaseException as error:
            target.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise TrackerError(f"{source} cannot be spooled: {error.strerror}") from None
            raise
        return {**described, "path": str(target), "size": size, "sha256": digest.hexdigest()}

    def files(self, before: float) -> Iterator[tuple[str, Path]]:
        """The tracker's own files that nobody touched since `before` (seconds since 1970), each
        with the local id of its job."""
        for folder in (self.results, self.spool):
            for path in folder.iterdir() if folder.is_dir() else ():
                own = _OWN.fullmatch(path.name)
                if own and path.lstat().st_mtime < before:
                    yield own[1], path

    def remove(self, path: str) -> None:
        """Remove one of the tracker's own files, if it is still there. A path that leads outside
        of the folder, also through a link, is refused with OSError."""
        target = Path(path)
        if not target.parent.resolve().is_relative_to(self.path.resolve()) or target.is_symlink():
            raise OSError(f"{path} is not in {self.path}")
        target.unlink(missing_ok=True)
