"""Polls a second against a local nginx: Tracker on SQLite and on PostgreSQL, bare clients that
record nothing, and other programs that make the same status calls, each set up as its documentation
recommends (benchmarks/peers/). Progress changes with every poll, the due order is random, the rate
is lifted.

``python benchmarks/polls.py [--jobs 5000] [--rounds 5] [--concurrency 8,32] [--only curl,aiohttp]``

Everybody runs once a round, in processes of its own. The clock runs from the moment at which they
have imported what they need and are connected, with all jobs due, until the last poll is on record;
the number of calls is nginx's, the number on record is read afterwards. Several pollers share the
jobs, and each has --concurrency calls at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from common import folder, report, summary
from peers import Task
from race import Speeds, best, contestants, missing, place_for, race, ratios, rounds
from servers import nginx, postgres

REQUESTS, CURL = "tracker, requests, SQLite", "tracker, curl, SQLite"
POSTGRES = "tracker, curl, PostgreSQL, 1 poller"
MANY = {count: f"tracker, curl, PostgreSQL, {count} pollers" for count in (2, 4)}
AIOHTTP = "bare aiohttp"
AGAINST = {  # somebody, and who is one time as fast
    REQUESTS: ["bare requests"],
    CURL: [AIOHTTP, "bare pycurl"],
    POSTGRES: [AIOHTTP],
    MANY[2]: [POSTGRES],
    MANY[4]: [POSTGRES],
}


def figures(speeds: Speeds) -> dict[str, Any]:
    """Everybody's speed, and the ratios that were asked for, round by round."""
    told: dict[str, Any] = {name: summary(values) for name, values in speeds.items()}
    for name, others in AGAINST.items():
        for other in others:
            if name in speeds and other in speeds:
                told[f"{name} / {other}"] = summary(ratios(speeds, name, [other]))
    peers = [name for name in speeds if not name.startswith(("tracker", "bare"))]
    for name in (REQUESTS, CURL, POSTGRES) if peers else ():
        if name in speeds:
            told[f"{name} / best peer"] = summary(ratios(speeds, name, peers))
    if peers:
        told["best peer"] = best(speeds, peers)
    return told


def chosen(only: str, skipped: dict[str, str]) -> list[str]:
    """The contestants whose names hold one of the words, or all that can take part."""
    words = [word.strip().lower() for word in only.split(",")] if only else [""]
    names = [one for one in contestants() if any(word in one.lower() for word in words)]
    return [name for name in names if name not in skipped]


def arguments() -> argparse.Namespace:
    """The options."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--jobs", type=int, default=5000, help="jobs a run (default: 5000)")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--concurrency", default="8", help="calls at a time, several with commas (default: 8)"
    )
    parser.add_argument("--only", default="", help="only those whose names hold one of these words")
    parser.add_argument("--list", action="store_true", help="tell the names and end")
    return parser.parse_args()


def measure(args: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """All rounds; figures by concurrency where there are several."""
    told: dict[str, Any] = {}
    several = [int(one) for one in args.concurrency.split(",")]
    with contextlib.ExitStack() as stack:
        place: Path = stack.enter_context(folder())
        url = stack.enter_context(nginx(place))
        needs = any(contestants()[name].database for name in names)
        server = stack.enter_context(postgres()) if needs else ""
        for concurrency in several:
            task = Task(url, args.jobs, concurrency, place_for(place, concurrency))
            run = partial(_run, task, server)
            found = figures(rounds(names, args.rounds, run))
            before = f"{concurrency} at a time: " if len(several) > 1 else ""
            told |= {f"{before}{name}": value for name, value in found.items()}
    return told


def _run(task: Task, server: str, name: str) -> float:
    speed = race(name, task, server)
    print(f"  {name:<45}{speed:>9.0f}/s   load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return speed


def main() -> None:
    args = arguments()
    if args.list:
        print("\n".join(contestants()))
        return
    skipped = missing()
    names = chosen(args.only, skipped)
    told = measure(args, names)
    told |= {f"{name}: skipped": why for name, why in skipped.items()}
    report(args, "polls a second", told)


if __name__ == "__main__":
    main()
