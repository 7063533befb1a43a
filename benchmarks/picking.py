"""How long it takes to pick 50 due jobs out of a large table, all indexes on, due order random.

``python benchmarks/picking.py [--rows 1000000] [--due 10000] [--picks 150]``; aim: p99 < 10 ms.
"""

from __future__ import annotations

import time

from common import arguments, fill, folder, project, report

from tracker import Tracker, clock
from tracker.outcomes import Running


def main() -> None:
    args = arguments(__doc__ or "", rows=1_000_000, due=10_000, picks=150)
    with folder() as place, Tracker(project(place, "http://127.0.0.1:1", 8)) as tracker:
        fill(tracker, rows=args.rows, due=args.due)
        store, times = tracker.store, []
        for pick in range(args.picks):
            if pick % 20 == 0:
                store.fold()  # as a poller does once a second, between its claims
            began = time.perf_counter()
            claimed = store.claim_due_jobs("bench", 50, "bench", 3600.0, cutoff=clock.now())
            times.append((time.perf_counter() - began) * 1000)
            assert len(claimed.jobs) == 50, len(claimed.jobs)
            store.settle([Running(job, 86400.0) for job in claimed.jobs])
        times.sort()
        report(
            args,
            "picking 50 due jobs (ms, commit included)",
            {
                "p50": round(times[len(times) // 2], 2),
                "p99": round(times[int(len(times) * 0.99)], 2),
                "max": round(times[-1], 2),
                "bytes a row": round((place / "tracker.db").stat().st_size / args.rows),
            },
        )


if __name__ == "__main__":
    main()
