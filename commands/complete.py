"""tracker complete"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_acted


@click.command()
@click.argument("job")
@json_option
@common
def command(settings: Settings, job: str, as_json: bool) -> None:
    """Call JOB completed by hand, whatever its service says; it is polled no more.

    \b
    tracker complete 3f2a91bc
    """
    with settings.open() as tracker:
        print_acted(tracker.complete(job), as_json)
