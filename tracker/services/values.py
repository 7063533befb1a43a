"""Values out of other people's replies, made harmless: of one type, bounded, printable."""

from __future__ import annotations

import json
import math
import re

import msgspec

from tracker.model import Json

LONGEST_ID = 16 * 1024
LONGEST_EXPLANATION = 2000


Word = str | tuple[str, float]
"""A state's word as it is looked up: a string, or ``("boolean", …)``, ``("number", …)``: JSON's
true, 1 and "true" are three words, which Python's ``True == 1`` would not keep apart."""


def word_key(value: Json, fold_case: bool) -> Word | None:
    """How `value` is looked up; None when it is no word (null, a list or an object)."""
    if isinstance(value, str):
        return value.casefold() if fold_case else value
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, (int, float)):
        return ("number", value)
    return None


class Undecodable(Exception):
    """A body is not JSON."""


def decode(body: bytes) -> Json:
    """The JSON in `body`; None for an empty one. Raises Undecodable."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        if body.isspace():
            return None
        if body.startswith(b"\xef\xbb\xbf"):
            return decode(body[3:])
        raise Undecodable from None


def word(value: str) -> str:
    """A state's word as it is kept: at most 200 characters, and no NUL (PostgreSQL has none)."""
    return value[:200].replace("\0", "�")


def text(value: Json) -> str:
    """`value` as text: strings as they are, all else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_SIGNED = re.compile(r"(?i)(X-Amz-(?:Signature|Security-Token|Credential)=)[^&\s\"'<>]+")


def unsigned(value: str) -> str:
    """`value` without the signatures of presigned URLs, which a service may repeat: whoever has one
    can read the file."""
    return _SIGNED.sub(r"\1…", value) if "mz-" in value or "MZ-" in value else value


def line(value: str, length: int) -> str:
    """`value` as one line of at most `length` characters, without control characters."""
    value = unsigned(value)
    # Twice the length is enough to cut from, also when much of it is white space.
    shown = "".join(char if char.isprintable() else " " for char in value[: 2 * length])
    shown = " ".join(shown.split())
    return shown if len(shown) <= length and len(value) <= 2 * length else shown[: length - 1] + "…"


def identifier(value: Json) -> str | None:
    """An id as exact text: a string or a whole number of at most 16 KiB; None for all else."""
    if isinstance(value, str):
        # PostgreSQL cannot keep a NUL.
        small = 0 < len(value) <= LONGEST_ID and "\0" not in value
        return value if small and len(value.encode(errors="replace")) <= LONGEST_ID else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def seconds(value: Json) -> float | None:
    """A duration in seconds, 0 or more, from a number or a number in a string."""
    found = _number(value)
    return found if found is not None and found >= 0 else None


def fraction(part: Json, whole: Json) -> float | None:
    """``part / whole`` from 0 to 1; ``"42%"`` is 0.42 whatever the whole. None for non-numbers."""
    if isinstance(part, str) and part.rstrip().endswith("%"):
        part, whole = part.rstrip()[:-1], 100.0
    above, below = _number(part), _number(whole)
    # Some say -1 for "not known yet".
    if above is None or below is None or below <= 0 or above < 0:
        return None
    return min(max(above / below, 0.0), 1.0)


def explanation(value: Json) -> str | None:
    """Why a job failed, in the service's words, at most 2,000 characters; None without any.

    The items of a list are joined, objects are JSON.
    """
    if value in (None, "", [], {}):
        return None
    if isinstance(value, list):
        value = "; ".join(text(item) for item in value if item not in (None, "", {}))
    shown = unsigned(text(value))[: 4 * LONGEST_EXPLANATION]
    shown = "".join(c if c.isprintable() or c in "\n\t" else " " for c in shown).strip()
    return shown[:LONGEST_EXPLANATION] or None


def _number(value: Json) -> float | None:
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        try:
            value = float(value) if value.isascii() and len(value) <= 40 else None
        except ValueError:
            return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
