"""A service: what its tables say, and how its calls are built and its replies read with that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracker.listed import Page
from tracker.model import CALLS_OF, POLL, Content, Failure, Job, Json, Reading, State
from tracker.schedule import PollPolicy, RetryPolicy
from tracker.services import building, bulk, listing, lookup, pacing, reading, results
from tracker.services.credentials import HeaderCredential
from tracker.services.examples import Example
from tracker.services.expression import Expression
from tracker.services.pacing import Pacing
from tracker.services.parts import (
    CancelSpec,
    CleanupSpec,
    CreateSpec,
    DeleteSpec,
    ListSpec,
    ResultSpec,
    StatusSpec,
    UpdateSpec,
)
from tracker.services.results import FETCH, Piece, Step
from tracker.services.values import Word
from tracker.transports import HTTP
from tracker.transports.base import Call, Reply


@dataclass(frozen=True, slots=True)
class Service:
    """A service. ``rate`` is the least distance in seconds between two calls (None: no limit);
    calls of a kind that is in ``rates`` have that distance instead. ``timeout`` and
    ``retry_after_cap`` are seconds, ``max_bytes`` bounds a decoded reply."""

    name: str
    base_url: str
    account: str = ""
    rate: float | None = 0.1
    rates: Mapping[str, float | None] = field(default_factory=dict)
    concurrency: int = 8
    timeout: float = 30.0
    max_bytes: int = 8 * 2**20
    verify: bool | str = True
    headers: Mapping[str, str] = field(default_factory=dict)
    transport: str = HTTP
    poll: PollPolicy = field(default_factory=PollPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retry_after_cap: float = 300.0
    create: CreateSpec | None = None
    status: StatusSpec | None = None
    states: Mapping[Word, State] = field(default_factory=dict)
    fold_case: bool = False
    refused: Expression | None = None
    vars: Mapping[str, Json] = field(default_factory=dict)
    result: ResultSpec | None = None
    update: UpdateSpec | None = None
    cancel: CancelSpec | None = None
    delete: DeleteSpec | None = None
    list: ListSpec | None = None
    cleanup: CleanupSpec = field(default_factory=CleanupSpec)
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
    def salvages(self) -> frozenset[State]:
        """After which ends, but for a good one, what there is of a result is fetched."""
        found = self.result.states if self.result is not None and self.fetches else frozenset()
        return found - {State.COMPLETED}

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
        create, status, result = self.create, self.status, self.result
        specs = (
            create,
            create.lookup if create is not None else None,
            status,
            status.bulk if status is not None else None,
            result,
            self.update,
            self.cancel,
            self.delete,
            self.list,
            self.cleanup,
        )
        requests = [spec.request for spec in specs if spec is not None]
        requests += [create.then if create is not None else None]
        requests += [hop.request for hop in result.hops] if result is not None else []
        return max((one.timeout for one in requests if one is not None), default=self.timeout)

    def possible_every(self, jobs: int) -> float:
        """How often each of so many running jobs can be polled, in seconds, at the service's
        rate: as set, or less."""
        bulk = self.status.bulk if self.status is not None else None
        calls = -(-jobs // bulk.most) if bulk is not None else jobs
        distance = self.rates.get(self.calls_of(POLL), self.rate)
        return max(self.poll.every, calls * (distance or 0.0))

    def with_constants(self, job: Job) -> Job:
        """`job` with the constants of the service below its own ``vars``."""
        return replace(job, vars={**self.vars, **job.vars}) if self.vars else job

    def calls_of(self, kind: str) -> str:
        """Whose rate counts for polls, or for a kind of operation: one of ``rates``, or ""."""
        calls = CALLS_OF.get(kind, "")
        return calls if calls in self.rates else ""

    def rests(self, reply: Reply) -> float:
        """For how many seconds no more calls are to be made after a reply, as none are left."""
        return pacing.rest(self.pacing, reply, self.retry_after_cap)

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

    def build_result(self, job: Job, sink: Path | None = None, step: Step = FETCH) -> Call:
        """See `tracker.services.results.build_result`."""
        return results.build_result(self, job, sink, step)

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

    def build_then(self, job: Job) -> Call:
        """The call that has `job` begin, where creating it takes two. Raises UsageError."""
        return building.build_then(self, job)

    def build_lookup(self, job: Job) -> Call:
        """See `tracker.services.lookup.build_lookup`."""
        return lookup.build_lookup(self, job)

    def read_lookup(self, job: Job, reply: Reply) -> Reading | Failure | None:
        """See `tracker.services.lookup.read_lookup`."""
        return lookup.read_lookup(self, job, reply)

    def read_plain(self, reply: Reply) -> Failure | None:
        """None when the service has done what it was asked for."""
        return reading.read_plain(self, reply)

    def build_bulk(self, jobs: Sequence[Job]) -> Call:
        """See `tracker.services.bulk.build_bulk`."""
        return bulk.build_bulk(self, jobs)

    def read_bulk(
        self, jobs: Sequence[Job], reply: Reply
    ) -> tuple[Reading | Failure, ...] | Failure:
        """See `tracker.services.bulk.read_bulk`."""
        return bulk.read_bulk(self, jobs, reply)

    def read_result(
        self, job: Job, reply: Reply, step: Step = FETCH
    ) -> Content | Step | Piece | Failure:
        """See `tracker.services.results.read_result`."""
        return results.read_result(self, job, reply, step)

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
