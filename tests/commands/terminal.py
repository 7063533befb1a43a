"""A command on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import Any


def on_a_terminal(project: Any, *arguments: object) -> str:
    """What a command that succeeds shows on the terminal that its standard error is."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [project.command, *map(str, arguments)],
        cwd=project.path,
        env=project.env | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that nobody is there any more
        pass
    os.close(ours)
    assert process.wait(20) == 0 and b"Traceback" not in shown
    return shown.decode()
