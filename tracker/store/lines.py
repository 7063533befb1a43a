"""A job's line to its service: what is owed to it, in order, of which only the first is due."""

from __future__ import annotations

from dataclasses import dataclass

from tracker import clock
from tracker.errors import NotFound
from tracker.model import (
    Json,
    Kind,
    NewOperation,
    OperationState,
)
from tracker.store.ledger import readable, to_json
from tracker.store.settlement import Settlement
from tracker.store.syncing import GO_WITH_THE_JOB

FAR = "9999-12-31T23:59:59.999Z"
"""When something is due that waits for something else."""


@dataclass(frozen=True, slots=True)
class Owed:
    """One operation in a job's line to its service."""

    id: int
    kind: str
    state: str
    attempts: int
    unaccounted: int
    claimed_by: str | None
    payload: dict[str, Json]

    @property
    def unsent(self) -> bool:
        """Whether it is certain that the service does not have it."""
        return not self.attempts and not self.unaccounted and self.claimed_by is None

    @property
    def dead(self) -> bool:
        """Whether it was given up."""
        return self.state == OperationState.DEAD


@dataclass(frozen=True, slots=True)
class Subject:
    """The job that is to be changed."""

    id: int
    local_id: str
    status: str
    user_id: str
    service: str
    account: str
    server_id: str | None
    payload: dict[str, Json]
    last_synced: dict[str, Json]
    line: tuple[Owed, ...]

    def of(self, *kinds: Kind) -> list[Owed]:
        """What is owed of these kinds."""
        return [one for one in self.line if one.kind in kinds]

    @property
    def short_id(self) -> str:
        """What people call it."""
        return self.local_id[-8:]

    @property
    def never_left(self) -> bool:
        """Whether it is certain that the service has never seen it."""
        submission = self.of(Kind.UPLOAD_INPUT, Kind.CREATE)
        gone_out = any(not (one.unsent or one.dead) for one in submission)
        return self.server_id is None and not gone_out


class Lines(Settlement):
    """What all acts on a job's line share."""

    def _subject(self, local_id: str) -> Subject:
        rows = self.database.read(self.sql["job_to_change"], {"local_id": local_id})
        if not rows:
            raise NotFound(f"no job '{local_id}'", "see: tracker list")
        id_, status, user_id, service, account, server_id, payload, synced, _ = rows[0]
        line = tuple(
            Owed(row[0], row[1], row[2], row[3], row[4], row[5], readable(row[6]))
            for row in self.database.read(self.sql["owed_to_service"], {"local_id": local_id})
        )
        return Subject(
            id_,
            local_id,
            status,
            user_id,
            service,
            account,
            server_id,
            readable(payload),
            readable(synced),
            line,
        )

    def _append(self, job: Subject, operation: NewOperation, now: float) -> None:
        """At the end of the job's line; due now, if that is empty."""
        id_ = self._write_operation(job.local_id, operation, now)
        if job.line:
            self.database.write(self.sql["postpone"], {"id": id_, "far": FAR})

    def _promote(self, local_id: str) -> None:
        now = clock.to_text(self.now())
        self.database.write(self.sql["promote"], {"local_id": local_id, "now": now})

    def _revive(self, id_: int, at: str) -> None:
        self.database.write(self.sql["revive_operation"], {"id": id_, "next_attempt_at": at})

    def _set_payload(self, id_: int, payload: dict[str, Json]) -> None:
        written = {"id": id_, "payload": to_json(payload)}
        self.database.write(self.sql["set_operation_payload"], written)

    def _drop(self, local_id: str) -> None:
        for kind in GO_WITH_THE_JOB:
            self.database.write(
                self.sql["drop_unclaimed_operations"], {"local_id": local_id, "kind": kind}
            )
