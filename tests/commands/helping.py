"""What several tests of commands need: a terminal, and many jobs at once."""

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


def many_ended(project: Any, count: int) -> list[str]:
    """So many finished jobs, the copies of one; their local ids."""
    first = project.ended("first")
    [row] = project.rows("SELECT * FROM processing_jobs WHERE local_id = ?", first)
    own = {
        "local_id": "lower(hex(randomblob(4)) || '-0000-7000-8000-' || hex(randomblob(6)))",
        "server_id": "i",
        "server_key": "lower(hex(randomblob(16)))",
    }
    if project.server:
        own = {
            "local_id": "gen_random_uuid()",
            "server_id": "i",
            "server_key": "md5(random()::text)",
        }
    names = [name for name in row if name != "id"]
    project.write(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        f"INSERT INTO processing_jobs ({', '.join(names)}) "
        f"SELECT {', '.join(own.get(name, name) for name in names)} "
        "FROM n CROSS JOIN (SELECT * FROM processing_jobs WHERE local_id = ?) AS one "
        "WHERE i > 1 ORDER BY i",
        *(count, first),
    )
    return [job["local_id"] for job in project.rows("SELECT * FROM processing_jobs ORDER BY id")]
