"""Write docs/cli.md from the commands themselves: ``python docs/make_cli.py``."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.commands.cli import cli

HEAD = """# Commands

Made from `tracker COMMAND --help` by `python docs/make_cli.py`; a test compares. Every command also
takes `--config FILE` (or `TRACKER_CONFIG`) and `--db FILE` (or `TRACKER_DB`), before its name or
after it.
"""


def pages(command: click.Command, name: str, parent: click.Context | None) -> list[str]:
    """The help of `command` and of all commands below it."""
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=100, max_content_width=100
    )
    found = [f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            assert inner is not None
            found += pages(inner, below, context)
    return found


def text() -> str:
    """The whole page."""
    return "\n".join([HEAD, *pages(cli, "tracker", None)])


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(text(), encoding="utf-8")
