"""How a service says "later", "no", "never again" and "not before", by whatever HTTP code."""

from __future__ import annotations

from dataclasses import dataclass

from tracker import clock, schedule
from tracker.model import Json
from tracker.services import values
from tracker.services.expression import Envelope, Expression, expression_in, soft
from tracker.tables import Table
from tracker.transports.base import Reply

UNITS = ("auto", "s", "ms", "epoch", "epoch_ms")
"""What a figure is: seconds or an HTTP date as in ``Retry-After``, seconds, milliseconds, or the
time itself, in seconds or milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Where a reply says when to come back, and in what unit."""

    value: Expression
    unit: str = "auto"


@dataclass(frozen=True, slots=True)
class Pacing:
    """``retry_after`` is looked at in order, before the header ``Retry-After``. ``throttled`` finds
    something in a reply that says "too many calls", ``again`` in one that says that this very call
    was not begun and is to be made again later, ``final`` in a failure that no repetition cures,
    ``exhausted`` in any reply after which no calls are left until then."""

    retry_after: tuple[Hint, ...] = ()
    throttled: Expression | None = None
    again: Expression | None = None
    final: Expression | None = None
    exhausted: Expression | None = None


def retry_after(pacing: Pacing, envelope: Envelope, cap: float) -> float | None:
    """Seconds until it is worth asking again, as the reply says, from 0 to `cap`; None when it does
    not."""
    reply = envelope.reply
    if any("body" in hint.value.roots for hint in pacing.retry_after):
        envelope.load()
    for hint in pacing.retry_after:
        found = _seconds(soft(hint.value, envelope), hint.unit, reply, cap)
        if found is not None:
            return min(max(found, 0.0), cap)
    return schedule.parse_retry_after(reply.headers.get("retry-after"), _now(reply), cap)


def says(expression: Expression | None, envelope: Envelope) -> bool:
    """Whether an expression finds something in a reply: anything but null, false and the empty."""
    return expression is not None and found(expression, envelope) is not None


def found(expression: Expression | None, envelope: Envelope) -> Json:
    """What an expression finds in a reply; None for null, false and the empty. The body is decoded
    only for who looks at it: that may be the largest part of a poll."""
    if expression is None:
        return None
    if "body" in expression.roots:
        envelope.load()
    value = soft(expression, envelope)
    return None if value in (None, False, "", [], {}) else value


def rest(pacing: Pacing, reply: Reply, cap: float) -> float:
    """For how many seconds a service is to be left alone after a reply that says that no calls are
    left; 0 for any other."""
    if pacing.exhausted is None or reply.fault is not None:
        return 0.0
    envelope = Envelope(reply, None)
    if not says(pacing.exhausted, envelope):
        return 0.0
    return retry_after(pacing, envelope, cap) or 0.0


def _seconds(value: Json, unit: str, reply: Reply, cap: float) -> float | None:
    if value is None:
        return None
    if unit == "auto":
        return schedule.parse_retry_after(values.text(value), _now(reply), cap)
    figure = values.seconds(value)
    if figure is None:
        return None
    if unit == "s":
        return figure
    if unit == "ms":
        return figure / 1000
    return figure / (1000 if unit == "epoch_ms" else 1) - _now(reply)


def _now(reply: Reply) -> float:
    # A date counts from the service's own clock where the reply tells it.
    there = schedule.parse_retry_after(reply.headers.get("date"), 0.0, float("inf"))
    return clock.now() if there is None else there


def read_pacing(table: Table) -> Pacing:
    """``[services.X.pacing]``. Raises ConfigError."""
    hints = []
    for inner in table.tables("retry_after"):
        value = expression_in(inner, "value")
        if value is None:
            inner.fail("value", "is missing", "an expression such as 'headers.\"retry-after-ms\"'")
        hints.append(Hint(value, inner.choice("unit", UNITS, "auto")))
        inner.finish()
    names = ("throttled", "again", "final", "exhausted")
    pacing = Pacing(tuple(hints), *(expression_in(table, name) for name in names))
    table.finish()
    return pacing
