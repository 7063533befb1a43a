"""Deleting finished jobs: what may go, what goes with it, and what is owed from then on (P9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tracker import clock
from tracker.model import FILES, REMOVALS, Event, Json, Kind, NewOperation
from tracker.objects import ObjectState, Scheme, StoredObject
from tracker.store.ledger import Ledger, from_json, object_from, to_json

UNFINISHED = (ObjectState.PLANNED, ObjectState.UPLOADING)
"""What is at the place of such an object nobody has on record: its removal looks for all of it."""

LANE_OF = {Scheme.S3: REMOVALS, Scheme.FILE: FILES}


class Finished(NamedTuple):
    """A finished job on its way through a cleanup; ``owes`` is whether it owes anything,
    ``accepted`` whether its service has ever had it."""

    id: int
    completed_at: str
    local_id: str
    service: str
    status: str
    owes: bool
    accepted: bool = True


@dataclass(frozen=True, slots=True)
class Farewell:
    """What a service wants when jobs of it go: a call of its ``CLEAN_UP`` kind (``asks``), and
    whether that call also removes their S3 objects (``instead``)."""

    asks: bool = False
    instead: bool = False


@dataclass(slots=True)
class Cleaned:
    """What one batch did: rows deleted, and by scheme how many objects' removal is owed now, with
    their bytes; ``asked`` counts jobs whose service will be asked to clean up."""

    rows: int = 0
    requested: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Scheme, 0))
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Scheme, 0))
    asked: int = 0

    def add(self, scheme: str, size: int | None) -> None:
        """One more object."""
        self.requested[scheme] += 1
        self.bytes[scheme] += size or 0


class Cleaning(Ledger):
    """Batches are bounded: the write lock is held for some milliseconds each."""

    def finished_page(
        self, after: Finished | None, before: float, *, limit: int = 500
    ) -> list[Finished]:
        """Jobs that ended before a moment (seconds since 1970), in the order in which they did,
        from the one behind `after` on."""
        rows = self.database.read(
            self.sql["finished_page"],
            {
                "completed_at": after.completed_at if after is not None else clock.to_text(0.0),
                "id": after.id if after is not None else 0,
                "before": clock.to_text(before),
                "limit": limit,
            },
        )
        return [Finished._make((*row[:5], bool(row[5]), bool(row[6]))) for row in rows]

    def end_of_kept(self, keep: int) -> tuple[str, int] | None:
        """The end (ISO-8601) and the row id of the newest finished job that is not among the `keep`
        newest ones; None when there are no more than that."""
        rows = self.database.read(self.sql["end_of_kept"], {"keep": keep})
        return (rows[0][0], rows[0][1]) if rows else None

    def clean_up(
        self, found: Sequence[Finished], farewells: dict[str, Farewell] | None = None
    ) -> Cleaned:
        """Delete those of these jobs that are still finished and owe nothing, with all that
        belongs to them. In the same transaction the removal of what they alone used is owed.

        `farewells` say what services want when their jobs go.
        """
        cleaned = Cleaned()
        with self.database.transaction():
            now = self.now()
            jobs = self.database.read(
                self.sql["still_cleanable"],
                {"found": to_json([[one.id, one.completed_at] for one in found])},
            )
            if not jobs:
                return cleaned
            self._erase(jobs, farewells or {}, "cleanup", now, cleaned)
            cleaned.rows = len(jobs)
        return cleaned

    def _erase(
        self,
        jobs: list[tuple[Any, ...]],
        farewells: dict[str, Farewell],
        by: str,
        now: float,
        cleaned: Cleaned,
        *,
        bury: bool = True,
    ) -> None:
        """Delete these jobs (rows of ``job_of``) with all that belongs to them; with `bury`, no
        listing brings them back."""
        for instead in (False, True):
            # A service that never accepted a job knows of none of its objects.
            group = [
                row[1]
                for row in jobs
                if (farewells.get(row[3], Farewell()).instead and row[5] is not None) is instead
            ]
            if group:
                self._let_go(group, instead, now, cleaned)
        for row in jobs:
            if row[5] is not None and farewells.get(row[3], Farewell()).asks:
                self._write_operation(row[1], _clean_up_of(row), now)
                cleaned.asked += 1
        gone = {"local_ids": to_json([row[1] for row in jobs])}
        self.database.write(self.sql["delete_contents"], gone)
        told = [Event("job:deleted", {"by": by})]
        for row in jobs:
            self._write_events(row[1], row[2], told, clock.to_text(now))
        ids = {"ids": to_json([row[0] for row in jobs]), "now": clock.to_text(now)}
        if bury:
            self.database.write(self.sql["bury"], ids)
        self.database.write(self.sql["delete_jobs"], ids)

    def _let_go(self, local_ids: list[str], instead: bool, now: float, cleaned: Cleaned) -> None:
        """End the jobs' use of their objects, and owe the removal of those that nobody uses."""
        at = clock.to_text(now)
        jobs = {"local_ids": to_json(local_ids), "now": at}
        job_of_path = {
            path: local_id
            for local_id, path in self.database.read(self.sql["paths_of_contents"], jobs)
        }
        freed = self.database.write(self.sql["release_objects"], jobs)
        last_job = dict(freed)
        objects = {"object_ids": to_json(list(last_job)), "now": at}
        if instead:
            self.database.write(self.sql["hand_over_objects"], objects)
        self.database.write(self.sql["forget_foreign_objects"], objects)
        before = self.database.read(self.sql["objects_by_id"], {"ids": objects["object_ids"]})
        stored = [object_from(row) for row in before]
        unfinished = {one.id for one in stored if one.state in UNFINISHED or one.upload_id}
        owed = self.database.write(self.sql["request_removal_of_objects"], objects)
        for id_, scheme, size in owed:
            self._owe_removal(id_, scheme, last_job[id_], now, traces=id_ in unfinished)
            cleaned.add(scheme, size)
        if job_of_path:
            kept = self.database.write(self.sql["request_removal_of_results"], jobs)
            for id_, scheme, size, path in kept:
                self._owe_removal(id_, scheme, job_of_path[path], now)
                cleaned.add(scheme, size)

    def _owe_removal(
        self, id_: int, scheme: str, local_id: str, now: float, *, traces: bool = False
    ) -> None:
        removal = NewOperation(
            Kind.REMOVE_OBJECT,
            LANE_OF[Scheme(scheme)],
            priority="low",
            payload={"traces": True} if traces else {},
            object=StoredObject(scheme, "", id=id_),
        )
        self._write_operation(local_id, removal, now)

    # Looking ahead, and looking back.

    def owned_by(self, local_id: str) -> list[tuple[StoredObject, int]]:
        """What the tracker owns of what a job uses, each with the number of jobs that use it."""
        wanted = {"local_id": local_id}
        found = [
            (object_from(row), row[-1])
            for row in self.database.read(self.sql["owned_objects_of"], wanted)
        ]
        kept = self.database.read(self.sql["kept_files_of"], wanted)
        return found + [(StoredObject(Scheme.FILE, path, size=size), 1) for path, size in kept]

    def whole(self, local_ids: Sequence[str]) -> list[dict[str, Json]]:
        """Everything that is on record of these jobs, a dict each: ``job``, ``contents``,
        ``objects``, ``events``; bodies are bytes."""
        wanted = {"local_ids": to_json(list(local_ids))}
        found: dict[str, dict[str, Json]] = {
            row["local_id"]: {"job": row, "contents": [], "objects": [], "events": []}
            for row in self.database.read_dicts(self.sql["whole_jobs"], wanted)
        }
        for name in ("contents", "objects", "events"):
            for row in self.database.read_dicts(self.sql[f"whole_{name}"], wanted):
                # Events outlive a job that another cleanup has deleted meanwhile.
                if (one := found.get(row.pop("local_id"))) is not None:
                    one[name].append(row)
        return list(found.values())


def _clean_up_of(row: tuple[Any, ...]) -> NewOperation:
    """What is owed to the service of a job that goes; its row will not be there to be asked."""
    _, _, _, service, account, server_id, variables, payload = row
    known: dict[str, Json] = {"server_id": server_id}
    for name, text in (("vars", variables), ("payload", payload)):
        try:
            known[name] = from_json(text)
        except ValueError:
            known[name] = {}
    return NewOperation(Kind.CLEAN_UP, service, account, priority="low", payload=known)
