"""What a service is, once its table has been read: plain values and compiled parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracker.listed import Merging, Page
from tracker.model import Content, Failure, Job, Json, Reading, State
from tracker.schedule import PollPolicy, RetryPolicy
from tracker.services import building, bulk, listing, reading
from tracker.services.credentials import HeaderCredential
from tracker.services.examples import Example
from tracker.services.expression import Expression
from tracker.services.pacing import Pacing
from tracker.services.request import Request
from tracker.services.values import Word
from tracker.transports.base import Call, Reply

IDEMPOTENCY = ("none", "header", "field", "client_id", "lookup")

KEEP = ("auto", "row", "file", "object")
"""Where a fetched result is kept: a small one in the row and a larger one in a file, or always in
one of the three."""


@dataclass(frozen=True, slots=True)
class CreateSpec:
    """How a job is created. ``idempotency`` is one of `IDEMPOTENCY`, without ``lookup``.

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

    @property
    def repeatable(self) -> bool:
        """Whether the service recognises a create that is sent a second time."""
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
class ResultSpec:
    """The result: fetched by ``request``, or taken by ``value`` from the status reply; where it is
    kept is one of `KEEP`."""

    request: Request | None = None
    value: Expression | None = None
    content_id: Expression | None = None
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=3))
    max_bytes: int = 2**30
    keep: str = "auto"


@dataclass(frozen=True, slots=True)
class UpdateSpec:
    """How a service is told what was changed here. ``fields`` are those of the payload that may be
    (None: any that the job has); ``version`` reads the job's version there from the reply."""

    request: Request
    fields: tuple[str, ...] | None = None
    version: Expression | None = None


@dataclass(frozen=True, slots=True)
class CancelSpec:
    """How a service is asked to stop a job."""

    request: Request


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


