"""What holds for every command: help, settings, usage errors, output that nobody reads."""

from __future__ import annotations

import os
import subprocess

import pytest
from postgres import in_file, no_ledger

COMMANDS = [
    *("init", "submit", "add", "poll", "run", "list", "show", "explain", "wait", "events"),
    *("complete", "fail", "reopen", "pause", "resume", "cleanup", "objects", "outbox"),
    *("services", "db"),
]


@no_ledger
def test_help_names_every_command(project):
    """`tracker --help` lists every command and every exit code, and needs no configuration."""
    project.toml.write_text("this is no TOML")
    told = project.ok("--help").out
    for name in [*COMMANDS, "demo"]:
        assert f"  {name} " in told
    for code in ("0 done", "1 a job", "2 usage", "3 timed", "4 not found", "5 not", "6 database"):
        assert code in " ".join(told.split())


@no_ledger
@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(project, name):
    """Every command has a help text with an example, whatever the configuration says."""
    project.toml.write_text("this is no TOML")
    told = project.ok(name, "--help").out
    assert told.startswith(f"Usage: tracker {name}")
    if name not in ("services", "db"):
        assert f"\n  tracker {name}" in told or "tracker -v" in told
    assert not project.db.exists()


@no_ledger
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pol"], "no command 'pol' (did you mean 'poll'?)"),
        (["zzzzzz"], "no command 'zzzzzz' (see: tracker --help)"),
        (["poll", "--limt", "3"], "No such option '--limt'"),
        (["poll", "--limit", "many"], "'many' is not a valid integer"),
        (["poll", "--for", "a while"], "a while"),
        (["list", "--limit", "0"], "0 is not in the range"),
        (["show"], "Missing argument 'JOB'"),
        (["wait"], "Missing argument 'JOB...'"),
        (["submit"], "Missing argument 'SERVICE'"),
        (["db", "migrat"], "migrat"),
        (["services", "chek"], "chek"),
    ],
)
def test_slips_are_one_line(project, arguments, told):
    """A slip in a command or an option is one line that names it and where to look, exit 2."""
    error = project.refused(2, *arguments)
    assert told in error
    assert "did you mean" in error or "--help" in error
    assert not project.db.exists()


@no_ledger
def test_no_command(project):
    """`tracker` alone shows its help and does nothing."""
    done = project.run()
    assert done.code in (0, 2)
    assert "Commands:" in done.out + done.err
    assert not project.db.exists()


@in_file
def test_where_the_configuration_is_said(project, tmp_path):
    """--config counts before and after the command, and goes before TRACKER_CONFIG."""
    other = tmp_path / "other"
    other.mkdir()
    named = other / "named.toml"
    named.write_text('user_id = "named"\ndatabase = "named.db"\n')
    for arguments in (["--config", named, "list"], ["list", "--config", named]):
        project.ok(*arguments, TRACKER_CONFIG="/nowhere/at/all.toml")
        assert (other / "named.db").exists()
        (other / "named.db").unlink()
    project.ok("list", TRACKER_CONFIG=str(named))
    assert (other / "named.db").exists()
    assert not project.db.exists()


@no_ledger
def test_where_the_database_is_said(project, tmp_path):
    """--db counts before and after the command, and goes before TRACKER_DB and the setting."""
    for arguments in (["--db", tmp_path / "a.db", "list"], ["list", "--db", tmp_path / "a.db"]):
        project.ok(*arguments, TRACKER_DB=str(tmp_path / "b.db"))
        assert (tmp_path / "a.db").exists()
        (tmp_path / "a.db").unlink()
    project.ok("list", TRACKER_DB=str(tmp_path / "b.db"))
    assert (tmp_path / "b.db").exists()
    assert not project.db.exists()


@no_ledger
def test_a_configuration_that_is_not_there(project):
    """A named configuration that is missing is one line with its name, exit 2."""
    assert "nowhere.toml: no such file" in project.refused(2, "--config", "nowhere.toml", "list")


@in_file
def test_only_their_owner_reads_the_files(project, service, tmp_path):
    """Database, spool and kept results are readable by their owner only."""
    service.results = [{"text": "x" * 100_000}]
    service.statuses = ["done"]
    file = tmp_path / "input.txt"
    file.write_text("content")
    project.ok("submit", "docs", file)
    project.ok("poll", "--quiet")
    kept = [project.db, *project.path.glob("tracker.db*/**/*")]
    assert len([one for one in kept if one.is_file()]) >= 3
    for one in kept:
        assert one.stat().st_mode & 0o077 == 0 or one.name.startswith("tracker.db-"), one


@no_ledger
def test_an_option_without_its_value(project):
    """An option whose value is missing is one line that names it, exit 2."""
    assert "Option '--config' requires an argument" in project.refused(2, "--config")


def test_a_reader_that_went_away(project):
    """`tracker list | head -0` is no error and leaves no traceback."""
    with project.tracker() as tracker:
        for number in range(300):
            tracker.add("docs", f"srv-{number}", document_id="x" * 200)
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [project.command, "list", "--limit", "300"],
        cwd=project.path,
        env=project.env,
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    _, error = process.communicate(timeout=20)
    assert error == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", b"\xff\xfe\xff\xfe\xff"],
        ["list", "--project", b"caf\xe9"],
        ["wait", b"docs:\xff"],
        ["events", b"\xff\xff\xff\xff"],
        ["submit", b"\xff"],
        ["--config", b"\xff.toml", "list"],
    ],
)
def test_arguments_that_are_no_utf8(project, arguments):
    """Bytes that are no UTF-8 in an argument end in an answer or one line, never a traceback."""
    project.add()
    texts = [os.fsdecode(one) for one in arguments]
    done = project.run(*texts)
    assert done.code in (0, 2, 4), done
    assert done.err == "" if done.code == 0 else done.error
