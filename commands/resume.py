"""tracker resume"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_json


@click.command()
@click.argument("service", required=False)
@json_option
@common
def command(settings: Settings, service: str | None, as_json: bool) -> None:
    """Turn polling and submitting on again, and try at once whoever could not be reached. SERVICE
    is called again whatever it was paused for.

    \b
    tracker resume
    tracker resume docs
    """
    with settings.open() as tracker:
        changed = tracker.resume(service)
    if as_json:
        print_json({"paused": False, "changed": changed})
    else:
        click.echo("resumed" if changed else "it was not paused")
