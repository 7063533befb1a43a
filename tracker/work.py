"""Claimed items on their way through an executor; whatever goes wrong is theirs alone."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tracker.errors import TrackerError
from tracker.executors.base import Executed, Executor, Lane
from tracker.model import POLL, Fault, Job, Operation
from tracker.outcomes import Outcome
from tracker.transports.base import Call, Reply

log = logging.getLogger("tracker.poller")


@dataclass(slots=True)
class Work:
    """Jobs to be polled, or operations of one kind to be attempted, by one call on the lane of
    their service."""

    lane: Lane
    items: Sequence[Job | Operation]

    @property
    def kind(self) -> str:
        """What is to be done: ``poll``, or the operations' kind."""
        first = self.items[0]
        return POLL if isinstance(first, Job) else first.kind

    @property
    def local_id(self) -> str:
        """The job that it is about; the first of several."""
        first = self.items[0]
        return first.local_id if isinstance(first, Job) else first.job.local_id

    @property
    def executor(self) -> Executor[Any]:
        """Who knows how."""
        executor = executor_of(self.lane, self.items[0])
        assert executor is not None  # or it would not have been claimed
        return executor

    @property
    def first_failures(self) -> int:
        """For how many of the items the call before this one went well: so a job that goes on
        failing counts once in a row."""
        return sum(
            (item.retry_count if isinstance(item, Job) else item.attempts) == 0
            for item in self.items
        )

    @property
    def unrepeatable(self) -> bool:
        """Whether a call that was lost is not made again."""
        return self.lane.sends_once(self.items[0])

    def prepare(self) -> Call | list[Outcome] | Reply:
        """The call; outcomes where none is needed; a reply that says why it cannot be built."""
        try:
            return self.executor.prepare(self.items)
        except TrackerError as error:
            why = str(error)
        except Exception as error:
            log.exception("job %s: its call could not be built", self.local_id)
            why = f"its call could not be built: {type(error).__name__}"
        return Reply(fault=Fault.INVALID, message=why, sent=False)

    def conclude(self, reply: Reply, trigger: str) -> Executed:
        """What the reply means. Where reading it fails in a way nobody foresaw, it is unreadable.

        The attempt and its outcome are logged, with what triggered it.
        """
        try:
            executed = self.executor.settle(self.items, reply)
        except Exception:
            log.exception("job %s: its reply could not be read", self.local_id)
            broken = Reply(
                status=reply.status,
                fault=Fault.UNREADABLE,
                message="the reply could not be read; see the log",
                sent=reply.sent,
            )
            executed = self.executor.settle(self.items, broken)
        self._log(executed, reply, trigger)
        return executed

    def _log(self, executed: Executed, reply: Reply, trigger: str) -> None:
        if executed.failure is not None:
            level = logging.WARNING
        else:
            # A poll that went well is worth a line only to somebody who debugs.
            level = logging.DEBUG if self.kind == POLL else logging.INFO
        if not log.isEnabledFor(level):
            return
        log.log(
            level,
            "%s %s: %s",
            self.lane.name,
            self.kind,
            executed.failure.message if executed.failure else f"HTTP {reply.status}",
            extra={
                "job": self.local_id,
                "service": self.lane.name,
                "operation": self.kind,
                "http_status": reply.status or None,
                "duration_seconds": round(reply.elapsed, 4),
                "trigger": trigger,
            },
        )


def executor_of(lane: Lane, item: Job | Operation) -> Executor[Any] | None:
    """Who serves `item` on `lane`."""
    return lane.polls if isinstance(item, Job) else lane.operations.get(item.kind)


def grouped(lane: Lane, items: Sequence[Job | Operation]) -> Iterator[Work]:
    """`items` in as few calls as their executors allow, in order."""
    waiting: dict[Hashable, list[Any]] = {}
    for item in items:
        executor = executor_of(lane, item)
        kind = POLL if isinstance(item, Job) else item.kind
        bundle = (kind, executor.together(item) if executor is not None else None)
        group = waiting.setdefault(bundle, [])
        group.append(item)
        if executor is None or len(group) >= executor.most:
            yield Work(lane, waiting.pop(bundle))
    for group in waiting.values():
        yield Work(lane, group)
