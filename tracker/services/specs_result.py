"""The table ``result`` of a service: how what a job made is brought home."""

from __future__ import annotations

from dataclasses import replace

from tracker.errors import ConfigError
from tracker.model import ENDINGS, State
from tracker.schedule import RetryPolicy
from tracker.services.expression import expression_in
from tracker.services.parts import KEEP, Hop, ResultSpec
from tracker.services.specs_common import Shared, named_expressions, read_retry
from tracker.services.template import LATER_ROOTS, RESULT_ROOTS
from tracker.tables import Table, shown


def read_result(table: Table, shared: Shared, retry: RetryPolicy) -> ResultSpec:
    """``[services.X.result]``; `retry` gives its base and cap. Raises ConfigError."""
    request = shared.request(table, RESULT_ROOTS) if "request" in table.names() else None
    value = expression_in(table, "value")
    if (request is None) == (value is None):
        raise ConfigError(f"{table.path}: expected a request or a value")
    following = table.optional_string("next")
    next_ = expression_in(table, "next") if following not in (None, "link") else None
    spec = ResultSpec(
        request,
        value,
        expression_in(table, "content_id"),
        read_retry(table.table("retry"), replace(retry, attempts=3)),
        table.size("max_bytes", 2**30),
        table.choice("keep", KEEP, "auto"),
        hops=_read_hops(table, shared),
        states=_read_states(table),
        when=expression_in(table, "when"),
        items=expression_in(table, "items"),
        next=next_,
        link=following == "link",
        expires_after=table.optional_duration("expires_after", positive=True),
    )
    if request is None:
        _only_with_request(table, spec)
    if spec.paged != (spec.items is not None):
        missing = "items" if spec.paged else "next"
        table.fail(missing, "is missing", "a result that comes in pages has items and next")
    table.finish()
    return spec


def _only_with_request(table: Table, spec: ResultSpec) -> None:
    for name in ("keep", "hops", "states", "when", "items", "next", "expires_after"):
        if name in table.names():
            table.fail(name, "goes with a request: a value is in the status reply")


def _read_hops(table: Table, shared: Shared) -> tuple[Hop, ...]:
    found = []
    for inner in table.tables("hops"):
        capture = named_expressions(inner, "capture")
        if not capture:
            inner.fail("capture", "is missing", "what the next call needs of this one's reply")
        found.append(Hop(shared.request(inner, LATER_ROOTS), capture))
        inner.finish()
    return tuple(found)


def _read_states(table: Table) -> frozenset[State]:
    given = table.strings("states") if "states" in table.names() else ("completed",)
    table.raw("states")
    for name in given:
        if name not in ENDINGS:
            known = ", ".join(sorted(ENDINGS))
            table.fail("states", f"expected some of {known}, got {shown(name)}")
    return frozenset(State(name) for name in given) | {State.COMPLETED}
