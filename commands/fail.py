"""tracker fail"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_acted


@click.command()
@click.argument("job")
@click.option("--message", "-m", help="Why (default: Processing failed).")
@json_option
@common
def command(settings: Settings, job: str, message: str | None, as_json: bool) -> None:
    """Call JOB failed by hand; it is polled no more. `tracker reopen` brings it back.

    \b
    tracker fail 3f2a91bc -m "the scan was upside down"
    """
    with settings.open() as tracker:
        print_acted(tracker.fail(job, message), as_json)
