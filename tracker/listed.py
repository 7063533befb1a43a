"""What a service's own listing brings, and how it is merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = Any
"""Whatever JSON can hold."""


@dataclass(slots=True, frozen=True)
class Listed:
    """One job as a listing tells of it. ``fields`` are those of the payload that the definition
    reads from it; ``word`` is the service's own for its ``state``."""

    server_id: str
    server_key: str
    state: str | None = None
    word: str | None = None
    version: str | None = None
    updated_at: str | None = None
    fields: dict[str, Json] = field(default_factory=dict)
    vars: dict[str, Json] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Page:
    """One page of a listing; ``cursor`` is where the next one begins, None on the last page."""

    items: tuple[Listed, ...]
    cursor: str | None = None


@dataclass(slots=True, frozen=True)
class Merging:
    """How a complete listing is merged with what is on record.

    ``add``: jobs that are unknown here are tracked from now on. ``authoritative``: jobs that the
    service does not list any more are deleted here, unless that were more than the share
    ``most_deletions`` of all. ``rule`` is one of `RULES`, ``most_items`` bounds a listing.
    """

    add: bool = True
    authoritative: bool = False
    most_deletions: float = 0.2
    rule: str = "service"
    most_items: int = 100_000
    every: float = 900.0


RULES = ("service", "local", "latest", "merge")
"""Who is right where both sides changed a job: the service, but for fields whose change it was not
told yet; this side; the side that changed last; or each field by itself."""
