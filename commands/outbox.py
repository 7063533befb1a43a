"""tracker outbox"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, json_option, print_json, print_table
from tracker.model import OperationState


@click.command()
@click.option("--job", help="Only what is owed for this job.")
@click.option(
    "--state",
    type=click.Choice([state.value for state in OperationState]),
    help="Only these: waiting for their turn, in doubt, or given up.",
)
@click.option("--limit", type=click.IntRange(1), default=100, help="How many (default: 100).")
@json_option
@common
def command(
    settings: Settings, job: str | None, state: str | None, limit: int, as_json: bool
) -> None:
    """List what is still owed, oldest first: submissions, results, notifications, removals.

    \b
    tracker outbox
    tracker outbox --state dead --json
    """
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
                one["next_attempt_at"] if one["state"] == "pending" else None,
                one["last_error"],
                one["object"],
            )
            for one in found
        ],
    )
    if more > 0:
        click.echo(f"… and {more} more; see --limit", err=True)
