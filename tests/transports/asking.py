"""What the tests of this folder ask of a transport."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from misbehaving import PATIENCE

from tracker.transports.base import Call, Reply, Transport

Ask = Callable[..., Reply]
"""``ask(url, method="GET", **fields of Call)``: makes one call and waits for its reply."""


def wait_for_replies(transport: Transport, count: int) -> list[tuple[Call, Reply]]:
    """Exactly `count` replies."""
    replies: list[tuple[Call, Reply]] = []
    while len(replies) < count:
        more = transport.receive(PATIENCE)
        assert more, "a call never came back"
        replies += more
    assert len(replies) == count
    return replies


def echoed(reply: Reply) -> dict[str, Any]:
    """The request, as the path ``/echo`` saw it."""
    assert reply.fault is None, reply
    seen: dict[str, Any] = json.loads(reply.body)
    return seen
