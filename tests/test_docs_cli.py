"""docs/cli.md and README.md against the commands."""

from __future__ import annotations

import runpy
from pathlib import Path

from tracker.commands.cli import COMMANDS
from tracker.errors import TrackerError

ROOT = Path(__file__).parents[1]


def test_the_reference_is_what_the_commands_say() -> None:
    """docs/cli.md is exactly what `python docs/make_cli.py` writes today."""
    made = runpy.run_path(str(ROOT / "docs/make_cli.py"))["text"]()
    assert (ROOT / "docs/cli.md").read_text("utf-8") == made


def test_every_command_is_in_the_changelog() -> None:
    """A command that users cannot read about in the changelog has not been announced."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert [name for name in COMMANDS if name not in text] == []


def test_exit_codes_of_the_readme_are_those_of_the_errors() -> None:
    """Each error class ends a command with a code that the README explains."""
    readme = (ROOT / "README.md").read_text("utf-8")
    classes, codes = [TrackerError], set()
    while classes:
        found = classes.pop()
        classes += found.__subclasses__()
        codes.add(found.exit_code)
    assert codes == {1, 2, 3, 4, 5, 6}
    assert all(f"| {code} |" in readme for code in (0, 130, *codes))
