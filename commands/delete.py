"""tracker delete"""

from __future__ import annotations

from contextlib import suppress

import click

from tracker.commands.common import Settings, common, json_option, print_json, stoppable
from tracker.commands.submit import tell_what_is_owed
from tracker.errors import NotFound


@click.command()
@click.argument("job")
@click.option("--no-sync", is_flag=True, help="Only record it; the next poller tells the service.")
@json_option
@common
def command(settings: Settings, job: str, no_sync: bool, as_json: bool) -> int:
    """Delete JOB here and at its service, with the tracker's own copies of its files.

    A job that never left goes at once. So does one whose service has no delete call; it goes on
    there.

    \b
    tracker delete 3f2a91bc
    """
    with settings.open() as tracker, stoppable() as (stop, on_poller):
        found = tracker.get(job)
        gone = tracker.delete(found, sync=False)
        if not gone and not no_sync:
            tracker.attempt([found.local_id], on_poller)
            gone = True
            with suppress(NotFound):
                tracker.get(found.local_id)
                gone = False
                tell_what_is_owed(tracker, found.local_id)
        service = tracker.services.get(found.service)
        left = bool(found.server_id) and (service is None or service.delete is None)
    if as_json:
        print_json({"local_id": found.local_id, "deleted": gone, "goes_on_there": left})
        return stop.exit_code
    click.echo(f"{found.short_id} is {'deleted' if gone else 'being deleted'}")
    if left:
        click.echo(f"'{found.service}' has no delete call: the job goes on there", err=True)
    return stop.exit_code
