"""What programs and people do to jobs: submit, adopt, poll now, complete, fail, reopen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from tracker import clock
from tracker.databases.base import LEDGER, ROWS
from tracker.errors import Impossible, NotFound
from tracker.model import Event, Job, Kind, NewOperation, ProcessingJob, Status
from tracker.objects import StoredObject
from tracker.outcomes import Transition
from tracker.store.claims import job_from
from tracker.store.ledger import to_json
from tracker.store.settlement import Settled, Settlement

FORCED_POLL_DISTANCE = 7.0
"""A job asked for by hand still keeps this distance, in seconds, from its last poll (P5)."""


ENDED_WITH_THE_JOB = (Kind.UPLOAD_INPUT, Kind.CREATE, Kind.FETCH_RESULT, Kind.STORE_RESULT)


class Acts(Settlement):
    """Each act is one transaction, with the event that tells of it."""

    def submit(
        self,
        job: ProcessingJob,
        operation: NewOperation,
        *,
        spooled: StoredObject | None = None,
    ) -> None:
        """Put a new job on record together with what it owes first: its create, or the upload that
        the create waits for (P2). `spooled` is its input in the spool."""
        uses_objects = spooled is not None or operation.object is not None
        with self.database.transaction(LEDGER if uses_objects else ROWS):
            now = self.now()
            self._insert(job, now)
            if spooled is not None:
                self._write_object(job.local_id, spooled, clock.to_text(now))
            self._write_operation(job.local_id, operation, now)

    def submit_many(self, jobs: Sequence[tuple[ProcessingJob, NewOperation]]) -> None:
        """Put new jobs on record together with the creates that they owe, all of them or none."""
        with self.database.transaction(ROWS):
            now = self.now()
            at, told = clock.to_text(now), []
            self.database.write_many(
                self.sql["insert_job"], [self._new_row(job, now) for job, _ in jobs]
            )
            self.database.write_many(
                self.sql["insert_operation"],
                [self._owed_row(job.local_id, operation, now) for job, operation in jobs],
            )
            for job, _ in jobs:
                created = Event("job:created", {"job": job.said})
                told.append(self._event(job.local_id, job.user_id, created, at))
            self.database.write_last(self.sql["insert_event"], told)

    def adopt(
        self,
        job: ProcessingJob,
        key: str,
        first_poll: float,
        objects: Sequence[StoredObject] = (),
        known: Collection[str] = (),
    ) -> None:
        """Put a job on record that already runs at its service, with the `objects` that it uses;
        first polled in `first_poll` seconds. Raises Impossible when it is on record already, or
        when one of the objects is being removed, or was since it was looked at: `known` has the
        URIs of those that were on record then."""
        try:
            with self.database.transaction():
                now = self.now()
                job.accepted_at = clock.to_text(now)
                job.next_poll_at = clock.to_text(now + first_poll)
                self._insert(job, now, key)
                # Whoever tracks it again wants it back.
                self.database.write(self.sql["unbury"], {"server_key": key})
                for stored in objects:
                    if stored.uri in known and not self.knows(stored):
                        raise Impossible(
                            f"{stored.uri} has just been removed", "put it there again"
                        )
                    self._write_object(job.local_id, stored, clock.to_text(now))
        except self.database.broken:
            owner = self.database.read(
                self.sql["job_with_server_key"], {"server_key": key, "id": 0, "operation_id": 0}
            )
            known = owner[0][0][-8:] if owner else "another job"
            raise Impossible(
                f"{job.service}:{(job.server_id or '')[:80]} is tracked already as job {known}",
                f"see: tracker show {known}",
            ) from None

    def _new_row(self, job: ProcessingJob, now: float, key: str | None = None) -> dict[str, Any]:
        at = clock.to_text(now)
        job.initiated_at = job.initiated_at or at
        job.created_at = job.updated_at = at
        return {
            "local_id": job.local_id,
            "server_id": job.server_id,
            "server_key": key,
            "service": job.service,
            "account": job.account,
            "job_type": job.job_type,
            "user_id": job.user_id,
            "session_id": job.session_id,
            "project": job.project,
            "document_id": job.document_id,
            "status": job.status,
            "payload": to_json(job.payload),
            "vars": to_json(job.vars),
            "traceparent": job.traceparent,
            "initiated_at": job.initiated_at,
            "accepted_at": job.accepted_at,
            "estimated_completion_seconds": job.estimated_completion_seconds,
            "next_poll_at": job.next_poll_at,
            "now": at,
        }

    def _insert(self, job: ProcessingJob, now: float, key: str | None = None) -> None:
        self.database.write(self.sql["insert_job"], self._new_row(job, now, key))
        told = Event("job:created", {"job": job.said})
        self._write_events(job.local_id, job.user_id, [told], clock.to_text(now))

    def act(self, local_id: str, change: Transition) -> bool:
        """Apply a person's transition; False when the job was not in a state that allows it.

        Its submission and its result are no longer owed, unless one is on its way just now: then
        its executor finds the job ended and drops it.
        """
        with self.database.transaction():
            applied = self._transition(change, self.now(), Settled())
            if applied:
                for kind in ENDED_WITH_THE_JOB:
                    self.database.write(
                        self.sql["drop_unclaimed_operations"],
                        {"local_id": local_id, "kind": kind},
                    )
                # Who stood behind a create finds out that the service never had the job.
                now = clock.to_text(self.now())
                self.database.write(self.sql["promote"], {"local_id": local_id, "now": now})
        return applied

    def make_due(self, local_ids: Sequence[str]) -> None:
        """Have these running jobs polled now, or as soon as 7 s have passed since their last
        poll; their claims and everything else stay as they are."""
        with self.database.transaction():
            now = self.now()
            for local_id in local_ids:
                for row in self.database.read(self.sql["row_id_of"], {"local_id": local_id}):
                    self._make_due(local_id, row, now)

    def _make_due(self, local_id: str, row: tuple[Any, ...], now: float) -> None:
        id_, status, user_id, last_poll_at = row
        if status != Status.PROCESSING:
            return
        last = clock.read(last_poll_at, 0.0)
        due = clock.to_text(max(now, min(last, now) + FORCED_POLL_DISTANCE))
        self.database.write(self.sql["due_now"], {"id": id_, "next_poll_at": due})
        told = Event("job:metadata-updated", {"next_poll_at": due, "by": "person"})
        self._write_events(local_id, user_id, [told], clock.to_text(now))

    def job_in_hand(self, local_id: str) -> Job:
        """One job as an executor would get it, without a claim. Raises NotFound, also when
        somebody has deleted it a moment ago."""
        rows = self.database.read(
            self.sql["jobs_of_operations"],
            {"local_ids": to_json([local_id]), "now": clock.to_text(self.now())},
        )
        if not rows:
            raise NotFound(f"no job '{local_id}'", "see: tracker list")
        return job_from(rows[0])[0]
