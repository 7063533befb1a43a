"""A progress bar on a terminal; nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.summary import Summary
    from tracker.tracker import Tracker


@contextmanager
def progress(
    tracker: Tracker, *, show: bool, total: int | None = None
) -> Iterator[Callable[[Summary], None] | None]:
    """What to hand to the facade as ``on_progress``. The bar counts polls towards what is due, or
    ended jobs towards `total`."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    due = tracker.count_due() if total is None else total
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("polling" if total is None else "waiting", total=due or None)

        def advance(summary: Summary) -> None:
            done = summary.polled if total is None else summary.ended
            bar.update(task, completed=done, total=max(due, done) or None)

        yield advance
