"""tracker outbox"""

from __future__ import annotations

import click

from tracker.commands.common import (
    COUNT,
    Settings,
    common,
    job_json,
    json_option,
    print_acted,
    print_json,
    print_table,
)
from tracker.model import OperationState

FAR = "9999"


@click.group(invoke_without_command=True)
@click.option("--job", help="Only what is owed for this job.")
@click.option(
    "--state",
    type=click.Choice([state.value for state in OperationState]),
    help="Only these: waiting for their turn, in doubt, or given up.",
)
@click.option("--limit", type=COUNT, default=100, help="How many (default: 100).")
@json_option
@common
@click.pass_context
def command(
    ctx: click.Context,
    settings: Settings,
    job: str | None,
    state: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List what is still owed, oldest first: submissions, results, notifications, removals.

    \b
    tracker outbox
    tracker outbox --state dead --json
    tracker outbox retry 17
    """
    if ctx.invoked_subcommand is not None:
        return
    with settings.open() as tracker:
        found = tracker.outbox(job, state=state, limit=limit)
        more = tracker.count_outbox(job, state=state) - len(found)
    if as_json:
        print_json(found)
        return
    print_table(
        ("ID", "JOB", "KIND", "STATE", "TRIES", "NEXT", "WHY", "OBJECT"),
        [
            (
                one["id"],
                (one["local_id"] or "")[-8:],
                one["kind"],
                one["state"],
                one["attempts"],
                _next(one["state"], one["next_attempt_at"]),
                one["last_error"],
                one["object"],
            )
            for one in found
        ],
    )
    if more > 0:
        click.echo(f"… and {more} more; see --limit", err=True)


def _next(state: str, at: str) -> str:
    if state != OperationState.PENDING:
        return ""
    return "after the one before it" if at.startswith(FAR) else at


@command.command()
@click.argument("operation", type=COUNT, metavar="ID")
@json_option
@common
def retry(settings: Settings, operation: int, as_json: bool) -> None:
    """Attempt operation ID again, from the beginning; the next poller does it.

    One in doubt is sent once more: only do that when you know that the service does not have it.

    \b
    tracker outbox retry 17
    """
    with settings.open() as tracker:
        local_id = tracker.retry(operation)
        found = tracker.store.get_many([local_id])
        if as_json:
            print_json(job_json(found[0]) if found else {"local_id": local_id})
        else:
            click.echo(f"operation {operation} of job {local_id[-8:]} is due now")


@command.command()
@click.argument("operation", type=COUNT, metavar="ID")
@json_option
@common
def discard(settings: Settings, operation: int, as_json: bool) -> None:
    """Let operation ID go. A job whose submission is discarded fails; one whose deletion is
    discarded goes on; what was to be removed stays where it is.

    \b
    tracker outbox discard 17
    """
    with settings.open() as tracker:
        local_id = tracker.discard(operation)
        found = tracker.store.get_many([local_id])
        if found:
            print_acted(found[0], as_json)
        elif as_json:
            print_json({"local_id": local_id})
        else:
            click.echo(f"operation {operation} is discarded")
