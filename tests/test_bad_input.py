"""What is wrong is told in one line and changes nothing: slips, strange replies, sick databases."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from contextlib import closing
from urllib.parse import unquote

import pytest
from freezegun import freeze_time
from postgres import in_file, no_ledger, stopped_clock
from service import Answer, Broken, Hang

from tracker.errors import Impossible

# Words that there are not.


def test_unknown_names(project):
    """A service, job, command or setting that there is not is named, with the nearest there is."""
    project.add()
    for code, arguments, told in [
        (4, ["submit", "dcos"], "no service 'dcos' in tracker.toml (did you mean 'docs'?)"),
        (4, ["show", "12345678"], "no job '12345678' (see: tracker list)"),
        (2, ["explian", "x"], "no command 'explian' (did you mean 'explain'?)"),
    ]:
        assert told in project.refused(code, *arguments)
    project.configure({"poll": {"evry": "20s"}})
    told = "services.docs.poll.evry: unknown key (did you mean 'every'?)"
    assert project.refused(2, "poll") == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"database = ", "tracker.toml: line 1, column 12: "),
        (b"[services.docs\n", "tracker.toml: line 1, column 15: "),
        (b'user_id = "a"\nuser_id = "b"\n', "tracker.toml: line 2, column "),
        (b"\xff\xfe", "tracker.toml: not UTF-8 (byte 0)"),
        (b"a = " + b"[" * 5000, "tracker.toml: nested too deeply"),
        (b'datbase = "x.db"', "datbase: unknown key (did you mean 'database'?)"),
        (b"concurrency = 0", "concurrency: expected "),
        (b'database = "mysql://x"', 'expected a path or a postgresql:// URL, got "mysql://'),
        (b'[services."a b"]\nbase_url = "http://x"', "is no name for a service"),
        (b"[services.x]\n", "services.x.base_url: "),
        (b'[services.x]\nbase_url = "ftp://x"', "services.x.base_url: "),
        (b'[services.x]\nbase_url = "http://x"\nrate = "fast"', "services.x.rate: expected "),
        (b'[services.x]\nbase_url = "http://x"\nauth = { bearer = "t0ken" }',
         "services.x.auth.bearer: expected a reference to the secret"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
@no_ledger
def test_configurations(project, text, told):
    """What is wrong in tracker.toml is told with line and column, or with the key's full path."""
    project.create()
    project.toml.write_bytes(text)
    error = project.refused(2, "poll")
    assert told in error
    assert "t0ken" not in error


def test_an_ending_that_two_jobs_have(project):
    """The end of an id that two jobs have in common means neither: exit 2, and both are named."""
    jobs = [project.add("a"), project.add("b")]
    alike = [f"01a20080-0553-7b28-9b72-00000000000{n}"[:-4] + "beef" for n in (1, 2)]
    alike[1] = "01a20081" + alike[1][8:]
    for job, local_id in zip(jobs, alike, strict=True):
        project.write("UPDATE processing_jobs SET local_id = ? WHERE local_id = ?", local_id, job)
    for command in ("show", "explain", "complete", "poll", "wait"):
        error = project.refused(2, command, "beef")
        assert alike[0] in error and alike[1] in error and "give more of the id" in error
    assert project.json("show", "docs:a")["local_id"] == alike[0]


# Replies.

