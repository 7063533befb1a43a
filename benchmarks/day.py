"""Whether `tracker run` stays flat: its memory, files, threads and ledger over a day of polling, as
fast as the machine does it. The default is a hundred jobs, each polled every ten seconds.

``python benchmarks/day.py [--jobs 100] [--polls 864000]``; aim: no growth after the first tenth.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from common import arguments, fill, folder, project, report, service

from tracker import Tracker

COMMAND = str(Path(sys.executable).with_name("tracker"))
EAGER = '[services.bench.poll]\nfirst = "10ms"\nevery = "10ms"\nmax_per_minute = 6000\n'


class Sample(NamedTuple):
    """A process and its ledger at one moment."""

    polls: int
    megabytes: float
    files: int
    threads: int
    ledger_megabytes: float


def sample(tracker: Tracker, pid: int) -> Sample:
    """What there is now."""
    process = Path("/proc") / str(pid)
    status = dict(
        line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
    )
    [(polls,)] = tracker.store.database.read("SELECT sum(poll_count) FROM processing_jobs")
    ledger = Path(tracker.store.database.name)
    size = sum(one.stat().st_size for one in ledger.parent.glob(ledger.name + "*"))
    return Sample(
        polls,
        round(int(status["VmRSS"].split()[0]) / 1024, 1),
        len(list((process / "fd").iterdir())),
        int(status["Threads"]),
        round(size / 2**20, 1),
    )


def main() -> None:
    args = arguments(__doc__ or "", jobs=100, polls=864_000, samples=20)
    with folder() as place, service() as url:
        configuration = project(place, url, 32, "curl")
        configuration.write_text(configuration.read_text() + EAGER)
        with Tracker(configuration) as tracker:
            fill(tracker, rows=args.jobs, due=args.jobs)
            process = subprocess.Popen([COMMAND, "--config", str(configuration), "run", "--quiet"])
            began, samples = time.monotonic(), []
            for number in range(1, args.samples + 1):
                while (now := sample(tracker, process.pid)).polls < number * (
                    args.polls // args.samples
                ):
                    assert process.poll() is None, "the poller has died"
                    time.sleep(0.2)
                samples.append(now)
            taken = time.monotonic() - began
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    # The median of the last fifth, as memory goes up and down with what is in flight.
    fifth = max(args.samples // 5, 1)
    early, late = samples[max(args.samples // 10, 1) :][:fifth], samples[-fifth:]
    growth = sorted(one.megabytes for one in late)[fifth // 2] - sorted(
        one.megabytes for one in early
    )[fifth // 2]
    report(
        args,
        "a day of polling",
        {
            "polls a second": round(samples[-1].polls / taken),
            "growth after the first tenth, MB": round(growth, 1),
            **{f"after {one.polls:,} polls": one._asdict() for one in samples},
        },
    )


if __name__ == "__main__":
    main()
