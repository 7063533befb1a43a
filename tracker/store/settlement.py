"""Writing what came of claims: two lanes, one transaction, behind the lease number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from tracker import clock
from tracker.databases.base import LEDGER, ROWS
from tracker.model import (
    FINISHED,
    REMOVALS,
    SYNC,
    Content,
    Json,
    Kind,
    NewOperation,
    Operation,
    Status,
)
from tracker.objects import ObjectChange, ObjectState
from tracker.outcomes import Attempted, Outcome, Released, Running, Transition, claim_of
from tracker.store.ledger import storable, to_json
from tracker.store.syncing import Syncing

BY_ITSELF = (Kind.FETCH_RESULT, Kind.NOTIFY)
"""Operations that concern their own job's row only."""


@dataclass(slots=True)
class Settled:
    """What a settlement did. An outcome is void when its fence no longer held."""

    polled: int = 0
    applied: int = 0
    void: int = 0
    finished: list[tuple[str, str]] = field(default_factory=list)  # (local_id, status)
    attempted: list[Attempted] = field(default_factory=list)  # those that applied
    refreshed: dict[str, dict[str, Json]] = field(default_factory=dict)  # by service


class Settlement(Syncing):
    """Terminal effects are written in the transaction of the update that returned the row: that
    is what makes them happen exactly once (B7)."""

    def settle(self, outcomes: Sequence[Outcome]) -> Settled:
        """Write `outcomes` in one transaction; all of them or, when the database fails, none."""
        settled = Settled()
        with self.settling(outcomes):
            now = self.now()
            self._settle_running(
                [one for one in outcomes if isinstance(one, Running)], now, settled
            )
            for outcome in outcomes:
                if isinstance(outcome, Transition):
                    settled.polled += outcome.polled
                    self._count(self._transition(outcome, now, settled), settled)
                elif isinstance(outcome, Attempted):
                    self._count(self._attempted(outcome, now, settled), settled)
                elif isinstance(outcome, Released):
                    self._release(outcome)
        return settled

    def settling(self, outcomes: Sequence[Outcome]) -> AbstractContextManager[object]:
        """The transaction to settle these outcomes in."""
        alone = any(_keeps_others_out(one) for one in outcomes)
        return self.database.transaction(LEDGER if alone else ROWS)

    @staticmethod
    def _count(applied: bool, settled: Settled) -> None:
        if applied:
            settled.applied += 1
        else:
            settled.void += 1

    def _settle_running(self, running: list[Running], now: float, settled: Settled) -> None:
        if not running:
            return
        at = clock.to_text(now)
        self._write_standing_events([one for one in running if one.events], at)
        count = 0
        for name, rows in (
            ("settle_running", [_running(one, at, now) for one in running if not one.changed]),
            ("settle_changed", [_changed(one, at, now) for one in running if one.changed]),
        ):
            count += self.database.write_many(self.sql[name], rows)
        settled.polled += len(running)
        settled.applied += count
        settled.void += len(running) - count

    def _write_standing_events(self, running: list[Running], at: str) -> None:
        """Tell of those whose claims still stand."""
        if not running:
            return
        fences = to_json([[one.job.id, one.job.lease] for one in running])
        events = {one.job.id: one.events for one in running}
        [(standing,)] = self.database.read(self.sql["standing_claims"], {"fences": fences})
        rows = [
            self._event(local_id, user_id, event, at)
            for id_, local_id, user_id in json.loads(standing)
            for event in events[id_]
        ]
        self.database.write_last(self.sql["insert_event"], rows)

    def _transition(self, change: Transition, now: float, settled: Settled) -> bool:
        at = clock.to_text(now)
        rows = self.database.write(self.sql["transition"], _transition(change, now))
        if not rows:
            if change.accepted and change.server_id is not None:
                # Somebody ended the job meanwhile; that it exists over there is still a fact.
                self.database.write(
                    self.sql["note_acceptance"],
                    {
                        "id": change.job_id,
                        "server_id": _text(change.server_id),
                        "server_key": change.server_key,
                        "now": at,
                    },
                )
            return False
        local_id, user_id, status = rows[0]
        if change.content is not None:
            self._keep(local_id, change.content, at)
        self._write_events(local_id, user_id, change.events, at)
        for operation in change.operations:
            self._write_operation(local_id, operation, now)
        if Status(status) in FINISHED:
            settled.finished.append((local_id, status))
        return True

    def _keep(self, local_id: str, content: Content, now: str) -> None:
        self.database.write(
            self.sql["keep_content"],
            {
                "local_id": local_id,
                "role": content.role,
                "content_id": content.id,
                "media_type": content.media_type,
                "size": content.size,
                "sha256": content.sha256,
                "partial": content.partial,
                "body": content.body,
                "path": content.path,
                "object_id": content.object_id,
                "now": now,
            },
        )

    def _attempted(self, attempted: Attempted, now: float, settled: Settled) -> bool:
        attempted = self._checked(attempted, now)
        operation = attempted.operation
        fence = {"id": operation.id, "lease": operation.lease}
        if attempted.becomes is not None:
            following = attempted.becomes
            rows = self.database.write(
                self.sql["become_operation"],
                {
                    **fence,
                    "kind": following.kind,
                    "service": following.service,
                    "account": following.account,
                    "payload": to_json(following.payload),
                    "now": clock.to_text(now),
                },
            )
        elif attempted.state is None:
            rows = self.database.write(self.sql["finish_operation"], fence)
        else:
            rows = self.database.write(
                self.sql["retry_operation"],
                {
                    **fence,
                    "burnt": attempted.burnt,
                    "state": attempted.state,
                    "next_attempt_at": clock.to_text(now + attempted.delay),
                    "now": clock.to_text(now),
                    "http_status": attempted.http_status or None,
                    "error": _text(attempted.error),
                    "payload": None if attempted.payload is None else to_json(attempted.payload),
                },
            )
        if not rows:
            self._account_for(operation, attempted.object, now)
            return False
        job = operation.job
        settled.attempted.append(attempted)
        self._write_events(job.local_id, job.user_id, attempted.events, clock.to_text(now))
        if attempted.object is not None and operation.object is not None:
            self._change_object(operation.object.id, attempted.object, clock.to_text(now))
        for owed in attempted.operations:
            self._write_operation(job.local_id, owed, now)
        if attempted.transition is not None:
            self._transition(attempted.transition, now, settled)
        if operation.kind in SYNC:
            self._after_sync(attempted, now)
        elif operation.kind == Kind.REFRESH:
            merged = self._after_refresh(attempted, now)
            if merged is not None:
                settled.refreshed[operation.service] = merged.counts
        return True

    def _account_for(self, operation: Operation, change: ObjectChange | None, now: float) -> None:
        """An upload that went on after its claim was lost (a machine that slept) may have put
        there what nobody else knows of: it is put on record, or its removal is owed."""
        put = operation.object
        if change is None or put is None or change.state is None:
            return
        at = clock.to_text(now)
        noted = {"id": put.id, "key": put.key, "upload_id": change.upload_id or None, "now": at}
        if self.database.write(self.sql["note_upload"], noted) and not change.version_id:
            return
        stray = replace(
            put,
            id=0,
            role=None,
            version_id=change.version_id,
            state=ObjectState.REMOVAL_REQUESTED,
        )
        removal = NewOperation(
            Kind.REMOVE_OBJECT,
            REMOVALS,
            priority="low",
            payload={} if change.version_id else {"traces": True},
            object=stray,
        )
        self._write_operation(operation.job.local_id, removal, now)

    def _change_object(self, object_id: int, change: ObjectChange, now: str) -> None:
        if change.state is None:
            self.database.write(self.sql["forget_object"], {"id": object_id})
            return
        self.database.write(
            self.sql["change_object"],
            {
                "id": object_id,
                "state": change.state,
                "version_id": change.version_id,
                "upload_id": change.upload_id,
                "etag": change.etag,
                "now": now,
            },
        )

    def _release(self, released: Released) -> None:
        claim = claim_of(released)
        name = "release_job" if claim.of_job else "release_operation"
        self.database.write(self.sql[name], {"id": claim.id, "lease": claim.lease})


