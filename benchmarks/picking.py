"""How long it takes to pick due jobs out of a large table, most of which is finished: 50 and 1,000
at a time, all indexes on, due order random.

``python benchmarks/picking.py [--database both] [--rows 10000,1000000] [--picks 300]``; aim: of 50
among 10,000,000 rows p99 < 10 ms.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from common import folder, report
from large import DIALECTS, dialects_of, ledger

from tracker import clock
from tracker.databases.base import ROWS
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
    report(args, "picking due jobs, commit included; `claim` without it", figures)


def _picks(store: Store, count: int, picks: int) -> dict[str, float]:
    """How long claims of `count` jobs take; what was claimed is due again at once, elsewhere in
    the order."""
    claims, times = [], []
    for pick in range(picks):
        if pick % 20 == 0:
            store.fold()  # as a poller does once a second, between its claims
        began = time.perf_counter()
        with store.database.transaction(ROWS):
            found = store.claim_due_jobs("bench", count, "bench", 3600.0, cutoff=clock.now())
            claims.append(1000 * (time.perf_counter() - began))
        times.append(1000 * (time.perf_counter() - began))
        assert len(found.jobs) == count, len(found.jobs)
        store.settle([Running(job, -600 * random.random()) for job in found.jobs])
    claims.sort(), times.sort()
    return {
        "p50": round(times[len(times) // 2], 2),
        "p99": round(times[int(len(times) * 0.99)], 2),
        "max": round(times[-1], 2),
        "claim p50": round(claims[len(claims) // 2], 2),
        "claim p99": round(claims[int(len(claims) * 0.99)], 2),
    }


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
