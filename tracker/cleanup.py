"""Cleaning up finished jobs: which go, in what batches, with a receipt (P9, B13)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tracker import clock
from tracker.archive import Archive
from tracker.errors import UsageError
from tracker.model import FINISHED, Json
from tracker.objects import ObjectState, Scheme, StoredObject
from tracker.spool import Folder
from tracker.store import Store
from tracker.store.cleaning import Farewell, Finished
from tracker.summary import Summary

log = logging.getLogger("tracker.cleanup")

BATCH = 100
"""Jobs that one transaction deletes. Each costs about 160 µs of write lock (benchmarks)."""

LEFT_BEHIND_SECONDS = 86400.0
"""A file of the tracker's own that no row names is left over after a day without a change."""

LOOK_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long finished jobs stay, in seconds since their end.

    ``ages`` has the exceptions: by (service, status), (service, ""), ("", status), in this order.
    ``statuses`` are those that go at all. Beyond the newest ``keep`` jobs, younger ones go too.
    """

    older_than: float
    ages: Mapping[tuple[str, str], float] = field(default_factory=dict)
    statuses: Sequence[str] = FINISHED
    keep: int | None = None

    def age(self, service: str, status: str) -> float:
        """How old such a job may become."""
        for key in ((service, status), (service, ""), ("", status)):
            if key in self.ages:
                return self.ages[key]
        return self.older_than

    @property
    def least(self) -> float:
        """The youngest age at which any job goes."""
        return min((self.older_than, *self.ages.values()))


@dataclass(slots=True)
class Removals:
    """What became of the objects of one kind: ``requested`` in this cleanup, the others also of
    earlier ones; ``owed`` is what is left to be removed."""

    requested: int = 0
    removed: int = 0
    already_gone: int = 0
    failed: int = 0
    owed: int = 0
    bytes_freed: int = 0


@dataclass(slots=True)
class Receipt:
    """What a cleanup did, or would do: ``objects`` in S3, ``files`` of the tracker's own.

    ``services_asked`` counts jobs whose service is asked to clean up, ``archived`` jobs that were
    written to a file first. A dry run lists the ``jobs`` and ``places`` that would go.
    """

    rows_deleted: int = 0
    objects: Removals = field(default_factory=Removals)
    files: Removals = field(default_factory=Removals)
    services_asked: int = 0
    archived: int = 0
    dry_run: bool = False
    stopped: bool = False
    jobs: list[dict[str, Json]] = field(default_factory=list)
    places: list[dict[str, Json]] = field(default_factory=list)

    @property
    def bytes_freed(self) -> int:
        """Of all objects and files together."""
        return self.objects.bytes_freed + self.files.bytes_freed

    def of(self, scheme: str) -> Removals:
        """The part for objects of this scheme."""
        return self.objects if scheme == Scheme.S3 else self.files

    def add(self, summary: Summary) -> None:
        """What a poller removed."""
        self.objects.removed += summary.objects_removed
        self.objects.already_gone += summary.objects_already_gone
        self.objects.failed += summary.objects_failed
        self.objects.bytes_freed += summary.object_bytes_freed
        self.files.removed += summary.files_removed
        self.files.already_gone += summary.files_already_gone
        self.files.failed += summary.files_failed
        self.files.bytes_freed += summary.file_bytes_freed


class Cleaner:
    """One cleanup, step by step, from the job that ended first on."""

    def __init__(
        self,
        store: Store,
        folder: Folder,
        retention: Retention,
        farewells: dict[str, Farewell] | None = None,
        archive: Archive | None = None,
    ) -> None:
        """`farewells` say, by service, what is wanted when its jobs go. Raises UsageError for a
        status that is not of a finished job."""
        for status in retention.statuses:
            if status not in FINISHED:
                raise UsageError(f"status '{status}' is none of {', '.join(FINISHED)}")
        self.receipt = Receipt()
        self._store = store
        self._folder = folder
        self._retention = retention
        self._farewells = farewells or {}
        self._archive = archive
        self._now = store.now()
        end = None if retention.keep is None else store.end_of_kept(retention.keep)
        self._beyond_kept = end or ("", 0)
        kept_from = clock.to_seconds(end[0]) + 0.001 if end is not None else 0.0
        self._before = max(self._now - retention.least, kept_from)
        self._after: Finished | None = None
        self._leftovers: Iterator[tuple[Path, int]] | None = None

    def step(self, limit: int = BATCH) -> bool:
        """Look at the next `limit` finished jobs and delete those whose time has come; then prune
        events and files that nobody names. False when everything has been looked at."""
        page = self._store.finished_page(self._after, self._before, limit=limit)
        if page:
            self._after = page[-1]
            self._delete([one for one in page if self._may_go(one)])
            return True
        return bool(self._store.prune_events()) or self._remove_leftovers(limit)

    def preview(self) -> Receipt:
        """What `step` after `step` would do. Nothing is changed."""
        self.receipt.dry_run = True
        seen: dict[int, int] = {}
        while page := self._store.finished_page(self._after, self._before, limit=BATCH):
            self._after = page[-1]
            # In the order in which a batch lets go of objects.
            for job in sorted(filter(self._may_go, page), key=self._is_handed_over):
                self._note(job, seen)
        for path, size in self._left_over():
            self._foresee(StoredObject(Scheme.FILE, str(path), size=size))
        return self.receipt

    def _may_go(self, job: Finished) -> bool:
        if job.owes or job.status not in self._retention.statuses:
            return False
        if (job.completed_at, job.id) <= self._beyond_kept:
            return True
        age = self._retention.age(job.service, job.status)
        return job.completed_at < clock.to_text(self._now - age)

    def _delete(self, jobs: list[Finished]) -> None:
        if not jobs:
            return
        if self._archive is not None:
            self._archive.write(self._store.whole([job.local_id for job in jobs]))
            self.receipt.archived += len(jobs)
        cleaned = self._store.clean_up(jobs, self._farewells)
        self.receipt.rows_deleted += cleaned.rows
        self.receipt.services_asked += cleaned.asked
        for scheme, count in cleaned.requested.items():
            self.receipt.of(scheme).requested += count

    def _note(self, job: Finished, seen: dict[int, int]) -> None:
        self.receipt.rows_deleted += 1
        farewell = self._farewells.get(job.service, Farewell())
        self.receipt.services_asked += farewell.asks and job.accepted
        instead = self._is_handed_over(job)
        self.receipt.jobs.append(
            {
                "local_id": job.local_id,
                "service": job.service,
                "status": job.status,
                "completed_at": job.completed_at,
            }
        )
        for stored, users in self._store.owned_by(job.local_id):
            seen[stored.id] = seen.get(stored.id, 0) + 1 if stored.id else users
            handed_over = (
                instead and stored.scheme == Scheme.S3 and stored.state == ObjectState.PRESENT
            )
            if seen[stored.id] == users and not handed_over:
                self._foresee(stored)

    def _is_handed_over(self, job: Finished) -> bool:
        return self._farewells.get(job.service, Farewell()).instead and job.accepted

    def _foresee(self, stored: StoredObject) -> None:
        part = self.receipt.of(stored.scheme)
        part.requested += 1
        part.bytes_freed += stored.size or 0
        place = {"place": stored.uri, "version_id": stored.version_id, "size": stored.size}
        self.receipt.places.append(place)

    # A process that is killed between the copy of an input and the record of its job, or in a
    # download, leaves a file that no row names.

    def _remove_leftovers(self, limit: int) -> bool:
        if self._leftovers is None:
            self._leftovers = self._left_over()
        batch = list(islice(self._leftovers, limit))
        for path, size in batch:
            try:
                found = self._folder.remove(str(path))
            except OSError as error:
                log.error("%s cannot be removed: %s", path, error)
                self.receipt.files.failed += 1
                continue
            self.receipt.files.removed += found
            self.receipt.files.bytes_freed += size if found else 0
        return bool(batch)

    def _left_over(self) -> Iterator[tuple[Path, int]]:
        files = self._folder.files(self._now - LEFT_BEHIND_SECONDS)
        while batch := list(islice(files, BATCH)):
            # By name: the folder may have been reached by another way when it was recorded.
            recorded = self._store.paths_of(
                [local_id for local_id, _, _ in batch], [str(path) for _, path, _ in batch]
            )
            kept = {Path(one).name for one in recorded}
            for _, path, size in batch:
                if path.name not in kept:
                    yield path, size


class Janitor:
    """Cleaning up by itself, a little at a time, once in a while: `meta` says when it is next due,
    for all pollers."""

    def __init__(self, store: Store, make: Callable[[], Cleaner], every: float) -> None:
        self._store = store
        self._make = make
        self._every = every
        self._cleaner: Cleaner | None = None
        self._look_at = 0.0

    def __call__(self, summary: Summary) -> bool:
        """One small step, if it is time; whether there is more to do now."""
        if self._cleaner is None and not self._is_time():
            return False
        if self._cleaner is None:
            self._cleaner = self._make()
        receipt, before = self._cleaner.receipt, self._cleaner.receipt.rows_deleted
        going = self._cleaner.step(BATCH)
        summary.cleaned_up += receipt.rows_deleted - before
        if not going:
            log.info("cleaned up %d jobs", receipt.rows_deleted)
            self._cleaner = None
            self._store.set_next_cleanup(self._every)
        return going

    def _is_time(self) -> bool:
        if clock.monotonic() < self._look_at:
            return False
        wait = self._store.next_cleanup_in()
        self._look_at = clock.monotonic() + min(wait, LOOK_AGAIN_SECONDS)
        return wait <= 0
