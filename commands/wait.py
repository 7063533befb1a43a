"""tracker wait"""

from __future__ import annotations

import click

from tracker.commands.common import (
    DURATION,
    Settings,
    common,
    job_json,
    json_option,
    print_json,
    print_table,
    stoppable,
)
from tracker.records import has_ended


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--timeout", type=DURATION, metavar="TIME", help="Give up after this (10m, 2h).")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@json_option
@common
def command(
    settings: Settings, jobs: tuple[str, ...], timeout: float | None, quiet: bool, as_json: bool
) -> int:
    """Wait until every JOB has ended, polling whatever of them is due.

    Exits 0 when all completed, 1 when one did not, 3 when the time is over.

    \b
    tracker wait 3f2a91bc --timeout 30m
    id=$(tracker submit docs report.pdf) && tracker wait "$id" && make publish
    """
    settings.quiet = quiet
    with settings.open() as tracker, stoppable() as (stop, on_poller):
        from tracker.commands.progress import progress

        with progress(tracker, show=not (quiet or as_json), total=len(jobs)) as on_progress:
            found = tracker.wait(
                *jobs, timeout=timeout, on_progress=on_progress, on_poller=on_poller
            )
        if as_json:
            print_json([job_json(job) for job in found])
        elif not quiet:
            rows = [
                (job.short_id, job.service, job.status, job.document_id, job.error_message)
                for job in found
            ]
            print_table(("JOB", "SERVICE", "STATUS", "DOCUMENT", "ERROR"), rows)
    if stop.signal and not all(has_ended(job) for job in found):
        return stop.unfinished_code
    return 0 if all(job.status == "completed" for job in found) else 1
