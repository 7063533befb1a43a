"""tracker reopen"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_acted


@click.command()
@click.argument("job")
@json_option
@common
def command(settings: Settings, job: str, as_json: bool) -> None:
    """Bring a finished JOB back: processing, due now, its completion cleared.

    \b
    tracker reopen 3f2a91bc && tracker poll
    """
    with settings.open() as tracker:
        print_acted(tracker.reopen(job), as_json)
