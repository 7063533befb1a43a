"""tracker db export, tracker db import"""

from __future__ import annotations

import gzip
import json
import signal
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

import psycopg
import pytest
from contract import has_keys
from helping import LONG_AGO, many_ended, on_a_terminal
from postgres import Ledger, in_file
from test_command_db import OLD

from tracker.maintenance import export_ledger, import_ledger, ledger_place
from tracker.store import open_store

pytestmark = in_file  # the other side is a server in each of them

OTHER = ("--db", "other.db")
MOVED = "database file rows sha256"


@pytest.fixture(params=["sqlite", "postgres"])
def to(request, project):
    """``--db`` with the place of a ledger that is not there yet."""
    if request.param == "sqlite":
        return "--db", str(project.path / "other.db")
    return "--db", request.getfixturevalue("new_database")()


def there(to: tuple[str, str]) -> Any:
    """What looks at the rows of the other ledger."""
    if to[1].startswith("postgresql"):
        return Ledger(to[1]).rows

    def look(sql: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(to[1])) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(sql)]

    return look


def move(project: Any, to: tuple[str, str], name: str = "ledger.jsonl") -> None:
    """What the two commands do, without their processes."""
    file = str(project.path / name)
    export_ledger(project.db, "UTC", file, None)
    import_ledger(ledger_place(to[1]), "UTC", file, None)


def body(data: bytes) -> list[bytes]:
    """The rows of an export: the first line tells the time, the last one seals that."""
    return data.splitlines()[1:-1]


def test_there_and_back(project, service, new_database):
    """Show 7: a ledger goes from a file to a server and back, and is the same lines each time;
    each command tells counts and the checksum."""
    service.statuses = ["done"]
    project.add()
    project.poll()
    project.record({"pages": 3, "a": 1.50})
    server = new_database()
    first = project.json("db", "export", "1.jsonl")
    moved = project.json("db", "import", "1.jsonl", "--db", server)
    second = project.json("db", "export", "2.jsonl", "--db", server)
    back = project.json("db", "import", "2.jsonl", "--db", "back.db")
    third = project.json("db", "export", "3.jsonl", "--db", "back.db")
    assert has_keys(first, MOVED) and has_keys(moved, MOVED, "replaced")
    assert len({one["sha256"] for one in (first, moved, second, back, third)}) == 1
    assert first["rows"] == moved["rows"] == third["rows"]
    assert (first["rows"]["processing_jobs"], first["rows"]["contents"]) == (2, 1)
    texts = [(project.path / f"{number}.jsonl").read_bytes() for number in (1, 2, 3)]
    assert body(texts[0]) == body(texts[1]) == body(texts[2])
    assert len(body(texts[0])) == sum(first["rows"].values())
    assert project.json("list", "--db", server) == project.json("list", "--db", "back.db")


def test_through_a_pipe(project):
    """With - the lines go to standard output and nothing else does; the other side reads them
    from standard input."""
    job = project.add()
    done = project.ok("db", "export", "-")
    project.ok("db", "export", "file.jsonl")
    assert body(done.out.encode()) == body((project.path / "file.jsonl").read_bytes())
    assert "exported jobs 1, events 1, operations 0, objects 0; " in done.err
    assert project.ok("db", "import", "-", *OTHER, stdin=done.out.encode()).out.startswith(
        "imported"
    )
    assert [one["local_id"] for one in project.json("list", *OTHER)] == [job]
    receipt = json.loads(project.ok("db", "export", "-", "--json").err)
    assert has_keys(receipt, MOVED) and receipt["file"] == "-"


def test_compressed(project):
    """A name that ends in .gz makes a gzip file, which is read again; one that is cut off is
    refused."""
    job = project.add()
    project.ok("db", "export", "plain.jsonl")
    project.ok("db", "export", "packed.jsonl.gz")
    packed = (project.path / "packed.jsonl.gz").read_bytes()
    assert body(gzip.decompress(packed)) == body((project.path / "plain.jsonl").read_bytes())
    (project.path / "cut.gz").write_bytes(packed[:-9])
    assert "cut.gz cannot be read to its end" in project.refused(
        2, "db", "import", "cut.gz", *OTHER
    )
    project.ok("db", "import", "packed.jsonl.gz", *OTHER)
    assert [one["local_id"] for one in project.json("list", *OTHER)] == [job]


