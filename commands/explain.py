"""tracker explain"""

from __future__ import annotations

import click
from tracker.commands.common import Settings, common, json_option, print_json


@click.command()
@click.argument("job")
@json_option
@common
def command(settings: Settings, job: str, as_json: bool) -> None:
    """Say why JOB is where it is, what it owes, what happens next and when, and why then.

    \b
    tracker explain 3f2a91bc
    """
    with settings.open() as tracker:
        told = tracker.explain(job)
    if as_json:
        print_json(told)
        return
    click.echo(f"state   {told['state']}")
    for line in told["owed"]:
        click.echo(f"owed    {line}")
    if told["last"]:
        click.echo(f"last    {told['last']}")
    click.echo(f"next    {told['next']}" + (f" at {told['next_at']}" if told["next_at"] else ""))
    if told["why"]:
        click.echo(f"why     {told['why']}")
    for line in told["remedies"]:
        click.echo(f"try     {line}")
