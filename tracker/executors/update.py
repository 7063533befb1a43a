"""Telling a service what was changed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracker import lifecycle
from tracker.executors.base import Executed, Executor, OneByOne, Tools
from tracker.model import Failure, Kind, Operation
from tracker.outcomes import Attempted, Outcome
from tracker.services import Service
from tracker.transports.base import Call, Reply


class Update(OneByOne):
    """One call with the changed fields of one job."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The call, also for a job that has ended meanwhile: what its service makes of it is on
        record then. None for a job that the service never had. Raises UsageError."""
        [item] = items
        if item.job.server_id is None:
            return [Attempted(item, None)]
        changes = item.payload.get("changes")
        item.job.changes = changes if isinstance(changes, dict) else {}
        return self._service.build_update(item.job)

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """Whether the service has the changes now."""
        [item] = items
        result = self._service.read_update(item.job, reply)
        failure = result if isinstance(result, Failure) else None
        return Executed([lifecycle.after_update(item, result, self._service.retry)], failure)


def serve(service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
    """The kind of operation that this file is, for `service`; see `tracker.executors`."""
    return {Kind.UPDATE: Update(service)} if service.update is not None else {}
