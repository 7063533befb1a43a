"""tracker db"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tracker.commands.common import Settings, common, json_option, print_json


@click.group()
def command() -> None:
    """Migrate, inspect and back up the database."""


@command.command()
@click.option("--dry-run", is_flag=True, help="Try it on a copy; change nothing.")
@json_option
@common
def migrate(settings: Settings, dry_run: bool, as_json: bool) -> None:
    """Bring the database up to date, creating it where there is none.

    One that holds anything is backed up beside itself first. Every other command does the same
    when it is needed; the way back is in docs/database.md.

    \b
    tracker db migrate --dry-run
    """
    from tracker.maintenance import migrate_database

    done = migrate_database(*settings.ledger(), dry_run=dry_run)
    if as_json:
        print_json(done)
        return
    steps = ", ".join(done["steps"])
    if not steps:
        click.echo(f"{done['database']} is up to date")
        return
    click.echo(f"{'would run' if dry_run else 'ran'} {steps} on {done['database']}")
    if done["rows"]:
        click.echo(f"{'would take' if dry_run else 'took'} {done['rows']} older jobs along")
    if done["backup"]:
        click.echo(f"backup: {done['backup']}")


@command.command()
@json_option
@common
def status(settings: Settings, as_json: bool) -> None:
    """Show where the database is, how large, which version, and what is in it.

    \b
    tracker db status
    """
    from tracker.maintenance import database_status

    found = database_status(settings.ledger()[0])
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        click.echo(f"{name:<16}{_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@common
def backup(settings: Settings, file: Path, as_json: bool) -> None:
    """Copy the database, as it is at one moment, to a new FILE. Pollers may go on meanwhile.

    \b
    tracker db backup before-upgrade.db
    """
    with settings.open() as tracker:
        tracker.store.database.backup(file.absolute())
    if as_json:
        print_json({"backup": str(file.absolute()), "bytes": file.stat().st_size})
        return
    click.echo(f"{file} holds the database as it was just now")
