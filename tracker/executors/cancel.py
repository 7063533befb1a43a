"""Asking a service to stop a job: a wish until its status says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracker import lifecycle
from tracker.executors.base import Executed, Executor, OneByOne, Tools
from tracker.lifecycle import Rules
from tracker.model import FINISHED, Kind, Operation
from tracker.outcomes import Attempted, Outcome
from tracker.services import Service
from tracker.transports.base import Call, Reply

CONFLICT = 409
"""There is nothing to stop: how the job ended is for its status to tell."""


class Cancel(OneByOne):
    """One call for one job."""

    def __init__(self, service: Service, rules: Rules) -> None:
        self._service = service
        self._rules = rules
        self._ends = service.cancel is not None and service.cancel.ends

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The call; nothing for a job that has ended meanwhile, or that the service never had.
        Raises UsageError."""
        [item] = items
        if item.job.status in FINISHED or item.job.server_id is None:
            return [Attempted(item, None)]
        return self._service.build_cancel(item.job)

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """Whether the service has heard of it."""
        [item] = items
        failure = self._service.read_cancel(reply)
        if failure is None and self._ends and reply.status != CONFLICT:
            return Executed([lifecycle.cancelled(item, self._rules)])
        return Executed([lifecycle.after_cancel(item, failure, self._service.retry)], failure)


def serve(service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
    """The kind of operation that this file is, for `service`; see `tracker.executors`."""
    return {Kind.CANCEL: Cancel(service, tools.rules)} if service.cancel is not None else {}
