"""tracker submit"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

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
    from collections.abc import Sequence

    from tracker.commands.common import Stop
    from tracker.model import ProcessingJob
    from tracker.tracker import Tracker

AT_ONCE = 500
"""Jobs a transaction of a batch: some 20 ms, in which no poller writes."""


class Labels(TypedDict):
    """What is said of a job besides its payload; the same of all jobs of a batch."""

    job_type: str
    project: str | None
    session_id: str | None
    document_id: str | None
    estimated_seconds: float | None
    priority: str


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
@click.option(
    "--batch",
    metavar="FILE|-",
    help="A job for each line of a file, or stdin: its payload in JSON.",
)
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
    batch: str | None,
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

    With --batch nothing is recorded unless every line is good. The ids are printed in the order of
    the lines, as soon as their jobs are on record.

    \b
    tracker submit docs report.pdf -p language=en -p pages:=3
    tracker submit docs --payload @job.json --project spring
    tracker submit docs --batch jobs.jsonl -p language=en
    id=$(tracker submit docs report.pdf) && tracker wait "$id"
    """  # fmt: skip
    if batch is not None and (file is not None or payload is not None):
        raise UsageError("--batch goes without a FILE and without --payload")
    labels: Labels = {
        "job_type": job_type,
        "project": project,
        "session_id": session_id,
        "document_id": document_id,
        "estimated_seconds": estimate,
        "priority": priority,
    }
    size = file.stat().st_size if file is not None and file.is_file() else 0
    with (
        settings.open() as tracker,
        stoppable() as (stop, on_poller),
        transfer(size, show=not as_json) as on_bytes,
    ):
        if batch is not None:
            payloads = read_batch(tracker, service, batch, parameters)
            local_ids = _submit_many(tracker, service, payloads, labels, stop, as_json)
        else:
            job = tracker.submit(
                service,
                read_payload(payload, parameters),
                file=file,
                sync=False,
                on_bytes=on_bytes("spooling"),
                **labels,
            )
            local_ids = [job.local_id]
            if as_json:
                print_json(job_json(job))
            else:
                click.echo(job.local_id)
        sys.stdout.flush()
        if not no_sync and local_ids and not stop.signal:
            done = tracker.attempt(local_ids, on_poller, on_bytes("uploading"))
            if batch is None:
                tell_what_is_owed(tracker, local_ids[0], "not accepted yet")
            elif done.submitted < len(local_ids):
                line = f"recorded; this attempt got {done.submitted} of {len(local_ids)} accepted"
                click.echo(f"{line}, pollers go on with the rest", err=True)
    return stop.exit_code


def _submit_many(
    tracker: Tracker,
    service: str,
    payloads: Sequence[dict[str, Any]],
    labels: Labels,
    stop: Stop,
    as_json: bool,
) -> list[str]:
    """Record them, so many at a time that nobody waits long; their ids."""
    jobs: list[ProcessingJob] = []
    for start in range(0, len(payloads), AT_ONCE):
        if stop.signal:
            break
        part = payloads[start : start + AT_ONCE]
        jobs += tracker.submit_many(service, part, sync=False, **labels)
        if not as_json:
            click.echo("\n".join(job.local_id for job in jobs[start:]))
            sys.stdout.flush()
    if as_json:
        print_json([job_json(job) for job in jobs])
    return [job.local_id for job in jobs]


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


def read_batch(
    tracker: Tracker, service: str, name: str, parameters: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The payloads of ``--batch``, one a line, with ``-p`` over each. Raises UsageError, which
    names the line, for what is no payload for this service."""
    over = dict(map(_parameter, parameters))
    text = _source("-" if name == "-" else f"@{name}", "--batch")
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            payload = json.loads(line)
            if not isinstance(payload, dict):
                raise UsageError("expected a JSON object", 'such as \'{"language": "en"}\'')
            found.append({**payload, **over})
            tracker.check_payload(service, found[-1])
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--batch, line {number}: is not JSON: {error}") from None
        except UsageError as error:
            raise UsageError(f"--batch, line {number}: {error}", error.hint) from None
    return found


def _source(text: str, option: str = "--payload") -> str:
    try:
        if text == "-":
            return sys.stdin.read()
        if text.startswith("@"):
            return Path(text[1:]).read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{option} {text}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{option} {text}: is not UTF-8") from None
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
