"""What a `tracker poll` with nothing due costs, as a ratio to `python -c pass`.

``python benchmarks/startup.py [--rows 100000] [--runs 21]``; aim: a ratio <= 6.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from common import arguments, fill, folder, project, report, summary

from tracker import Tracker

COMMAND = str(Path(sys.executable).with_name("tracker"))


def seconds(command: list[str], place: Path) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    subprocess.run(
        command, cwd=place, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def main() -> None:
    args = arguments(__doc__ or "", rows=100_000, runs=21)
    commands = {
        "tracker poll": [COMMAND, "poll"],
        "tracker --help": [COMMAND, "--help"],
        "tracker list": [COMMAND, "list", "--status", "active"],
    }
    with folder() as place:
        with Tracker(project(place, "http://127.0.0.1:1", 8)) as tracker:
            fill(tracker, rows=args.rows, due=0)
            tracker.poll()
        figures = {}
        for name, command in commands.items():
            pairs = [
                (seconds([sys.executable, "-c", "pass"], place), seconds(command, place))
                for _ in range(args.runs)
            ]
            figures[name + ", ms"] = summary([1000 * one for _, one in pairs])
            figures[name + " / python -c pass"] = summary([ours / peer for peer, ours in pairs])
    report(args, "start-up", figures)


if __name__ == "__main__":
    main()
