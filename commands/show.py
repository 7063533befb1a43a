"""tracker show"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from tracker.commands.common import (
    Settings,
    common,
    job_json,
    json_option,
    print_json,
    printable,
)


@click.command()
@click.argument("job")
@click.option("--refresh", is_flag=True, help="Ask the service first; it may be new here.")
@click.option("--result", is_flag=True, help="Write the kept result, and nothing else, to stdout.")
@json_option
@common
def command(settings: Settings, job: str, refresh: bool, result: bool, as_json: bool) -> None:
    """Show JOB: its state, what it owes, what is kept, and its timeline.

    \b
    tracker show 3f2a91bc
    tracker show 3f2a91bc --result > report.json
    """
    with settings.open() as tracker:
        if result:
            sys.stdout.buffer.write(tracker.result(job))
            return
        found = tracker.get(job, max_age=0.0 if refresh else None)
        details = tracker.details(found)
        events = [
            {"seq": event.seq, "at": event.at, "type": event.type, "data": event.data}
            for event in tracker.events(found)
        ]
    if as_json:
        print_json({**job_json(found), **details, "events": events})
        return
    for name, value in job_json(found).items():
        if value not in (None, "", {}):
            click.echo(f"{name:<30}{_text(value)}")
    for name, rows in details.items():
        for row in rows:
            click.echo(f"{name:<30}{_pairs(row)}")
    click.echo("timeline")
    for event in events:
        click.echo(f"  {event['at']}  {event['type']:<24}{_pairs(event['data'])}")


def _pairs(row: Any) -> str:
    kept = {key: value for key, value in row.items() if value not in (None, "") and key != "job"}
    return " ".join(f"{key}={_text(value)}" for key, value in kept.items())


def _text(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
