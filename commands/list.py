"""tracker list"""

from __future__ import annotations

from typing import Any

import click

from tracker import clock
from tracker.commands.common import (
    DURATION,
    Settings,
    common,
    job_json,
    json_option,
    print_json,
    print_table,
)
from tracker.model import ProcessingJob

COLUMNS = ("JOB", "SERVICE", "TYPE", "STATUS", "STATE", "PROGRESS", "DOCUMENT", "AGE", "NOTE")


@click.command()
@click.option(
    "--status",
    "statuses",
    multiple=True,
    help="pending, processing, retrieving, completed, failed, cancelled; or active, "
    "finished (repeatable).",
)
@click.option("--service", help="Only jobs of this service.")
@click.option("--type", "job_type", help="Only jobs of this type.")
@click.option("--project", help="Only jobs of this project.")
@click.option("--session", "session_id", help="Only jobs of this session.")
@click.option("--document", "document_id", help="Only jobs of this document.")
@click.option("--newer-than", type=DURATION, metavar="AGE", help="Created less than this ago.")
@click.option("--older-than", type=DURATION, metavar="AGE", help="Created more than this ago.")
@click.option("--before", metavar="JOB", help="The next page: jobs before the last one shown.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
@common
def command(settings: Settings, before: str | None, as_json: bool, **filters: Any) -> None:
    """List jobs, newest first.

    \b
    tracker list --status active
    tracker list --service docs --newer-than 1d --json
    tracker list --before 3f2a91bc                   # the next page
    """  # fmt: skip
    with settings.open() as tracker:
        jobs = tracker.list(before=before, **filters)
        if as_json:
            print_json([job_json(job) for job in jobs])
            return
        now = clock.now()
        print_table(COLUMNS, [_row(job, now) for job in jobs])
        if len(jobs) == filters["limit"]:
            click.echo(f"more: tracker list --before {jobs[-1].short_id}", err=True)


def _row(job: ProcessingJob, now: float) -> tuple[str | None, ...]:
    note = job.error_message or job.last_error
    if job.status == "pending" and job.sync_status in ("error", "failed"):
        note = f"submission: {job.sync_status}"
    return (
        job.short_id,
        job.service,
        job.job_type,
        job.status,
        job.remote_state,
        None if job.progress is None else f"{job.progress:.0%}",
        job.document_id,
        age(now - clock.read(job.created_at, now)),
        note,
    )


def age(seconds: float) -> str:
    """A time span as people say it: ``12s``, ``5m``, ``3h``, ``9d``."""
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{letter}"
    return f"{max(seconds, 0):.0f}s"
