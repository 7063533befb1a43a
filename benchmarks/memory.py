"""Peak memory of one `tracker poll` over a large table.

``python benchmarks/memory.py [--database both] [--rows 1000000] [--due 10000]``; aim: <= 50 MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from common import folder, project, report, service
from large import dialects_of, ledger, with_databases

COMMAND = str(Path(sys.executable).with_name("tracker"))
RUN = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
said = process.stdout.read()
print(json.dumps([json.loads(said)["polled"], os.wait4(process.pid, 0)[2].ru_maxrss]))
"""


def main() -> None:
    args = with_databases(__doc__ or "", rows=1_000_000, due=10_000)
    figures = {}
    with folder() as place, service() as url:
        project(place, url, 8).rename(place / "tracker.toml")
        for dialect in dialects_of(args):
            with ledger(dialect, place, rows=args.rows, due=args.due, later=args.due) as where:
                # Beneath a small process: a child's peak starts at what its parent weighs.
                said = subprocess.check_output(
                    [sys.executable, "-c", RUN, COMMAND, "poll", "--json"],
                    cwd=place,
                    env={**os.environ, "TRACKER_DB": where},
                )
            polled, peak = json.loads(said)
            assert polled == args.due, polled
            figures[f"{dialect}: peak MB"] = round(peak / 1024, 1)
    report(args, "memory of one pass", figures)


if __name__ == "__main__":
    main()
