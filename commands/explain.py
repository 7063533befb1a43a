"""tracker explain"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_json, printable


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
    when = f" at {told['next_at']}" if told["next_at"] else ""
    lines = [("state", told["state"]), *(("owed", line) for line in told["owed"])]
    lines += [("last", told["last"]), ("next", told["next"] + when), ("why", told["why"])]
    for name, line in [*lines, *(("try", line) for line in told["remedies"])]:
        if line:
            click.echo(f"{name:<8}{printable(line)}")