@dataclass(frozen=True, slots=True)
class Service:
    """A service. ``rate`` is the least distance in seconds between two calls (None: no limit);
    ``timeout`` and ``retry_after_cap`` are seconds, ``max_bytes`` bounds a decoded reply."""

    name: str
    base_url: str
    account: str = ""
    rate: float | None = 0.1
    concurrency: int = 8
    timeout: float = 30.0
    max_bytes: int = 8 * 2**20
    verify: bool | str = True
    headers: Mapping[str, str] = field(default_factory=dict)
    transport: str = "requests"
    poll: PollPolicy = field(default_factory=PollPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retry_after_cap: float = 300.0
    create: CreateSpec | None = None
    status: StatusSpec | None = None
    states: Mapping[Word, State] = field(default_factory=dict)
    fold_case: bool = False
    result: ResultSpec | None = None
    update: UpdateSpec | None = None
    cancel: CancelSpec | None = None
    delete: DeleteSpec | None = None
    list: ListSpec | None = None
    cleanup: CleanupSpec = CleanupSpec()
    credential: HeaderCredential | None = None
    pacing: Pacing = field(default_factory=Pacing)
    title: str = ""
    examples: tuple[Example, ...] = ()

    @property
    def repeatable(self) -> bool:
        """Whether a create may be sent twice without making a second job."""
        return self.create is not None and self.create.repeatable

    @property
    def fetches(self) -> bool:
        """Whether a result is fetched by a call of its own."""
        return self.result is not None and self.result.request is not None

    @property
    def uploads(self) -> bool:
        """Whether a job's input has to be in S3 before its create call."""
        return self.create is not None and self.create.upload

    @property
    def result_retry(self) -> RetryPolicy:
        """How the fetching of a result is retried."""
        return self.result.retry if self.result is not None else RetryPolicy(attempts=3)

    @property
    def longest_call(self) -> float:
        """The longest time, in seconds, that any of its calls may take."""
        specs = (
            self.create,
            self.status,
            self.result,
            self.update,
            self.cancel,
            self.delete,
            self.list,
            self.cleanup,
        )
        requests = [spec.request for spec in specs if spec is not None]
        return max((one.timeout for one in requests if one is not None), default=self.timeout)

    def possible_every(self, jobs: int) -> float:
        """How often each of so many running jobs can be polled, in seconds, at the service's
        rate: as set, or less."""
        bulk = self.status.bulk if self.status is not None else None
        calls = -(-jobs // bulk.most) if bulk is not None else jobs
        return max(self.poll.every, calls * (self.rate or 0.0))

    def redacted(self, value: Json) -> Any:
        """`value` without the credentials that a careless service may have repeated in it."""
        if self.credential is None:
            return value
        if isinstance(value, str):
            return self.credential.redact(value)
        if isinstance(value, list):
            return [self.redacted(one) for one in value]
        if isinstance(value, dict):
            return {name: self.redacted(one) for name, one in value.items()}
        return value

    def build_create(self, job: Job, idempotency_key: str | None = None) -> Call:
        """The call that creates `job`. Raises UsageError when the job lacks what it needs."""
        return building.build_create(self, job, idempotency_key)

    def build_status(self, job: Job) -> Call:
        """The call that asks how `job` is. Raises UsageError."""
        return building.build_status(self, job)

    def build_result(self, job: Job, sink: Path | None = None) -> Call:
        """The call that fetches the result of `job` into the file `sink`. Raises UsageError."""
        return building.build_result(self, job, sink)

    def build_update(self, job: Job) -> Call:
        """The call that tells the service ``job.changes``. Raises UsageError."""
        return building.build_update(self, job)

    def build_cancel(self, job: Job) -> Call:
        """The call that asks the service to stop `job`. Raises UsageError."""
        return building.build_cancel(self, job)

    def build_list(self, cursor: str | None, since: str | None) -> Call:
        """The call for one page of the listing. Raises UsageError."""
        return listing.build_list(self, cursor, since)

    def read_list(self, reply: Reply) -> Page | Failure:
        """The page that a reply carries."""
        return listing.read_list(self, reply)

    def build_delete(self, job: Job) -> Call:
        """The call that deletes `job` at the service. Raises UsageError."""
        return building.build_delete(self, job)

    def build_cleanup(self, job: Job) -> Call:
        """The call that has the service clean up after the jobs ``job.server_ids``. Raises
        UsageError."""
        return building.build_cleanup(self, job)

    def read_create(
        self, job: Job, reply: Reply, idempotency_key: str | None = None
    ) -> Reading | Failure:
        """What the reply to a create says (the key plays no part: a client id is the local id)."""
        return reading.read_create(self, job, reply)

    def read_status(self, job: Job, reply: Reply) -> Reading | Failure:
        """What the reply to a status call says."""
        return reading.read_status(self, job, reply)

    def build_bulk(self, jobs: Sequence[Job]) -> Call:
        """See `tracker.services.bulk.build_bulk`."""
        return bulk.build_bulk(self, jobs)

    def read_bulk(
        self, jobs: Sequence[Job], reply: Reply
    ) -> tuple[Reading | Failure, ...] | Failure:
        """See `tracker.services.bulk.read_bulk`."""
        return bulk.read_bulk(self, jobs, reply)

    def read_result(self, job: Job, reply: Reply) -> Content | Failure:
        """The result that a reply carries."""
        return reading.read_result(self, job, reply)

    def read_update(self, job: Job, reply: Reply) -> str | Failure | None:
        """The job's version there after an update; None where it is not told."""
        return reading.read_update(self, job, reply)

    def read_cancel(self, reply: Reply) -> Failure | None:
        """None when the service has heard of the wish, or the job has ended there."""
        return reading.read_cancel(self, reply)

    def read_delete(self, reply: Reply) -> Failure | None:
        """None when the job is gone there."""
        return reading.read_delete(self, reply)

    def server_key(self, job: Job, created: Reading | None = None) -> str:
        """What makes the remote job unique here, with what the reply to its create brought."""
        if created is None:
            return building.server_key(self, job)
        return building.server_key(self, job, created.server_id, created.captured)
