"""tracker watch"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from tracker.commands.common import SEQ, Settings, common, json_option, printable


@click.command()
@click.argument("job", required=False)
@click.option("--after", type=SEQ, metavar="SEQ", help="Begin behind this event, not now.")
@json_option
@common
def command(settings: Settings, job: str | None, after: int | None, as_json: bool) -> None:
    """Print changes of JOB, or of all jobs, as they happen, until Ctrl-C.

    With --json each change is a document of its own, one a line, with its `seq`: going on behind
    the last one misses nothing and repeats nothing.

    \b
    tracker watch
    tracker watch 3f2a91bc --json | jq .type
    """  # fmt: skip
    with settings.open() as tracker:
        for event in tracker.watch(job, after=after):
            if as_json:
                click.echo(json.dumps(asdict(event), ensure_ascii=False))
                continue
            shown = {key: value for key, value in event.data.items() if key != "job"}
            pairs = " ".join(f"{key}={value}" for key, value in shown.items() if value is not None)
            line = f"{event.at[11:23]}  {event.local_id[-8:]}  {event.type:<22}{pairs}"
            click.echo(printable(line).rstrip())
