"""S3 objects and files that belong to jobs: their rows and words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scheme(StrEnum):
    """Where an object is."""

    S3 = "s3"
    FILE = "file"


class Role(StrEnum):
    """As what a job uses an object."""

    INPUT = "input"
    RESULT = "result"
    OTHER = "other"


class ObjectState(StrEnum):
    """Where an object is in its life. One that was removed has no row."""

    PLANNED = "planned"  # on record; nothing has been sent
    UPLOADING = "uploading"  # some of it may be there
    PRESENT = "present"
    REMOVAL_REQUESTED = "removal_requested"
    MISSING = "missing"  # it was looked for, and is not there


@dataclass(slots=True)
class StoredObject:
    """An S3 object or a file: one row of ``objects``.

    ``bucket`` is empty for a file, whose ``key`` is its absolute path; ``size`` is in bytes,
    ``sha256`` hexadecimal. Only what is ``owned`` is ever removed. ``id`` is 0 before the row is
    written, ``role`` is as what the job uses it (None: it is no job's).
    """

    scheme: str
    key: str
    bucket: str = ""
    id: int = 0
    role: str | None = None
    version_id: str | None = None
    upload_id: str | None = None
    size: int | None = None
    etag: str | None = None
    sha256: str | None = None
    name: str | None = None
    media_type: str | None = None
    owned: bool = True
    state: str = ObjectState.PRESENT

    @property
    def uri(self) -> str:
        """``s3://bucket/key`` or the file's path."""
        return f"s3://{self.bucket}/{self.key}" if self.scheme == Scheme.S3 else self.key


@dataclass(slots=True, frozen=True)
class ObjectChange:
    """What an attempt changed about its object. ``state`` None means that it is gone, ``found``
    whether there was anything to remove; other None keep what is on record, but an ``upload_id``
    of "" forgets it."""

    state: ObjectState | None
    version_id: str | None = None
    upload_id: str | None = None
    etag: str | None = None
    found: bool = True
