"""What people change about jobs, on its way to the service: update, cancel, delete.

Each act is one transaction: the job, what is owed for it, and the event. What was never attempted
is merged or dropped; what may have left stays as it was, and the next thing waits for it.
"""

from __future__ import annotations

from tracker import clock
from tracker.errors import Impossible
from tracker.model import (
    FINISHED,
    Event,
    Json,
    Kind,
    NewOperation,
    Status,
)
from tracker.outcomes import Transition
from tracker.store.ledger import same, to_json
from tracker.store.lines import FAR, Lines, Owed, Subject
from tracker.store.settlement import Settled
from tracker.store.syncing import RESTORED


class Changes(Lines):
    """Acts of people that a service is to hear of."""

    def change(self, local_id: str, changes: dict[str, Json], *, tells: bool) -> dict[str, Json]:
        """Change fields of a job's payload; those that are different now. `tells` is whether its
        service has a call for that. Raises Impossible for a job that has ended or is being
        deleted, or that the service has already and cannot be told about."""
        with self.database.transaction():
            job = self._subject(local_id)
            self._refuse_ended(job, "changed")
            effective = {
                name: value
                for name, value in changes.items()
                if name not in job.payload or not same(job.payload[name], value)
            }
            if not effective:
                return {}
            creates = job.of(Kind.CREATE)
            # A create that has had a body of its own keeps it, also where it came back unsent.
            unsent = job.server_id is None and all(
                one.unsent and "payload" not in one.payload for one in creates
            )
            if not unsent and not tells:
                raise Impossible(
                    f"job {job.short_id} cannot be changed: its service has it already",
                    f"define [services.{job.service}.update]",
                )
            now = self.now()
            at = clock.to_text(now)
            if not unsent:
                self._owe_update(job, creates, effective, now)
            self.database.write(
                self.sql["change_payload"],
                {"id": job.id, "payload": to_json({**job.payload, **effective}), "now": at},
            )
            told = Event("job:metadata-updated", {"payload": effective, "by": "person"})
            self._write_events(local_id, job.user_id, [told], at)
        return effective

    def _owe_update(
        self, job: Subject, creates: list[Owed], changes: dict[str, Json], now: float
    ) -> None:
        for create in creates:
            if "payload" not in create.payload:
                # It may be repeated: then with the body that it had the first time.
                kept = {**create.payload, "payload": job.payload}
                self._set_payload(create.id, kept)
        at = clock.to_text(now)
        last = job.line[-1] if job.line else None
        if last is None or last.kind != Kind.UPDATE or not last.unsent or last.dead:
            update = NewOperation(
                Kind.UPDATE, job.service, job.account, payload={"changes": changes, "at": at}
            )
            self._append(job, update, now)
            return
        merged = {**(last.payload.get("changes") or {}), **changes}
        alone = len(job.line) == 1
        # What is as the service has it needs no telling; with something before it, who knows.
        known = job.last_synced if alone else {}
        left = {k: v for k, v in merged.items() if k not in known or not same(known[k], v)}
        if left:
            self._set_payload(last.id, {**last.payload, "changes": left, "at": at})
        else:
            self.database.write(self.sql["drop_operation"], {"id": last.id})

    def wish_to_cancel(self, local_id: str, *, tells: bool) -> bool:
        """Ask for a job to be stopped; whether it has ended by that. Raises Impossible."""
        with self.database.transaction():
            job = self._subject(local_id)
            self._refuse_ended(job, "cancelled")
            if job.of(Kind.CANCEL):
                raise Impossible(f"job {job.short_id} is being cancelled already")
            now = self.now()
            if job.never_left:
                self._drop(local_id)
                change = Transition(
                    job.id,
                    (Status.PENDING,),
                    Status.CANCELLED,
                    raise_lease=True,
                    events=[
                        Event(
                            "job:status-changed",
                            {"from": job.status, "to": Status.CANCELLED, "by": "person"},
                        ),
                        Event("job:finalized", {"status": Status.CANCELLED, "by": "person"}),
                    ],
                )
                self._transition(change, now, Settled())
                return True
            if not tells:
                raise Impossible(
                    f"job {job.short_id} cannot be cancelled: its service has no call for it",
                    f"define [services.{job.service}.cancel], or: tracker fail {job.short_id}",
                )
            self.database.write(
                self.sql["wish_to_cancel"], {"id": job.id, "now": clock.to_text(now)}
            )
            if job.server_id is not None:
                # A second call that has the job begin, or was refused, is not wanted any more.
                for one in job.of(Kind.CREATE):
                    if one.claimed_by is None:
                        self.database.write(self.sql["drop_operation"], {"id": one.id})
                job = self._subject(local_id)
            self._append(job, NewOperation(Kind.CANCEL, job.service, job.account), now)
            self._promote(local_id)
            told = Event("job:metadata-updated", {"cancel_requested": True, "by": "person"})
            self._write_events(local_id, job.user_id, [told], clock.to_text(now))
        return False

    def delete(self, local_id: str, *, tells: bool) -> bool:
        """Delete a job here, and at its service if that has it and a call for it (`tells`);
        whether it is gone already. Raises Impossible when it is being deleted."""
        with self.database.transaction():
            job = self._subject(local_id)
            if job.of(Kind.DELETE):
                raise Impossible(
                    f"job {job.short_id} is being deleted already", "see: tracker outbox"
                )
            now = self.now()
            moving = any(not (one.unsent or one.dead) for one in job.line)
            if job.never_left or not (tells or moving):
                self._erase_job(local_id, now)
                return True
            # What was not sent yet need not be any more, and a dead letter is superseded: unless
            # the deletion is called off.
            superseded = [one for one in job.line if one.unsent or one.dead]
            for one in superseded:
                self.database.write(self.sql["drop_operation"], {"id": one.id})
            job = self._subject(local_id)
            payload: dict[str, Json] = {
                "superseded": [
                    [one.kind, one.payload] for one in superseded if one.kind in RESTORED
                ]
            }
            delete = NewOperation(Kind.DELETE, job.service, job.account, payload=payload)
            self._append(job, delete, now)
            self.database.write(self.sql["stop_polling"], {"id": job.id, "far": FAR})
            told = Event("job:metadata-updated", {"delete_requested": True, "by": "person"})
            self._write_events(local_id, job.user_id, [told], clock.to_text(now))
        return False

    def forget(self, local_id: str) -> None:
        """Take a job off the record that should not have come on it; a listing may bring it."""
        with self.database.transaction():
            self._erase_job(local_id, self.now(), bury=False)

    def owe(self, local_id: str, operation: NewOperation) -> int:
        """Owe something of any kind for a job; its id. Raises NotFound."""
        with self.database.transaction():
            self._subject(local_id)
            return self._write_operation(local_id, operation, self.now())

    def _refuse_ended(self, job: Subject, what: str) -> None:
        if job.status in FINISHED:
            raise Impossible(
                f"job {job.short_id} is {job.status} and cannot be {what}",
                f"see: tracker show {job.short_id}",
            )
        if job.of(Kind.DELETE):
            raise Impossible(f"job {job.short_id} is being deleted and cannot be {what}")
