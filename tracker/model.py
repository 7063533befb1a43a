"""The rows and words that every other room speaks of. Nothing here does anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from tracker.objects import ObjectState, Scheme, StoredObject

Json = Any
"""Whatever JSON can hold."""


class Status(StrEnum):
    """Where a job is, as this ledger sees it."""

    PENDING = "pending"  # not accepted by the service yet
    PROCESSING = "processing"
    RETRIEVING = "retrieving"  # done there, its result is not home yet
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = (Status.PENDING, Status.PROCESSING, Status.RETRIEVING)
FINISHED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class State(StrEnum):
    """What a reply says about a job. A state is not a status: "queued" there is processing here."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    UNKNOWN_WORD = "unknown_word"  # a word (or none) that the definition does not list
    UNKNOWN_JOB = "unknown_job"  # the service does not know the job


# No frozenset: Python would compute a member's hash for each poll.
ENDINGS = (State.COMPLETED, State.FAILED, State.TIMEOUT, State.CANCELLED)
"""States in which nothing more happens to a job over there."""


class Reason(StrEnum):
    """Why a job failed."""

    SERVICE = "service"  # the service said so
    TIMEOUT = "timeout"  # the service said that it took too long there
    LOST = "lost"  # the service no longer knows the job
    EXPIRED = "expired"  # the result was gone before it was fetched
    REJECTED = "rejected"  # the service refused to create it
    RESULT = "result"  # the result could not be fetched or kept
    GAVE_UP = "gave_up"  # longer than `give_up_after`
    PERSON = "person"  # somebody failed it by hand


class Fault(StrEnum):
    """Why a call brought no usable reply; see "Failures, one table" in docs/architecture.md."""

    UNREACHABLE = "unreachable"  # refused, DNS, TLS, no route: the service's problem
    UNAUTHORISED = "unauthorised"  # 401 after asking the provider again
    SIGNED_OUT = "signed_out"  # no credentials to be had: nothing left this machine
    THROTTLED = "throttled"  # 429
    TIMEOUT = "timeout"
    RESET = "reset"  # the connection broke
    SERVER = "server"  # 408, 425, 5xx
    UNREADABLE = "unreadable"  # not JSON, the wrong type, a reply for another job
    OVERSIZED = "oversized"
    REFUSED = "refused"  # 403 and any other 4xx
    REDIRECT = "redirect"  # to another host, too many, or without a target
    INVALID = "invalid"  # the call could not be built or sent: nothing left this machine


SERVICE_FAULTS = frozenset(
    {Fault.UNREACHABLE, Fault.UNAUTHORISED, Fault.SIGNED_OUT, Fault.THROTTLED}
)
"""Faults that pause the service; an operation that meets one burns no attempt."""

WAITED_FOR = SERVICE_FAULTS - {Fault.THROTTLED}
"""Those that end when something comes back: the network, the service, the credentials."""


@dataclass(slots=True, frozen=True)
class Failure:
    """A call that brought no reading.

    ``retry_after`` is in seconds and is already capped; ``sent`` is False only where it is known
    that not one byte of the request left this machine. ``final``: the service says that another
    attempt is of no use; ``again``: that it did not begin, and that it will later.
    """

    fault: Fault
    message: str
    http_status: int = 0
    retry_after: float | None = None
    sent: bool = True
    final: bool = False
    again: bool = False


@dataclass(slots=True)
class Reading:
    """What one reply says about one job, in this ledger's words.

    ``progress`` is 0 to 1; ``estimated_seconds`` counts from the reply; ``error`` is set only
    beside `State.FAILED`, `State.TIMEOUT` and `State.CANCELLED`; ``captured`` is kept in the
    job's ``vars``; ``result`` is the body of an inline result (None when there is none), or what
    there is of it (``partial``); ``retry_after`` is for how many seconds it is not worth asking.
    ``has_result`` is whether there is one to be fetched; at ``expires_at`` (as in `ProcessingJob`)
    the service lets the job go, or its result.
    """

    state: State
    word: str | None = None
    progress: float | None = None
    error: str | None = None
    estimated_seconds: float | None = None
    server_id: str | None = None
    captured: dict[str, Json] = field(default_factory=dict)
    result: Json = None
    content_id: str | None = None
    remote_version: str | None = None
    partial: bool = False
    retry_after: float | None = None
    has_result: bool = True
    expires_at: str | None = None


