"""Having a service forget a job; then it goes here too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracker import lifecycle
from tracker.executors.base import Executed, Executor, OneByOne, Tools
from tracker.model import Kind, Operation
from tracker.outcomes import Attempted, Outcome
from tracker.services import Service
from tracker.transports.base import Call, Reply


class Delete(OneByOne):
    """One call for one job."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The call; none for a job that the service never had, or cannot be told about. Raises
        UsageError."""
        [item] = items
        if item.job.server_id is None or self._service.delete is None:
            return [Attempted(item, None, erase=True)]
        return self._service.build_delete(item.job)

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """Whether it is gone there; a 404 says that it already was."""
        [item] = items
        failure = self._service.read_delete(reply)
        return Executed([lifecycle.after_delete(item, failure, self._service.retry)], failure)


def serve(service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
    """The kind of operation that this file is, for `service`; see `tracker.executors`."""
    return {Kind.DELETE: Delete(service)}
