"""How a service says "later", "never again" and "not before", by whatever HTTP code."""

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
    something in a reply that says "too many", ``final`` in a failure that no repetition cures."""

    retry_after: tuple[Hint, ...] = ()
    throttled: Expression | None = None
    final: Expression | None = None


def retry_after(pacing: Pacing, reply: Reply, cap: float, body: Json = None) -> float | None:
    """Seconds until it is worth asking again, as the reply says, from 0 to `cap`; None when it does
    not."""
    envelope = Envelope(reply, None, body)
    for hint in pacing.retry_after:
        found = _seconds(soft(hint.value, envelope), hint.unit, reply, cap)
        if found is not None:
            return min(max(found, 0.0), cap)
    return schedule.parse_retry_after(reply.headers.get("retry-after"), _now(reply), cap)


def says(expression: Expression | None, reply: Reply, body: Json) -> bool:
    """Whether an expression finds something in a reply: anything but null, false and the empty."""
    if expression is None:
        return False
    return soft(expression, Envelope(reply, None, body)) not in (None, False, "", [], {})


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
    found = table.raw("retry_after")
    if found is not None and not isinstance(found, list):
        table.fail("retry_after", "expected an array of tables such as { value = …, unit = … }")
    for index, one in enumerate(found or []):
        if not isinstance(one, dict):
            table.fail("retry_after", "expected an array of tables such as { value = …, unit = … }")
        inner = Table(f"{table.key('retry_after')}[{index}]", one)
        value = expression_in(inner, "value")
        if value is None:
            inner.fail("value", "is missing", "an expression such as 'headers.\"retry-after-ms\"'")
        hints.append(Hint(value, inner.choice("unit", UNITS, "auto")))
        inner.finish()
    pacing = Pacing(tuple(hints), expression_in(table, "throttled"), expression_in(table, "final"))
    table.finish()
    return pacing
