"""Cleanup through the facade: rows, files, leftovers."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from freezegun import freeze_time

from tracker import Tracker
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
def tracker(tmp_path: Path):
    """A tracker with one service that is never called."""
    (tmp_path / "tracker.toml").write_text(SERVICE)
    with Tracker(tmp_path / "tracker.toml") as found:
        yield found


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
    assert (receipt.rows_deleted, receipt.files_removed, receipt.bytes_freed) == (1, 1, 4)
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
    assert receipt.files_removed == 3


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
        assert tracker.cleanup().files_removed == 0
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


def test_a_capped_number_of_finished_jobs_is_kept(tmp_path: Path) -> None:
    """P9: with `keep`, the oldest finished jobs go although none is old enough."""
    (tmp_path / "tracker.toml").write_text("[cleanup]\nkeep = 2\n" + SERVICE)
    with freeze_time() as frozen, Tracker(tmp_path / "tracker.toml") as tracker:
        jobs = [tracker.add("docs", str(number)) for number in range(5)]
        for job in jobs:
            tracker.complete(job)
            frozen.tick()
        tracker.cleanup()
        assert {job.local_id for job in tracker.list()} == {job.local_id for job in jobs[-2:]}
