"""How long it takes to pick due jobs out of a large table, most of which is finished: 50 and 1,000
at a time, all indexes on, due order random.

``python benchmarks/picking.py [--database both] [--rows 10000,1000000] [--picks 300]``; aim: of 50
among 10,000,000 rows p99 < 10 ms. "On a CPU" is without the time that it waited for one.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

from common import folder, report
from large import DIALECTS, dialects_of, ledger

from tracker import clock
from tracker.outcomes import Running
from tracker.store import Store, open_store

DUE, LATER = 10_000, 100_000
"""At most so many jobs are due, and so many run and are due tomorrow; all others are finished."""

AT_ONCE = {50: 1, 1000: 5}
"""So many are picked at a time, and how much less often than `--picks`."""


def main() -> None:
    args = _arguments()
    figures: dict[str, Any] = {}
    with folder() as place:
        for rows in args.rows:
            for dialect in dialects_of(args):
                shape = {"rows": rows, "due": min(DUE, rows // 5), "later": min(LATER, rows // 10)}
                with ledger(dialect, place, **shape) as where:
                    store = open_store(where)
                    for count, rarer in AT_ONCE.items():
                        found = _picks(store, count, max(args.picks // rarer, 10))
                        name = f"{dialect}, {count:,} of {rows:,}, ms"
                        figures[name] = found
                        print(name, found, flush=True) if args.loud else None
                    figures[f"{dialect}, {rows:,} rows, bytes a row"] = round(_bytes(store) / rows)
                    store.close()
    report(args, "picking due jobs, commit included", figures)


def _picks(store: Store, count: int, picks: int) -> dict[str, float]:
    """How long claims of `count` jobs take; what was claimed is due again at once, elsewhere in
    the order."""
    workers = ["thread-self"]
    if store.database.dialect == "postgres":
        workers += [str(store.database.read("SELECT pg_backend_pid()")[0][0])]
    times, quiet = [], []
    for pick in range(picks):
        if pick % 20 == 0:
            store.fold()  # as a poller does once a second, between its claims
        waited, began = _waited(workers), time.perf_counter()
        found = store.claim_due_jobs("bench", count, "bench", 3600.0, cutoff=clock.now())
        times.append(1000 * (time.perf_counter() - began))
        quiet.append(times[-1] - _waited(workers) + waited)
        assert len(found.jobs) == count, len(found.jobs)
        store.settle([Running(job, -600 * random.random()) for job in found.jobs])
    times.sort(), quiet.sort()
    return {
        "p50": round(times[len(times) // 2], 2),
        "p99": round(times[int(len(times) * 0.99)], 2),
        "max": round(times[-1], 2),
        "p50 on a CPU": round(quiet[len(quiet) // 2], 2),
        "p99 on a CPU": round(quiet[int(len(quiet) * 0.99)], 2),
    }


def _waited(workers: list[str]) -> float:
    """For how many milliseconds these processes were ready to run and had no CPU (Linux counts
    that): what others on the machine are to blame for."""
    lines = [Path(f"/proc/{one}/schedstat") for one in workers]
    return sum(int(one.read_text().split()[1]) for one in lines if one.exists()) / 1e6


def _bytes(store: Store) -> int:
    return int(store.database.read(store.sql["database_bytes"])[0][0])


def _arguments() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(one.replace("_", "")) for one in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--loud", action="store_true", help="tell each figure when it is there")
    parser.add_argument("--database", choices=(*DIALECTS, "both"), default="both")
    parser.add_argument("--rows", type=numbers, default=[10_000, 1_000_000], metavar="N,N")
    parser.add_argument("--picks", type=int, default=500, help="default: 500")
    return parser.parse_args()


if __name__ == "__main__":
    main()
