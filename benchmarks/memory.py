"""Peak memory of one `tracker poll` over a large table.

``python benchmarks/memory.py [--rows 1000000] [--due 10000]``; aim: <= 50 MB.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

from common import arguments, fill, folder, project, report, service

from tracker import Tracker

COMMAND = str(Path(sys.executable).with_name("tracker"))


def _fill(configuration: Path, rows: int, due: int) -> None:
    with Tracker(configuration) as tracker:
        fill(tracker, rows=rows, due=due)


def main() -> None:
    args = arguments(__doc__ or "", rows=1_000_000, due=10_000)
    with folder() as place, service() as url:
        # In a process of its own: a child's peak starts at what its parent weighs when it forks.
        filler = multiprocessing.get_context("spawn").Process(
            target=_fill, args=(project(place, url, 8), args.rows, args.due)
        )
        filler.start()
        filler.join()
        process = subprocess.Popen(
            [COMMAND, "poll", "--json"], cwd=place, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        done = json.loads(process.stdout.read())
        _, _, usage = os.wait4(process.pid, 0)
        assert done["polled"] == args.due, done
    report(
        args,
        "memory of one pass",
        {"peak MB": round(usage.ru_maxrss / 1024, 1), "polled": done["polled"]},
    )


if __name__ == "__main__":
    main()
