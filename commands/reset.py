"""tracker reset"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_acted


@click.command()
@click.argument("job")
@json_option
@common
def command(settings: Settings, job: str, as_json: bool) -> None:
    """Have the failed sync of JOB tried again, from the beginning.

    \b
    tracker reset 3f2a91bc && tracker poll 3f2a91bc
    """
    with settings.open() as tracker:
        print_acted(tracker.reset(job), as_json)
