"""What a `tracker poll` with nothing due costs, as a ratio to `python -c pass`.

``python benchmarks/startup.py [--database both] [--rows 100000] [--runs 21]``; aim: a ratio <= 6 on
SQLite. On PostgreSQL the import of psycopg alone is more than that: it is measured beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from common import folder, project, report, summary
from large import dialects_of, ledger, with_databases

COMMAND = str(Path(sys.executable).with_name("tracker"))


def seconds(command: list[str], place: Path) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    subprocess.run(
        command, cwd=place, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def main() -> None:
    args = with_databases(__doc__ or "", rows=100_000, runs=21)
    commands = {
        "tracker poll": [COMMAND, "poll"],
        "tracker --help": [COMMAND, "--help"],
        "tracker list": [COMMAND, "list", "--status", "active"],
    }
    figures = {}
    with folder() as place:
        project(place, "http://127.0.0.1:1", 8).rename(place / "tracker.toml")
        for dialect in dialects_of(args):
            with ledger(dialect, place, rows=args.rows, due=0, later=args.rows // 2) as where:
                os.environ["TRACKER_DB"] = where
                seconds([COMMAND, "poll"], place)  # after which this configuration is checked
                said = subprocess.check_output([COMMAND, "poll"], cwd=place, text=True)
                assert said == "nothing due\n", said
                if dialect == "postgres":
                    commands["import psycopg"] = [sys.executable, "-c", "import psycopg"]
                for name, command in commands.items():
                    pairs = [
                        (seconds([sys.executable, "-c", "pass"], place), seconds(command, place))
                        for _ in range(args.runs)
                    ]
                    name = f"{dialect}: {name}"
                    figures[name + ", ms"] = summary([1000 * one for _, one in pairs])
                    figures[name + " / python -c pass"] = summary(
                        [ours / peer for peer, ours in pairs]
                    )
    report(args, "start-up", figures)


if __name__ == "__main__":
    main()
