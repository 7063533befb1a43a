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


@dataclass(slots=True, eq=False)
class Work:
    """Jobs to be polled, or operations of one kind to be attempted, by one call on the lane of
    their service."""

    lane: Lane
    items: list[Job | Operation]
    executor: Executor[Any]

    @property
    def kind(self) -> str:
        """What is to be done: ``poll``, or the operations' kind."""
        return kind_of(self.items[0])

    @property
    def local_id(self) -> str:
        """The job that it is about; the first of several."""
        first = self.items[0]
        return first.local_id if isinstance(first, Job) else first.job.local_id

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
            level = logging.DEBUG if isinstance(self.items[0], Job) else logging.INFO
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


def kind_of(item: Job | Operation) -> str:
    """What is to be done with `item`: ``poll``, or the operation's kind."""
    return POLL if isinstance(item, Job) else item.kind


def grouped(lane: Lane, items: Sequence[Job | Operation]) -> Iterator[Work]:
    """`items` in as few calls as their executors allow, in order."""
    waiting: dict[Hashable, Work] = {}
    for item in items:
        executor: Executor[Any] | None = (
            lane.polls if isinstance(item, Job) else lane.operations.get(item.kind)
        )
        assert executor is not None  # or it would not have been claimed
        most = executor.most
        if most == 1:
            yield Work(lane, [item], executor)
            continue
        bundle = (kind_of(item), executor.together(item))
        work = waiting.setdefault(bundle, Work(lane, [], executor))
        work.items.append(item)
        if len(work.items) >= most:
            yield waiting.pop(bundle)
    yield from waiting.values()
