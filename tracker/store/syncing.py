"""What a call about a job's own side of things brought: what its service knows now, who is next
in the job's line, and whether the job goes."""

from __future__ import annotations

from tracker import clock
from tracker.model import (
    SYNC,
    Event,
    Json,
    Kind,
    OperationState,
)
from tracker.outcomes import Attempted
from tracker.store.cleaning import Cleaned
from tracker.store.ledger import readable, same, to_json
from tracker.store.refreshing import Refreshing

RESTORED = (Kind.UPDATE, Kind.CANCEL)
"""What is owed again when the deletion that superseded it is called off."""

GO_WITH_THE_JOB = (*SYNC, Kind.FETCH_RESULT, Kind.STORE_RESULT)
"""What nobody is owed once the job has no row."""


class Syncing(Refreshing):
    """The line to the service goes on by the settlement of its head."""

    def _after_sync(self, attempted: Attempted, now: float) -> None:
        """What the job's service knows now, and who is next in the job's line."""
        job = attempted.operation.job
        at = clock.to_text(now)
        if attempted.synced is not None:
            self.database.write(
                self.sql["note_synced"],
                {
                    "local_id": job.local_id,
                    "last_synced": to_json(self._known_there(job.local_id, attempted.synced)),
                    "remote_version": attempted.remote_version,
                    "now": at,
                },
            )
        if attempted.due:
            self.database.write(self.sql["due_now"], {"id": job.id, "next_poll_at": at})
        if attempted.outdated:
            place = {"service": job.service, "account": job.account}
            self.database.write(self.sql["hurry_listing"], {**place, "now": at})
            self.database.write(self.sql["forget_version"], {"id": job.id})
        superseded = []
        if attempted.state is OperationState.DEAD:
            superseded = self.database.write(
                self.sql["drop_dead_before_deletion"], {"local_id": job.local_id}
            )
            self._remember(job.local_id, superseded)
        if attempted.erase:
            self._erase_job(job.local_id, now)
        elif (attempted.state is None and attempted.becomes is None) or superseded:
            self.database.write(self.sql["promote"], {"local_id": job.local_id, "now": at})

    def _remember(self, local_id: str, superseded: list[tuple[str, str]]) -> None:
        """What a deletion superseded is owed again if it is called off."""
        changes = [[kind, readable(payload)] for kind, payload in superseded if kind in RESTORED]
        if not changes:
            return
        for id_, text in self.database.read(self.sql["deletion_of"], {"local_id": local_id}):
            payload = readable(text)
            before = payload.get("superseded")
            # Only the head of a line can be given up: it stood before all the others.
            payload["superseded"] = [*changes, *(before if isinstance(before, list) else [])]
            written = {"id": id_, "payload": to_json(payload)}
            self.database.write(self.sql["set_operation_payload"], written)

    def _known_there(self, local_id: str, synced: dict[str, Json]) -> dict[str, Json]:
        """What the service is known to have after it was told of `synced`. Where it had won
        meanwhile, that is left for the next listing to bring here."""
        known = self.database.read(self.sql["job_to_change"], {"local_id": local_id})
        if not known:
            return synced
        here, before = readable(known[0][6]), readable(known[0][7])
        differing = {name for name in synced if not same(synced[name], here.get(name))}
        if differing:
            for update in self._open_updates(local_id):
                differing -= set(update.changes)
        told = {name: value for name, value in synced.items() if name not in differing}
        return {**before, **told}

    def _erase_job(
        self, local_id: str, now: float, by: str = "person", *, bury: bool = True
    ) -> None:
        rows = self.database.read(self.sql["job_of"], {"local_id": local_id})
        if rows:
            for kind in GO_WITH_THE_JOB:
                self.database.write(
                    self.sql["drop_unclaimed_operations"], {"local_id": local_id, "kind": kind}
                )
            self._erase(rows, {}, by, now, Cleaned(), bury=bury)

    def _checked(self, attempted: Attempted, now: float) -> Attempted:
        """The same, unless the service answered with the id of another job of this ledger. One that
        a listing brought while this one's create was on its way is this one."""
        change = attempted.transition
        if change is None or change.server_key is None:
            return attempted
        owner = self.database.read(
            self.sql["job_with_server_key"],
            {
                "server_key": change.server_key,
                "id": change.job_id,
                "operation_id": attempted.operation.id,
            },
        )
        if not owner:
            return attempted
        [(other, is_found)] = owner
        if is_found:
            self._erase_job(other, now, "service", bury=False)
            return attempted
        error = f"the service answered with the id of another job, {other[-8:]}"
        return Attempted(
            attempted.operation,
            OperationState.DEAD,
            error=error,
            events=[Event("job:error-details", {"operation": "create", "message": error})],
        )
