"""tracker resume"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_json


@click.command()
@json_option
@common
def command(settings: Settings, as_json: bool) -> None:
    """Turn polling and submitting on again, and try at once whoever could not be reached.

    \b
    tracker resume
    """
    with settings.open() as tracker:
        changed = tracker.resume()
    if as_json:
        print_json({"paused": False, "changed": changed})
    else:
        click.echo("resumed" if changed else "it was not paused")