STRANGE = {
    "empty": (Answer(b""), "", "no state"),
    "spaces": (Answer(b" \n "), "", "no state"),
    "no JSON": (Answer(b'{"status": "done"'), "", "the reply is not JSON"),
    "HTML": (Answer(b"<html>done</html>", 200, {"Content-Type": "text/html"}), "", "not JSON"),
    "binary": (Answer(bytes(range(256))), "", "the reply is not JSON"),
    "not UTF-8": (Answer(b'{"status": "d\xf6ne"}'), "", "the reply is not JSON"),
    "UTF-16": (Answer('{"status": "done"}'.encode("utf-16")), "", "the reply is not JSON"),
    "10 MB": (Answer(b'{"status": "done", "x": "' + b"x" * 10**7 + b'"}'), "", "larger than"),
    "deep": (Answer(b"[" * 100_000), "", "the reply is not JSON"),
    "null": (Answer(b"null"), "", "no state"),
    "a list": (Answer(b'["done"]'), "", "no state"),
    "a number": (Answer(b"3"), "", "no state"),
    "word is an object": ({"status": {"done": True}}, "", "is an object, expected a word"),
    "word is a list": ({"status": ["done"]}, "", "is a list, expected a word"),
    "word is a number": (
        {"status": 3},
        "3",
        "the state '3', which the service's definition does not list",
    ),
    "word is true": ({"status": True}, "true", "the state 'true', which the service's definition"),
    "word is null": ({"status": None}, "", "no state"),
    "unknown word": ("resting", "resting", "the state 'resting', which"),
    "another case": ("DONE", "DONE", "the state 'DONE', which"),
    "long word": ("x" * 100_000, "x" * 200, "the service's definition does not list"),
    "another job": ({"job_id": "srv-2", "status": "done"}, "", "for another job"),
    "a gone bad gzip": (Answer(b"\x1f\x8bxxxx", 200, {"Content-Encoding": "gzip"}), "", "gzip"),
    "brotli": (Answer(b"xx", 200, {"Content-Encoding": "br"}), "", "compressed as br"),
    "redirect away": (Answer(b"", 302, {"Location": "http://example.com/"}), "", "another host"),
    "redirect nowhere": (Answer(b"", 302), "", ""),
    "broken": (Broken(), "", ""),
    "teapot": (Answer(b"", 418), "", "HTTP 418"),
    "no such code": (Answer(b"", 799), "", "HTTP 799"),
    "gateway": (Answer("<h1>Bad gateway</h1>", 502), "", "HTTP 502"),
    "unknown job": (Answer(b"", 404), "", "does not know this job"),
    "progress": ({"status": "running", "progress": {"a": 1}}, "running", ""),
    "far progress": ({"status": "running", "progress": 1e308}, "running", ""),
}


@pytest.mark.parametrize("name", STRANGE)
def test_replies_to_a_status_call(project, service, name):
    """Whatever comes instead of a reply: the job keeps running, what was wrong is on record and
    shown in one line, the pass exits 0, and the next good reply counts."""
    answer, word, told = STRANGE[name]
    project.configure({"result": None})
    service.statuses = [answer]
    job = project.add()
    done = project.ok("poll")
    assert done.out.startswith("1 polled")
    assert all(line.startswith("20") for line in done.err.splitlines())
    row = project.row(job)
    assert (row["status"], row["claimed_by"], row["poll_count"]) == ("processing", None, 1)
    if word:
        assert row["remote_state"] == word
    assert told in (row["last_error"] or "")
    assert "\n" not in (row["last_error"] or "")
    assert len(row["last_error"] or "") < 700
    with project.tracker() as tracker:
        assert told in (tracker.explain(job)["last"] or "")
    service.statuses = ["done"]
    project.write("UPDATE budgets SET paused_until = NULL")
    project.write("UPDATE processing_jobs SET next_poll_at = initiated_at")
    project.poll()
    assert project.row(job)["status"] == "completed"


BAD_CREATES = {
    "empty": (Answer(b"", 201), "no usable id"),
    "no JSON": (Answer(b"<html>", 201), "the reply is not JSON"),
    "no id": ({"id": 3}, "body.job_id holds no usable id"),
    "id is null": ({"job_id": None}, "no usable id"),
    "id is empty": ({"job_id": ""}, "no usable id"),
    "id is a list": ({"job_id": [1]}, "no usable id"),
    "id is a fraction": ({"job_id": 1.5}, "no usable id"),
    "id is huge": ({"job_id": "x" * 20_000}, "no usable id"),
    "10 MB": (Answer(b" " * 10**7), "larger than"),
}


@pytest.mark.parametrize("name", BAD_CREATES)
def test_replies_to_a_create(project, service, name):
    """A create whose reply holds no id is tried again where a key makes that safe, and is in doubt
    where none does; the reason is on record."""
    answer, told = BAD_CREATES[name]
    service.creates = [answer, "accepted"]
    job = project.attempted()
    [owed] = project.rows("SELECT state, attempts, last_error FROM operations")
    assert (owed["state"], owed["attempts"]) == ("pending", 1)
    assert told in owed["last_error"]
    project.configure({"create": {"idempotency": "none"}})
    service.creates = [answer]
    doubtful = project.attempted()
    assert project.row(doubtful)["sync_status"] == "failed"
    assert project.rows("SELECT state FROM operations ORDER BY id")[-1]["state"] == "in_doubt"
    assert project.row(job)["status"] == "pending"


