"""tracker init"""

from __future__ import annotations

from pathlib import Path

import click

from tracker.commands.common import Settings, common, json_option, print_json
from tracker.errors import Impossible, TrackerError

TEMPLATE = """\
# tracker.toml - what Tracker calls, and how. Every key: docs/services.md
# Durations are "20s", "5m", "7d"; secrets are references: "env:NAME", "file:PATH", "command:CMD".

# database = "tracker.db"          # beside this file

# [notify]                         # told when a job ends, with a JSON document
# command = "notify-send Tracker"  # on its standard input
# url     = "https://example.com/hooks/tracker"

# [storage]                          # for services that take their input from S3
# bucket = "acme-jobs"

# [services.docs]
# base_url = "https://api.example.com/v1"
# auth     = { bearer = "env:DOCS_TOKEN" }
# rate     = "10/s"
#
# [services.docs.create]
# request     = { path = "/jobs", json = { document = "{payload.document}" } }
# idempotency = "header"           # what makes a create safe to repeat: header, field, client_id
# server_id   = "body.id"
#
# [services.docs.status]
# request  = { path = "/jobs/{server_id}" }
# state    = "body.status"
# progress = "body.progress"
# error    = "body.error.message"
#
# [services.docs.states]
# processing = ["queued", "running"]
# completed  = ["done"]
# failed     = ["error"]
#
# [services.docs.result]
# request = { path = "/jobs/{server_id}/result" }
"""


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@json_option
@common
def command(settings: Settings, folder: Path, as_json: bool) -> None:
    """Write a commented tracker.toml into FOLDER (default: here) and create the database.

    \b
    tracker init && $EDITOR tracker.toml
    """
    target = folder / "tracker.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise Impossible(f"{target} exists already", "edit it, or name another folder") from None
    except OSError as error:
        raise TrackerError(f"{target} cannot be written: {error.strerror}") from None
    settings.config_path = str(target)
    with settings.open() as tracker:
        database = tracker.database
    if as_json:
        print_json({"config": str(target.absolute()), "database": str(database)})
        return
    click.echo(f"wrote {target}, created {database}")
    click.echo(f"next: describe a service in {target}, then: tracker submit SERVICE")