class Kind(StrEnum):
    """Kinds of operation; each has one executor."""

    UPLOAD_INPUT = "upload_input"  # put the submitted file into S3; the create follows
    CREATE = "create"
    UPDATE = "update"  # tell the service what was changed here
    CANCEL = "cancel"  # ask the service to stop; the job ends when it says so
    REFRESH = "refresh"  # list a service's jobs, a page at a time; it is about no single job
    DELETE = "delete"  # have the service forget the job; then its row goes
    FETCH_RESULT = "fetch_result"
    STORE_RESULT = "store_result"  # put a fetched result into S3; then the job is completed
    NOTIFY = "notify"
    CLEAN_UP = "clean_up"  # ask a service to remove what it keeps of a job
    REMOVE_OBJECT = "remove_object"


OUTLIVING = frozenset({Kind.CLEAN_UP, Kind.NOTIFY, Kind.REFRESH, Kind.REMOVE_OBJECT})
"""Kinds of operation that are owed although their job has no row any more."""

SYNC = (Kind.UPLOAD_INPUT, Kind.CREATE, Kind.UPDATE, Kind.CANCEL, Kind.DELETE)
"""Kinds that a job owes its service in the order in which they were asked for: the next one waits
until the one before it is done."""

POLL = "poll"
"""What is done for a running job, beside its operations."""

CALLS_OF: Mapping[str, str] = {
    POLL: "reads",
    Kind.FETCH_RESULT: "reads",
    Kind.CREATE: "creates",
    Kind.REFRESH: "lists",
}
"""The kind of call to a service that a poll, or an operation of some kinds, is."""

UPLOADS, REMOVALS, FILES = "storage:uploads", "storage:removals", "storage:files"
"""Lanes of the tracker's own; no service's name has a colon."""


class OperationState(StrEnum):
    """Where an operation is. A finished one has no row."""

    PENDING = "pending"
    IN_DOUBT = "in_doubt"  # sent, no reply, and not repeatable: a person or a lookup decides
    DEAD = "dead"  # the dead letter: given up


PRIORITIES = ("critical", "high", "medium", "low")


class Event(NamedTuple):
    """Something that happened to a job; ``data`` is a JSON object."""

    type: str
    data: dict[str, Json]


@dataclass(slots=True)
class NewOperation:
    """An operation to be written; ``delay`` is in seconds from the moment it is. An ``object`` that
    it is about is put on record with it."""

    kind: str
    service: str
    account: str = ""
    delay: float = 0.0
    priority: str = "medium"
    idempotency_key: str | None = None
    payload: dict[str, Json] = field(default_factory=dict)
    object: StoredObject | None = None


@dataclass(slots=True)
class Content:
    """A kept result: its body is in the row (``body``), in a file (``path``) or in an object."""

    role: str = "result"
    id: str | None = None
    media_type: str = ""
    size: int = 0
    sha256: str = ""
    partial: bool = False
    body: bytes | None = None
    path: str | None = None
    object_id: int | None = None


