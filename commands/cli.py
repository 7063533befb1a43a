"""The group `tracker`, whose commands are imported when they are called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from tracker import __version__
from tracker.commands.common import Settings
from tracker.errors import did_you_mean

COMMANDS = {
    "init": "Write a commented tracker.toml and create the database.",
    "submit": "Record a job and get it accepted by its service.",
    "add": "Track a job that already runs at its service.",
    "poll": "Poll what is due, once; the command for cron.",
    "run": "Poll until told to stop.",
    "list": "List jobs, newest first.",
    "show": "Show one job and all that belongs to it.",
    "objects": "List the files and S3 objects that a job uses.",
    "explain": "Say why a job is where it is, and what happens next.",
    "wait": "Wait until jobs have ended; exit 0 if all completed.",
    "outbox": "List what is still owed; retry it or let it go.",
    "watch": "Print changes as they happen.",
    "events": "Print what happened to jobs, in order.",
    "update": "Change fields of a job, here and at its service.",
    "cancel": "Ask for a job to be stopped.",
    "delete": "Delete a job here and at its service.",
    "reset": "Have a failed sync of a job tried again.",
    "refresh": "List jobs at the services, and merge them here.",
    "complete": "Call a job completed by hand.",
    "fail": "Call a job failed by hand.",
    "reopen": "Bring a finished job back; it is polled at once.",
    "pause": "Turn all polling off.",
    "resume": "Turn polling on again.",
    "cleanup": "Delete finished jobs that are old enough, and what only they used.",
    "health": "Say whether all is well; exit 1 when it is not.",
    "services": "List and check the services of the configuration.",
    "db": "Migrate, inspect, back up and move the database.",
    "demo": "Watch whole lives of jobs, against a service brought along.",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for: `tracker poll` pays for `poll`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a job's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command `name`, imported now."""
        if name not in COMMANDS:
            return None
        command = import_module(f"tracker.commands.{name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with the nearest name for one that there is not."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], list(COMMANDS)) or "see: tracker --help"
            raise click.UsageError(f"no command '{args[0]}' ({hint})")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line each, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tracker")
@click.option("--config", "config_path", metavar="FILE", help="The tracker.toml to use.")
@click.option("--db", metavar="FILE", help="The database to use: a file, or postgresql://….")
@click.option("-v", "--verbose", count=True, help="Log more; twice for every call.")
@click.pass_context
def cli(ctx: click.Context, config_path: str | None, db: str | None, verbose: int) -> None:
    """Tracker: a ledger and poller for jobs that run on somebody else's API.

    \b
    tracker demo                         see it work
    tracker init                         start your own
    tracker submit docs report.pdf       record a job, get it accepted
    tracker poll --for 55s --quiet       the line for cron, every minute
    tracker wait JOB && echo done        for scripts

    Exit codes: 0 done, 1 a job or call failed, 2 usage or configuration, 3 timed out waiting,
    4 not found, 5 not possible in this state, 6 database unavailable.
    """
    ctx.obj = Settings(config_path, db, verbose)
