"""What a person does to jobs: the half of the facade that changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tracker import lifecycle
from tracker.background import Background
from tracker.errors import Impossible, NotFound, UsageError, did_you_mean
from tracker.lifecycle import Rules
from tracker.model import PRIORITIES, WAITED_FOR, Json, Kind, NewOperation, ProcessingJob, Status
from tracker.outcomes import Transition
from tracker.records import Records, check_json

if TYPE_CHECKING:
    from tracker.services import Service, Sink


class Changing(Records):
    """Every act is on record at once, network or not; what a service has to hear of it is owed.

    With `sync`, a first attempt to tell it follows in the background.
    """

    _background: Background

    @property
    def sinks(self) -> list[Sink]:
        """Who is told when a job ends."""
        raise NotImplementedError

    def update(
        self, job: str | ProcessingJob, changes: Mapping[str, Json], *, sync: bool = True
    ) -> ProcessingJob:
        """Change fields of a job's payload, here and then at its service (J5). What is as it was
        changes nothing and owes nothing.

        Raises UsageError for a field that the job does not have, or that the service does not let
        change; Impossible for a job that has ended or is being deleted, or a service that has the
        job already and no call for updates.
        """
        found = self.get(job)
        service = self._service_of(found)
        _check_fields(found, changes, service)
        check_json("the change", dict(changes))
        tells = service is not None and service.update is not None
        if self.store.change(found.local_id, dict(changes), tells=tells) and sync:
            self._background.hand(found.local_id)
        return self.store.get(found.local_id)

    def cancel(self, job: str | ProcessingJob, *, sync: bool = True) -> ProcessingJob:
        """Ask for a job to be stopped. One that never left has ended by that; else it is a wish
        until the service says so. Raises Impossible."""
        found = self.get(job)
        service = self._service_of(found)
        tells = service is not None and service.cancel is not None
        if not self.store.wish_to_cancel(found.local_id, tells=tells) and sync:
            self._background.hand(found.local_id)
        return self.store.get(found.local_id)

    def delete(self, job: str | ProcessingJob, *, sync: bool = True) -> bool:
        """Delete a job here, with the tracker's own files and objects, and at its service (J6);
        whether it is gone already. One that never left goes at once and nobody is called; so does
        one whose service has no delete call. Raises Impossible when it is being deleted."""
        found = self.get(job)
        service = self._service_of(found)
        tells = service is not None and service.delete is not None
        gone = self.store.delete(found.local_id, tells=tells)
        if not gone and sync:
            self._background.hand(found.local_id)
        return gone

    def owe(
        self,
        job: str | ProcessingJob,
        kind: str,
        payload: Mapping[str, Json] | None = None,
        *,
        priority: str = "medium",
    ) -> int:
        """Owe an operation of a kind of one's own for a job; the executor of that kind does it
        (docs/extending.md). Its id in the outbox. Raises UsageError for a kind that is the
        tracker's own, or no name."""
        found = self.get(job)
        if kind in tuple(Kind) or not kind.isidentifier():
            raise UsageError(f"'{kind}' is no kind of operation of one's own")
        if priority not in PRIORITIES:
            raise UsageError(f"priority '{priority}' is none of {', '.join(PRIORITIES)}")
        check_json("its payload", dict(payload or {}))
        operation = NewOperation(
            kind, found.service, found.account, priority=priority, payload=dict(payload or {})
        )
        return self.store.owe(found.local_id, operation)

    def reset(self, job: str | ProcessingJob) -> ProcessingJob:
        """Have a failed sync tried again from the beginning (J9). Raises Impossible when the job
        has none."""
        local_id = self.local_id(job)
        self.store.reset(local_id)
        return self.store.get(local_id)

    def retry(self, operation: int) -> str:
        """Attempt one operation of the outbox again, from the beginning; its job's local id. One
        in doubt is sent once more: a person knows that it may be. Raises NotFound, Impossible."""
        return self.store.retry_operation(operation)

    def discard(self, operation: int) -> str:
        """Let one operation of the outbox go; its job's local id. A job whose submission is
        discarded fails. Raises NotFound, Impossible."""
        return self.store.discard_operation(operation)

    def complete(self, job: str | ProcessingJob) -> ProcessingJob:
        """Call a job completed, whatever its service says. Raises Impossible when it has ended."""
        return self._by_hand(job, Status.COMPLETED, None)

    def fail(self, job: str | ProcessingJob, message: str | None = None) -> ProcessingJob:
        """Call a job failed. Raises Impossible when it has ended."""
        return self._by_hand(job, Status.FAILED, message)

    def _by_hand(
        self, job: str | ProcessingJob, status: Status, message: str | None
    ) -> ProcessingJob:
        found = self.get(job)
        in_hand = self.store.job_in_hand(found.local_id)
        rules = Rules(sinks=tuple(sink.name for sink in self.sinks))
        change = lifecycle.by_hand(in_hand, status, rules, error=message)
        return self._act(found, change, f"is {found.status} already")

    def reopen(self, job: str | ProcessingJob) -> ProcessingJob:
        """Bring a finished job back: processing, due now, its completion cleared. Raises
        Impossible for one that has not ended, or that its service never accepted."""
        found = self.get(job)
        if not found.server_id:
            raise Impossible(
                f"job {found.short_id} cannot be reopened: its service never accepted it",
                "submit it again",
            )
        in_hand = self.store.job_in_hand(found.local_id)
        return self._act(found, lifecycle.reopened(in_hand), f"is {found.status}, not finished")

    def _act(self, job: ProcessingJob, change: Transition, otherwise: str) -> ProcessingJob:
        if not self.store.act(job.local_id, change):
            raise Impossible(f"job {job.short_id} {otherwise}", f"see: tracker show {job.short_id}")
        return self.store.get(job.local_id)

    def pause(self, service: str | None = None) -> bool:
        """Turn all polling and syncing off, or all calls to one service, for every poller; False
        when it was off. Raises NotFound for an unknown service."""
        if service is not None:
            found = self.services.find(service)
            return self.store.hold_service(found.name, found.account)
        return self.store.set_paused(True)

    def resume(self, service: str | None = None) -> bool:
        """Turn it on again; nothing was lost. Services that could not be reached, or refused the
        credentials, are tried at once; one `service` whatever it was paused for. False when it was
        on and nobody waited."""
        if service is not None:
            found = self.services.find(service)
            return self.store.let_go_service(found.name, found.account)
        resumed = self.store.set_paused(False)
        return bool(self.store.probe_now(WAITED_FOR)) or resumed

    def _service_of(self, job: ProcessingJob) -> Service | None:
        """The job's service; None for one that the configuration has no more."""
        try:
            return self.services.find(job.service)
        except NotFound:
            return None


def _check_fields(job: ProcessingJob, changes: Mapping[str, Json], service: Service | None) -> None:
    if not changes:
        raise UsageError("nothing to change", "name a field: -p KEY=VALUE")
    update = service.update if service is not None else None
    known = list(job.payload) if update is None or update.fields is None else list(update.fields)
    for name in changes:
        if name not in known:
            near = did_you_mean(name, known) or f"known: {', '.join(known) or 'none'}"
            raise UsageError(f"job {job.short_id} has no field '{name}' to change", near)
