"""What the tables of a service's calls have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tracker.errors import ConfigError
from tracker.schedule import RetryPolicy
from tracker.services.expression import Expression, compile_expression
from tracker.services.request import Request, read_request
from tracker.services.url import Site
from tracker.tables import Table


@dataclass(frozen=True, slots=True)
class Shared:
    """What all requests of one service have in common."""

    site: Site
    headers: dict[str, str]
    timeout: float

    def request(self, table: Table, roots: frozenset[str], method: str = "GET") -> Request:
        """The table's ``request``. Raises ConfigError."""
        inner = table.optional_table("request")
        if inner is None:
            raise ConfigError(f"{table.key('request')}: is missing")
        return read_request(inner, self.site, self.headers, self.timeout, roots, method)


def read_retry(table: Table, default: RetryPolicy) -> RetryPolicy:
    """A ``retry`` table over its `default`. Raises ConfigError."""
    base, cap = read_curve(table, default.base, default.cap)
    attempts = table.integer("attempts", default.attempts, low=1, high=100)
    table.finish()
    return RetryPolicy(base, cap, attempts)


def read_curve(table: Table, base: float, cap: float) -> tuple[float, float]:
    """``base`` and ``cap`` of a backoff, in seconds. Raises ConfigError."""
    base = table.duration("base", base, positive=True)
    limit = table.optional_duration("cap", positive=True)
    if limit is not None and limit < base:
        table.fail("cap", f"is shorter than the base of {base:g} s")
    return base, max(cap, base) if limit is None else limit


def named_expressions(table: Table, what: str) -> dict[str, Expression]:
    """A table of expressions by plain names. Raises ConfigError."""
    key, found = table.key(what), {}
    for name, text in (table.optional_mapping(what) or {}).items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not isinstance(text, str):
            raise ConfigError(f"{key}.{name}: expected a plain name and an expression")
        found[name] = compile_expression(text, f"{key}.{name}")
    return found


def reads(expressions: list[Expression | None], *roots: str) -> bool:
    """Whether one of them looks at one of these parts of a reply."""
    return any(item is not None and item.roots & set(roots) for item in expressions)
