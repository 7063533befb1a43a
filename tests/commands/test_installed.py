"""Every command as it is installed: in most other tests a fork does what it does (`warm.py`)."""

from __future__ import annotations

import pytest

from tracker.commands.cli import COMMANDS

CALLS = {
    "init": ("elsewhere", 0, "tracker.toml"),
    "submit": ("docs --no-sync", 0, ""),
    "add": ("docs srv-2", 0, ""),
    "poll": ("", 0, "1 polled"),
    "list": ("", 0, "processing"),
    "show": ("JOB", 0, "srv-1"),
    "objects": ("JOB", 0, ""),
    "explain": ("JOB", 0, "processing"),
    "wait": ("JOB --timeout 100ms", 3, ""),
    "outbox": ("", 0, ""),
    "events": ("JOB", 0, "job:created"),
    "update": ("JOB -p pages=2 --no-sync", 0, ""),
    "cancel": ("JOB --no-sync", 0, ""),
    "delete": ("JOB --no-sync", 0, ""),
    "reset": ("JOB", 5, ""),
    "refresh": ("", 0, ""),
    "complete": ("JOB", 0, ""),
    "fail": ("JOB", 0, ""),
    "reopen": ("JOB", 5, ""),
    "pause": ("", 0, ""),
    "resume": ("", 0, ""),
    "cleanup": ("--older-than 0s", 0, ""),
    "health": ("", 0, ""),
    "services": ("check", 0, "docs"),
    "db": ("status", 0, "pending_steps"),
    "demo": ("--help", 0, "Usage: tracker demo"),
}
"""What a command is called with, its exit code, and a word that it says."""

CALL = {"request": {"method": "POST", "path": "/jobs/{server_id}"}}


@pytest.mark.parametrize("command", CALLS)
def test_an_installed_command(project, command):
    """The installed command does its part."""
    project.configure({"cancel": CALL, "update": CALL | {"fields": ["pages"]}})
    arguments, code, word = CALLS[command]
    project.installed = True
    job = project.add("srv-1")
    done = project.start(command, *arguments.replace("JOB", job).split()).end()
    assert done.code == code and word in done.out, done


def test_all_commands_are_here():
    """No command is missing above, but for those whose tests start what is installed anyway."""
    assert {*CALLS, "run", "watch"} == set(COMMANDS)
