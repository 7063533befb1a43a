"""tracker poll"""

from __future__ import annotations

from dataclasses import asdict

import click

from tracker.commands.common import (
    COUNT,
    DURATION,
    Settings,
    collect_seldom,
    common,
    json_option,
    print_json,
    stoppable,
)


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option(
    "--for",
    "seconds",
    type=DURATION,
    metavar="TIME",
    help="Go on with what becomes due in this time (55s, 10m).",
)
@click.option("--limit", type=COUNT, help="Poll no more than so many jobs.")
@click.option("--service", "services", multiple=True, help="Serve only this service (repeatable).")
@click.option("--overlap", is_flag=True, help="Poll also while another poller is at work.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@json_option
@common
def command(
    settings: Settings,
    jobs: tuple[str, ...],
    seconds: float | None,
    limit: int | None,
    services: tuple[str, ...],
    overlap: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Poll what is due now, submit what is owed, fetch what is done.

    With JOBs, polls those now, due or not. While another poller is at work this one steps back
    (with --for, until the other ends); two would do no harm, --overlap lets them.

    \b
    tracker poll
    * * * * *  tracker poll --for 55s --quiet        # for cron
    tracker poll 3f2a91bc                            # this one, now
    """  # fmt: skip
    settings.quiet = quiet
    if not (jobs or services or seconds or as_json) and settings.nothing_to_do():
        if not quiet:
            click.echo("nothing due")
        return 0
    collect_seldom()
    with settings.open() as tracker, stoppable() as (stop, on_poller):
        from tracker.commands.progress import progress

        with progress(tracker, show=not (quiet or as_json)) as on_progress:
            summary = tracker.poll(
                jobs,
                seconds=seconds,
                services=services,
                limit=limit,
                overlap=overlap,
                on_progress=on_progress,
                on_poller=on_poller,
            )
        if as_json:
            print_json(asdict(summary))
        elif not quiet:
            click.echo(summary.sentence)
    return stop.exit_code
