"""Bringing a result home: fetch it, keep it, and only then call the job completed (P7)."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tracker import lifecycle
from tracker.executors.base import Executed, Executor, OneByOne, Tools
from tracker.ids import new_id
from tracker.lifecycle import Rules
from tracker.model import SERVICE_FAULTS, Content, Failure, Fault, Kind, Operation, Status
from tracker.outcomes import Attempted, Outcome
from tracker.services import Service
from tracker.services.results import FETCH, Piece, Step
from tracker.storage import Storage
from tracker.transports.base import Call, Reply

log = logging.getLogger("tracker.result")

ROW_BYTES = 64 * 1024
"""Up to this size a result is kept in its row, where every SQL tool sees it; a larger one is kept
as a file."""


PAGES_TYPE = "application/x-ndjson"
"""What the pages of a result become: a line of JSON for each item."""

MOST_PAGES = 10_000

ROW_UP_TO = {"auto": ROW_BYTES, "row": 16 * 2**20, "file": -1, "object": -1}
"""Bytes up to which a result is kept in its row, by where the definition wants it."""


class FetchResult(OneByOne):
    """One call for one step of one result's way here, streamed into the tracker's folder."""

    def __init__(self, service: Service, rules: Rules, folder: Path, storage: Storage) -> None:
        self._service = service
        self._rules = rules
        self._folder = folder
        self._storage = storage
        self._keep_as = service.result.keep if service.result is not None else "auto"
        self._max_bytes = service.result.max_bytes if service.result is not None else 0

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The call; nothing for a job that somebody ended meanwhile. Raises UsageError."""
        [item] = items
        if item.job.status != Status.RETRIEVING:
            return [Attempted(item, None)]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sink = self._file(item, item.lease, ".part")
        return self._service.build_result(item.job, sink, _way(item).step)

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """The kept result, the next step, or when to begin again."""
        [item] = items
        way = _way(item)
        result = self._service.read_result(item.job, reply, way.step)
        if isinstance(result, Step):
            return Executed([_going_on(item, replace(way, step=result))])
        brought = self._piece(item, way, result) if isinstance(result, Piece) else result
        if isinstance(brought, Content):
            brought = self._keep(item, brought)
        match brought:
            case _Way():
                return Executed([_going_on(item, brought)])
            case Failure():
                # What does not count goes on where it was: its pages are wanted yet.
                excused = brought.again or brought.fault in SERVICE_FAULTS
                self._drop(item, _Way() if excused else way, reply.path)
                return Executed([lifecycle.after_fetch(item, brought, self._rules)], brought)
        if self._keep_as == "object" and brought.path is not None:
            target = self._storage.plan_result(item.job.local_id, brought)
            return Executed([lifecycle.owed_store(item, brought, target)])
        return Executed([lifecycle.after_fetch(item, brought, self._rules)])

    def _keep(self, item: Operation, content: Content) -> Content | Failure:
        content.id = content.id or new_id()
        content.partial = content.partial or bool(item.payload.get("partial"))
        if content.path is None:
            return content
        path = Path(content.path)
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
            return _unkept(item, error)
        return content

    # A result that comes in pages: a file for each, put together after the last one.

    def _piece(self, item: Operation, way: _Way, piece: Piece) -> _Way | Content | Failure:
        size = way.size + len(piece.lines)
        if size > self._max_bytes:
            return Failure(Fault.OVERSIZED, f"the result has more than {self._max_bytes} bytes")
        if len(way.pages) >= MOST_PAGES:
            return Failure(Fault.UNREADABLE, f"the result has more than {MOST_PAGES} pages")
        pages, trail = (*way.pages, item.lease), lifecycle.Trail(**way.trail)
        following = piece.following
        if following is not None and not trail.goes_on_to(following.cursor or ""):
            return Failure(Fault.UNREADABLE, "the pages of the result go in circles")
        try:
            _write(self._file(item, item.lease, ".page"), [piece.lines])
            if following is not None:
                return _Way(following, pages, size, asdict(trail))
            files = [self._file(item, lease, ".page") for lease in pages]
            whole = self._file(item, item.lease, ".part")
            sha256 = _write(whole, (one.read_bytes() for one in files))
            for one in files:
                one.unlink(missing_ok=True)
        except FileNotFoundError:
            # Another poller, which was thought dead, has given up what it held of this.
            return Failure(Fault.SERVER, "a page of the result is no longer there")
        except OSError as error:
            return _unkept(item, error)
        return Content(media_type=PAGES_TYPE, path=str(whole), size=size, sha256=sha256)

    def _drop(self, item: Operation, way: _Way, path: Path | None) -> None:
        for lease in way.pages:
            self._file(item, lease, ".page").unlink(missing_ok=True)
        if path is not None:
            path.unlink(missing_ok=True)

    def _file(self, item: Operation, lease: int, suffix: str) -> Path:
        # The name is the claim's own: a poller that was thought dead writes beside, not into it.
        return self._folder / f"{item.job.local_id}.{item.id}.{lease}{suffix}"


@dataclass(frozen=True, slots=True)
class _Way:
    """How far a result's way is: the ``step`` that is next, and the ``pages`` that are here, by the
    claims that brought them, of so many bytes in all. ``trail`` is that of their cursors."""

    step: Step = FETCH
    pages: tuple[int, ...] = ()
    size: int = 0
    trail: dict[str, Any] = field(default_factory=dict)


def _way(item: Operation) -> _Way:
    told = item.payload.get("way")
    # Another failed attempt since then: from the beginning.
    if not isinstance(told, dict) or told["attempts"] != item.attempts:
        return _Way()
    step = Step(told["hops"], told["vars"], told["cursor"])
    return _Way(step, tuple(told["pages"]), told["size"], told["trail"])


def _going_on(item: Operation, way: _Way) -> Attempted:
    told = {
        "attempts": item.attempts,
        "hops": way.step.hops,
        "vars": way.step.vars,
        "cursor": way.step.cursor,
        "pages": list(way.pages),
        "size": way.size,
        "trail": way.trail,
    }
    return lifecycle.next_step(item, {**item.payload, "way": told})


def _unkept(item: Operation, error: OSError) -> Failure:
    log.error("job %s: its result cannot be kept: %s", item.job.local_id, error)
    return Failure(Fault.INVALID, f"the result cannot be kept: {error.strerror}")


def _write(path: Path, pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _suffix(media_type: str) -> str:
    import mimetypes

    plain = media_type.partition(";")[0].strip().lower()
    return mimetypes.guess_extension(plain) or ".bin"


def serve(service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
    """The kind of operation that this file is, for `service`; see `tracker.executors`."""
    return {
        Kind.FETCH_RESULT: FetchResult(service, tools.rules, tools.folder.results, tools.storage)
    }
