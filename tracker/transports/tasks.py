"""What the S3 transport is asked to do, and what it answers: a call's ``task``, a reply's
``answer``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a bucket is reached; None is what AWS's own settings say. The bucket is in the path
    (``path_style``), in the host's name (``virtual``), or where boto3 thinks best. ``timeout`` is
    seconds without a byte."""

    url: str | None = None
    region: str | None = None
    path_style: bool = False
    timeout: float = 60.0
    virtual: bool = False

    @property
    def addressing(self) -> Literal["path", "virtual", "auto"]:
        """boto3's word for it."""
        return "path" if self.path_style else "virtual" if self.virtual else "auto"


@dataclass(frozen=True, slots=True)
class Put:
    """Put the file ``path`` at ``key``, unless the same is there already.

    ``size`` in bytes and ``sha256`` (hexadecimal) are what the file has to have; ``again`` is
    whether an earlier attempt may have got through. With ``upload_id`` it goes in parts of
    ``part_size`` bytes, continuing where an earlier attempt ended. ``on_bytes`` is told how many
    bytes more are there. Answered by `Stored`, or by `Begun` when the upload in parts is unknown.
    """

    endpoint: Endpoint
    bucket: str
    key: str
    path: Path
    size: int
    sha256: str
    media_type: str
    again: bool = False
    upload_id: str | None = None
    part_size: int = 8 * 2**20
    on_bytes: Callable[[int], None] | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin an upload in parts, or find the one that was begun. Answered by `Begun`."""

    endpoint: Endpoint
    bucket: str
    key: str
    sha256: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Item:
    """An object to be removed: that version of it; without one, the present version.

    ``traces``: all that an upload which was never finished may have left at the key, the parts of
    ``upload_id`` among it.
    """

    key: str
    version_id: str | None = None
    traces: bool = False
    upload_id: str | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove up to 1,000 objects of a bucket by one request. Answered by a `Removed` for each."""

    endpoint: Endpoint
    bucket: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Look:
    """See whether an object is there. Answered by `Stored`."""

    endpoint: Endpoint
    bucket: str
    key: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Get:
    """Read an object; the reply's ``body`` has it."""

    endpoint: Endpoint
    bucket: str
    key: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is there. ``adopted``: it was already."""

    version_id: str | None
    etag: str | None
    size: int
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """The id of an upload in parts; "" when the one that was asked for does not exist."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of one removal: ``error`` is S3's code and message, None when it is gone;
    ``found`` whether it was there, ``size`` how many bytes it had (None: not known)."""

    error: str | None = None
    found: bool = True
    size: int | None = None
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """Call an operation (``StartTranscriptionJob``) of any AWS service (boto3's name for it); its
    parameters are the call's JSON body, and the reply's body is what boto3 makes of the answer."""

    endpoint: Endpoint
    client: str
    operation: str


Task = Put | Begin | Remove | Look | Get
Answer = Stored | Begun | Sequence[Removed]
