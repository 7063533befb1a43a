"""What several tests of commands need: a terminal, many jobs at once, what is owed."""

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


LONG_AGO = "2020-01-01T00:00:00.000Z"


def outbox(project: Any) -> list[dict[str, Any]]:
    """What `tracker outbox --json` shows, without a process."""
    with project.tracker() as tracker:
        return list(tracker.store.outbox())


def cancel(project: Any, job: str) -> None:
    """What `tracker cancel` does, but for the call: that is owed."""
    with project.tracker() as tracker:
        tracker.cancel(job, sync=False)


def made_due(project: Any) -> None:
    """Let nothing that is owed wait any longer, nor any pause last, and handle what is due."""
    due = "UPDATE operations SET next_attempt_at = ? WHERE next_attempt_at < '9000-01-01'"
    project.write(due, LONG_AGO)
    project.write("UPDATE budgets SET paused_until = ? WHERE paused_until NOTNULL", LONG_AGO)
    project.poll()


def at_rest(project: Any) -> None:
    """Handle what is due until nothing is owed that may be sent."""
    for _ in range(20):
        made_due(project)
        if not project.rows("SELECT 1 FROM operations WHERE state = 'pending'"):
            return
    raise AssertionError(project.rows("SELECT * FROM operations"))
