"""Growth: what a poll costs with 1,000, 10,000, 100,000 and 1,000,000 due jobs.

``python benchmarks/growth.py [--sizes 1000,10000,100000,1000000] [--polls 1000] [--rounds 20]``

A ledger of each size is made first, all of its jobs running and due, in random order of their due
times. In a round each ledger, in turn, has a pass of --polls polls (its oldest due jobs) of a local
nginx; what was polled is due again afterwards, so each pass finds as many due jobs, and the costs
of a pass are the same for all sizes. Aim: a ratio of at most 2 from the least to the most.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import fill, folder, make_due, project, report, summary
from servers import database, nginx, postgres

from tracker import Tracker


@dataclass
class Ledger:
    """One with `size` due jobs; what its polls cost, a pass each, in microseconds."""

    size: int
    tracker: Tracker
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def poll(self, polls: int, *, measured: bool) -> None:
        """A pass of so many polls; then they are due again."""
        began, used = time.perf_counter(), time.process_time()
        done = self.tracker.poll(limit=polls)
        ended, used_then = time.perf_counter(), time.process_time()
        assert done.polled == polls and done.errors == 0, done
        if measured:
            self.wall.append(1e6 * (ended - began) / polls)
            self.cpu.append(1e6 * (used_then - used) / polls)
        make_due(self.tracker)


def filled(configuration: Path, where: str | Path, size: int) -> Ledger:
    """A new ledger of that size."""
    tracker = Tracker(configuration, database=where)
    began = time.perf_counter()
    fill(tracker, rows=size, due=size)
    if tracker.store.database.dialect == "postgres":
        with tracker.store.database.transaction():
            tracker.store.database.write("ANALYZE")
    print(f"  {size:,} jobs in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return Ledger(size, tracker)


def figures(dialect: str, ledgers: list[Ledger]) -> dict[str, Any]:
    """Costs by size, and how many times those of the smallest the others are, round by round."""
    told: dict[str, Any] = {}
    least = ledgers[0]
    for one in ledgers:
        name = f"{dialect}, {one.size:,} due"
        told[f"{name}, us a poll"] = summary(one.wall)
        told[f"{name}, us of the poller's CPU"] = round(statistics.median(one.cpu))
    for one in ledgers[1:]:
        ratios = [mine / base for mine, base in zip(one.wall, least.wall, strict=True)]
        told[f"{dialect}, {one.size:,} / {least.size:,}"] = summary(ratios)
        ratios = [mine / base for mine, base in zip(one.cpu, least.cpu, strict=True)]
        told[f"{dialect}, {one.size:,} / {least.size:,}, CPU"] = summary(ratios)
    return told


def arguments() -> argparse.Namespace:
    """The options."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--sizes", default="1000,10000,100000,1000000", metavar="N,N")
    parser.add_argument("--polls", type=int, default=1000, help="a pass (default: 1000)")
    parser.add_argument("--rounds", type=int, default=20, help="default: 20")
    parser.add_argument("--concurrency", type=int, default=8, help="default: 8")
    parser.add_argument("--transport", choices=("requests", "curl"), default="curl")
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    sizes = [int(one) for one in args.sizes.split(",")]
    databases = ("sqlite", "postgres") if args.database == "both" else (args.database,)
    told: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(folder())
        url = stack.enter_context(nginx(place))
        configuration = project(place, url, args.concurrency, args.transport)
        server = stack.enter_context(postgres()) if "postgres" in databases else ""
        for dialect in databases:
            ledgers = []
            for size in sizes:
                name = f"of_{size}"
                where = place / name if dialect == "sqlite" else database(server, name)
                ledgers.append(filled(configuration, where, size))
            os.sync()  # now, not while the clock runs
            for number in range(args.rounds + 1):
                start = number % len(ledgers)
                for ledger in ledgers[start:] + ledgers[:start]:
                    ledger.poll(args.polls, measured=number > 0)  # the first round warms up
            told |= figures(dialect, ledgers)
            for ledger in ledgers:
                ledger.tracker.close()
    report(args, "the cost of a poll by the number of due jobs", told)


if __name__ == "__main__":
    main()
