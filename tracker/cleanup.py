"""Cleaning up finished jobs, with a receipt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tracker.errors import UsageError
from tracker.model import FINISHED
from tracker.spool import Folder
from tracker.store import Store

log = logging.getLogger("tracker.cleanup")

BATCH = 500

LEFT_BEHIND_SECONDS = 86400.0
"""A file of the tracker's own that no row names is left over after a day without a change."""


@dataclass(slots=True)
class Receipt:
    """What a cleanup did, or would do; ``failed`` counts files whose removal stays owed."""

    rows_deleted: int = 0
    files_removed: int = 0
    bytes_freed: int = 0
    failed: int = 0
    dry_run: bool = False


def clean_up(
    store: Store,
    folder: Folder,
    older_than: float,
    statuses: Sequence[str],
    *,
    keep: int | None = None,
    dry_run: bool = False,
) -> Receipt:
    """Delete finished jobs in small batches, then remove the files that they kept here.

    `older_than` is an age in seconds; with `keep`, younger ones go too, down to that many.

    A file that cannot be removed stays owed: the next cleanup tries again.
    """
    for status in statuses:
        if status not in FINISHED:
            raise UsageError(f"status '{status}' is none of {', '.join(FINISHED)}")
    before = store.now() - older_than
    if keep is not None and (end := store.end_of_kept(keep)) is not None:
        before = max(before, end + 0.001)
    receipt = Receipt(dry_run=dry_run)
    if dry_run:
        receipt.rows_deleted = len(store.cleanable(before, statuses, limit=2**31))
        return receipt
    while count := store.clean_up(before, statuses, limit=BATCH):
        receipt.rows_deleted += count
    while store.prune_events():
        pass
    _remove_files(store, folder, receipt)
    _remove_leftovers(store, folder, receipt)
    return receipt


def _remove_leftovers(store: Store, folder: Folder, receipt: Receipt) -> None:
    """A process that is killed between the copy of an input and the record of its job, or in a
    download, leaves a file that no row names."""
    files = folder.files(store.now() - LEFT_BEHIND_SECONDS)
    while batch := list(islice(files, BATCH)):
        # By name: the folder may have been reached by another way when the path was recorded.
        kept = {Path(one).name for one in store.paths_of([local_id for local_id, _ in batch])}
        for _, path in batch:
            if path.name not in kept:
                _remove(folder, str(path), path.lstat().st_size, receipt)


def _remove_files(store: Store, folder: Folder, receipt: Receipt) -> None:
    after = 0
    while owed := store.files_to_remove(after=after, limit=BATCH):
        gone = []
        for object_id, path, size in owed:
            if _remove(folder, path, size, receipt):
                gone.append(object_id)
            else:
                receipt.failed += 1
        store.forget_objects(gone)
        after = owed[-1][0]


def _remove(folder: Folder, path: str, size: int, receipt: Receipt) -> bool:
    try:
        folder.remove(path)
    except OSError as error:
        log.error("%s cannot be removed: %s", path, error)
        return False
    receipt.files_removed += 1
    receipt.bytes_freed += size
    return True
