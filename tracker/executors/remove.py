"""Removing what no job uses any more: S3 objects by the thousand, files one by one."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence

from tracker import lifecycle
from tracker.executors.base import Executed
from tracker.model import Failure, Fault, Operation
from tracker.objects import ObjectChange
from tracker.outcomes import Outcome
from tracker.spool import Folder
from tracker.storage import Storage
from tracker.storage.definition import failure_of
from tracker.transports.base import Call, Reply
from tracker.transports.tasks import Removed

log = logging.getLogger("tracker.cleanup")

MOST = 1000
"""Keys that one DeleteObjects may name."""
LEAST = 50

FILES_AT_ONCE = 500


class RemoveObjects:
    """One DeleteObjects call for objects of one bucket. Each key has an outcome of its own.

    Where S3 asks to slow down, the calls get smaller, and larger again as they go well.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.most = MOST

    def together(self, item: Operation) -> Hashable:
        """Those of one bucket share a call; a bucket is in one region."""
        return item.object.bucket if item.object is not None else None

    def prepare(self, items: Sequence[Operation]) -> Call:
        """The call. Raises UsageError for a bucket that is not allowed."""
        return self._storage.build_removal(items)

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """What became of each key."""
        failure = failure_of(reply)
        if failure is not None:
            if failure.fault is Fault.THROTTLED:
                self.most = max(self.most // 2, LEAST)
            self._log(items[0], failure.message, len(items))
            return Executed([lifecycle.after_removal(item, failure) for item in items], failure)
        assert isinstance(reply.answer, Sequence)
        outcomes: list[Outcome] = []
        throttled = False
        for item, removed in zip(items, reply.answer, strict=True):
            throttled = throttled or removed.throttled
            if removed.error is not None:
                self._log(item, removed.error)
            elif item.object is not None and removed.size is not None:
                item.object.size = removed.size
            outcomes.append(lifecycle.after_removal(item, _result(removed)))
        self.most = max(self.most // 2, LEAST) if throttled else min(self.most * 2, MOST)
        return Executed(outcomes)

    def _log(self, item: Operation, why: str, count: int = 1) -> None:
        place = item.object.uri if item.object is not None else ""
        others = f" (and {count - 1} more)" if count > 1 else ""
        log.error(
            "%s%s cannot be removed: %s", place, others, why, extra={"job": item.job.local_id}
        )


def _result(removed: Removed) -> ObjectChange | Failure:
    if removed.error is None:
        return ObjectChange(None, found=removed.found)
    return Failure(Fault.REFUSED, removed.error)


class RemoveFiles:
    """The tracker's own files, removed at once: no call is needed for that."""

    most = FILES_AT_ONCE

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def together(self, item: Operation) -> Hashable:
        """All files are alike."""
        return None

    def prepare(self, items: Sequence[Operation]) -> list[Outcome]:
        """What became of each file."""
        return [lifecycle.after_removal(item, self._remove(item)) for item in items]

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """Only what could not be prepared comes here."""
        failure = failure_of(reply) or Failure(Fault.INVALID, "a file needs no call")
        return Executed([lifecycle.after_removal(item, failure) for item in items], failure)

    def _remove(self, item: Operation) -> ObjectChange | Failure:
        path = item.object.key if item.object is not None else ""
        try:
            return ObjectChange(None, found=self._folder.remove(path))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            log.error("%s cannot be removed: %s", path, reason, extra={"job": item.job.local_id})
            return Failure(Fault.INVALID, f"{path}: {reason}", sent=False)
