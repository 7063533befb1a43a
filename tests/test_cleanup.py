"""Cleanup through the facade: which jobs go, and which files with them."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
from freezegun import freeze_time
from postgres import Ledger, stopped_clock
from service import Answer, JobService

from tracker import Tracker
from tracker.cleanup import Retention
from tracker.errors import UsageError
from tracker.ids import new_id
from tracker.spool import Folder

SERVICE = """
[services.docs]
base_url = "http://127.0.0.1:1"
[services.docs.create]
request   = { path = "/jobs", file = true }
server_id = "body.id"
[services.docs.status]
request = { path = "/jobs/{server_id}" }
state   = "body.status"
[services.docs.states]
completed = ["done"]
"""


@pytest.fixture
def tracker(tmp_path: Path, database: Ledger | None):
    """A tracker with one service that is never called."""
    (tmp_path / "tracker.toml").write_text('folder = "tracker.db.files"\n' + SERVICE)
    with Tracker(tmp_path / "tracker.toml", database=database.url if database else None) as found:
        yield found


def write(tracker: Tracker, sql: str, *parameters: object) -> None:
    """Change the database by hand."""
    with tracker.store.database.transaction():
        tracker.store.database.write(sql, parameters)


def aged(path: Path) -> Path:
    """The same file, last changed two days ago."""
    before = time.time() - 2 * 86400
    os.utime(path, (before, before))
    return path


def test_a_spooled_input_goes_with_its_job(tracker: Tracker, tmp_path: Path) -> None:
    """J11: the tracker's own copy goes with the job, the original never does."""
    original = tmp_path / "report.pdf"
    original.write_bytes(b"%PDF")
    job = tracker.submit("docs", file=original, sync=False)
    [copy] = tracker.folder.spool.iterdir()
    assert copy.read_bytes() == b"%PDF" and copy.stat().st_mode & 0o777 == 0o600
    tracker.complete(job)
    assert tracker.cleanup(older_than=-1, dry_run=True).rows_deleted == 1 and copy.exists()
    receipt = tracker.cleanup(older_than=-1)
    assert (receipt.rows_deleted, receipt.files.removed, receipt.bytes_freed) == (1, 1, 4)
    assert not copy.exists() and original.exists()


def test_what_a_killed_process_left_behind_goes_after_a_day(
    tracker: Tracker, tmp_path: Path
) -> None:
    """A copy without a row and an unfinished download are removed once they are a day old; younger
    ones, inputs of jobs on record and files that are not the tracker's own stay."""
    spool, results = tracker.folder.spool, tracker.folder.results
    for folder in (spool, results):
        folder.mkdir(parents=True)
    original = tmp_path / "report.pdf"
    original.write_bytes(b"%PDF")
    job = tracker.submit("docs", file=original, sync=False)
    stale = [spool / new_id(), results / f"{new_id()}.7.3.part", results / f"{new_id()}.7.3.json"]
    kept = [spool / "notes.txt", results / "mine.part", spool / job.local_id]
    for path in (*stale, *kept[:2]):
        path.write_bytes(b"x")
    for path in (*stale, *kept):
        aged(path)
    young = spool / new_id()
    young.write_bytes(b"x")
    receipt = tracker.cleanup()
    assert [path.exists() for path in (*stale, *kept, young)] == [False] * 3 + [True] * 4
    assert receipt.files.removed == 3


def test_files_on_record_stay_also_by_another_way(tmp_path: Path) -> None:
    """A ledger that is reached through a link keeps the inputs that its jobs have on record."""
    for name, text in (("tracker.toml", SERVICE), ("report.pdf", "%PDF")):
        (tmp_path / name).write_text(text)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Tracker(tmp_path / "tracker.toml", database=tmp_path / "real/jobs.db") as tracker:
        tracker.submit("docs", file=tmp_path / "report.pdf", sync=False)
        [copy] = tracker.folder.spool.iterdir()
    aged(copy)
    with Tracker(tmp_path / "tracker.toml", database=tmp_path / "link/jobs.db") as tracker:
        assert tracker.cleanup().files.removed == 0
    assert copy.read_bytes() == b"%PDF"


