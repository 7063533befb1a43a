"""The outbox, by hand: what was given up or is in doubt is brought back or let go."""

from __future__ import annotations

from typing import Any

from tracker import clock
from tracker.errors import Impossible, NotFound
from tracker.model import (
    SYNC,
    Event,
    Json,
    Kind,
    NewOperation,
    OperationState,
    Reason,
    Status,
)
from tracker.outcomes import Transition
from tracker.store.ledger import readable, to_json
from tracker.store.lines import FAR, Lines
from tracker.store.settlement import Settled


class ByHand(Lines):
    """A person knows what the ledger does not."""

    def reset(self, local_id: str) -> None:
        """Have what was given up of a job's line to its service tried again, from the beginning
        (J9). Raises Impossible when nothing was."""
        with self.database.transaction():
            job = self._subject(local_id)
            dead = [one for one in job.line if one.dead]
            if not dead:
                doubtful = [one.id for one in job.line if one.state == OperationState.IN_DOUBT]
                raise Impossible(
                    f"job {job.short_id} has no failed sync to be reset",
                    f"one in doubt: tracker outbox retry {doubtful[0]}, or discard {doubtful[0]}"
                    if doubtful
                    else f"see: tracker explain {job.short_id}",
                )
            for one in dead:
                self._revive(one.id, FAR)
            self._promote(local_id)

    def retry_operation(self, id_: int) -> str:
        """Have one operation attempted now, from the beginning, also one in doubt: a person knows
        that it may be sent again. Its job's local id. Raises NotFound, Impossible when it is on
        its way."""
        with self.database.transaction():
            local_id, kind = self._operation(id_)[1:3]
            self._revive(id_, FAR if kind in SYNC else clock.to_text(self.now()))
            if kind in SYNC:
                self._promote(local_id)
        return str(local_id)

    def discard_operation(self, id_: int) -> str:
        """Let one operation go: a job whose submission is discarded fails, one whose deletion is
        goes on. Its job's local id. Raises NotFound, Impossible when it is on its way."""
        with self.database.transaction():
            _, local_id, kind, _, _, _, error, _, _, payload = self._operation(id_)
            if kind in (Kind.UPLOAD_INPUT, Kind.CREATE):
                self._reject(local_id, error)
            elif kind == Kind.UPDATE:
                self._undo_change(id_, local_id)
            self.database.write(self.sql["drop_operation"], {"id": id_})
            self.database.write(self.sql["unstage"], {"operation_id": id_})
            now = clock.to_text(self.now())
            if kind == Kind.DELETE:
                self.database.write(self.sql["resume_polling"], {"local_id": local_id, "now": now})
                self._restore(local_id, readable(payload))
            if kind in SYNC:
                self._promote(local_id)
            told = Event("job:metadata-updated", {"discarded": kind, "by": "person"})
            self._write_events(local_id, "", [told], now)
        return str(local_id)

    def _operation(self, id_: int) -> tuple[Any, ...]:
        rows = self.database.read(self.sql["operation_by_id"], {"id": id_})
        if not rows:
            raise NotFound(f"no operation {id_}", "see: tracker outbox")
        if rows[0][4] == OperationState.PENDING and rows[0][5] is not None:
            raise Impossible(f"operation {id_} is on its way", "try again in a moment")
        return rows[0]

    def _reject(self, local_id: str, error: str | None) -> None:
        if self._subject(local_id).of(Kind.DELETE):
            self._erase_job(local_id, self.now())  # it was to go anyway
            return
        for row in self.database.read(self.sql["job_to_change"], {"local_id": local_id}):
            self._drop(local_id)
            message = f"its submission was discarded: {error}" if error else "discarded"
            change = Transition(
                row[0],
                (Status.PENDING,),
                Status.FAILED,
                raise_lease=True,
                reason=Reason.REJECTED,
                error=message,
                events=[
                    Event(
                        "job:status-changed",
                        {"from": Status.PENDING, "to": Status.FAILED, "by": "person"},
                    ),
                    Event("job:error-details", {"reason": Reason.REJECTED, "message": message}),
                    Event("job:finalized", {"status": Status.FAILED, "reason": Reason.REJECTED}),
                ],
            )
            self._transition(change, self.now(), Settled())

    def _restore(self, local_id: str, deletion: dict[str, Json]) -> None:
        """Owe again what a deletion that was called off had superseded."""
        found = deletion.get("superseded")
        for kind, payload in found if isinstance(found, list) else []:
            job = self._subject(local_id)
            again = NewOperation(Kind(kind), job.service, job.account, payload=payload)
            self._append(job, again, self.now())

    def _undo_change(self, id_: int, local_id: str) -> None:
        """A change that is not told to the service is not kept here either."""
        job = self._subject(local_id)
        [update] = [one for one in job.line if one.id == id_]
        payload = dict(job.payload)
        before = [one for one in job.line if one.id < id_]
        later = [one.payload.get("changes") or {} for one in job.line if one.id > id_]
        for name in update.payload.get("changes") or {}:
            if any(name in changes for changes in later):
                continue
            known = dict(job.last_synced)
            for one in before:
                known |= one.payload.get("payload") or one.payload.get("changes") or {}
            if name in known:
                payload[name] = known[name]
            else:
                payload.pop(name, None)
        self.database.write(
            self.sql["change_payload"],
            {"id": job.id, "payload": to_json(payload), "now": clock.to_text(self.now())},
        )
