"""tracker submit"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.commands.common import (
    DURATION,
    Settings,
    common,
    job_json,
    json_option,
    print_json,
    printable,
    stoppable,
)
from tracker.commands.progress import transfer
from tracker.errors import NotFound, UsageError

if TYPE_CHECKING:
    from tracker.tracker import Tracker


@click.command()
@click.argument("service")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "-p",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="A payload value: KEY=TEXT, or KEY:=JSON for a number, list, ….",
)
@click.option("--payload", metavar="JSON|@FILE|-", help="The payload: JSON, a file, or stdin.")
@click.option("--type", "job_type", default="", help="The job type, to list by.")
@click.option("--project", help="The project, to list by.")
@click.option("--session", "session_id", help="The session, to list by.")
@click.option("--document", "document_id", help="The document that the job belongs to.")
@click.option("--estimate", type=DURATION, help="How long the job will take, about.")
@click.option(
    "--priority", default="medium", metavar="LEVEL", help="critical, high, medium (default) or low."
)
@click.option("--no-sync", is_flag=True, help="Only record it; the next poller submits it.")
@json_option
@common
def command(
    settings: Settings,
    service: str,
    file: Path | None,
    parameters: tuple[str, ...],
    payload: str | None,
    job_type: str,
    project: str | None,
    session_id: str | None,
    document_id: str | None,
    estimate: float | None,
    priority: str,
    no_sync: bool,
    as_json: bool,
) -> int:
    """Record a job for SERVICE and get it accepted.

    FILE is copied first, so that the job does not need it any more. The job's id is printed as soon
    as the job is on record. Then FILE is uploaded, if the service wants it in S3, and one attempt
    follows, for 10 seconds at most; if it fails, the job is still there and `tracker poll` submits
    it.

    \b
    tracker submit docs report.pdf -p language=en -p pages:=3
    tracker submit docs --payload @job.json --project spring
    id=$(tracker submit docs report.pdf) && tracker wait "$id"
    """  # fmt: skip
    size = file.stat().st_size if file is not None and file.is_file() else 0
    with (
        settings.open() as tracker,
        stoppable() as (stop, on_poller),
        transfer(size, show=not as_json) as on_bytes,
    ):
        job = tracker.submit(
            service,
            read_payload(payload, parameters),
            file=file,
            job_type=job_type,
            project=project,
            session_id=session_id,
            document_id=document_id,
            estimated_seconds=estimate,
            priority=priority,
            sync=False,
            on_bytes=on_bytes("spooling"),
        )
        if as_json:
            print_json(job_json(job))
        else:
            click.echo(job.local_id)
        sys.stdout.flush()
        if not no_sync:
            tracker.attempt([job.local_id], on_poller, on_bytes("uploading"))
            tell_what_is_owed(tracker, job.local_id, "not accepted yet")
    return stop.exit_code


def tell_what_is_owed(
    tracker: Tracker, local_id: str, but: str = "not told the service yet"
) -> None:
    """Say on standard error what an attempt did not get done, if anything."""
    try:
        told = tracker.explain(local_id)
    except NotFound:
        return  # somebody has deleted it meanwhile: what is gone owes nothing
    if told["owed"]:
        line = f"recorded, {but}: {told['owed'][0]}; {told['why']}"
        click.echo(printable(line), err=True)


def read_payload(text: str | None, parameters: tuple[str, ...]) -> dict[str, Any]:
    """The payload of ``--payload`` with ``-p`` over it. Raises UsageError."""
    found: Any = {}
    if text is not None:
        try:
            found = json.loads(_source(text))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--payload is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise UsageError("--payload: expected a JSON object", 'such as \'{"language": "en"}\'')
    return {**found, **dict(map(_parameter, parameters))}


def _source(text: str) -> str:
    try:
        if text == "-":
            return sys.stdin.read()
        if text.startswith("@"):
            return Path(text[1:]).read_text("utf-8")
    except OSError as error:
        raise UsageError(f"--payload {text}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--payload {text}: is not UTF-8") from None
    return text


def _parameter(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip(":"):
        raise UsageError(f"-p {text}: expected KEY=VALUE or KEY:=JSON")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"-p {text}: after := stands no JSON: {error}") from None
