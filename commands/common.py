"""What commands share: options, opening the ledger, stopping politely, output."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracker.errors import UsageError
from tracker.tables import parse_duration

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.config import Config
    from tracker.model import ProcessingJob
    from tracker.poller import Poller
    from tracker.tracker import Tracker

Function = TypeVar("Function", bound=Callable[..., Any])


class Settings:
    """Which configuration and which database; given before the command, after it, or by the
    environment."""

    def __init__(self, config_path: str | None, db: str | None, verbose: int) -> None:
        self.config_path = config_path
        self.db = db
        self.verbose = verbose
        self.quiet = False

    @contextmanager
    def open(self) -> Iterator[Tracker]:
        """The tracker that the settings name, for the time of a command."""
        from tracker import config
        from tracker.logs import set_up
        from tracker.tracker import Tracker

        found = config.load(self.config_path)
        set_up(found, verbose=self.verbose, quiet=self.quiet)
        with Tracker(found, database=self._database(found)) as tracker:
            yield tracker

    def nothing_to_do(self) -> bool:
        """Whether a pass would find nothing due; found out without loading the rest."""
        from tracker import config
        from tracker.glance import nothing_to_do

        found = config.load(self.config_path)
        return nothing_to_do(self._database(found), found.fingerprint)

    def _database(self, found: Config) -> str:
        return self.db or os.environ.get("TRACKER_DB") or found.database

    def ledger(self) -> tuple[Path | str, str]:
        """The database's path or URL, and the zone that an older one's times are in; nothing is
        opened."""
        from tracker import config
        from tracker.maintenance import ledger_place

        found = config.load(self.config_path)
        return ledger_place(self._database(found)), found.legacy_zone


class Duration(click.ParamType[float]):
    """``20s``, ``5m``, ``1h30m``, ``7d``, or a number of seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds; click's usage error when it is no duration."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except (UsageError, ValueError) as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()

LARGEST = 2**63 - 1
"""No number in the ledger is larger."""

COUNT = click.IntRange(1, LARGEST)
SEQ = click.IntRange(0, LARGEST)


def common(function: Function) -> Function:
    """Give a command ``--config`` and ``--db``, and its `Settings` as first argument."""

    def keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
            if value is not None:
                setattr(ctx.obj, name, value)

        return callback

    options = [
        click.option("--config", metavar="FILE", expose_value=False, callback=keep("config_path"),
                     help="The tracker.toml to use."),
        click.option("--db", metavar="FILE", expose_value=False, callback=keep("db"),
                     help="The database to use: a file, or postgresql://…."),
    ]  # fmt: skip
    wrapped = click.pass_obj(function)
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # click's own wrapper keeps the call's shape


def json_option(function: Function) -> Function:
    """Give a command ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(
        function
    )


def print_json(value: Any, *, err: bool = False) -> None:
    """One JSON document on standard output, or where errors go."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str), err=err)


def job_json(job: ProcessingJob) -> dict[str, Any]:
    """A job as every ``--json`` shows it."""
    from dataclasses import asdict

    return asdict(job)


def printable(text: str) -> str:
    """`text` in one line, without what would steer a terminal: it may be a service's."""
    return "".join(char if char.isprintable() else " " for char in text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on a terminal; tab-separated lines with a heading in a pipe."""
    texts = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in (columns, *texts):
            click.echo("\t".join(" ".join(cell.split()) for cell in line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        # What people type or look for keeps its width; what may be long gives way.
        widest = max((len(line[index]) for line in texts), default=0)
        keeps = widest <= KEPT_WIDTH
        table.add_column(
            column, overflow="ellipsis", no_wrap=True, min_width=widest if keeps else None
        )
    for line in texts:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in line))
    Console().print(table)


KEPT_WIDTH = 12

STYLES = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "processing": "cyan",
    "retrieving": "cyan",
    "pending": "blue",
}


class Stop:
    """Which signal asked a poller to stop."""

    def __init__(self) -> None:
        self.signal = 0

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C; a SIGTERM is an ordinary end of a poller."""
        return 130 if self.signal == signal.SIGINT else 0

    @property
    def unfinished_code(self) -> int:
        """The same for a command that did not get to do what it was asked: 128 + the signal."""
        return 128 + self.signal


@contextmanager
def stoppable() -> Iterator[tuple[Stop, Callable[[Poller], None]]]:
    """Have SIGTERM and Ctrl-C stop the poller that is handed over: it finishes what is in flight,
    writes it, and releases the rest. A second Ctrl-C does not wait. SIGUSR1 has it try at once
    whoever could not be reached."""
    stop = Stop()
    pollers: list[Poller] = []

    def handle(number: int, _: object) -> None:
        if stop.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number
        for poller in pollers:
            poller.stop()

    def hurry(number: int, _: object) -> None:
        for poller in pollers:
            poller.hurry()

    before = {one: signal.signal(one, handle) for one in (signal.SIGINT, signal.SIGTERM)}
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, hurry)

    def hand_over(poller: Poller) -> None:
        pollers.append(poller)
        if stop.signal:
            poller.stop()

    try:
        yield stop, hand_over
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def collect_seldom() -> None:
    """Have Python look for garbage in circles more rarely, and not among what is there by now: a
    poller makes none, and holds a thousand jobs for a moment that look like it (4 % of a poll)."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def print_acted(job: ProcessingJob, as_json: bool) -> None:
    """What became of a job that a person acted on."""
    if as_json:
        print_json(job_json(job))
    else:
        click.echo(f"{job.short_id} is {job.status}")
