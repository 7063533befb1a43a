"""tracker update"""

from __future__ import annotations

from contextlib import suppress

import click

from tracker.commands.common import (
    Settings,
    common,
    job_json,
    json_option,
    print_json,
    stoppable,
)
from tracker.commands.submit import read_payload, tell_what_is_owed
from tracker.errors import NotFound


@click.command()
@click.argument("job")
@click.option(
    "-p",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="A payload value: KEY=TEXT, or KEY:=JSON for a number, list, ….",
)
@click.option("--no-sync", is_flag=True, help="Only record it; the next poller tells the service.")
@json_option
@common
def command(
    settings: Settings, job: str, parameters: tuple[str, ...], no_sync: bool, as_json: bool
) -> int:
    """Change fields of JOB's payload, here and at its service.

    The change is on record at once. What is as it was changes nothing and owes nothing.

    \b
    tracker update 3f2a91bc -p language=fr -p pages:=4
    """
    with settings.open() as tracker, stoppable() as (stop, on_poller):
        changed = tracker.update(job, read_payload(None, parameters), sync=False)
        if not no_sync:
            tracker.attempt([changed.local_id], on_poller)
            tell_what_is_owed(tracker, changed.local_id)
            with suppress(NotFound):  # somebody may have deleted it meanwhile
                changed = tracker.get(changed.local_id)
        if as_json:
            print_json(job_json(changed))
        else:
            click.echo(changed.local_id)
    return stop.exit_code
