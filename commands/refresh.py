"""tracker refresh"""

from __future__ import annotations

from typing import Any

import click

from tracker.commands.common import (
    Settings,
    common,
    json_option,
    print_json,
    print_table,
    stoppable,
)


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--force", is_flag=True, help="Also those whose interval has not passed yet.")
@json_option
@common
def command(settings: Settings, services: tuple[str, ...], force: bool, as_json: bool) -> int:
    """List the jobs at SERVICE (default: all that can be listed) and merge them here.

    Nothing counts before a listing is complete. Exits 1 when one failed, or would have deleted too
    many jobs.

    \b
    tracker refresh
    tracker refresh docs --force
    """
    with settings.open() as tracker, stoppable() as (stop, on_poller):
        found = tracker.refresh(services, force=force, on_poller=on_poller)
    if as_json:
        print_json(found)
    else:
        columns = ("SERVICE", "LISTED", "ADDED", "CHANGED", "DELETED", "CONFLICTS", "NOTE")
        print_table(
            columns,
            [
                (
                    one["service"],
                    one["listed"],
                    one["added"],
                    one["changed"],
                    one["deleted"],
                    one["conflicts"],
                    _note(one),
                )
                for one in found
            ],
        )
    return stop.exit_code or int(any(one["error"] for one in found))


def _note(one: dict[str, Any]) -> str:
    return one["error"] or one["skipped"] or ""
