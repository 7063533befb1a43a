"""How much of what pollers write on PostgreSQL leaves all indexes alone (HOT updates), and how much
log a poll writes: every poll brings another progress and moves the due time.

``python benchmarks/hot.py [--rows 100000] [--live 5000] [--polls 30000] [--batch 50]``
"""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any

import psycopg
from common import arguments, folder, report
from large import ledger

from tracker import clock
from tracker.outcomes import Running
from tracker.store import Store, open_store

STATISTICS = """
SELECT n_tup_upd, n_tup_hot_upd, n_tup_newpage_upd, autovacuum_count,
    pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, pg_relation_size(relid),
    pg_indexes_size(relid)
FROM pg_stat_user_tables WHERE relname = 'processing_jobs'
"""


def main() -> None:
    args = arguments(__doc__ or "", rows=100_000, live=5_000, polls=30_000, batch=50)
    shape = {"rows": args.rows, "due": args.live, "later": 0}
    with (
        folder() as place,
        ledger("postgres", place, **shape) as url,
        contextlib.closing(psycopg.connect(url, autocommit=True)) as connection,
    ):

        def now() -> tuple[Any, ...]:
            connection.execute("SELECT pg_stat_clear_snapshot()")
            return connection.execute(STATISTICS.encode()).fetchone() or ()

        before = now()
        store = open_store(url)
        began = time.perf_counter()
        _poll(store, args.polls, args.batch)
        seconds = time.perf_counter() - began
        store.close()  # which tells the server's statistics
        while now()[0] - before[0] < 2 * args.polls and time.perf_counter() - began < 600:
            time.sleep(0.1)
        after = now()
    updates, hot, elsewhere, vacuums, log = (
        new - old for new, old in zip(after[:5], before[:5], strict=True)
    )
    report(
        args,
        "updates of jobs by polls, on PostgreSQL",
        {
            "updates a poll": round(updates / args.polls, 2),
            "HOT": round(hot / updates, 3),
            "updates a poll that are not": round((updates - hot) / args.polls, 3),
            "to another page": round(elsewhere / updates, 3),
            "bytes of log a poll": round(log / args.polls),
            "MB of rows, before and after": [round(one[5] / 1e6, 1) for one in (before, after)],
            "MB of indexes, before and after": [round(one[6] / 1e6, 1) for one in (before, after)],
            "vacuums": vacuums,
            "claimed and settled a second": round(args.polls / seconds),
        },
    )


def _poll(store: Store, polls: int, batch: int) -> None:
    for _ in range(0, polls, batch):
        claimed = store.claim_due_jobs("bench", batch, "bench", 60.0, cutoff=clock.now())
        store.settle(
            [
                Running(job, -600 * random.random(), changed=True, progress=100 * random.random())
                for job in claimed.jobs
            ]
        )


if __name__ == "__main__":
    main()
