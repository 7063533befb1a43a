"""tracker pause"""

from __future__ import annotations

import click
from tracker.commands.common import Settings, common


@click.command()
@common
def command(settings: Settings) -> None:
    """Turn all polling and submitting off, for every poller of this database. Nothing is lost.

    \b
    tracker pause
    """
    with settings.open() as tracker:
        changed = tracker.pause()
        click.echo("paused" if changed else "it was paused already")
