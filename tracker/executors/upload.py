"""Putting files into S3: an input before its create, a result after it came home."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracker import lifecycle
from tracker.executors.base import Executed, OneByOne
from tracker.lifecycle import Rules
from tracker.model import Failure, Operation, Status
from tracker.objects import ObjectChange, ObjectState
from tracker.outcomes import Attempted, Outcome
from tracker.schedule import RetryPolicy
from tracker.storage import Storage
from tracker.storage.definition import failure_of
from tracker.transports.base import Call, Reply
from tracker.transports.tasks import Begun, Stored

OnBytes = Callable[[int], None]


class UploadInput(OneByOne):
    """One step of one input's upload; with the last one the create is owed."""

    def __init__(
        self, storage: Storage, retry: RetryPolicy, on_bytes: OnBytes | None = None
    ) -> None:
        """`on_bytes` is told how many more bytes are there."""
        self._storage = storage
        self._retry = retry
        self._on_bytes = on_bytes

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The next step; nothing for a job that somebody ended meanwhile. Raises UsageError."""
        [item] = items
        if item.job.status != Status.PENDING:
            return [Attempted(item, None)]
        return self._storage.build_upload(item, self._on_bytes)

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """How far the upload is."""
        [item] = items
        result = _read(reply)
        failure = result if isinstance(result, Failure) else None
        return Executed([lifecycle.after_upload(item, result, self._retry)], failure)


class StoreResult(OneByOne):
    """One step of one result's upload; with the last one the job is completed."""

    def __init__(self, storage: Storage, rules: Callable[[str], Rules]) -> None:
        """`rules` has those of each service, by its name."""
        self._storage = storage
        self._rules = rules

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The next step; nothing for a job that somebody ended meanwhile. Raises UsageError."""
        [item] = items
        if item.job.status != Status.RETRIEVING:
            return [Attempted(item, None)]
        return self._storage.build_upload(item)

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """How far the upload is."""
        [item] = items
        result = _read(reply)
        failure = result if isinstance(result, Failure) else None
        attempted = lifecycle.after_store(item, result, self._rules(item.job.service))
        return Executed([attempted], failure)


def _read(reply: Reply) -> ObjectChange | Failure:
    failure = failure_of(reply)
    if failure is not None:
        return failure
    match reply.answer:
        case Stored(version_id=version_id, etag=etag):
            return ObjectChange(ObjectState.PRESENT, version_id=version_id, upload_id="", etag=etag)
        case Begun(upload_id=upload_id):
            return ObjectChange(ObjectState.UPLOADING, upload_id=upload_id)
        case _:
            raise TypeError(f"no answer to an upload: {reply.answer!r}")
