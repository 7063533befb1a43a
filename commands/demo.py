"""tracker demo"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.commands.cleanup import print_receipt, receipt_json
from tracker.commands.common import (
    Settings,
    job_json,
    json_option,
    print_json,
    print_table,
    stoppable,
)
from tracker.errors import CallFailed, TrackerError, UsageError

if TYPE_CHECKING:
    from tracker.demo import Ending, Report
    from tracker.summary import Summary
    from tracker.tracker import Tracker

    OnProgress = Callable[[Summary], None] | None


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new or empty folder to work in (default: a new one among the temporary files).",
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@json_option
@click.pass_obj
def command(settings: Settings, folder: Path | None, quiet: bool, as_json: bool) -> int:
    """Watch whole lives of some jobs, against a small service brought along.

    Takes about ten seconds and needs no network and no configuration. Jobs succeed, fail, time
    out and are cancelled; the service is now and then unavailable or wants to be left alone. Each
    job is checked: exits 0 when all ended as they should, otherwise 1. The folder is kept, with
    its tracker.toml and its database.

    \b
    tracker demo
    tracker demo --dir ~/tracker-demo
    """
    if settings.config_path or settings.db:
        raise UsageError(
            "the demo brings its own configuration and database",
            "leave --config and --db out; --dir says where they go",
        )
    _set_up_surroundings(settings)
    shown = not (quiet or as_json)
    report, exit_code = _run(folder or _fresh_folder(), shown)
    if as_json:
        print_json(_document(report))
    elif shown:
        _print(report)
    if report.stopped:
        click.echo("tracker: stopped; what was recorded is safe", err=True)
        return exit_code or 1
    if report.problems:
        others = f" (and {len(report.problems) - 1} more)" if report.problems[1:] else ""
        raise CallFailed(f"not as it should be: {report.problems[0]}{others}")
    return 0


def _run(folder: Path, shown: bool) -> tuple[Report, int]:
    from tracker.commands.progress import progress
    from tracker.demo import run_demo

    def watch(tracker: Tracker, total: int) -> AbstractContextManager[OnProgress]:
        return progress(tracker, show=shown, total=total)

    with stoppable() as (stop, on_poller):
        say = click.echo if shown else _say_nothing
        report = run_demo(folder, say=say, watch=watch, on_poller=on_poller)
    return report, stop.exit_code


def _say_nothing(_: str) -> None:
    pass


def _set_up_surroundings(settings: Settings) -> None:
    from tracker.config import Config
    from tracker.logs import set_up

    # What the service refuses is part of the show; the log of it would only be in the way.
    set_up(Config(database=""), verbose=settings.verbose, quiet=True)
    # Whatever proxy the user has, loopback is not behind it.
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = f"{others},127.0.0.1" if others else "127.0.0.1"


def _fresh_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="tracker-demo-"))
    except OSError as error:
        raise TrackerError(f"no folder for the demo: {error.strerror}", "name one: --dir") from None


def _document(report: Report) -> dict[str, Any]:
    return {
        "ok": not report.problems and not report.stopped,
        "jobs": [
            {
                "file": one.sample.name,
                "problem": one.problem,
                "expected": asdict(one.expected),
                "actual": asdict(one.actual),
                "job": job_json(one.job),
            }
            for one in report.endings
        ],
        "problems": report.problems,
        "stopped": report.stopped,
        "service_answers": {str(code): count for code, count in report.answers.items()},
        "cleanup": {
            "dry_run": receipt_json(report.rehearsal),
            "receipt": receipt_json(report.receipt),
        },
        "folder": str(report.folder),
        "config": str(report.config),
        "database": str(report.database),
        "seconds": report.seconds,
    }


def _print(report: Report) -> None:
    click.echo()
    print_table(
        ("JOB", "FILE", "STATUS", "REASON", "POLLS", "BYTES", "ERROR"),
        [_row(one) for one in report.endings],
    )
    click.echo(f"\ntimeline of {report.told.sample.name}")
    for event in report.timeline:
        click.echo(f"  {event.at[11:23]}  {event.type:<22}{_pairs(event.data)}".rstrip())
    click.echo()
    if not report.stopped:
        _print_cleanup(report)
    click.echo(f"database  {report.database}")
    _print_what_to_try(report)
    if not report.stopped and not report.problems:
        click.echo(f"all {len(report.endings)} jobs ended as they should, in {report.seconds:g} s")


def _row(one: Ending) -> tuple[Any, ...]:
    job = one.job
    return (
        job.short_id,
        one.sample.name,
        job.status,
        job.failure_reason,
        job.poll_count,
        one.result_bytes or None,
        job.error_message,
    )


def _pairs(data: dict[str, Any]) -> str:
    kept = {key: value for key, value in data.items() if value is not None and key != "job"}
    return ", ".join(f"{key}: {value}" for key, value in kept.items())


def _print_cleanup(report: Report) -> None:
    refused = {code: count for code, count in report.answers.items() if code >= 400}
    counts = ", ".join(f"HTTP {code} {count} times" for code, count in refused.items())
    click.echo(f"refusals  {counts.replace(' 1 times', ' once') or 'none'}")
    click.echo(f"cleanup   dry run: would delete {report.rehearsal.rows_deleted} jobs")
    click.echo("          for real, cancelled jobs only; the receipt:")
    print_receipt(report.receipt)


def _print_what_to_try(report: Report) -> None:
    tracker = f"{_program()} --config {shlex.quote(str(report.config))}"
    failed = next((one for one in report.endings if one.job.status == "failed"), report.told)
    click.echo("look into it")
    click.echo(f"  {tracker} list")
    click.echo(f"  {tracker} show {report.told.job.short_id}")
    if report.told.result_bytes:
        click.echo(f"  {tracker} show {report.told.job.short_id} --result")
    click.echo(f"  {tracker} explain {failed.job.short_id}")


def _program() -> str:
    """What to type for this program: its name where the shell finds it, else its path."""
    here = Path(sys.argv[0])
    found = shutil.which("tracker")
    if not here.is_file() or (found and here.samefile(found)):
        return "tracker"
    return shlex.quote(str(here.absolute()))