def test_only_its_owner_can_read_it(project):
    """B15: an export has the mode 0600."""
    project.add()
    project.ok("db", "export", "ledger.jsonl")
    assert (project.path / "ledger.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("target", ["there", "nowhere/ledger.jsonl", ".", "x" * 300])
def test_an_export_that_cannot_be(project, target):
    """An export overwrites nothing and needs its folder: exit 2, one line that names the file."""
    project.add()
    (project.path / "there").write_text("mine")
    assert project.refused(2, "db", "export", target).startswith(target)
    assert not list(project.path.glob("**/*.partial")) + list(project.path.glob("x*"))
    assert (project.path / "there").read_text() == "mine"


def test_no_ledger(project):
    """Where there is no database nothing is exported, and none is made: exit 6."""
    assert "there is no database" in project.refused(6, "db", "export", "ledger.jsonl")
    assert not project.db.exists() and not (project.path / "ledger.jsonl").exists()


def test_a_disk_that_fills_up(project):
    """A disk that gets full leaves no half file, under whatever name: exit 1, one line."""
    many_ended(project, 300)
    full = project.path / "full"
    full.mkdir()
    project.mount('mount -t tmpfs -o size=64k none "$1/full"')
    told = project.refused(1, "db", "export", full / "ledger.jsonl")
    assert "ledger.jsonl: No space left on device" in told and "nothing was exported" in told
    left = subprocess.run([*project.prefix, "ls", "-A", full], stdout=subprocess.PIPE, check=True)
    assert left.stdout == b""
    with open("/dev/full", "wb") as device:  # noqa: PTH123
        process = subprocess.run(
            [project.command, "db", "export", "-"],
            cwd=project.path, env=project.env, stdout=device, stderr=subprocess.PIPE,
        )  # fmt: skip
    assert process.returncode == 1 and b"No space left on device" in process.stderr


def test_an_older_ledger(project):
    """A database from before the ledger is brought up to date first, as by every command."""
    with closing(sqlite3.connect(project.db)) as database:
        database.executescript(OLD)
    assert project.json("db", "export", "ledger.jsonl")["rows"]["processing_jobs"] == 3
    assert list(project.path.glob("*.backup-*"))
    project.ok("db", "import", "ledger.jsonl", *OTHER)
    assert len(project.json("list", *OTHER)) == 3


def test_not_into_another_ledger(project):
    """A database with anything in it is not imported into: exit 5, and it stays as it is."""
    project.add()
    move(project, ("--db", str(project.path / "other.db")))
    assert "is not empty" in project.refused(5, "db", "import", "ledger.jsonl")
    assert "is not empty" in project.refused(5, "db", "import", "ledger.jsonl", *OTHER)


@pytest.mark.parametrize(("command", "closed"), [("import", "<&-"), ("export", ">&-")])
def test_a_pipe_that_is_none(project, command, closed):
    """Without a standard input or output - is a slip: exit 2, one line."""
    project.add()
    told = subprocess.run(
        ["sh", "-c", f'"$0" db {command} - {closed}', project.command],
        cwd=project.path, env=project.env, capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 2 and "is closed" in told.stderr and told.stderr.count("\n") == 1


def test_a_file_that_is_none(project):
    """A file that is no export makes no database: exit 2."""
    (project.path / "other.jsonl").write_text('{"job": 1}\n')
    for name in ("other.jsonl", "nowhere.jsonl", ".", "tracker.toml"):
        assert name in project.refused(2, "db", "import", name)
    assert not project.db.exists()


def is_locked(to: tuple[str, str]) -> bool:
    """Whether somebody writes to the ledger."""
    if to[1].startswith("postgresql"):
        with closing(psycopg.connect(to[1])) as server:
            found = server.execute(
                "SELECT 1 FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database "
                "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
            ).fetchall()
        return bool(found)
    with closing(sqlite3.connect(to[1], timeout=0, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        database.execute("ROLLBACK")
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_ended_in_the_middle(project, to, number, code):
    """An import that is killed, or told to stop, in the middle leaves an empty ledger, into which
    the next one goes."""
    many_ended(project, 3000)
    export_ledger(project.db, "UTC", str(project.path / "ledger.jsonl"), None)
    data = (project.path / "ledger.jsonl").read_bytes()
    open_store(ledger_place(to[1])).close()
    process = subprocess.Popen(
        [project.command, "db", "import", "-", *to],
        cwd=project.path,
        env=project.env,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    # A pipe holds 64 kB: when it has taken all but the end, most rows have been written.
    process.stdin.write(data[:-1000])
    process.stdin.flush()
    assert is_locked(to)
    process.send_signal(number)
    assert process.wait(20) == code
    process.communicate()
    look = there(to)
    project.until(lambda: not is_locked(to))
    assert look("SELECT 1 FROM processing_jobs") == look("SELECT 1 FROM job_events") == []
    done = import_ledger(ledger_place(to[1]), "UTC", str(project.path / "ledger.jsonl"), None)
    assert done["rows"]["processing_jobs"] == 3000


def test_what_was_on_its_way(project, service, to):
    """A create that was sent when its ledger was exported, to a service that honours no key, is
    not sent a second time from the new place: it waits until its claim has run out, and then is in
    doubt."""
    project.configure({"create": {"idempotency": "none"}})
    job = project.record()
    far = "2099-01-01T00:00:00.000Z"
    project.write(
        "UPDATE operations SET sent_at = ?, claimed_by = 'p', lease = 1, lease_until = ?, "
        "unaccounted = 1",
        *(LONG_AGO, far),
    )
    move(project, to)
    project.ok("poll", *to)
    look = there(to)
    owed = "SELECT state, claimed_by, local_id FROM operations"
    assert look(owed) == [{"state": "pending", "claimed_by": "p", "local_id": job}]
    change = f"UPDATE operations SET lease_until = '{LONG_AGO}'"
    if to[1].startswith("postgresql"):
        Ledger(to[1]).write(change)
    else:
        with closing(sqlite3.connect(to[1])) as database, database:
            database.execute(change)
    project.run("poll", *to)
    assert look(owed) == [{"state": "in_doubt", "claimed_by": None, "local_id": job}]
    assert service.count("POST") == 0


def test_work_goes_on(project, service, to):
    """The new place goes on where the old one was: what ran is polled and ends, what was owed is
    sent once, and events are numbered on."""
    service.statuses = ["done"]
    running, owed = project.add("elsewhere"), project.record()
    move(project, to)
    project.ok("wait", running, owed, *to)
    assert service.count("POST") == 1
    found = there(to)("SELECT seq FROM job_events ORDER BY seq")
    assert [one["seq"] for one in found] == list(range(1, len(found) + 1)) and len(found) > 4


def test_beside_a_poller(project, service):
    """An export while a `run` is at work is one moment of the ledger: it imports without a
    complaint."""
    project.configure({"poll": {"every": "1ms"}})
    for number in range(5):
        project.add(f"srv-{number}")
    project.start("run", "--quiet")
    service.wait_for(10, "GET")
    for number in range(2):
        move(project, ("--db", str(project.path / f"{number}.db")), f"{number}.jsonl")


def test_nul(project, new_database):
    """NUL in a text is refused by a server with a hint, and replaced by the option that it
    names."""
    project.record({"a": "x\0y"})
    project.ok("db", "export", "ledger.jsonl")
    into = ("db", "import", "ledger.jsonl", "--db", new_database())
    assert "--replace-nul" in project.refused(2, *into)
    assert project.json(*into, "--replace-nul")["replaced"] == 2  # also in its first event
    [row] = there(into[-2:])("SELECT payload FROM processing_jobs")
    assert json.loads(row["payload"]) == {"a": "x\ufffdy"}


def test_on_a_terminal(project):
    """On a terminal a bar runs along on standard error; with --json none does."""
    many_ended(project, 600)
    assert "exporting" in on_a_terminal(project, "db", "export", "1.jsonl")
    assert "importing" in on_a_terminal(project, "db", "import", "1.jsonl", "--db", "1.db")
    assert on_a_terminal(project, "db", "export", "2.jsonl", "--json") == ""
