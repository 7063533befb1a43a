"""Headers out and in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tracker import __version__
from tracker.transports.base import Call
from tracker.transports.faults import invalid, one_line
from tracker.transports.multipart import Upload

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What a method or the name of a header is made of."""

_BREAKS = re.compile(r"[\r\n\0]")
_DEFAULTS = {
    "User-Agent": f"tracker/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
}


def request_headers(call: Call, upload: Upload, login: Mapping[str, str]) -> dict[str, str]:
    """All headers of a request, each name once whatever its case.

    Raises `Problem` (INVALID) for what cannot be written, naming the header but not its value.
    """
    merged: dict[str, tuple[str, str]] = {}
    for headers in (_DEFAULTS, upload.defaults, call.headers):
        for name, value in headers.items():
            merged[name.lower()] = (name, value)
    # How long the body is, is for the transport to know.
    merged.pop("content-length", None)
    merged.pop("transfer-encoding", None)
    for headers in (login, upload.headers):
        for name, value in headers.items():
            merged[name.lower()] = (name, value)
    for name, value in merged.values():
        _check(name, value)
    return dict(merged.values())


def joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers of a reply: names in lower case, repeated ones joined."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _check(name: str, value: str) -> None:
    if not TOKEN.fullmatch(name):
        raise invalid(f"not a header name: {one_line(name, 40)}")
    if not isinstance(value, str) or _BREAKS.search(value):
        raise invalid(f"the value of the header {name} is not one line of text")
    if not value.isascii():
        try:
            value.encode("latin-1")
        except UnicodeEncodeError as error:
            raise invalid(f"the value of the header {name} is not Latin-1") from error
