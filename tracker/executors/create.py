"""Getting a job accepted: the create call, with its key."""

from __future__ import annotations

from collections.abc import Sequence

from tracker import lifecycle
from tracker.executors.base import Executed
from tracker.lifecycle import Rules
from tracker.model import Failure, Operation, Status
from tracker.outcomes import Attempted, Outcome
from tracker.services import Service
from tracker.transports.base import Call, Reply


class Create:
    """One create call for one job."""

    most = 1

    def __init__(self, service: Service, rules: Rules, bound: float | None = None) -> None:
        """`bound` shortens the call's time limit, in seconds, for an attempt that somebody waits
        for."""
        self._service = service
        self._rules = rules
        self._bound = bound

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The create call; nothing for a job that somebody ended meanwhile. Raises UsageError when
        the job lacks what the definition needs."""
        [item] = items
        if item.job.status != Status.PENDING:
            return [Attempted(item, None)]
        call = self._service.build_create(item.job, item.idempotency_key)
        if self._bound is not None:
            call.timeout = min(call.timeout, self._bound)
        return call

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """Whether the service has the job now, and under which id."""
        [item] = items
        result = self._service.read_create(item.job, reply)
        if isinstance(result, Failure):
            return Executed([lifecycle.after_create(item, result, self._rules)], result)
        key = self._service.server_key(item.job, result)
        return Executed([lifecycle.after_create(item, result, self._rules, server_key=key)])
