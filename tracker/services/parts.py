"""What the tables of a service say, once they have been read: plain values, compiled parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tracker.listed import Merging
from tracker.model import State
from tracker.schedule import RetryPolicy
from tracker.services.expression import Expression
from tracker.services.request import Request

IDEMPOTENCY = ("none", "header", "field", "client_id", "lookup")

KEEP = ("auto", "row", "file", "object")
"""Where a fetched result is kept: a small one in the row and a larger one in a file, or always in
one of the three."""


@dataclass(frozen=True, slots=True)
class LookupSpec:
    """How a job is looked for that a create may have made whose reply never came. ``items`` finds
    the candidates (None: the reply as a whole is one), ``match`` in one of them what has to be the
    job's ``client_id``; ``after`` so many seconds the service is sure to show what it has."""

    request: Request
    server_id: Expression
    items: Expression | None = None
    match: Expression | None = None
    after: float = 30.0


@dataclass(frozen=True, slots=True)
class CreateSpec:
    """How a job is created. ``idempotency`` is one of `IDEMPOTENCY`; ``then`` is sent once the id
    is on record, where creating a job takes two calls.

    ``reads_body``: some expression looks at the body; ``needs_body``: without it there is no
    reading; ``reads_headers``: the id may come from a header, so a redirect is an answer too;
    ``upload``: the input has to be in S3 first.
    """

    request: Request
    idempotency: str = "none"
    idempotency_key: str = ""
    server_id: Expression | None = None
    state: Expression | None = None
    estimated_seconds: Expression | None = None
    capture: Mapping[str, Expression] = field(default_factory=dict)
    needs_body: bool = True
    reads_body: bool = True
    reads_headers: bool = False
    upload: bool = False
    lookup: LookupSpec | None = None
    then: Request | None = None

    @property
    def repeatable(self) -> bool:
        """Whether the service recognises a create that is sent a second time, or can be asked
        whether the first one arrived."""
        return self.idempotency != "none"


@dataclass(frozen=True, slots=True)
class Progress:
    """Done is ``part / whole``, or ``part / scale`` without ``whole``."""

    part: Expression
    scale: float = 100.0
    whole: Expression | None = None


@dataclass(frozen=True, slots=True)
class StatusSpec:
    """How a job's state is asked for and read. ``http`` maps HTTP codes to words.

    ``reads_body`` and ``needs_body`` are as in `CreateSpec`.
    """

    request: Request
    state: Expression | None = None
    progress: Progress | None = None
    error: Expression | None = None
    estimated_seconds: Expression | None = None
    server_id: Expression | None = None
    version: Expression | None = None
    partial: Expression | None = None
    unknown: Expression | None = None
    estimated_at: Expression | None = None
    expires_at: Expression | None = None
    http: Mapping[int, str] = field(default_factory=dict)
    capture: Mapping[str, Expression] = field(default_factory=dict)
    needs_body: bool = True
    reads_body: bool = True
    bulk: BulkSpec | None = None


@dataclass(frozen=True, slots=True)
class BulkSpec:
    """How up to ``most`` jobs are asked for in one call. ``items`` finds the list, ``server_id``
    an item's id, ``body`` what a status reply about that item alone would have as its body, and
    ``unprocessed`` the ids that the service did not get to. A job that is missing is unknown, or
    else (``missing`` is ``retry``) its poll has failed."""

    request: Request
    items: Expression
    server_id: Expression
    body: Expression | None = None
    unprocessed: Expression | None = None
    most: int = 100
    missing: str = "unknown"


@dataclass(frozen=True, slots=True)
class Hop:
    """One call on the way to a result: what it captures is known to the next ones."""

    request: Request
    capture: Mapping[str, Expression]


@dataclass(frozen=True, slots=True)
class ResultSpec:
    """The result: fetched by ``request``, after the ``hops``, or taken by ``value`` from the status
    reply; where it is kept is one of `KEEP`.

    There is one after the ends in ``states``, unless ``when`` finds nothing in the status reply. It
    is there for ``expires_after`` seconds (None: for ever). Where it comes in pages, ``items``
    finds what is in one, and ``next`` where the next one begins (``link``: the header ``Link`` says
    so).
    """

    request: Request | None = None
    value: Expression | None = None
    content_id: Expression | None = None
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=3))
    max_bytes: int = 2**30
    keep: str = "auto"
    hops: tuple[Hop, ...] = ()
    states: frozenset[State] = frozenset({State.COMPLETED})
    when: Expression | None = None
    items: Expression | None = None
    next: Expression | None = None
    link: bool = False
    expires_after: float | None = None

    @property
    def paged(self) -> bool:
        """Whether it comes in pages."""
        return self.next is not None or self.link


@dataclass(frozen=True, slots=True)
class UpdateSpec:
    """How a service is told what was changed here. ``fields`` are those of the payload that may be
    (None: any that the job has); ``version`` reads the job's version there from the reply."""

    request: Request
    fields: tuple[str, ...] | None = None
    version: Expression | None = None


@dataclass(frozen=True, slots=True)
class CancelSpec:
    """How a service is asked to stop a job. With ``ends`` that is the job's end there: it is not
    known any more afterwards."""

    request: Request
    ends: bool = False


@dataclass(frozen=True, slots=True)
class ListSpec:
    """How a service's jobs are listed. ``items`` finds them in a reply; the other expressions see
    one item as ``body``. ``next`` finds where the next page begins, in the reply as a whole;
    ``link`` is whether its ``Link`` header says so. ``after`` are services to be listed before."""

    request: Request
    items: Expression
    server_id: Expression
    merging: Merging
    state: Expression | None = None
    version: Expression | None = None
    updated_at: Expression | None = None
    next: Expression | None = None
    link: bool = False
    fields: Mapping[str, Expression] = field(default_factory=dict)
    capture: Mapping[str, Expression] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    since_overlap: float = 60.0


@dataclass(frozen=True, slots=True)
class DeleteSpec:
    """How a job is deleted at its service."""

    request: Request


@dataclass(frozen=True, slots=True)
class CleanupSpec:
    """When finished jobs go and what their service is asked to do then.

    ``ages`` are seconds by status, ``older_than`` is for the others (None: the configuration's).
    ``request`` asks for up to ``most`` jobs at once; with ``instead`` it also removes the jobs' S3
    objects, which the tracker then leaves alone.
    """

    older_than: float | None = None
    ages: Mapping[str, float] = field(default_factory=dict)
    request: Request | None = None
    most: int = 100
    instead: bool = False
