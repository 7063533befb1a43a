"""tracker events"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from tracker.commands.common import COUNT, SEQ, Settings, common, json_option, print_json


@click.command()
@click.argument("job", required=False)
@click.option(
    "--after",
    type=SEQ,
    default=0,
    metavar="SEQ",
    help="Only events after this number.",
)
@click.option("--limit", type=COUNT, help="At most so many.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens from now on.")
@json_option
@common
def command(
    settings: Settings, job: str | None, after: int, limit: int | None, follow: bool, as_json: bool
) -> None:
    """Print what happened to JOB, or to all jobs, in the order in which it was committed.

    With --json --follow each event is a document of its own, one a line.

    \b
    tracker events 3f2a91bc
    tracker events --follow --json | jq .type
    """  # fmt: skip
    with settings.open() as tracker:
        events = tracker.events(job, after=after, limit=limit, follow=follow)
        if as_json and not follow:
            print_json([asdict(event) for event in events])
            return
        for event in events:
            if as_json:
                click.echo(json.dumps(asdict(event), ensure_ascii=False))
            else:
                shown = {key: value for key, value in event.data.items() if key != "job"}
                data = json.dumps(shown, ensure_ascii=False)
                click.echo(f"{event.seq}\t{event.at}\t{event.local_id[-8:]}\t{event.type}\t{data}")
