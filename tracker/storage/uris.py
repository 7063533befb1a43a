"""Objects as people name them: ``s3://bucket/key``, ``file:///path``, with a role before them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tracker.errors import UsageError
from tracker.objects import Role, Scheme, StoredObject

LONGEST_KEY = 1024
"""Bytes of UTF-8; S3's own limit."""

_HINT = "such as s3://bucket/key or file:///path"


def read_uri(text: str, *, owned: bool = False) -> StoredObject:
    """The object that `text` names: ``[input=|result=|other=]s3://bucket/key[?versionId=ID]`` or
    ``…file:///path``. A key is taken as it stands, also with spaces, ``+`` and ``%``.

    Raises UsageError.
    """
    word, separator, uri = text.partition("=")
    role = Role.OTHER
    if separator and word in tuple(Role):
        role, text = Role(word), uri
    if text.startswith("s3://"):
        return _s3(text, role, owned)
    if text.startswith("file://"):
        return _file(text, role, owned)
    raise UsageError(f"object '{text[:80]}' is neither s3:// nor file://", _HINT)


def _s3(text: str, role: Role, owned: bool) -> StoredObject:
    bucket, _, key = text.removeprefix("s3://").partition("/")
    key, version = _version(key)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", bucket) or not key:
        raise UsageError(f"object '{text[:80]}' has no bucket or no key", _HINT)
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise UsageError(f"object {text[:80]!r} is not UTF-8") from None
    if length > LONGEST_KEY or "\0" in key:
        raise UsageError(f"object '{text[:80]}…' has a key of {length} bytes, S3 takes 1,024")
    return StoredObject(Scheme.S3, key, bucket, role=role, version_id=version, owned=owned)


def _version(key: str) -> tuple[str, str | None]:
    before, mark, query = key.rpartition("?")
    found = parse_qs(query) if mark else {}
    if list(found) == ["versionId"]:
        return before, found["versionId"][0]
    return key, None


def _file(text: str, role: Role, owned: bool) -> StoredObject:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise UsageError(f"object '{text[:80]}' is no file:// URL", _HINT) from None
    if parts.query or parts.fragment or not text.isprintable():
        hint = "write ?, # and control characters as %3F, %23, …"
        raise UsageError(f"object {text[:80]!r} has more than a path", hint)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UsageError(f"object '{text[:80]}' is not the absolute path of a local file", _HINT)
    path = Path(unquote(parts.path))
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"object '{text[:80]}': {reason}") from None
    if not path.is_file():
        raise UsageError(f"object '{text[:80]}' is not a file")
    return StoredObject(Scheme.FILE, str(path), role=role, size=size, name=path.name, owned=owned)
