"""tracker objects"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_json, print_table


@click.command()
@click.argument("job")
@json_option
@common
def command(settings: Settings, job: str, as_json: bool) -> None:
    """List the files and S3 objects that JOB uses.

    What is owned goes with the last job that uses it; anything else is never removed.

    \b
    tracker objects 3f2a91bc
    """
    with settings.open() as tracker:
        found = tracker.objects(job)
    if as_json:
        print_json(found)
        return
    print_table(
        ("ROLE", "STATE", "OWNED", "BYTES", "VERSION", "PLACE"),
        [
            (
                one["role"],
                one["state"],
                "yes" if one["owned"] else "no",
                one["size"],
                one["version_id"],
                f"s3://{one['bucket']}/{one['key']}" if one["scheme"] == "s3" else one["key"],
            )
            for one in found
        ],
    )
