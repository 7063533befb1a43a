"""Bringing a result home: fetch it, keep it, and only then call the job completed (P7)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from tracker import lifecycle
from tracker.executors.base import Executed, Executor, OneByOne, Tools
from tracker.ids import new_id
from tracker.lifecycle import Rules
from tracker.model import Content, Failure, Fault, Kind, Operation, Status
from tracker.outcomes import Attempted, Outcome
from tracker.services import Service
from tracker.storage import Storage
from tracker.transports.base import Call, Reply

log = logging.getLogger("tracker.result")

ROW_BYTES = 64 * 1024
"""Up to this size a result is kept in its row, where every SQL tool sees it; a larger one is kept
as a file."""


ROW_UP_TO = {"auto": ROW_BYTES, "row": 16 * 2**20, "file": -1, "object": -1}
"""Bytes up to which a result is kept in its row, by where the definition wants it."""


class FetchResult(OneByOne):
    """One call for one result, streamed into the tracker's folder."""

    def __init__(self, service: Service, rules: Rules, folder: Path, storage: Storage) -> None:
        self._service = service
        self._rules = rules
        self._folder = folder
        self._storage = storage
        self._keep_as = service.result.keep if service.result is not None else "auto"

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The call; nothing for a job that somebody ended meanwhile. Raises UsageError."""
        [item] = items
        if item.job.status != Status.RETRIEVING:
            return [Attempted(item, None)]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The name is the claim's own: a poller that was thought dead writes beside, not into it.
        name = f"{item.job.local_id}.{item.id}.{item.lease}.part"
        return self._service.build_result(item.job, self._folder / name)

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """The kept result, or when to try again."""
        [item] = items
        result = self._service.read_result(item.job, reply)
        if isinstance(result, Content):
            result.id = result.id or new_id()
            result.partial = result.partial or bool(item.payload.get("partial"))
            if reply.path is not None:
                result = self._keep(item, result, reply.path)
        failure = result if isinstance(result, Failure) else None
        if failure is not None and reply.path is not None:
            reply.path.unlink(missing_ok=True)
        if self._keep_as == "object" and isinstance(result, Content) and result.path is not None:
            target = self._storage.plan_result(item.job.local_id, result)
            return Executed([lifecycle.owed_store(item, result, target)])
        return Executed([lifecycle.after_fetch(item, result, self._rules)], failure)

    def _keep(self, item: Operation, content: Content, path: Path) -> Content | Failure:
        try:
            if content.size <= ROW_UP_TO[self._keep_as]:
                content.body, content.path = path.read_bytes(), None
                path.unlink()
            else:
                # Named for this claim: a late download never lands on the file of a kept one.
                kept = path.with_name(path.stem + _suffix(content.media_type))
                path.replace(kept)
                content.body, content.path = None, str(kept)
        except OSError as error:
            log.error("job %s: its result cannot be kept: %s", item.job.local_id, error)
            return Failure(Fault.INVALID, f"the result cannot be kept: {error.strerror}")
        return content


def _suffix(media_type: str) -> str:
    import mimetypes

    plain = media_type.partition(";")[0].strip().lower()
    return mimetypes.guess_extension(plain) or ".bin"


def serve(service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
    """The kind of operation that this file is, for `service`; see `tracker.executors`."""
    return {
        Kind.FETCH_RESULT: FetchResult(service, tools.rules, tools.folder.results, tools.storage)
    }
