"""Asking a service how jobs are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tracker import clock, lifecycle
from tracker.executors.base import Executed
from tracker.lifecycle import Rules
from tracker.model import Failure, Fault, Job, Reading
from tracker.outcomes import Outcome, Released
from tracker.services import Service
from tracker.transports.base import Call, Reply

ALONE_SECONDS = 60.0
"""For so long after a bulk call that made no sense each job is asked for by itself."""

OF_THE_GROUP = frozenset({Fault.REFUSED, Fault.UNREADABLE, Fault.OVERSIZED, Fault.INVALID})
"""Faults that may be those of one job among many."""


class Poll:
    """One status call for one job; or, where the service has a call for many, for those that are
    due together."""

    def __init__(self, service: Service, rules: Rules) -> None:
        self._service = service
        self._rules = rules
        bulk = service.status.bulk if service.status is not None else None
        self._bulk = bulk
        self._alone_until = 0.0

    @property
    def most(self) -> int:
        """How many jobs one call may carry; one for a while after a group failed as a whole."""
        if self._bulk is None or clock.monotonic() < self._alone_until:
            return 1
        return self._bulk.most

    def together(self, item: Job) -> Hashable:
        """Jobs of one account share a call, where it is built from nothing else of theirs."""
        if self._bulk is None:
            return None
        used = {name.partition(".")[0] for name in self._bulk.request.uses}
        return (
            item.account,
            repr(item.vars) if "vars" in used else "",
            repr(item.payload) if "payload" in used else "",
        )

    def prepare(self, items: Sequence[Job]) -> Call:
        """The status call. Raises UsageError when a job lacks what the definition needs."""
        if len(items) == 1:
            return self._service.build_status(items[0])
        return self._service.build_bulk(items)

    def settle(self, items: Sequence[Job], reply: Reply) -> Executed:
        """What the reply says, and until when each job can wait."""
        if len(items) == 1:
            result = self._service.read_status(items[0], reply)
            outcome = self._after(items[0], result, reply)
            return Executed([outcome], result if isinstance(result, Failure) else None)
        results = self._service.read_bulk(items, reply)
        if not isinstance(results, Failure):
            pairs = zip(items, results, strict=True)
            return Executed([self._after(item, result, reply) for item, result in pairs])
        if results.fault in OF_THE_GROUP:
            self._alone_until = clock.monotonic() + ALONE_SECONDS
            return Executed([Released(item) for item in items])
        return Executed([self._after(item, results, reply) for item in items], results)

    def _after(self, item: Job, result: Reading | Failure, reply: Reply) -> Outcome:
        return lifecycle.after_poll(
            item,
            result,
            self._rules,
            duration=round(reply.elapsed, 4),
            http_status=reply.status,
        )