def test_a_service_that_answers_with_another_jobs_id(project, service):
    """Two creates answered with one id are not two jobs: the second is given up and says whose it
    is; the first is untouched."""
    service.creates = [{"job_id": "same"}]
    first, second = project.attempted(), project.attempted()
    assert (project.row(first)["server_id"], project.row(second)["server_id"]) == ("same", None)
    done = project.run("explain", second)
    assert f"the service answered with the id of another job, {first[-8:]}" in done.out
    assert project.run("wait", second, timeout=10).code == 1
    assert f"tracked already as job {first[-8:]}" in project.refused(5, "add", "docs", "same")


def test_a_state_that_goes_backwards(project, service):
    """The first end stands: a job that was done is polled no more, whatever its service would say,
    also by a poll that was under way when it ended."""
    project.configure({"result": None})
    service.scripts["srv-1"] = ["done", "running"]
    job = project.add()
    project.ok("poll")
    for arguments in (["poll"], ["poll", job], ["poll", "--for", "200ms"], ["wait", job]):
        project.ok(*arguments)
    assert project.row(job)["status"] == "completed"
    assert service.count("GET", "srv-1") == 1

    service.scripts["srv-2"] = [Hang("running")]
    late = project.add("srv-2")
    command = project.start("poll")
    service.wait_for(1, "GET", "srv-2")
    with project.tracker() as tracker:
        tracker.complete(late)
    service.release()
    assert command.end().code == 0
    row = project.row(late)
    assert (row["status"], row["next_poll_at"], row["claimed_by"]) == ("completed", None, None)


ODD_IDS = {
    "slash": "a/b",
    "question": "a?b=c#d",
    "up": "../../admin",
    "dots": "a..b",
    "percent": "a%2Fb",
    "space": "a b+c",
    "emoji": "job-🐍-é",
    "quotes": "a'b\"c;--",
    "braces": "{server_id}{",
    "10 kB": "x" * 10_000,
    "dash": "--help",
    "newline": "a\nb",
}


@pytest.mark.parametrize("name", ODD_IDS)
def test_odd_server_ids(project, service, name):
    """Any text can be a server id: it is kept exactly, is one segment of the path it is asked
    for, and no other path is ever called."""
    server_id = ODD_IDS[name]
    project.configure({"result": None, "status": {"server_id": ""}})
    job = project.ok("add", "docs", "--", server_id).line
    assert project.row(job)["server_id"] == server_id
    assert project.ok("poll").line == "1 polled"
    [seen] = service.requests("GET")
    assert unquote(seen.path) == f"/jobs/{server_id}"
    assert seen.path.count("/") == 2 and "?" not in seen.path
    with project.tracker() as tracker:
        assert tracker.get(f"docs:{server_id}").local_id == job
        assert len(tracker.explain(job)["state"]) < 200
        with pytest.raises(Impossible, match="is tracked already as job"):
            tracker.add("docs", server_id)


@pytest.mark.parametrize("server_id", [".", ".."])
def test_server_ids_that_no_path_can_hold(project, service, server_id):
    """`.` and `..` would lead to another path however they are written: nothing is called."""
    project.create()
    done = project.run("add", "docs", server_id)
    if done.code == 0:
        project.ok("poll")
        assert [unquote(seen.path) for seen in service.seen] in ([], [f"/jobs/{server_id}"])
    else:
        assert done.code == 2 and server_id in done.error


def test_words_for_a_terminal(project, service):
    """No control character out of a reply or an id reaches the terminal."""
    service.statuses = ["\x1b[2Jrest\x1b]0;title\x07ing\r"]
    job = project.add("srv\x1b[31m-1")
    project.configure({"status": {"server_id": ""}})
    project.ok("poll", "--quiet")
    for arguments in (["list"], ["show", job], ["explain", job], ["events"]):
        told = project.ok(*arguments).out
        assert not set(told) & {"\x1b", "\x07", "\r"}, arguments


# Databases.

COMMANDS = {
    "list": ["list"],
    "submit": ["submit", "docs", "--no-sync"],
    "add": ["add", "docs", "srv-9"],
    "poll": ["poll"],
    "status": ["db", "status"],
    "migrate": ["db", "migrate"],
    "events": ["events"],
    "pause": ["pause"],
    "cleanup": ["cleanup"],
    "outbox": ["outbox"],
}


def broken_file(project, content: bytes) -> None:
    for name in project.path.glob("tracker.db*"):
        if name.is_file():
            name.unlink()
    project.db.write_bytes(content)