def test_nothing_outside_of_the_folder_is_removed(tmp_path: Path) -> None:
    """A path that leads out of the folder, by `..` or through a link, is refused."""
    folder = Folder(tmp_path / "own")
    folder.spool.mkdir(parents=True)
    outside = tmp_path / "precious"
    outside.write_bytes(b"x")
    (folder.spool / "link").symlink_to(outside)
    for path in (outside, folder.spool / ".." / ".." / "precious", folder.spool / "link"):
        with pytest.raises(OSError):
            folder.remove(str(path))
    assert outside.exists()


OUTSIDE = {
    "absolute": lambda folder, mine: str(mine),
    "dots": lambda folder, mine: f"{folder.spool}/../../precious/mine",
    "link": lambda folder, mine: str(linked(folder.spool / "link", mine)),
    "linked folder": lambda folder, mine: str(linked(folder.path / "way", mine.parent) / "mine"),
    "the folder": lambda folder, mine: str(folder.spool),
}
"""Paths that no cleanup may follow, by what they do to lead out of the folder."""


def linked(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


@pytest.mark.parametrize("table", ["objects", "contents"])
@pytest.mark.parametrize("way", OUTSIDE)
def test_a_path_on_record_that_leads_outside(
    tracker: Tracker, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str, way: str
) -> None:
    """Whatever path came into the ledger, as an input's or as a result's: what it leads to stays,
    the refusal is logged as an error with job, path and reason, and the removal stays owed."""
    mine = tmp_path / "precious" / "mine"
    mine.parent.mkdir()
    mine.write_text("precious")
    job = tracker.submit("docs", file=mine, sync=False)
    path = OUTSIDE[way](tracker.folder, mine)
    if table == "objects":
        write(tracker, "UPDATE objects SET key = ?", path)
    else:
        columns = "local_id, role, id, size, sha256, path, created_at"
        values = "?, 'result', 'c', 8, '', ?, '2026-01-31T12:00:00.000Z'"
        write(tracker, f"INSERT INTO contents ({columns}) VALUES ({values})", job.local_id, path)
    tracker.complete(job)
    receipt = tracker.cleanup(older_than=-1)
    assert (receipt.rows_deleted, receipt.files.failed, receipt.files.owed) == (1, 1, 1)
    assert mine.read_text() == "precious" and tracker.folder.spool.is_dir()
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.name == "tracker.cleanup" and record.job == job.local_id
    assert record.getMessage().startswith(f"{path} cannot be removed: ")
    [owed] = tracker.outbox()
    assert (owed["kind"], owed["object"], owed["attempts"]) == ("remove_object", path, 1)
    assert owed["last_error"] == record.getMessage().replace(" cannot be removed", "")


@stopped_clock
def test_a_file_that_cannot_be_removed(tracker: Tracker, tmp_path: Path) -> None:
    """A file whose removal fails stays owed, is tried again after a minute and then after two, and
    goes as soon as it can; what shared the cleanup with it has gone at once."""
    original = tmp_path / "report.pdf"
    original.write_bytes(b"%PDF")
    with freeze_time() as frozen:
        jobs = [tracker.submit("docs", file=original, sync=False) for _ in range(2)]
        stuck, other = (tracker.folder.spool / job.local_id for job in jobs)
        stuck.unlink()
        stuck.mkdir()
        for job in jobs:
            tracker.complete(job)
        receipt = tracker.cleanup(older_than=-1)
        files = receipt.files
        assert (files.requested, files.removed, files.failed, files.owed) == (2, 1, 1, 1)
        assert stuck.is_dir() and not other.exists()
        for failures, wait in ((1, 60), (2, 120)):
            [owed] = tracker.outbox()
            assert (owed["attempts"], owed["last_error"]) == (failures, f"{stuck}: Is a directory")
            frozen.tick(wait - 1)
            assert tracker.poll().files_failed == 0
            frozen.tick(wait * 0.1 + 2)
            if failures == 2:
                stuck.rmdir()
                stuck.write_bytes(b"%PDF")
            summary = tracker.poll()
        assert summary.files_removed == 1 and tracker.outbox() == [] and not stuck.exists()


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_leftover_that_cannot_be_removed(
    tracker: Tracker, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A leftover that cannot be removed is logged as an error and counted; the others go."""
    spool = tracker.folder.spool
    spool.mkdir(parents=True)
    (tmp_path / "mine").write_text("precious")
    stuck, other = spool / new_id(), spool / new_id()
    stuck.symlink_to(tmp_path / "mine") if kind == "link" else stuck.mkdir()
    other.write_bytes(b"x")
    os.utime(other, (0, 0))
    os.utime(stuck, (0, 0), follow_symlinks=False)
    receipt = tracker.cleanup()
    assert (receipt.files.removed, receipt.files.failed, receipt.files.bytes_freed) == (1, 1, 1)
    assert os.path.lexists(stuck) and not other.exists() and (tmp_path / "mine").exists()
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.getMessage().startswith(f"{stuck} cannot be removed: ")


# Which jobs go.


def test_the_exceptions_of_a_retention() -> None:
    """The age that counts is the one of service and status, else the service's, else the status's,
    else the general one; the youngest of all is known."""
    ages = {("a", "failed"): 1.0, ("a", ""): 2.0, ("", "failed"): 3.0, ("b", "cancelled"): 0.5}
    kept = Retention(4.0, ages)
    found = {(s, w): kept.age(s, w) for s in "abc" for w in ("completed", "failed", "cancelled")}
    assert found == {
        **{("a", "completed"): 2.0, ("a", "failed"): 1.0, ("a", "cancelled"): 2.0},
        **{("b", "completed"): 4.0, ("b", "failed"): 3.0, ("b", "cancelled"): 0.5},
        **{("c", "completed"): 4.0, ("c", "failed"): 3.0, ("c", "cancelled"): 4.0},
    }
    assert kept.least == 0.5


def test_only_finished_statuses(tracker: Tracker) -> None:
    """A status that is not of a finished job is refused, in a dry run too."""
    for dry_run in (False, True):
        with pytest.raises(UsageError, match="'processing' is none of completed, failed"):
            tracker.cleanup(statuses=["completed", "processing"], dry_run=dry_run)


def test_what_is_not_over_never_goes(project, service: JobService) -> None:
    """A job that is not accepted yet, running, retrieving its result, or finished and owing
    something stays, however old, with its file; a preview says the same."""
    project.configure(
        {"create": {"request": {"json": None, "file": True}}}, notify={"command": ["false"]}
    )
    file = project.path / "input.txt"
    file.write_text("text")
    service.statuses, service.results = ["done"], [Answer(b"", 503)]
    retrieving = project.attempted(file=file)
    project.poll()
    jobs = {
        "pending": project.record(file=file),
        "retrieving": retrieving,
        "processing": project.add("srv-9"),
        "completed": project.ended("srv-8"),
    }
    assert {name: project.row(job)["status"] for name, job in jobs.items()} == {
        name: name for name in jobs
    }
    project.write("UPDATE processing_jobs SET completed_at = '2020-01-01T00:00:00.000Z'")
    with project.tracker() as tracker:
        receipts = [tracker.cleanup(older_than=0, dry_run=dry_run) for dry_run in (True, False)]
        assert [one.rows_deleted for one in receipts] == [0, 0]
        assert len(tracker.list()) == len(jobs)
        assert len(list(tracker.folder.spool.iterdir())) == 2


def test_stopping_between_batches(tracker: Tracker) -> None:
    """A cleanup that is stopped ends after the batch that it is at, and says so; what it deleted
    is gone, the rest is there."""
    for number in range(300):
        tracker.complete(tracker.add("docs", str(number)))
    told: list[int] = []
    receipt = tracker.cleanup(older_than=-1, on_rows=told.append, stopped=lambda: bool(told))
    assert receipt.stopped and told == [receipt.rows_deleted] and 0 < told[0] < 300
    assert len(tracker.list(limit=1000)) == 300 - told[0]
    assert tracker.cleanup(older_than=-1).rows_deleted == 300 - told[0]


@pytest.mark.parametrize("ticks", [1, 0])
def test_a_capped_number_of_finished_jobs_is_kept(tmp_path: Path, ticks: float) -> None:
    """P9: with `keep`, the oldest finished jobs go although none is old enough, and exactly so many
    are kept, also of jobs that ended in one moment; a preview says the same."""
    (tmp_path / "tracker.toml").write_text("[cleanup]\nkeep = 2\n" + SERVICE)
    with freeze_time() as frozen, Tracker(tmp_path / "tracker.toml") as tracker:
        jobs = [tracker.add("docs", str(number)) for number in range(5)]
        for job in jobs:
            tracker.complete(job)
            frozen.tick(ticks)
        assert tracker.cleanup(dry_run=True).rows_deleted == 3
        tracker.cleanup()
        kept = {job.local_id for job in tracker.list()}
        assert len(kept) == 2
        assert not ticks or kept == {job.local_id for job in jobs[-2:]}
