"""One claimed item on its way through an executor; whatever goes wrong is this item's alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from tracker.errors import TrackerError
from tracker.executors.base import Executed, Executor, Lane
from tracker.model import Fault, Job, Operation
from tracker.outcomes import Outcome
from tracker.transports.base import Call, Reply

log = logging.getLogger("tracker.poller")


@dataclass(slots=True)
class Work:
    """A job to be polled or an operation to be attempted, on the lane of its service."""

    lane: Lane
    item: Job | Operation

    @property
    def kind(self) -> str:
        """What is to be done: ``poll``, or the operation's kind."""
        return "poll" if isinstance(self.item, Job) else self.item.kind

    @property
    def local_id(self) -> str:
        """The job that it is about."""
        return self.item.local_id if isinstance(self.item, Job) else self.item.job.local_id

    @property
    def executor(self) -> Executor[Any]:
        """Who knows how."""
        if isinstance(self.item, Job):
            assert self.lane.polls is not None  # or it would not have been claimed
            return self.lane.polls
        return self.lane.operations[self.item.kind]

    @property
    def first_failure(self) -> bool:
        """Whether the item's call before this one went well: so a job counts once in a row."""
        tried = self.item.retry_count if isinstance(self.item, Job) else self.item.attempts
        return tried == 0

    def prepare(self) -> Call | Outcome | Reply:
        """The call; an outcome where none is needed; a reply that says why it cannot be built."""
        try:
            return self.executor.prepare(self.item)
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
            executed = self.executor.settle(self.item, reply)
        except Exception:
            log.exception("job %s: its reply could not be read", self.local_id)
            broken = Reply(
                status=reply.status,
                fault=Fault.UNREADABLE,
                message="the reply could not be read; see the log",
                sent=reply.sent,
            )
            executed = self.executor.settle(self.item, broken)
        self._log(executed, reply, trigger)
        return executed

    def _log(self, executed: Executed, reply: Reply, trigger: str) -> None:
        # A poll that went well is worth a line only to somebody who debugs.
        level = logging.DEBUG if self.kind == "poll" else logging.INFO
        if executed.failure is not None:
            level = logging.WARNING
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
