"""Contestants in turns: each in processes of its own, on the clock from the moment at which all of
them are ready until the last call is on record."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from peers import Contestant, Task, now
from servers import counted, database, drop

ROUND = "round"
"""The database of a contestant that begins anew in each round."""

MODULES = ("ours", "bare", "huey", "apscheduler", "procrastinate", "pgqueuer")


def contestants() -> dict[str, type[Contestant]]:
    """Everybody, by name."""
    return {
        name: found
        for module in MODULES
        for name, found in importlib.import_module(f"peers.{module}").CONTESTANTS.items()
    }


def missing() -> dict[str, str]:
    """Who cannot take part, by name, and why."""
    return {
        name: f"{needed} is not installed: pip install '.[bench]'"
        for module in MODULES
        for name, needed in importlib.import_module(f"peers.{module}").NEEDS.items()
        if find_spec(needed) is None
    }


@dataclass(frozen=True)
class Run:
    """How many calls a second, and how much of its own processes' CPU each took: what a busy
    machine changes less. A database server's is not in it."""

    speed: float
    cpu_us: float


def race(name: str, task: Task, server: str) -> Run:
    """One contestant, once. What nginx counted, and what is on record, is checked."""
    kind = contestants()[name]
    task = _prepared(name, kind, task, server)
    children: list[tuple[BaseProcess, Connection]] = []
    try:
        for number in range(kind.pollers):
            children.append(_started(name, task, first=not number))
        before = counted(task.url)
        for _, pipe in children:
            pipe.send("go")
        times = [pipe.recv() for _, pipe in children]
        called = counted(task.url) - before - 1
        children[0][1].send("tell")
        recorded = children[0][1].recv()
        assert called == task.jobs, f"{name}: {called} calls of {task.jobs}"
        assert recorded == (task.jobs if kind.records else 0), f"{name}: {recorded} on record"
    finally:
        for process, pipe in children:
            pipe.close()
            process.join(10)
            process.kill()
        if kind.database and not kind.keeps:
            drop(server, ROUND)  # or the server would tidy it up while the next one runs
    taken = max(end for _, end, _ in times) - min(began for began, _, _ in times)
    return Run(task.jobs / taken, 1e6 * sum(cpu for _, _, cpu in times) / task.jobs)


def _prepared(name: str, kind: type[Contestant], task: Task, server: str) -> Task:
    place = task.place / ("ledger" if kind.keeps else "round")
    if not kind.keeps:
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(exist_ok=True)
    kept = place / "postgres.url"
    url = ""
    if kind.database and kind.keeps and kept.exists():
        url = kept.read_text()
    elif kind.database:
        url = database(server, "ledger" if kind.keeps else ROUND)
        kept.write_text(url)
    return replace(task, place=place, database=url)


def _started(name: str, task: Task, *, first: bool) -> tuple[BaseProcess, Connection]:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_child, args=(theirs, name, task, first), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.recv() == "ready"
    except EOFError:
        raise SystemExit(f"{name}: did not get ready") from None
    return process, ours


def _child(pipe: Connection, name: str, task: Task, first: bool) -> None:
    contestant = contestants()[name](task)
    if first:
        contestant.fill()
    os.sync()  # what was written down goes to the disk now, not while the clock runs
    pipe.send("ready")
    pipe.recv()
    began, used = now(), time.process_time()
    ended = contestant.run()
    pipe.send((began, ended, time.process_time() - used))
    try:
        pipe.recv()
        pipe.send(contestant.recorded())
    except EOFError:
        pass  # only the first is asked


Runs = dict[str, list[Run]]


def rounds(names: list[str], count: int, run: Callable[[str], Run]) -> Runs:
    """`count` rounds in which everybody runs once, each beginning with somebody else."""
    runs: Runs = {name: [] for name in names}
    for number in range(count):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            runs[name].append(run(name))
    return runs


def ratios(runs: Runs, name: str, peers: list[str]) -> list[float]:
    """How many times as fast as the fastest of `peers` somebody was, round by round."""
    return [
        run.speed / max(runs[peer][number].speed for peer in peers)
        for number, run in enumerate(runs[name])
    ]


def best(runs: Runs, peers: list[str]) -> str:
    """Who of them had the highest median."""
    return max(peers, key=lambda name: statistics.median(run.speed for run in runs[name]))


def place_for(folder: Path, concurrency: int) -> Path:
    """A folder for all rounds of one concurrency."""
    place = folder / str(concurrency)
    place.mkdir()
    return place
