"""The ledger on PostgreSQL: tables, migrations, and what is said there in other words."""

from __future__ import annotations

import re
from functools import lru_cache

JSON = ("data", "fields", "last_synced", "payload", "vars")
"""Parameters that are written to columns of JSON."""

_TIMES = (
    "accepted_at",
    "began",
    "completed_at",
    "cutoff",
    "day",
    "deadline_at",
    "expires_at",
    "far",
    "initiated_at",
    "late",
    "lease_until",
    "next_attempt_at",
    "next_call_at",
    "next_poll_at",
    "next_refresh_at",
    "now",
    "overdue",
    "paused_until",
    "reached",
    "soon",
    "started_at",
    "stuck",
)
_TYPES = {
    **dict.fromkeys(_TIMES, "timestamptz"),
    **dict.fromkeys((*JSON, "fences", "found"), "jsonb"),
    # Truth values that are counted.
    **dict.fromkeys(("burnt", "polled", "raise_lease", "length"), "integer"),
    # What may be NULL, and is asked whether it is.
    **dict.fromkeys(("kinds", "service", "state", "version_id"), "text"),
    "lease": "bigint",
    "rows": "json",
    "shift": "interval",
}
"""What PostgreSQL cannot always see from where a parameter stands: its type."""

_NUMBERS = ("ids", "object_ids")

_LIST = re.compile(r"(NOT )?IN \(SELECT value FROM json_each\(:(\w+)\)\)")
_WORD = re.compile(r"'(?:[^']|'')*'|--[^\n]*|::|:(\w+)|\?|%")


@lru_cache(maxsize=1024)
def translated(sql: str) -> str:
    """A statement as psycopg takes it: parameters as ``%(name)s`` with their type, where they are
    ``:name``, and ``%s`` for ``?``; lists of values in JSON as arrays."""
    return _WORD.sub(_parameter, _LIST.sub(_array, sql))


def _array(found: re.Match[str]) -> str:
    name = found[2]
    element = "value::bigint" if name in _NUMBERS else "value"
    elements = f"ARRAY(SELECT {element} FROM jsonb_array_elements_text(:{name}::jsonb) AS value)"
    return f"{'<> ALL' if found[1] else '= ANY'} ({elements})"


def _parameter(found: re.Match[str]) -> str:
    word, name = found[0], found[1]
    if word == "?":
        return "%s"
    if name is None:
        return "" if word.startswith("--") else word.replace("%", "%%")
    kind = _TYPES.get(name)
    return f"%({name})s::{kind}" if kind else f"%({name})s"
