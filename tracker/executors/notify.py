"""Telling whoever asked: a command of theirs, or a URL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tracker import lifecycle
from tracker.executors.base import Executed, OneByOne
from tracker.model import Failure, Operation
from tracker.schedule import RetryPolicy
from tracker.services import Sink
from tracker.transports.base import Call, Reply


class Notify(OneByOne):
    """One notification to one sink. Its JSON is the operation's payload, with an ``id`` that stays
    the same however often it is sent."""

    def __init__(self, sink: Sink, retry: RetryPolicy) -> None:
        self._sink = sink
        self._retry = retry

    def prepare(self, items: Sequence[Operation]) -> Call:
        """The call, or the command with the JSON on its standard input."""
        [item] = items
        message = {"id": item.idempotency_key or f"{item.job.local_id}-{item.id}", **item.payload}
        return self._sink.build(json.dumps(message, ensure_ascii=False).encode())

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """Whether it was taken."""
        [item] = items
        result = self._sink.read(reply)
        failure = result if isinstance(result, Failure) else None
        return Executed([lifecycle.after_notify(item, failure, self._retry)], failure)
