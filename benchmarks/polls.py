"""Polls a second against a local service, and against a bare `requests` thread pool of the same
concurrency that records nothing. Progress changes with every poll, the rate is lifted.

``python benchmarks/polls.py [--jobs 5000] [--concurrency 8] [--runs 5]``; aim: a ratio >= 0.8.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from common import arguments, fill, folder, make_due, project, report, service, summary
from requests.adapters import HTTPAdapter

from tracker import Tracker


def bare(url: str, jobs: int, concurrency: int) -> float:
    """Calls a second of a thread pool around one session."""
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=concurrency))

    def call(number: int) -> None:
        session.get(f"{url}/jobs/job-{number}", timeout=30).json()

    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(call, range(jobs)))
    return jobs / (time.perf_counter() - began)


def tracked(configuration: Path, jobs: int) -> float:
    """Polls a second of one pass over `jobs` due jobs."""
    with Tracker(configuration) as tracker:
        make_due(tracker)
        began = time.perf_counter()
        done = tracker.poll()
        taken = time.perf_counter() - began
    assert done.polled == jobs and done.errors == 0, done
    return jobs / taken


def main() -> None:
    args = arguments(__doc__ or "", jobs=5000, concurrency=8, runs=5)
    with folder() as place, service() as url:
        threads, curl = (
            project(place, url, args.concurrency, transport) for transport in ("requests", "curl")
        )
        with Tracker(threads) as tracker:
            fill(tracker, rows=args.jobs, due=args.jobs)
            tracker.poll()
        rounds = [
            (
                bare(url, args.jobs, args.concurrency),
                tracked(threads, args.jobs),
                tracked(curl, args.jobs),
            )
            for _ in range(args.runs)
        ]
    report(
        args,
        "polls a second",
        {
            "bare requests pool": summary([one for one, _, _ in rounds]),
            "tracker, requests, SQLite": summary([one for _, one, _ in rounds]),
            "tracker, curl, SQLite": summary([one for _, _, one in rounds]),
            "ratio": summary([ours / peer for peer, ours, _ in rounds]),
            "ratio with curl": summary([ours / peer for peer, _, ours in rounds]),
        },
    )


if __name__ == "__main__":
    main()
