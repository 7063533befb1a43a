"""Looking without touching: jobs, their events, operations, contents and objects."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracker import clock
from tracker.errors import NotFound, UsageError
from tracker.model import ACTIVE, FINISHED, Json, ProcessingJob
from tracker.objects import Scheme, StoredObject
from tracker.schema.sqlite.listing import listing
from tracker.store.ledger import Ledger, object_from, to_json


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened to a job; ``seq`` orders all events of a ledger."""

    seq: int
    at: str
    local_id: str
    user_id: str
    origin: str
    type: str
    data: dict[str, Json]


class Reads(Ledger):
    """Reads are of one moment each; none takes a lock."""

    def resolve(self, text: str) -> str:
        """The local id that `text` means: one in full, an end or beginning of one (4 characters
        or more) that only one job has, or ``service:server_id``.

        Raises NotFound, and UsageError when it could mean several jobs.
        """
        word = text.strip()
        found = self._matches(word)
        if len(found) == 1:
            return str(found[0])
        if not found:
            raise NotFound(f"no job '{text[:80]}'", "see: tracker list")
        ends = ", ".join(local_id for local_id in found[:2])
        raise UsageError(f"job '{text[:80]}' could be {ends}", "give more of the id")

    def _matches(self, word: str) -> list[str]:
        if ":" in word:
            service, _, server_id = word.partition(":")
            rows = self._find("find_by_server_id", service=service, server_id=server_id)
            if rows:
                return rows
        lowered = word.lower()
        if len(lowered) == 36:
            return self._find("find_by_start", start=lowered, stop=lowered + "~")
        if len(lowered) < 4 or not set(lowered) <= set("0123456789abcdef-"):
            return []
        name = "find_by_short_id" if len(lowered) >= 8 else "find_by_end"
        by_end = self._find(name, ending=lowered, length=len(lowered))
        return by_end or self._find("find_by_start", start=lowered, stop=lowered + "~")

    def _find(self, name: str, **parameters: Any) -> list[str]:
        return [row[0] for row in self.database.read(self.sql[name], parameters)]

    def get(self, local_id: str) -> ProcessingJob:
        """One job by its local id. Raises NotFound."""
        jobs = self.get_many([local_id])
        if not jobs:
            raise NotFound(f"no job '{local_id}'", "see: tracker list")
        return jobs[0]

    def get_many(self, local_ids: Sequence[str]) -> list[ProcessingJob]:
        """Those of these jobs that there are, in no order."""
        wanted = {"local_ids": to_json(list(local_ids))}
        return [_job(row) for row in self.database.read_dicts(self.sql["get_jobs"], wanted)]

    def list_jobs(
        self, *, statuses: Sequence[str] = (), limit: int = 50, **filters: str | None
    ) -> list[ProcessingJob]:
        """A page of jobs, newest first. `filters`: ``service``, ``job_type``, ``project``,
        ``session_id``, ``document_id``, ``user_id``, ``created_after`` and ``created_before``
        (ISO-8601), ``before`` (the last local id of the page before)."""
        parameters: dict[str, Any] = {**filters, "limit": limit}
        if statuses:
            parameters["statuses"] = to_json(list(statuses))
            parameters["active"] = set(statuses) <= set(ACTIVE)
            parameters["finished"] = set(statuses) <= set(FINISHED)
        sql = listing(self.sql["view_columns"], parameters)
        return [_job(row) for row in self.database.read_dicts(sql, parameters)]

    def events(
        self, *, local_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[EventRow]:
        """Events with a ``seq`` above `after`, oldest first; of one job, or of all."""
        name = "events" if local_id is None else "events_of"
        parameters = {"local_id": local_id, "after": after, "limit": limit}
        rows = self.database.read(self.sql[name], parameters)
        return [EventRow(*row[:6], *map(_loads, row[6:])) for row in rows]

    def last_event(self) -> int:
        """The highest ``seq`` there is; 0 when there is no event."""
        return int(self.database.read(self.sql["last_event"])[0][0])

    def operations_of(self, local_id: str) -> list[dict[str, Json]]:
        """What a job owes, oldest first, as dicts of the columns."""
        return self.database.read_dicts(self.sql["operations_of"], {"local_id": local_id})

    def contents_of(self, local_id: str) -> list[dict[str, Json]]:
        """What is kept for a job, without bodies."""
        return self.database.read_dicts(self.sql["contents_of"], {"local_id": local_id})

    def objects_of(self, local_id: str) -> list[dict[str, Json]]:
        """The files and objects that a job uses."""
        found = self.database.read_dicts(self.sql["objects_of"], {"local_id": local_id})
        return [{**one, "owned": bool(one["owned"])} for one in found]

    def paths_of(self, local_ids: Sequence[str], paths: Sequence[str] = ()) -> set[str]:
        """The files that these jobs have on record, kept results and inputs; and those of `paths`
        that any job has."""
        wanted = {"local_ids": to_json(list(local_ids)), "paths": to_json(list(paths))}
        rows = self.database.read(self.sql["paths_of_contents"], wanted)
        inputs = self.database.read(self.sql["inputs_of"], wanted)
        stored = [object_from(row[1:]) for row in inputs]
        found = {one.key for one in stored if one.scheme == Scheme.FILE}
        found |= {row[0] for row in self.database.read(self.sql["files_on_record"], wanted)}
        return found | {row[1] for row in rows}

    def content(
        self, local_id: str, role: str = "result"
    ) -> tuple[bytes | None, str | None, StoredObject | None]:
        """A kept content as (body, path, object): the body itself, or where it is. Raises
        NotFound."""
        rows = self.database.read(self.sql["content_body"], {"local_id": local_id, "role": role})
        if not rows:
            raise NotFound(f"job {local_id[-8:]} has no {role}")
        body, path, object_id = rows[0]
        found = None
        if object_id is not None:
            row = self.database.read(self.sql["objects_by_id"], {"ids": to_json([object_id])})
            found = object_from(row[0]) if row else None
        return body, path, found

    def outbox(
        self,
        *,
        state: str | None = None,
        local_id: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[dict[str, Json]]:
        """What is owed, oldest first, as dicts of the columns; ``object`` is the place of what it
        is about. `state` is pending, in_doubt or dead."""
        wanted = {"state": state, "local_id": local_id, "after": after, "limit": limit}
        name = "outbox" if local_id is None else "outbox_of"
        return self.database.read_dicts(self.sql[name], wanted)

    def count_outbox(self, *, state: str | None = None, local_id: str | None = None) -> int:
        """How many operations `outbox` has in all."""
        wanted = {"state": state, "local_id": local_id}
        name = "count_outbox" if local_id is None else "count_outbox_of"
        return int(self.database.read(self.sql[name], wanted)[0][0])

    def removals_owed(self, lane: str) -> int:
        """How many removals one of the storage lanes still owes."""
        return int(self.database.read(self.sql["removals_owed"], {"service": lane})[0][0])

    def counts(self) -> dict[str, int]:
        """How many unfinished jobs there are by status, and operations by state (``owed`` …)."""
        found = dict.fromkeys(ACTIVE, 0) | dict(self.database.read(self.sql["counts"]))
        return {str(key): int(value) for key, value in found.items()}

    def operation_counts(self) -> dict[str, int]:
        """How many operations there are by state."""
        return {row[0]: row[1] for row in self.database.read(self.sql["operation_counts"])}

    def count_due(self, service: str, cutoff: float = math.inf) -> int:
        """How many running jobs of `service` are due at `cutoff` (seconds since 1970); all of
        them without one."""
        parameters = {"service": service, "cutoff": clock.to_text(cutoff)}
        return int(self.database.read(self.sql["count_due"], parameters)[0][0])


def _job(values: dict[str, Any]) -> ProcessingJob:
    values["payload"], values["vars"] = _loads(values["payload"]), _loads(values["vars"])
    return ProcessingJob(**values)


def _loads(text: str) -> dict[str, Json]:
    """A JSON object; what cannot be read (somebody edited the row) is shown as it is."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError):
        value = text
    return value if isinstance(value, dict) else {"unreadable": str(value)}
