"""tracker cancel"""

from __future__ import annotations

from contextlib import suppress

import click

from tracker.commands.common import Settings, common, json_option, print_acted, stoppable
from tracker.commands.submit import tell_what_is_owed
from tracker.errors import NotFound


@click.command()
@click.argument("job")
@click.option("--no-sync", is_flag=True, help="Only record it; the next poller asks the service.")
@json_option
@common
def command(settings: Settings, job: str, no_sync: bool, as_json: bool) -> int:
    """Ask for JOB to be stopped.

    A job that never left has ended by that. Else it is a wish: the status changes when the service
    says so.

    \b
    tracker cancel 3f2a91bc
    """
    with settings.open() as tracker, stoppable() as (stop, on_poller):
        found = tracker.cancel(job, sync=False)
        if not no_sync and not found.finished:
            tracker.attempt([found.local_id], on_poller)
            tell_what_is_owed(tracker, found.local_id)
            with suppress(NotFound):  # somebody may have deleted it meanwhile
                found = tracker.get(found.local_id)
        print_acted(found, as_json)
    return stop.exit_code
