"""tracker cleanup --archive"""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import subprocess
from contextlib import closing

import pytest
from helping import many_ended
from postgres import in_file
from service import Answer

GO = ("cleanup", "--older-than", "0s")


def lines(path):
    """The jobs in an archive."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.decode().removesuffix("\n").split("\n")]


def left(project):
    return {row["local_id"] for row in project.rows("SELECT local_id FROM processing_jobs")}


@pytest.mark.parametrize(
    ("name", "result"),
    [("jobs.jsonl", b'{"text": "caf\xc3\xa9\\n"}'), ("jobs ü.jsonl.gz", b"\x89PNG\x00\xff")],
)
def test_everything_is_in_it(project, service, name, result):
    """--archive writes all that is on record of each job that goes, one line of JSON for each: its
    row, its kept result with the body, its objects, its events; only the owner can read it."""
    service.statuses, service.results = ["done"], [Answer(result)]
    file = project.path / "input é.txt"
    file.write_text("text")
    job = project.attempted({"language": "é\u2028"}, file=file, document_id="d1")
    project.poll()
    running = project.add("srv-9")
    [row] = project.rows("SELECT * FROM processing_jobs WHERE local_id = ?", job)
    [content] = project.rows("SELECT * FROM contents")
    [stored] = project.rows("SELECT * FROM objects")
    events = project.events(job)
    done = project.ok(*GO, "--archive", name)
    assert done.out.splitlines()[1] == "archived: jobs 1" and left(project) == {running}
    archive = project.path / name
    assert archive.stat().st_mode & 0o777 == 0o600
    [found] = lines(archive)
    assert set(found) == {"job", "contents", "objects", "events"}
    assert found["job"] == row
    [kept] = found["contents"]
    body = kept.pop("body")
    assert kept == {key: content[key] for key in kept} and len(kept) == len(content) - 2
    assert (base64.b64decode(body["base64"]) if isinstance(body, dict) else body.encode()) == result
    [used] = found["objects"]
    assert used.pop("role") == "input" and used == {key: stored[key] for key in used}
    assert (used["key"], used["name"]) == (stored["key"], "input é.txt")
    assert [(one["type"], json.loads(one["data"])) for one in found["events"]] == events


@pytest.mark.parametrize("name", ["jobs.jsonl", "jobs.jsonl.gz"])
def test_it_is_added_to(project, name):
    """A second cleanup adds to the file; nothing is written twice, --json says how many were."""
    jobs = []
    for count in (1, 600, 0):
        jobs += many_ended(project, count) if count else []
        assert project.json(*GO, "--archive", name)["archived"] == count
    assert sorted(one["job"]["local_id"] for one in lines(project.path / name)) == sorted(jobs)


def test_dry_run(project):
    """A dry run writes no archive."""
    project.ended()
    project.ok(*GO, "--archive", "jobs.jsonl", "--dry-run")
    assert not (project.path / "jobs.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere/a.jsonl", "--archive nowhere/a.jsonl: No such file or directory"),
        (".", "is a directory"),
        ("x" * 300, "File name too long"),
    ],
    ids=lambda value: value[:30],
)
def test_a_place_that_cannot_be_written(project, name, told):
    """An archive that cannot be opened is one line, exit 2, and no job goes."""
    project.ended()
    assert told in project.refused(2, *GO, "--archive", name)


@in_file
@pytest.mark.parametrize("name", ["tracker.db", "link", "tracker.db-wal", "tracker.toml"])
def test_files_that_are_no_archive(project, name):
    """The ledger itself and the configuration are no place for an archive: exit 2, no job goes."""
    (project.path / "link").symlink_to(project.db)
    project.ended()
    with closing(sqlite3.connect(project.db)) as beside:
        beside.execute("SELECT * FROM meta").fetchall()  # keeps the WAL file there
        before = project.toml.read_bytes()
        assert name in project.refused(2, *GO, "--archive", name)
    assert project.toml.read_bytes() == before


def test_a_read_only_folder(project):
    """In a folder that nobody may write to no archive can be made: exit 2, and no job goes."""
    project.ended()
    (project.path / "kept").mkdir()
    project.mount('mount --bind "$1/kept" "$1/kept" && mount -o remount,ro,bind "$1/kept"')
    told = project.refused(2, *GO, "--archive", project.path / "kept/jobs.jsonl")
    assert "Read-only file system" in told


def test_no_room_at_all(project):
    """Where nothing can be written no job goes: exit 1, one line, the database as it was."""
    many_ended(project, 3)
    told = project.refused(1, *GO, "--archive", "/dev/full")
    assert "/dev/full: No space left on device" in told and "still there" in told


@pytest.mark.parametrize(("name", "size"), [("jobs.jsonl", "600k"), ("jobs.jsonl.gz", "24k")])
def test_a_disk_that_fills_up(project, name, size):
    """When the disk gets full exactly the jobs that are whole in the archive have gone; with room
    again the next cleanup adds to the same file, and every job can be read back from it."""
    jobs = many_ended(project, 700)
    full = project.path / "full"
    full.mkdir()
    project.mount(f'mount -t tmpfs -o size={size} none "$1/full"')
    done = project.run(*GO, "--archive", full / name)
    assert done.code == 1 and "No space left on device" in done.error
    there = left(project)
    assert 0 < len(there) < len(jobs)
    archive = project.path / name
    archive.write_bytes(
        subprocess.run([*project.prefix, "cat", full / name], stdout=subprocess.PIPE).stdout
    )
    assert set(jobs) - there == {one["job"]["local_id"] for one in lines(archive)}
    project.prefix = ()
    project.ok(*GO, "--archive", archive)
    assert left(project) == set()
    assert set(jobs) == {one["job"]["local_id"] for one in lines(archive)}
