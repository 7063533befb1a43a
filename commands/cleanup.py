"""tracker cleanup"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.commands.common import (
    DURATION,
    Settings,
    common,
    json_option,
    print_json,
    print_table,
    printable,
    stoppable,
)
from tracker.commands.progress import counting
from tracker.model import FINISHED

if TYPE_CHECKING:
    from tracker.cleanup import Receipt, Removals

SHOWN = 20


@click.command()
@click.option(
    "--older-than",
    type=DURATION,
    metavar="AGE",
    help="Only jobs that ended longer ago than this (default: 7d, or the settings).",
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([status.value for status in FINISHED]),
    help="Only these (default: every finished status; repeatable).",
)
@click.option(
    "--archive",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all that is on record of a job here before it goes: .jsonl or .jsonl.gz.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@json_option
@common
def command(
    settings: Settings,
    older_than: float | None,
    statuses: tuple[str, ...],
    archive: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Delete finished jobs that are old enough and owe nothing, and what only they used.

    The tracker's own copies of their inputs and results go with them, and the S3 objects that it
    owns; your files never do. What cannot be removed now stays owed: `tracker poll` carries on
    with it, `tracker outbox` shows it. Exits 0 when the jobs went.

    \b
    tracker cleanup --dry-run
    tracker cleanup --older-than 30d --status completed
    tracker cleanup --archive jobs-2026.jsonl.gz
    """  # fmt: skip
    with (
        settings.open() as tracker,
        stoppable() as (stop, on_poller),
        counting("cleaning up", show=not as_json) as (on_rows, on_progress),
    ):
        receipt = tracker.cleanup(
            older_than=older_than,
            statuses=statuses or FINISHED,
            dry_run=dry_run,
            archive=archive,
            on_rows=on_rows,
            on_progress=on_progress,
            on_poller=on_poller,
            stopped=lambda: bool(stop.signal),
        )
    if as_json:
        print_json(receipt_json(receipt))
    else:
        print_receipt(receipt)
    return stop.unfinished_code if receipt.stopped else 0


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """A receipt as every ``--json`` shows it."""
    found = {**asdict(receipt), "bytes_freed": receipt.bytes_freed}
    if not receipt.dry_run:
        del found["jobs"], found["places"]
    return found


def print_receipt(receipt: Receipt) -> None:
    """A receipt as a table."""
    click.echo(f"{'would delete' if receipt.dry_run else 'deleted'}: jobs {receipt.rows_deleted}")
    if receipt.archived:
        click.echo(f"archived: jobs {receipt.archived}")
    if receipt.services_asked:
        click.echo(f"services asked to clean up: jobs {receipt.services_asked}")
    columns = ["REMOVAL OF", "REQUESTED", "REMOVED", "ALREADY GONE", "FAILED", "OWED", "BYTES"]
    parts = [("S3 objects", receipt.objects), ("files", receipt.files)]
    print_table(columns, [(name, *_figures(part)) for name, part in parts])
    if receipt.dry_run:
        _print_what_would_go(receipt)
    owed = receipt.objects.owed + receipt.files.owed
    if owed:
        line = f"owed: {owed} removals; tracker poll carries on with them, see: tracker outbox"
        click.echo(line, err=True)


def _figures(part: Removals) -> tuple[int, ...]:
    return (
        part.requested,
        part.removed,
        part.already_gone,
        part.failed,
        part.owed,
        part.bytes_freed,
    )


def _print_what_would_go(receipt: Receipt) -> None:
    lines = [f"job {one['local_id']} ({one['service']}, {one['status']})" for one in receipt.jobs]
    lines += [f"{one['place']} ({one['size']} bytes)" for one in receipt.places]
    for line in lines[:SHOWN]:
        click.echo(f"  {printable(line)}")
    if lines[SHOWN:]:
        click.echo(f"  … and {len(lines) - SHOWN} more; --json lists them all")
