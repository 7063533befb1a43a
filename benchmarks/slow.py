"""A slow service: how long a poller takes for all jobs of a service that answers after 2 s, against
what its `concurrency` allows at best, which is jobs / concurrency * delay.

``python benchmarks/slow.py [--jobs 5000] [--concurrency 100] [--delay 2] [--database both]``

One pass of one poller over requests and one over curl, on a ledger whose jobs are all due.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import Any

from common import fill, folder, project, report, service
from servers import database, postgres

from tracker import Tracker


def taken(configuration: Path, ledger: str | Path, jobs: int) -> float:
    """Seconds of one pass over `jobs` due jobs of a new ledger."""
    with Tracker(configuration, database=ledger) as tracker:
        fill(tracker, rows=jobs, due=jobs)
        began = time.perf_counter()
        done = tracker.poll()
        ended = time.perf_counter() - began
        polled = tracker.store.database.read("SELECT sum(poll_count) FROM processing_jobs")
        assert done.errors == 0 and done.polled == jobs == polled[0][0], done
    return ended


def arguments() -> argparse.Namespace:
    """The options."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--jobs", type=int, default=5000, help="default: 5000")
    parser.add_argument("--concurrency", type=int, default=100, help="default: 100")
    parser.add_argument("--delay", type=float, default=2.0, help="seconds (default: 2)")
    parser.add_argument("--transport", choices=("requests", "curl", "both"), default="both")
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="sqlite")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    transports = ("requests", "curl") if args.transport == "both" else (args.transport,)
    databases = ("sqlite", "postgres") if args.database == "both" else (args.database,)
    ideal = args.jobs / args.concurrency * args.delay
    figures: dict[str, Any] = {"ideal, s": ideal}
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(folder())
        url = stack.enter_context(service(args.delay))
        server = stack.enter_context(postgres()) if "postgres" in databases else ""
        for dialect in databases:
            for transport in transports:
                configuration = project(place, url, args.concurrency, transport)
                name = f"{dialect}_{transport}"
                ledger = place / name if dialect == "sqlite" else database(server, name)
                seconds = taken(configuration, ledger, args.jobs)
                figures[f"{dialect}, {transport}, s"] = round(seconds, 2)
                figures[f"{dialect}, {transport} / ideal"] = round(seconds / ideal, 3)
    report(args, "a slow service", figures)


if __name__ == "__main__":
    main()
