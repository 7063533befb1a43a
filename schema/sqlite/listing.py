"""The one statement that is put together: a page of jobs by any of the filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FILTERS = {
    "service": "service = :service",
    "job_type": "job_type = :job_type",
    "project": "project = :project",
    "session_id": "session_id = :session_id",
    "document_id": "document_id = :document_id",
    "user_id": "user_id = :user_id",
    "created_after": "created_at >= :created_after",
    "created_before": "created_at < :created_before",
    # Where the last job of the page before has been cleaned up since, the one made before it.
    "before": "id < coalesce((SELECT id FROM processing_jobs WHERE local_id = :before), "
    "(SELECT max(id) + 1 FROM processing_jobs WHERE local_id < :before), 0)",
}
# Word for word the conditions of the partial indexes, or SQLite would not use them.
_ACTIVE = "status IN ('pending', 'processing', 'retrieving')"
_FINISHED = "status IN ('completed', 'failed', 'cancelled')"


def listing(columns: str, filters: Mapping[str, Any]) -> str:
    """The statement for a page of jobs, newest first; its parameters are `filters` themselves.

    ``statuses`` is a JSON list, ``active`` and ``finished`` say that all of it are such.
    """
    conditions = [sql for name, sql in _FILTERS.items() if filters.get(name) is not None]
    if filters.get("statuses") is not None:
        conditions.append("status IN (SELECT value FROM json_each(:statuses))")
    if filters.get("active"):
        conditions.append(_ACTIVE)
    if filters.get("finished"):
        conditions.append(_FINISHED)
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    return f"SELECT {columns} FROM jobs {where}ORDER BY id DESC LIMIT :limit"
