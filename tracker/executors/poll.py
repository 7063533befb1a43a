"""Asking a service how a job is."""

from __future__ import annotations

from collections.abc import Sequence

from tracker import lifecycle
from tracker.executors.base import Executed, OneByOne
from tracker.lifecycle import Rules
from tracker.model import Failure, Job
from tracker.services import Service
from tracker.transports.base import Call, Reply


class Poll(OneByOne):
    """One status call for one job."""

    def __init__(self, service: Service, rules: Rules) -> None:
        self._service = service
        self._rules = rules

    def prepare(self, items: Sequence[Job]) -> Call:
        """The status call. Raises UsageError when the job lacks what the definition needs."""
        [item] = items
        return self._service.build_status(item)

    def settle(self, items: Sequence[Job], reply: Reply) -> Executed:
        """What the reply says, and until when the job can wait."""
        [item] = items
        result = self._service.read_status(item, reply)
        outcome = lifecycle.after_poll(
            item,
            result,
            self._rules,
            duration=round(reply.elapsed, 4),
            http_status=reply.status,
        )
        return Executed([outcome], result if isinstance(result, Failure) else None)
