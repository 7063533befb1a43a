"""What can come of a claim: made by `tracker.lifecycle`, written by the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tracker.listed import Merging, Page
from tracker.model import (
    Content,
    Event,
    Job,
    Json,
    NewOperation,
    Operation,
    OperationState,
    Reason,
    Status,
)
from tracker.objects import ObjectChange


@dataclass(slots=True)
class Running:
    """Lane one: the job goes on.

    ``unknown`` is whether the service denied the job, None where it did not get to say.
    ``changed`` asks for the visible fields to be written too.
    """

    job: Job
    delay: float
    retry_count: int = 0
    error: str | None = None
    http_status: int | None = None
    duration: float | None = None
    unknown: bool | None = False
    changed: bool = False
    progress: float | None = None
    progress_event: bool = False
    remote_state: str | None = None
    remote_version: str | None = None
    estimated_seconds: float | None = None
    expires_at: str | None = None
    vars: dict[str, Json] | None = None
    events: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class Transition:
    """Lane two: the job's status changes, with everything that this causes.

    Applied only while the job is in one of ``from_statuses`` and, where ``lease`` is given, still
    has that lease number. ``raise_lease`` voids a claim that is out there (a person's act).
    ``synced`` is the payload that the service has from now on.
    """

    job_id: int
    from_statuses: tuple[Status, ...]
    status: Status
    lease: int | None = None
    raise_lease: bool = False
    reason: Reason | None = None
    error: str | None = None
    progress: float | None = None
    remote_state: str | None = None
    remote_version: str | None = None
    estimated_seconds: float | None = None
    server_id: str | None = None
    server_key: str | None = None
    vars: dict[str, Json] | None = None
    accepted: bool = False
    give_up_after: float | None = None
    expires_at: str | None = None
    next_delay: float | None = None
    polled: bool = False
    http_status: int | None = None
    duration: float | None = None
    last_error: str | None = None
    content_id: str | None = None
    content: Content | None = None
    synced: dict[str, Json] | None = None
    events: list[Event] = field(default_factory=list)
    operations: list[NewOperation] = field(default_factory=list)


@dataclass(slots=True)
class Attempted:
    """What became of one attempt of an operation.

    ``state`` None removes the operation (it is done); ``burnt`` is whether the attempt counts.
    ``object`` is what changed about its object, ``operations`` what its job owes from now on.
    With ``erase`` the job goes, with all that belongs to it; ``synced`` are fields that the service
    has from now on, ``due`` has the job polled now, and ``outdated`` has its service listed soon
    besides: what is on record is older than what is there. It ``becomes`` another operation, in its
    place in the job's line, with the same key; or it goes on with another ``payload``. ``page`` is
    one of a listing; when all are there the listing is merged as ``merging`` says, in as many steps
    as it takes.
    """

    operation: Operation
    state: OperationState | None
    delay: float = 0.0
    burnt: bool = True
    error: str | None = None
    http_status: int | None = None
    transition: Transition | None = None
    object: ObjectChange | None = None
    operations: list[NewOperation] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    erase: bool = False
    synced: dict[str, Json] | None = None
    remote_version: str | None = None
    due: bool = False
    outdated: bool = False
    becomes: NewOperation | None = None
    payload: dict[str, Json] | None = None
    page: Page | None = None
    merging: Merging | None = None


@dataclass(slots=True)
class Released:
    """A claim given back untouched: nothing was called, nothing counts."""

    claimed: Job | Operation


Outcome = Running | Transition | Attempted | Released


class Claim(NamedTuple):
    """The claim of a job, or else of an operation: its row and its fence."""

    of_job: bool
    id: int
    lease: int


def claim_of(outcome: Outcome) -> Claim:
    """The claim that an outcome came from."""
    match outcome:
        case Running():
            return Claim(True, outcome.job.id, outcome.job.lease)
        case Transition():
            return Claim(True, outcome.job_id, outcome.lease or 0)
        case Attempted():
            return Claim(False, outcome.operation.id, outcome.operation.lease)
        case Released():
            claimed = outcome.claimed
            return Claim(isinstance(claimed, Job), claimed.id, claimed.lease)
