"""The house: who may import whom, who may read a clock, how long a file may be, and what a pass
with nothing to do costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = [
    "schema",
    "errors",
    "clock",
    "glance",
    "ids",
    "tables",
    "places",
    "config",
    "logs",
    "objects",
    "listed",
    "model",
    "outcomes",
    "summary",
    "schedule",
    "spool",
    "databases",
    "store",
    "moving",
    "maintenance",
    "archive",
    "cleanup",
    "presence",
    "transports",
    "lifecycle",
    "services",
    "storage",
    "chores",
    "executors",
    "work",
    "roads",
    "traffic",
    "pending",
    "claiming",
    "poller",
    "background",
    "explain",
    "overview",
    "health",
    "records",
    "recording",
    "changing",
    "serving",
    "asking",
    "keeping",
    "tracker",
    "demo",
    "commands",
]
"""The rooms from the ground up: each imports only rooms before it. `tracker/__init__.py` is the
front door: it shows what users import, and anybody may ask it for the version."""

STRANGERS = {
    "lifecycle": {"databases", "store", "transports"},
    "transports": {"databases", "store"},
    "services": {"databases", "store", "lifecycle"},
    "executors": {"databases", "store"},
    "records": {"poller", "executors", "transports"},
    "recording": {"poller", "executors", "transports"},
    "commands": {"databases", "store", "lifecycle", "transports", "services", "executors"},
}
"""Whom a room does not know although it lies above them: nothing flows back up."""

CLOCKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
MAY_READ_A_CLOCK = {
    "tracker/clock.py",
    "tracker/transports/pool.py",  # a socket's deadline is real also where a test froze the time
}
LONGEST_FILE = 400

SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in ("tracker", "commands", "schema")
    for path in (ROOT / folder).rglob("*.py")
)


def room_of(path: Path) -> str:
    """The room that a file is part of."""
    parts = path.with_suffix("").parts
    return parts[0] if parts[0] in ("commands", "schema") else parts[1]


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Each room that a file imports, at any depth, with the line."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            module = node.module or ""
            names = [f"{module}.{one.name}" for one in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "tracker" and len(parts) > 1 and parts[1] != "__version__":
                yield node.lineno, parts[1]


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"))


def test_every_room_has_its_floor():
    """A new room is put on a floor when it is built."""
    rooms = {room_of(path) for path in SOURCES} - {"__init__"}
    assert rooms == set(FLOORS)
    assert len(FLOORS) == len(set(FLOORS))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_rooms_import_downwards(path):
    """Each room imports only rooms below it."""
    room = room_of(path)
    if room == "__init__":
        return
    assert room in FLOORS, f"{room} is on no floor"
    above = [
        f"{path}:{line} imports {other}"
        for line, other in imported(parsed(path))
        if other != room and (other not in FLOORS or FLOORS.index(other) > FLOORS.index(room))
    ]
    assert not above


@pytest.mark.parametrize("room", STRANGERS)
def test_who_does_not_know_whom(room):
    """Executors never touch the store, transports know no jobs, commands contain no rules."""
    known = {
        other for path in SOURCES if room_of(path) == room for _, other in imported(parsed(path))
    }
    assert not known & STRANGERS[room]


def test_the_rules_have_no_edges():
    """Rules are pure: model, outcomes, schedule and lifecycle import no I/O and no clock."""
    edges = {"time", "datetime", "os", "pathlib", "sqlite3", "socket", "requests", "subprocess"}
    for path in SOURCES:
        if room_of(path) in ("objects", "listed", "model", "outcomes", "schedule", "lifecycle"):
            for node in ast.walk(parsed(path)):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert not edges & {name.split(".")[0] for name in names}, path
                assert "tracker.clock" not in names, path


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_only_the_clock_reads_a_clock(path):
    """Whoever wants to know the time asks `tracker.clock`, which tests can set."""
    if path.as_posix() in MAY_READ_A_CLOCK:
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute):
            of = node.value
            name = of.id if isinstance(of, ast.Name) else getattr(of, "attr", "")
            assert node.attr not in CLOCKS.get(name, ()), f"{path}:{node.lineno} reads a clock"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            taken = {one.name for one in node.names} & CLOCKS["time"]
            assert not taken, f"{path}:{node.lineno} takes a clock"


def test_the_database_reads_no_clock():
    """Times are parameters of statements: SQLite's own clock is nowhere asked."""
    for path in sorted((ROOT / "schema").rglob("*.sql")):
        text = path.read_text("utf-8").lower()
        for word in ("current_timestamp", "current_time", "current_date", "'now'", "unixepoch()"):
            assert word not in text, f"{path.name} has {word}"


@pytest.mark.parametrize(
    "path",
    [one for one in SOURCES if one.parts[0] != "schema"],
    ids=str,
)
def test_files_are_short(path):
    """A file that can be read in one sitting: nobody may let one grow past 400 lines."""
    assert len((ROOT / path).read_text("utf-8").splitlines()) <= LONGEST_FILE


def test_sql_lives_in_the_schema():
    """`schema/` is the one place that knows the ledger's tables; the one exception looks which
    layout a database has."""
    tables = ("processing_jobs", "job_events", "job_objects", "poll_runs", "budgets")
    for path in SOURCES:
        if path.parts[0] == "schema":
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.upper()
                starts = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ")
                if text.lstrip().startswith(starts) and any(one.upper() in text for one in tables):
                    pytest.fail(f"{path}:{node.lineno} holds SQL")


CONFIG = """
[services.docs]
base_url = "http://127.0.0.1:9/v1"
[services.docs.status]
request = { path = "/jobs/{server_id}" }
state = "body.status"
[services.docs.states]
processing = ["running"]
completed = ["done"]
"""

PASS = """
import json, sys
from tracker.commands import main
sys.argv = ["tracker", "poll", *sys.argv[1:]]
try:
    code = main()
except SystemExit as error:
    code = error.code
print(json.dumps([code or 0, sorted(sys.modules)]))
"""
HEAVY = {
    "requests",
    "urllib3",
    "rich",
    "boto3",
    "botocore",
    "sqlite_utils",
    "backoff",
    "psycopg",
    "pycurl",
}


def idle_pass(folder: Path, *arguments: str) -> tuple[int, set[str]]:
    """Run a pass in another process; its exit code and the top-level modules it loaded."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PASS, "--config", "tracker.toml", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, {name.split(".")[0] for name in modules}


@pytest.mark.parametrize("arguments", [(), ("--quiet",), ("--overlap",)])
def test_an_idle_pass_is_light(tmp_path, arguments):
    """Issue 2: `tracker poll` with nothing due loads none of the libraries it has no use for."""
    (tmp_path / "tracker.toml").write_text(CONFIG)
    idle_pass(tmp_path)  # makes the database, for which the migrations are needed
    code, modules = idle_pass(tmp_path, *arguments)
    assert code == 0 and "sqlite3" in modules
    assert not modules & HEAVY
