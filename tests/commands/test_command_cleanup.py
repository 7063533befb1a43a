"""tracker cleanup"""

from __future__ import annotations

import pytest
from contract import has_keys
from service import Answer

OLD = "2020-01-01T00:00:00.000Z"


def age(project, *jobs):
    for job in jobs:
        project.write("UPDATE processing_jobs SET completed_at = ? WHERE local_id = ?", OLD, job)


def ids(project):
    return {row["local_id"] for row in project.rows("SELECT local_id FROM processing_jobs")}


def test_only_old_and_finished_jobs_go(project):
    """`cleanup` deletes finished jobs that are old enough, no other, and says how many."""
    old, young, running = project.ended("a"), project.ended("b"), project.add("c")
    age(project, old)
    said = project.ok("cleanup").line
    assert said == "deleted: jobs 1, files 0 (0 bytes), failed 0"
    assert ids(project) == {young, running}
    assert project.events(old)[-1] == ("job:deleted", {"by": "cleanup"})
    assert "no job" in project.refused(4, "show", old)


def test_json(project):
    """`cleanup --json` prints a receipt with exactly these keys."""
    receipt = project.json("cleanup")
    assert has_keys(receipt, "rows_deleted files_removed bytes_freed failed dry_run")


def test_dry_run(project):
    """--dry-run says what would go and changes nothing at all."""
    age(project, project.ended("a"), project.ended("b", failed=True))
    before = project.dump()
    assert project.ok("cleanup", "--dry-run").line.startswith("would delete: jobs 2,")
    assert project.json("cleanup", "--dry-run")["dry_run"] is True
    assert project.dump() == before


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--older-than", "0s"], {"running"}),
        (["--older-than", "0s", "--status", "completed"], {"failed", "running"}),
        (["--status", "failed"], {"completed", "failed", "running"}),
    ],
)
def test_age_and_status(project, arguments, left):
    """--older-than and --status choose what goes."""
    jobs = {
        "completed": project.ended("a"),
        "failed": project.ended("b", failed=True),
        "running": project.add("c"),
    }
    project.ok("cleanup", *arguments)
    assert ids(project) == {jobs[name] for name in left}


def test_files(project, service, tmp_path):
    """The tracker's own copies of inputs and results go with their job; the user's file stays."""
    service.statuses, service.results = ["done"], [Answer(b"x" * 100_000)]
    file = tmp_path / "mine.txt"
    file.write_text("mine")
    job = project.attempted(file=file)
    project.poll()
    folder = project.path / "tracker.db.files"
    assert len([one for one in folder.rglob("*") if one.is_file()]) == 2
    age(project, job)
    receipt = project.json("cleanup")
    expected = {"rows_deleted": 1, "files_removed": 2, "bytes_freed": 100_004, "failed": 0}
    assert receipt == {**expected, "dry_run": False}
    assert [one for one in folder.rglob("*") if one.is_file()] == []
    assert file.read_text() == "mine"


def test_what_is_still_owed_stays(project, service):
    """A finished job that still owes a notification is not deleted."""
    project.configure(notify={"command": ["false"]})
    job = project.ended()
    age(project, job)
    assert project.json("cleanup")["rows_deleted"] == 0
    assert ids(project) == {job}


def test_slips(project):
    """An unfinished status and an age that is none are exit 2 and delete nothing."""
    project.ended()
    assert "'processing' is not one of" in project.refused(2, "cleanup", "--status", "processing")
    assert "soon" in project.refused(2, "cleanup", "--older-than", "soon")