def spoil(project, place: str) -> bytes:
    """A database with 200 jobs whose header or middle is noise."""
    with project.tracker() as tracker:
        for number in range(200):
            tracker.add("docs", f"srv-{number}", document_id="x" * 100)
    with closing(sqlite3.connect(project.db)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(project.db.read_bytes())
    noise = random.Random(7)
    start, end = {"header": (0, 100), "middle": (4096, len(content)), "cut": (0, 0)}[place]
    content[start:end] = noise.randbytes(end - start)
    return bytes(content[: len(content) // 2]) if place == "cut" else bytes(content)


@pytest.mark.parametrize("place", ["header", "middle", "text"])
@in_file
def test_a_damaged_database(project, place):
    """A database with noise in it, or no database at all, is exit 6 and stays as it is."""
    broken_file(project, b"this is a text\n" * 900 if place == "text" else spoil(project, place))
    before = project.db.read_bytes()
    for name in ("list", "submit", "poll", "migrate"):
        done = project.run(*COMMANDS[name])
        assert done.code == 6, (name, done)
        assert "is damaged" in done.error or "is not an SQLite database" in done.error
        assert str(project.db) in done.error and "(" in done.error
    assert project.db.read_bytes() == before


@in_file
def test_a_truncated_database(project):
    """A database that was cut in half is exit 6 for whoever needs what is missing."""
    broken_file(project, spoil(project, "cut"))
    done = project.run("list", "--limit", "1000")
    assert done.code == 6 and "is damaged" in done.error


@in_file
def test_an_empty_file(project):
    """An empty file is a database that nobody has begun."""
    project.db.write_bytes(b"")
    assert project.ok("list").code == 0
    assert project.ok("submit", "docs", "--no-sync").code == 0


@pytest.mark.parametrize("name", COMMANDS)
@in_file
def test_a_directory(project, name):
    """A directory where the database should be is exit 6 with its name, and stays empty."""
    project.db.mkdir()
    error = project.refused(6, *COMMANDS[name])
    assert f"database {project.db} is a directory (name a file with --db)" in error
    assert list(project.db.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_newer_database(project, name):
    """A database that only a newer program may open is exit 6, says which, and is not touched."""
    project.add()
    project.write("UPDATE meta SET value = '99.1.0' WHERE key = 'min_program'")
    error = project.refused(6, *COMMANDS[name])
    assert "needs tracker 99.1.0 or newer" in error and "pip install --upgrade" in error


@no_ledger
def test_places_where_no_database_can_be(project):
    """A path through a file, and one of another kind of database, are one line each."""
    (project.path / "file").write_text("")
    error = project.run("list", "--db", "file/tracker.db")
    assert error.code == 6 and "file/tracker.db" in error.error
    error = project.run("list", "--db", "mysql://host/name")
    assert error.code == 2 and "mysql" in error.error


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"'


@pytest.fixture
def unwritable(project):
    """A project with a job, in a folder that cannot be written to, not by root either."""
    project.add()
    with closing(sqlite3.connect(project.db)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    project.mount(READ_ONLY)
    return project


@in_file
def test_a_read_only_database(unwritable):
    """A database that cannot be written to is exit 6 with its name, and is not changed."""
    before = unwritable.db.read_bytes()
    for name in ("submit", "add", "poll", "pause"):
        done = unwritable.run(*COMMANDS[name])
        assert (done.code, done.out) == (6, ""), name
        assert str(unwritable.db) in done.error
    assert unwritable.db.read_bytes() == before


@in_file
def test_a_read_only_database_is_called_so(unwritable):
    """The error says that the database is read-only, not that it could not be found."""
    assert "read-only" in unwritable.run("add", "docs", "srv-9").error


@in_file
def test_a_read_only_file(project):
    """A database file that cannot be written to while its folder can is called read-only."""
    project.add()
    with closing(sqlite3.connect(project.db)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    bind = 'mount --bind "$1/tracker.db" "$1/tracker.db"'
    project.mount(f'{bind} && mount -o remount,ro,bind "$1/tracker.db"')
    for name in ("submit", "add", "pause"):
        done = project.run(*COMMANDS[name])
        assert (done.code, done.out) == (6, ""), name
        assert "is read-only (give yourself write permission" in done.error


@in_file
def test_a_full_disk(project):
    """A database that cannot grow is exit 6, says so, and loses nothing of what it had."""
    job = project.add()
    with closing(sqlite3.connect(project.db)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = project.db.stat().st_size // 1024 + 160
    project.mount(
        'copy=$(mktemp -d) && cp "$1/tracker.db" "$1/tracker.toml" "$copy" && '
        f'mount -t tmpfs -o size={size}k none "$1" && cp "$copy"/* "$1" && rm -r "$copy"'
    )
    big = "x" * 120_000
    for arguments in (
        ["submit", "docs", "--no-sync", "-p", f"language={big}"],
        ["add", "docs", "srv-2", "--document", big],
    ):
        done = project.run(*arguments)
        assert (done.code, done.out) == (6, ""), done
        assert f"database {project.db} cannot grow: the disk is full" in done.error
    assert [one["local_id"] for one in project.json("list")] == [job]
    assert project.ok("submit", "docs", "--no-sync").code == 0


def test_a_full_disk_for_a_file(project):
    """A file that finds no room in the spool is one line, and leaves nothing behind."""
    project.configure({"create": {"request": {"json": None, "path": "/jobs", "file": True}}})
    project.create()
    (project.path / "big.bin").write_bytes(b"x" * 3_000_000)
    files = '"$1/tracker.db.files"'
    project.mount(f"mkdir {files} && mount -t tmpfs -o size=1m none {files}")
    for _ in range(2):
        error = project.refused(1, "submit", "docs", "big.bin")
        assert "big.bin cannot be spooled: No space left on device" in error


@pytest.fixture
def locked(project):
    """Hold the project's database, as another process might, until it is called again."""
    holders = []

    def turn():
        if not holders:
            holders.append(sqlite3.connect(project.db, isolation_level=None))
            holders[0].execute("BEGIN EXCLUSIVE")
        else:
            holders.pop().close()

    yield turn
    if holders:
        turn()


@in_file
def test_a_locked_database(project, locked):
    """While another process holds the database for long, whoever only reads goes on, and whoever
    has to write ends after ten seconds with exit 6 and nothing changed."""
    ended, running = project.ended("srv-1"), project.add("srv-2")
    before = project.dump()
    locked()
    began = time.monotonic()
    writers = [
        project.start(*arguments)
        for arguments in (["submit", "docs"], ["reopen", ended], ["pause"], ["add", "docs", "x"])
    ]
    assert [job["local_id"] for job in project.json("list")] == [running, ended]
    for done in [writer.end() for writer in writers]:
        assert (done.code, done.out) == (6, "")
        assert "is locked by another process (try again" in done.error
    assert 9 < time.monotonic() - began < 18
    assert project.dump() == before


@in_file
def test_pollers_outlast_a_lock(project, service, locked):
    """A `poll` and a `run` go on when a database that was held for ten seconds is free again."""
    project.add()
    runner = project.start("run", "--quiet")
    service.wait_for(2, "GET")
    locked()
    poll = project.start("poll", "--overlap", "--quiet")
    time.sleep(10.8)  # longer than SQLite waits by itself
    locked()
    done, count = poll.end(), service.count()
    project.until(lambda: service.count() > count or runner.process.poll() is not None)
    runner.signal(signal.SIGTERM)
    assert (done.code, runner.end().code) == (0, 0)


@stopped_clock
def test_a_clock_that_jumps_back(project, service):
    """A clock that goes back an hour delays no poll by an hour: due times move with it, once, with
    an event."""
    project.configure({"poll": {"every": "20s"}, "result": None})
    with freeze_time("2026-06-01 12:00:00", tick=True) as clock, project.tracker() as tracker:
        job = tracker.add("docs", "srv-1")
        assert tracker.poll().polled == 1
        clock.move_to("2026-06-01 11:00:05")
        assert tracker.poll().polled == 0
        due = tracker.get(job).next_poll_at or ""
        assert "2026-06-01T11:00:00" < due < "2026-06-01T11:00:30"
        clock.move_to("2026-06-01 11:00:31")
        assert tracker.poll().polled == 1
        shifts = [event for event in tracker.events() if event.type == "ledger:clock-shifted"]
        assert len(shifts) == 1
    assert service.count("GET") == 2


# Secrets.

TOKEN = "s3cr3t-t0ken-of-the-docs-service"


def echo(seen):
    """What a careless service does: the credentials in the body, in the header, in the words."""
    sent = seen.headers.get("authorization", "")
    return {"error": {"message": f"bad credentials: {sent}"}, "received": sent}


ECHOES = {
    "JSON 500": lambda seen: Answer(echo(seen), 500),
    "JSON 401": lambda seen: Answer(echo(seen), 401),
    "JSON 403": lambda seen: Answer(echo(seen), 403),
    "JSON 429": lambda seen: Answer(echo(seen), 429),
    "text 500": lambda seen: Answer(seen.headers["authorization"], 500,
                                    {"Content-Type": "text/plain"}),
    "header": lambda seen: Answer(b"", 500, {"X-Echo": seen.headers["authorization"]}),
    "redirect": lambda seen: Answer(b"", 302, {"Location": "http://example.com/?"
                                               + seen.headers["authorization"][-20:]}),
    "error of a failed job": lambda seen: {"status": "error", **echo(seen)},
    "state word": lambda seen: {"status": seen.headers["authorization"]},
    "another job": lambda seen: {"status": "running", "job_id": seen.headers["authorization"]},
}  # fmt: skip


@pytest.mark.parametrize("name", ECHOES)
def test_secrets(project, service, name):
    """A service that echoes the Authorization header gets it into no file, no output, no log."""
    project.configure({"auth": {"bearer": "env:DOCS_TOKEN"}})
    service.creates = service.statuses = [ECHOES[name]]
    if name == "another job":
        service.creates = ["accepted"]  # see test_a_secret_as_an_id
    env = {"DOCS_TOKEN": TOKEN}
    project.add()
    said = [project.run("-vv", "poll", **env)]
    project.write("UPDATE budgets SET paused_until = NULL")
    said.append(project.run("-vv", "submit", "docs", **env))
    job = project.rows("SELECT local_id FROM processing_jobs WHERE server_id = 'srv-1'")[0]
    said.append(project.ok("show", job["local_id"], "--json"))
    assert service.requests("GET")[0].headers["authorization"] == f"Bearer {TOKEN}"
    part = TOKEN[-20:]
    assert not [done for done in said if part in done.out + done.err]
    for file in project.path.rglob("*"):
        assert not file.is_file() or part.encode() not in file.read_bytes(), file


def test_a_secret_as_an_id(project, service):
    """A service that answers a create with the Authorization header as the new job's id gets it
    into no file and no output: that is no id."""
    project.configure({"auth": {"bearer": "env:DOCS_TOKEN"}})
    service.creates = [lambda seen: {"job_id": seen.headers["authorization"]}]
    done = project.run("-vv", "submit", "docs", DOCS_TOKEN=TOKEN)
    assert service.requests("POST")[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in done.out + done.err
    for file in project.path.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


def test_half_an_echo(project, service):
    """The encoded half of basic credentials is as secret as the whole header."""
    project.configure({"auth": {"basic": {"user": "ada", "password": "env:DOCS_TOKEN"}}})
    service.statuses = [
        lambda seen: Answer({"message": seen.headers["authorization"].split()[1]}, 500)
    ]
    project.add()
    done = project.run("poll", DOCS_TOKEN=TOKEN)
    encoded = service.requests("GET")[0].headers["authorization"].split()[1]
    assert encoded not in done.err


def test_missing_secrets(project, service):
    """Without its credentials a service is not called; its jobs wait, and the reason is shown."""
    project.configure({"auth": {"bearer": "env:DOCS_TOKEN"}})
    job = project.add()
    done = project.ok("poll")
    assert service.seen == []
    assert project.row(job)["status"] == "processing"
    told = project.ok("explain", job).out
    assert "env:DOCS_TOKEN is not set" in told
    assert "Traceback" not in done.err


def test_many_bad_jobs_beside_good_ones(project, service):
    """Strange replies, a broken connection and hanging calls keep no other job of the same pass
    from its end."""
    project.configure({"result": None, "timeout": "1s", "concurrency": 4})
    bad = {"1": Answer(b"\xff"), "2": Broken(), "3": Hang(), "4": Answer(b"", 500)}
    service.scripts = {f"bad-{name}": [answer] for name, answer in bad.items()}
    service.scripts |= {f"good-{number}": ["done"] for number in range(12)}
    names = ["good-0", "bad-1", "good-1", "bad-2", "good-2", "bad-3", "good-3", "bad-4"]
    names += [f"good-{number}" for number in range(4, 12)]
    jobs = {name: project.add(name) for name in names}
    project.ok("poll", "--quiet")
    status = {name: project.row(job)["status"] for name, job in jobs.items()}
    assert {status[name] for name in names if name.startswith("good")} == {"completed"}
    assert {status[name] for name in names if name.startswith("bad")} == {"processing"}