def _keeps_others_out(outcome: Outcome) -> bool:
    """Whether settling it looks at other rows than those that its fence guards."""
    if isinstance(outcome, Transition):
        return any(one.object is not None for one in outcome.operations)
    return isinstance(outcome, Attempted) and outcome.operation.kind not in BY_ITSELF


def _running(running: Running, at: str, now: float) -> dict[str, Any]:
    job = running.job
    return {
        "id": job.id,
        "lease": job.lease,
        "due": job.due,
        "next_poll_at": clock.to_text(now + running.delay),
        "now": at,
        "retry_count": running.retry_count,
        "unknown": running.unknown,
        "http_status": running.http_status or None,
        "duration": running.duration,
        "error": _text(running.error),
    }


def _changed(running: Running, at: str, now: float) -> dict[str, Any]:
    row = _running(running, at, now)
    row["progress"] = running.progress
    row["progress_event"] = running.progress_event
    row["remote_state"] = _text(running.remote_state)
    row["remote_version"] = _text(running.remote_version)
    row["estimated_seconds"] = running.estimated_seconds
    row["expires_at"] = running.expires_at
    row["vars"] = to_json(running.vars) if running.vars is not None else None
    return row


def _transition(change: Transition, now: float) -> dict[str, Any]:
    return {
        "id": change.job_id,
        "lease": change.lease,
        "from_statuses": to_json(list(change.from_statuses)),
        "status": change.status,
        "failure_reason": change.reason,
        "error_message": _text(change.error),
        "result_content_id": _text(change.content_id),
        "progress": change.progress,
        "remote_state": _text(change.remote_state),
        "remote_version": _text(change.remote_version),
        "estimated_seconds": change.estimated_seconds,
        "server_id": _text(change.server_id),
        "server_key": change.server_key,
        "vars": to_json(change.vars) if change.vars is not None else None,
        "accepted": change.accepted,
        "deadline_at": _at(now, change.give_up_after),
        "expires_at": change.expires_at,
        "next_poll_at": _at(now, change.next_delay),
        "polled": change.polled,
        "http_status": change.http_status or None,
        "duration": change.duration,
        "last_error": _text(change.last_error),
        "raise_lease": change.raise_lease,
        "last_synced": to_json(change.synced) if change.synced is not None else None,
        "now": clock.to_text(now),
    }


def _at(now: float, delay: float | None) -> str | None:
    return None if delay is None else clock.to_text(now + delay)


def _text(value: str | None) -> str | None:
    return None if value is None else storable(value)
