"""tracker pause"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_json


@click.command()
@click.argument("service", required=False)
@json_option
@common
def command(settings: Settings, service: str | None, as_json: bool) -> None:
    """Turn all polling and submitting off, or all calls to SERVICE, for every poller of this
    database. Nothing is lost.

    \b
    tracker pause
    tracker pause docs
    """
    with settings.open() as tracker:
        changed = tracker.pause(service)
    if as_json:
        print_json({"paused": True, "changed": changed})
    else:
        click.echo("paused" if changed else "it was paused already")
