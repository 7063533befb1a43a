"""tracker cleanup"""

from __future__ import annotations

from dataclasses import asdict

import click

from tracker.commands.common import DURATION, Settings, common, json_option, print_json
from tracker.model import FINISHED


@click.command()
@click.option(
    "--older-than",
    type=DURATION,
    metavar="AGE",
    help="Only jobs that ended longer ago than this (default: 7d, or the setting).",
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([status.value for status in FINISHED]),
    help="Only these (default: every finished status; repeatable).",
)
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@json_option
@common
def command(
    settings: Settings,
    older_than: float | None,
    statuses: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete finished jobs that are old enough and owe nothing.

    The tracker's own copies of their inputs and results go with them; your files never do.

    \b
    tracker cleanup --dry-run
    tracker cleanup --older-than 30d --status completed
    """  # fmt: skip
    with settings.open() as tracker:
        receipt = tracker.cleanup(
            older_than=older_than, statuses=statuses or FINISHED, dry_run=dry_run
        )
    if as_json:
        print_json(asdict(receipt))
        return
    verb = "would delete" if dry_run else "deleted"
    click.echo(
        f"{verb}: jobs {receipt.rows_deleted}, files {receipt.files_removed} "
        f"({receipt.bytes_freed} bytes), failed {receipt.failed}"
    )
