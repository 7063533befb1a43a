"""tracker resume"""

from __future__ import annotations

import click
from tracker.commands.common import Settings, common


@click.command()
@common
def command(settings: Settings) -> None:
    """Turn polling and submitting on again.

    \b
    tracker resume
    """
    with settings.open() as tracker:
        changed = tracker.resume()
        click.echo("resumed" if changed else "it was not paused")
