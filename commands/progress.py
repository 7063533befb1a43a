"""A progress bar on a terminal; nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from tracker.keeping import OnRows
    from tracker.serving import Progress as OnProgress
    from tracker.summary import Summary
    from tracker.tracker import Tracker

LARGE = 8 * 2**20
"""Bytes from which on copying or uploading a file is worth a bar."""


@contextmanager
def progress(
    tracker: Tracker, *, show: bool, total: int | None = None
) -> Iterator[Callable[[Summary], None] | None]:
    """What to hand to the facade as ``on_progress``. The bar counts polls towards what is due, or
    ended jobs towards `total`."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    due = tracker.count_due() if total is None else total
    with _counting() as bar:
        task = bar.add_task("polling" if total is None else "waiting", total=due or None)

        def advance(summary: Summary) -> None:
            done = summary.polled if total is None else summary.ended
            bar.update(task, completed=done, total=max(due, done) or None)

        yield advance


@contextmanager
def counting(what: str, *, show: bool) -> Iterator[tuple[OnRows | None, OnProgress | None]]:
    """What to hand to a cleanup as ``on_rows`` and ``on_progress``: a running count."""
    if not show or not sys.stderr.isatty():
        yield None, None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        rows = 0

        def count(done: int) -> None:
            nonlocal rows
            rows = done
            status.update(f"{what}: {rows:,} jobs")

        def remove(summary: Summary) -> None:
            gone = summary.objects_removed + summary.files_removed
            status.update(f"{what}: {rows:,} jobs, {gone:,} objects and files")

        yield count, remove


def _counting() -> Progress:
    """A bar that says how many of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


@contextmanager
def rows_bar(what: str, *, show: bool) -> Iterator[Callable[[int, int], None] | None]:
    """What to hand to whoever moves rows, as ``on_rows``."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    with _counting() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def transfer(size: int, *, show: bool) -> Iterator[Callable[[str], Callable[[int], None] | None]]:
    """For a file of `size` bytes: a function that begins a bar of that name and returns what to
    hand to the facade as ``on_bytes``; None for a small file, or in a pipe."""
    if size < LARGE or not show or not sys.stderr.isatty():
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:

        def begin(name: str) -> Callable[[int], None]:
            task = bar.add_task(name, total=size, visible=False)
            return lambda count: bar.update(task, advance=count, visible=True)

        yield begin
