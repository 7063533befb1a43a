"""The only place that reads a clock.

Wall times are seconds since 1970 (UTC, float) and are written as fixed-width ISO-8601 text, so
that text order is time order. Intervals inside one process use `monotonic`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

LAST_SECOND = 253402300799.0
"""The end of the year 9999."""


def now() -> float:
    """Seconds since 1970, UTC."""
    return time.time()


def monotonic() -> float:
    """Seconds of a clock that never jumps; only differences mean anything."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Wait; 0 or less returns at once."""
    time.sleep(max(seconds, 0.0))


def to_text(seconds: float) -> str:
    """`seconds` since 1970 as ``2026-01-31T08:15:00.250Z`` (24 characters, milliseconds).

    Clamped to the years 1970 to 9999, so that no arithmetic on a hostile figure can raise.
    """
    clamped = min(max(seconds, 0.0), LAST_SECOND)
    return datetime.fromtimestamp(clamped, UTC).isoformat(timespec="milliseconds")[:23] + "Z"


def to_seconds(text: str) -> float:
    """Seconds since 1970 of an ISO-8601 `text`; one without an offset is UTC.

    Raises ValueError when `text` is no time.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read(text: str | None, otherwise: float) -> float:
    """Seconds since 1970 of a time in the ledger; `otherwise` where somebody wrote something else
    there."""
    try:
        return to_seconds(text or "")
    except (ValueError, TypeError, OverflowError):
        return otherwise


def to_moment(text: str | None) -> float | None:
    """Seconds since 1970 of a time as services write it: ISO-8601, or seconds or milliseconds
    since 1970; None for anything else."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            return to_seconds(text)
        except (ValueError, OverflowError):
            return None
    # So many seconds are the year 5138, so many milliseconds 1973.
    return seconds / 1000 if seconds > 1e11 else seconds