@dataclass(slots=True)
class ProcessingJob:
    """A job on somebody else's API: one row of ``processing_jobs``.

    Times are ISO-8601 text in UTC (``2026-01-31T08:15:00.250Z``), ``progress`` is 0 to 1, ids are
    text. ``sync_status`` is derived from what the job still owes its service.
    """

    local_id: str
    service: str
    status: str
    server_id: str | None = None
    account: str = ""
    job_type: str = ""
    user_id: str = ""
    session_id: str | None = None
    project: str | None = None
    document_id: str | None = None
    sync_status: str = "pending"
    failure_reason: str | None = None
    error_message: str | None = None
    result_content_id: str | None = None
    progress: float | None = None
    remote_state: str | None = None
    remote_version: str | None = None
    payload: dict[str, Json] = field(default_factory=dict)
    vars: dict[str, Json] = field(default_factory=dict)
    initiated_at: str = ""
    created_at: str = ""
    updated_at: str = ""
    accepted_at: str | None = None
    completed_at: str | None = None
    deadline_at: str | None = None
    expires_at: str | None = None
    unknown_since: str | None = None
    estimated_completion_seconds: float | None = None
    next_poll_at: str | None = None
    last_poll_at: str | None = None
    retry_count: int = 0
    poll_count: int = 0
    last_http_status: int | None = None
    last_duration_seconds: float | None = None
    last_error: str | None = None
    cancel_requested_at: str | None = None
    traceparent: str | None = None
    claimed_by: str | None = None
    lease_until: str | None = None
    version: int = 1

    @property
    def finished(self) -> bool:
        """Whether the status is one that a job never leaves by itself."""
        return self.status in FINISHED

    @property
    def said(self) -> dict[str, Any]:
        """The fields that hold something, by name; not copied."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value not in (None, "", {})}

    @property
    def short_id(self) -> str:
        """The end of ``local_id`` that people see and type."""
        return self.local_id[-8:]


@dataclass(slots=True)
class Job:
    """A job in the hands of an executor: what a call can be built from, and its claim.

    ``lease`` is the fence: what this claim brings back counts only while the row still has that
    number. Ages are seconds, by the ledger's clock at the claim; ``unknown_for`` is None unless
    the service has been denying the job; ``input`` describes the submitted file (``path`` in the
    spool, ``name``, ``size``, ``media_type``, ``sha256``) and, once it is in S3, where (``bucket``,
    ``key``, ``version_id``, ``uri``, ``url``). ``server_ids`` are those of all jobs that one call
    is about, ``changes`` what an update tells, ``cursor`` and ``since`` which page is asked for.
    """

    id: int
    local_id: str
    service: str
    account: str
    server_id: str | None
    status: str
    lease: int = 0
    due: str = ""
    retry_count: int = 0
    progress: float | None = None
    remote_state: str | None = None
    age: float = 0.0
    unknown_for: float | None = None
    estimated_seconds: float | None = None
    progress_event_age: float | None = None
    job_type: str = ""
    user_id: str = ""
    session_id: str | None = None
    project: str | None = None
    document_id: str | None = None
    initiated_at: str = ""
    payload: dict[str, Json] = field(default_factory=dict)
    vars: dict[str, Json] = field(default_factory=dict)
    input: dict[str, Json] | None = None
    server_ids: list[str] = field(default_factory=list)
    remote_version: str | None = None
    changes: dict[str, Json] = field(default_factory=dict)
    expires_at: str | None = None
    cursor: str | None = None
    since: str | None = None

    def describe_input(self, stored: StoredObject) -> None:
        """Add what is known of its file: the copy in the spool, the object in S3, or both."""
        found = self.input = self.input or {}
        if stored.scheme == Scheme.FILE:
            found["path"] = stored.key
        elif stored.state == ObjectState.PRESENT:
            for name in ("bucket", "key", "version_id", "uri"):
                found[name] = getattr(stored, name)
        for name in ("name", "size", "media_type", "sha256"):
            value = getattr(stored, name)
            if value is not None:
                found.setdefault(name, value)


@dataclass(slots=True)
class Operation:
    """A claimed operation and its job. ``attempts`` counts failed attempts before this one;
    ``lease`` is 1 on the first claim of it. ``object`` is what it is about, if anything;
    ``unaccounted`` counts its claims whose fate is not known, with this one."""

    id: int
    kind: str
    job: Job
    lease: int
    attempts: int
    idempotency_key: str | None
    payload: dict[str, Json]
    service: str = ""
    account: str = ""
    object: StoredObject | None = None
    unaccounted: int = 1
