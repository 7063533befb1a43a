"""A ``processing_jobs`` table from before the ledger, keyed by ``job_id``, and its rows."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

OLD = "processing_jobs_before_ledger"
SERVICE = "default"
NEWEST_USER_VERSION = 2
"""The newest layout known that still has ``job_id``; a higher number is some other program's."""

_KNOWN = [
    "job_id",
    "job_type",
    "status",
    "initiated_at",
    "estimated_completion_seconds",
    "completed_at",
    "result_content_id",
    "error_message",
    "last_poll_at",
    "next_poll_at",
    "retry_count",
    "user_id",
    "session_id",
    "project",
    "document_id",
    "progress",
    "created_at",
    "updated_at",
]
_STATUSES = {"completed": "completed", "failed": "failed", "timeout": "failed"}


def layout(connection: sqlite3.Connection) -> bool:
    """Whether the database holds such a table. Raises ValueError for one nobody knows."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(processing_jobs)")}
    if not columns:
        return False
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > NEWEST_USER_VERSION:
        raise ValueError(f"it was made by a newer version (user_version {version})")
    missing = {"job_id", "job_type", "status", "initiated_at"} - columns
    if missing:
        raise ValueError(f"its processing_jobs has no column {', '.join(sorted(missing))}")
    return True


def step_aside(connection: sqlite3.Connection) -> None:
    """Rename the old table; indexes and triggers that somebody put on it go."""
    for kind, name in connection.execute(
        "SELECT type, name FROM sqlite_master WHERE tbl_name = 'processing_jobs' "
        "AND type IN ('index', 'trigger') AND sql IS NOT NULL"
    ).fetchall():
        quoted = name.replace('"', '""')
        connection.execute(f'DROP {kind} "{quoted}"')
    connection.execute(f"ALTER TABLE processing_jobs RENAME TO {OLD}")


def take_along(connection: sqlite3.Connection, context: dict[str, Any]) -> int:
    """Copy every old row into the ledger and drop the old table; how many there were.

    ``job_id`` becomes the ``server_id`` of a service named ``default``; a job that was running is
    due at once; a time without an offset is taken as being in ``context["zone"]``. What the ledger
    has no column for is kept in the job's ``vars`` under ``legacy``.
    """
    # One old text that is no UTF-8 does not keep the whole database from its upgrade.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    cursor = connection.execute(f"SELECT * FROM {OLD}")
    names = [column[0] for column in cursor.description]
    rows = _rows(cursor, names, context)
    columns = list(_blank(context))
    marks = ", ".join(f":{column}" for column in columns)
    count = connection.executemany(
        f"INSERT INTO processing_jobs ({', '.join(columns)}) VALUES ({marks})", rows
    ).rowcount
    connection.text_factory = str
    connection.execute(f"DROP TABLE {OLD}")
    return max(count, 0)


def _rows(
    cursor: sqlite3.Cursor, names: list[str], context: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for values in cursor:
        yield _row(dict(zip(names, values, strict=True)), context)


def _blank(context: dict[str, Any]) -> dict[str, Any]:
    now = context["last_now"]
    return {
        "local_id": None, "server_id": None, "server_key": None, "service": SERVICE,
        "job_type": "", "user_id": "", "session_id": None, "project": None, "document_id": None,
        "status": "processing", "failure_reason": None, "error_message": None,
        "result_content_id": None, "progress": None, "vars": "{}", "initiated_at": now,
        "created_at": now, "updated_at": now, "accepted_at": now, "completed_at": None,
        "estimated_completion_seconds": None, "next_poll_at": None, "last_poll_at": None,
        "retry_count": 0,
    }  # fmt: skip


def _row(old: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    new = _blank(context)
    kept = {key: _plain(value) for key, value in old.items() if key not in _KNOWN}
    new["local_id"] = context["new_id"]()
    time: Callable[[Any], str | None] = context["time"]
    for name in ("initiated_at", "completed_at", "last_poll_at", "created_at", "updated_at"):
        read = time(old.get(name))
        if read is None and old.get(name) is not None:
            kept[name] = _plain(old[name])
        new[name] = read or new[name]
    new["accepted_at"] = new["initiated_at"]
    for name in ("created_at", "updated_at"):
        if time(old.get(name)) is None:
            new[name] = new["completed_at"] or new["initiated_at"]
    for name in ("user_id", "job_type"):
        new[name] = str(old[name]) if old.get(name) is not None else ""
    for name in ("session_id", "project", "document_id", "result_content_id", "error_message"):
        new[name] = str(old[name]) if old.get(name) is not None else None
    for name in ("estimated_completion_seconds", "progress"):
        new[name] = _number(old.get(name))
        if new[name] is None and old.get(name) is not None:
            kept[name] = _plain(old[name])
    new["retry_count"] = int(_number(old.get("retry_count")) or 0)
    _place(new, old, kept, context)
    new["vars"] = json.dumps({"legacy": kept}) if kept else "{}"
    return new


def _place(
    new: dict[str, Any], old: dict[str, Any], kept: dict[str, Any], context: dict[str, Any]
) -> None:
    status = str(old["status"]).lower()
    new["status"] = _STATUSES.get(status, "processing")
    if status not in (*_STATUSES, "processing"):
        kept["status"] = _plain(old["status"])
    if status == "timeout":
        new["failure_reason"] = "timeout"
        new["error_message"] = new["error_message"] or "Processing timeout"
    elif status == "failed":
        new["failure_reason"] = "service"
        new["error_message"] = new["error_message"] or "Processing failed"
    if old["job_id"] is None or old["job_id"] == "":
        # Without an id there is nothing to ask the service for.
        if new["status"] == "processing":
            new["status"], new["failure_reason"] = "failed", "lost"
            new["error_message"] = "The older database held no job_id for this job"
    else:
        new["server_id"] = str(old["job_id"])
        new["server_key"] = context["server_key"](SERVICE, new["server_id"])
    if new["status"] == "processing":
        new["next_poll_at"] = context["last_now"]
        new["completed_at"] = None
    elif new["completed_at"] is None:
        new["completed_at"] = context["last_now"]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
