"""tracker health"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_json, print_table


@click.command()
@json_option
@common
def command(settings: Settings, as_json: bool) -> int:
    """Say whether all is well: what is owed, how old it is, what is stuck, who is paused and why.

    Exits 1 when something needs a person.

    \b
    tracker health || mail -s "tracker" ops@example.com
    """  # fmt: skip
    with settings.open() as tracker:
        found = tracker.health()
    if as_json:
        print_json(found)
        return 0 if found["healthy"] else 1
    rows = [
        ("jobs pending", found["jobs"]["pending"]),
        ("jobs processing", found["jobs"]["processing"]),
        ("jobs retrieving", found["jobs"]["retrieving"]),
        ("jobs processing for more than 30 min", len(found["stuck_jobs"])),
        ("operations owed", found["operations"]["pending"]),
        ("operations in doubt", found["operations"]["in_doubt"]),
        ("operations given up", found["operations"]["dead"]),
        ("oldest of them, in seconds", found["oldest_operation_seconds"]),
        ("right ends in the last day", _percent(found["success_rate"])),
        ("pollers alive", found["pollers"]),
        ("database, in bytes", found["database_bytes"]),
    ]
    rows += [(f"{name}, in rows", count) for name, count in found["tables"].items()]
    print_table(("WHAT", "NOW"), rows)
    if found["listings"]:
        click.echo()
        print_table(
            ("SERVICE", "LISTED", "NEXT", "ERROR"),
            [
                (
                    one["service"],
                    one["last_refresh_at"] or "never",
                    one["next_refresh_at"],
                    one["refresh_error"],
                )
                for one in found["listings"]
            ],
        )
    for problem in found["problems"]:
        click.echo(f"! {problem}")
    click.echo("healthy" if found["healthy"] else "not healthy")
    return 0 if found["healthy"] else 1


def _percent(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:.0%}"
