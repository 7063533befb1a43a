"""tracker db"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tracker.commands.common import Settings, common, json_option, print_json
from tracker.commands.progress import rows_bar


@click.group()
def command() -> None:
    """Migrate, inspect, back up and move the database."""


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


@command.command("export")
@click.argument("file")
@json_option
@common
def export_(settings: Settings, file: str, as_json: bool) -> None:
    """Write the whole ledger to a new FILE as JSON lines: all that `import` needs to go on with it
    in another database.

    It is the ledger as it is at one moment; pollers may go on meanwhile. A FILE that ends in .gz is
    compressed; with - the lines go to standard output, and what was done to standard error.
    Files beside the database (inputs, results) are not in it.

    \b
    tracker db export ledger.jsonl.gz
    tracker db export - | ssh other tracker db import - --db postgresql:///jobs
    """
    from tracker.maintenance import export_ledger

    with rows_bar("exporting", show=not as_json) as on_rows:
        done = export_ledger(*settings.ledger(), file, on_rows)
    _print_moved("exported", done, as_json, err=file == "-")


@command.command("import")
@click.argument("file")
@click.option("--replace-nul", is_flag=True, help="Put U+FFFD for NUL, which PostgreSQL refuses.")
@json_option
@common
def import_(settings: Settings, file: str, replace_nul: bool, as_json: bool) -> None:
    """Fill a new or empty database with the ledger in FILE, made by `export`; - is standard input.

    All of it is imported, read back and compared, or nothing is. Stop all pollers of the old
    database first, and for good: two of them would poll and submit the same jobs.

    \b
    tracker db import ledger.jsonl.gz --db postgresql:///jobs
    """
    from tracker.maintenance import import_ledger

    with rows_bar("importing", show=not as_json) as on_rows:
        done = import_ledger(*settings.ledger(), file, on_rows, replace_nul=replace_nul)
    _print_moved("imported", done, as_json)


def _print_moved(what: str, done: dict[str, Any], as_json: bool, *, err: bool = False) -> None:
    if as_json:
        print_json(done, err=err)
        return
    rows = done["rows"]
    click.echo(
        f"{what} jobs {rows['processing_jobs']}, events {rows['job_events']}, operations "
        f"{rows['operations']}, objects {rows['objects']}; {sum(rows.values())} rows in all",
        err=err,
    )
    click.echo(f"sha256 {done['sha256']}", err=err)
    if done.get("replaced"):
        click.echo(f"NUL replaced in {done['replaced']} rows", err=err)
