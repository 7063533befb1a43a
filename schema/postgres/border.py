"""What crosses the border: times are text of one width here and timestamptz there, JSON is text
here and jsonb there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tracker.schema.postgres import JSON

if TYPE_CHECKING:
    from psycopg import Connection

# No text there holds the character NUL, which services may well send.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_SUBSTITUTE = "\ufffd"

FIRST, LAST = "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001  # only its text is used


def fitting(parameters: Mapping[str, Any] | Sequence[Any]) -> Any:
    """The same parameters, without what PostgreSQL cannot hold."""
    if isinstance(parameters, Mapping):
        if any(isinstance(value, str) and _has_nul(value) for value in parameters.values()):
            return {
                name: _fitting(value, name in JSON) if isinstance(value, str) else value
                for name, value in parameters.items()
            }
        return parameters
    return [_fitting(value, False) if isinstance(value, str) else value for value in parameters]


def _has_nul(text: str) -> bool:
    return "\0" in text or "\\u0000" in text


def _fitting(text: str, is_json: bool) -> str:
    if is_json:
        return _NUL.sub(rf"\1{_SUBSTITUTE}", text)
    return text.replace("\0", _SUBSTITUTE)


def _time(microseconds: int) -> str:
    """Text of so many microseconds since 2000."""
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:  # infinity, or a year of five digits
        return LAST if microseconds > 0 else FIRST
    return moment.isoformat(timespec="milliseconds") + "Z"


def loads_text(connection: Connection[Any]) -> None:
    """Have a connection bring times and JSON home as text."""
    from psycopg.adapt import Loader
    from psycopg.pq import Format

    class Time(Loader):
        format = Format.BINARY

        def load(self, data: bytes | bytearray | memoryview) -> str:
            return _time(int.from_bytes(data, "big", signed=True))

    class Json(Loader):
        format = Format.BINARY

        def load(self, data: bytes | bytearray | memoryview) -> str:
            return str(bytes(data[1:]), "utf-8")  # behind the number of the format's version

    connection.adapters.register_loader("timestamptz", Time)
    connection.adapters.register_loader("jsonb", Json)
