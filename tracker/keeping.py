"""What is kept, and letting it go: the half of the facade that handles objects and cleans up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tracker import clock
from tracker.asking import Asking
from tracker.errors import CallFailed, NotFound, UsageError
from tracker.model import FILES, FINISHED, REMOVALS, Fault
from tracker.objects import Scheme, StoredObject
from tracker.serving import Chore, OnPoller, Progress

if TYPE_CHECKING:
    from tracker.archive import Archive
    from tracker.cleanup import Cleaner, Janitor, Receipt, Retention
    from tracker.executors.base import Lane
    from tracker.store.cleaning import Farewell
    from tracker.transports.aws import Clients
    from tracker.transports.base import Call, Reply

log = logging.getLogger("tracker.cleanup")

OnRows = Callable[[int], None]

BREATH_SECONDS = 0.05
"""The longest pause between two batches of a cleanup, for whoever else wants to write."""


class Keeping(Asking):
    """Only what is on record as the tracker's own is ever removed."""

    database: Path | str
    _clients: Clients | None = None

    def download(self, stored: StoredObject) -> bytes:
        """What an S3 object holds. Raises CallFailed."""
        reply = self._ask_s3(self.storage.build_get(stored))
        if reply.fault is not None:
            raise CallFailed(reply.message)
        return reply.body

    def identify(self, stored: StoredObject) -> StoredObject:
        """The same object with its version, size and ETag, where it is to be removed one day:
        whatever is put there later shall stay.

        Raises UsageError for a bucket that is not allowed, or a file that is not the tracker's
        own; NotFound when it is not there; CallFailed when S3 refuses to tell. Where S3 cannot be
        asked now, the object is returned as it is.
        """
        if stored.scheme == Scheme.S3:
            self.storage.check(stored.bucket)
        if not stored.owned:
            return stored
        if stored.scheme == Scheme.FILE:
            own = self.folder.own(stored.key)
            if own is None:
                raise UsageError(
                    f"{stored.key} is not in the tracker's folder and is never removed",
                    "leave --owned out",
                )
            return replace(stored, key=own)
        reply = self._ask_s3(self.storage.build_look(stored))
        if reply.fault is None:
            return _with_answer(stored, reply)
        if reply.status == 404:
            raise NotFound(f"there is no object {stored.uri}", "check bucket and key")
        if reply.fault in (Fault.REFUSED, Fault.REDIRECT):
            raise CallFailed(reply.message, "check the permissions, or leave --owned out")
        log.warning("%s could not be looked at: %s", stored.uri, reply.message)
        return stored

    def _ask_s3(self, call: Call) -> Reply:
        from tracker.transports.aws import Clients
        from tracker.transports.s3 import perform

        if self._clients is None:
            self._clients = Clients(4)
        return perform(self._clients, call)

    def close_s3(self) -> None:
        """Drop the connections to S3, if there were any."""
        if self._clients is not None:
            self._clients.close()

    # Cleaning up.

    def cleanup(
        self,
        *,
        older_than: float | None = None,
        statuses: Sequence[str] = FINISHED,
        dry_run: bool = False,
        archive: str | Path | None = None,
        on_rows: OnRows | None = None,
        on_progress: Progress | None = None,
        on_poller: OnPoller | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Receipt:
        """Delete finished jobs that are old enough and owe nothing, then remove what only they
        used: the tracker's own copies of their files, and the S3 objects that it owns.

        `older_than` is an age in seconds for all of them, instead of the configuration's.
        `archive` is a file that gets everything on record of a job before it goes. What cannot be
        removed stays owed, and pollers carry on with it. Between two batches `on_rows` is told how
        many jobs are gone and `stopped` is asked.
        """
        from tracker.archive import Archive

        retention = self._retention(older_than, statuses)
        if dry_run:
            return self._cleaner(retention).preview()
        if archive is not None:
            self._check_archive(Path(archive))
        if archive is None:
            cleaner = self._delete(retention, None, on_rows, stopped)
        else:
            with Archive(Path(archive)) as opened:
                cleaner = self._delete(retention, opened, on_rows, stopped)
        receipt = cleaner.receipt
        receipt.stopped = stopped()
        if not receipt.stopped:
            poller = self._poller(
                "cleanup",
                lanes=self._removal_lanes(),
                once=True,
                on_progress=on_progress,
                on_poller=on_poller,
            )
            summary = poller.run()
            receipt.add(summary)
            receipt.stopped = summary.stopped
        receipt.objects.owed = self.store.removals_owed(REMOVALS)
        receipt.files.owed = self.store.removals_owed(FILES)
        return receipt

    def _check_archive(self, path: Path) -> None:
        """Raises UsageError for a file that is the tracker's own already."""
        database = self.database
        own = []
        if isinstance(database, Path):
            own = [Path(f"{database}{end}") for end in ("", "-wal", "-shm", "-journal")]
        own += [self.config.path] if self.config.path is not None else []
        try:
            taken = path.resolve() in [one.resolve() for one in own] or self.folder.own(str(path))
        except OSError:
            return  # what is wrong with the name is told when it is opened
        if taken:
            raise UsageError(f"--archive {path} is the tracker's own", "name another file")

    def _delete(
        self,
        retention: Retention,
        archive: Archive | None,
        on_rows: OnRows | None,
        stopped: Callable[[], bool],
    ) -> Cleaner:
        cleaner = self._cleaner(retention, archive)
        while not stopped():
            began = clock.monotonic()
            if not cleaner.step():
                break
            if on_rows is not None:
                on_rows(cleaner.receipt.rows_deleted)
            # SQLite's lock knows no queue: who waits for it gets it only where nobody has it.
            clock.sleep(min((clock.monotonic() - began) / 2, BREATH_SECONDS))
        return cleaner

    def _cleaner(self, retention: Retention, archive: Archive | None = None) -> Cleaner:
        from tracker.cleanup import Cleaner

        return Cleaner(self.store, self.folder, retention, self._farewells(), archive)

    def _chores(self) -> list[Chore]:
        """Clean up by itself, too."""
        janitor = self._janitor()
        return [*super()._chores(), *([janitor] if janitor is not None else [])]

    def _janitor(self) -> Janitor | None:
        from tracker.cleanup import Janitor

        policy = self.config.cleanup
        if not policy.automatic:
            self.store.set_next_cleanup(None)
            return None
        return Janitor(
            self.store, lambda: self._cleaner(self._retention(None, FINISHED)), policy.every
        )

    def _retention(self, older_than: float | None, statuses: Sequence[str]) -> Retention:
        from tracker.cleanup import Retention

        policy = self.config.cleanup
        if older_than is not None:
            return Retention(older_than, statuses=statuses, keep=policy.keep)
        ages = {("", status): age for status, age in policy.ages.items()}
        for service in self.services.values():
            own = service.cleanup
            ages |= {(service.name, status): age for status, age in own.ages.items()}
            if own.older_than is not None:
                ages[service.name, ""] = own.older_than
        return Retention(policy.older_than, ages, statuses, policy.keep)

    def _farewells(self) -> dict[str, Farewell]:
        from tracker.store.cleaning import Farewell

        return {
            service.name: Farewell(True, service.cleanup.instead)
            for service in self.services.values()
            if service.cleanup.request is not None
        }

    def _removal_lanes(self) -> list[Lane]:
        from tracker.executors import clean_up_lane, removal_lanes

        asking = [one for one in self.services.values() if one.cleanup.request is not None]
        return [*map(clean_up_lane, asking), *removal_lanes(self.storage, self.folder)]


def _with_answer(stored: StoredObject, reply: Reply) -> StoredObject:
    from tracker.transports.tasks import Stored

    assert isinstance(reply.answer, Stored)
    found = reply.answer
    return replace(
        stored,
        version_id=stored.version_id or found.version_id,
        etag=found.etag,
        size=found.size,
    )
