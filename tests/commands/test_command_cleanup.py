"""tracker cleanup: which jobs go, what is said about it"""

from __future__ import annotations

import pytest
from contract import PREVIEW, PREVIEW_JOB, PREVIEW_PLACE, RECEIPT, REMOVALS, has_keys
from helping import many_ended, on_a_terminal
from service import Answer

OLD = "2020-01-01T00:00:00.000Z"
NONE = dict.fromkeys(REMOVALS.split(), 0)


def age(project, *jobs):
    for job in jobs:
        project.write("UPDATE processing_jobs SET completed_at = ? WHERE local_id = ?", OLD, job)


def ids(project):
    return {row["local_id"] for row in project.rows("SELECT local_id FROM processing_jobs")}


def files(project):
    """The tracker's own files, as they are."""
    found = [one for one in project.path.glob("tracker.db.files/**/*") if one.is_file()]
    return {one: (one.read_bytes(), one.stat().st_mtime_ns) for one in found}


def kept_and_spooled(project, service, size=100_000):
    """A finished job with an input in the spool and a result in a file; its local id."""
    service.statuses, service.results = ["done"], [Answer(b"x" * size)]
    file = project.path / "mine.txt"
    file.write_text("mine")
    job = project.attempted(file=file)
    project.poll()
    return job


def test_only_old_and_finished_jobs_go(project):
    """`cleanup` deletes finished jobs that are old enough, no other, and says how many."""
    old, young, running = project.ended("a"), project.ended("b"), project.add("c")
    age(project, old)
    done = project.ok("cleanup")
    assert done.out.splitlines()[0] == "deleted: jobs 1" and done.err == ""
    assert ids(project) == {young, running}
    assert project.events(old)[-1] == ("job:deleted", {"by": "cleanup"})
    assert "no job" in project.refused(4, "show", old)


def test_the_receipt(project, service):
    """The receipt is a table of what was requested, removed, gone already, failed and owed, with
    the bytes freed; the tracker's own copies of inputs and results go, the user's file stays."""
    age(project, kept_and_spooled(project, service), project.ended("a"))
    assert len(files(project)) == 2
    said = [line.split("\t") for line in project.ok("cleanup").out.splitlines()]
    assert said == [
        ["deleted: jobs 2"],
        ["REMOVAL OF", "REQUESTED", "REMOVED", "ALREADY GONE", "FAILED", "OWED", "BYTES"],
        ["S3 objects", *"000000"],
        ["files", "2", "2", "0", "0", "0", "100004"],
    ]
    assert files(project) == {} and (project.path / "mine.txt").read_text() == "mine"


def test_json(project, service):
    """`cleanup --json` prints a receipt with exactly these keys and the same figures."""
    age(project, kept_and_spooled(project, service))
    spooled = next(one for one in files(project) if one.parent.name == "spool")
    spooled.unlink()
    receipt = project.json("cleanup")
    assert has_keys(receipt, RECEIPT)
    assert has_keys(receipt["objects"], REMOVALS) and has_keys(receipt["files"], REMOVALS)
    figures = {"requested": 2, "removed": 1, "already_gone": 1, "bytes_freed": 100_000}
    assert receipt == {
        **{"rows_deleted": 1, "services_asked": 0, "archived": 0, "dry_run": False},
        **{"stopped": False, "bytes_freed": 100_000, "objects": NONE, "files": NONE | figures},
    }


def test_dry_run(project, service):
    """--dry-run says what would go, each job and place by its name, and changes nothing at all:
    no row, no file."""
    job = kept_and_spooled(project, service)
    age(project, job, project.ended("a", failed=True))
    before = project.dump(), files(project)
    said = project.ok("cleanup", "--dry-run").out.splitlines()
    assert said[0] == "would delete: jobs 2" and said[3].split("\t")[1:] == ["2", *"0000", "100004"]
    assert f"  job {job} (docs, completed)" in said
    assert {f"  {path} ({len(content)} bytes)" for path, (content, _) in before[1].items()} <= {
        *said
    }
    told = project.json("cleanup", "--dry-run")
    assert has_keys(told, RECEIPT, PREVIEW) and told["dry_run"] is True
    assert {has_keys(one, PREVIEW_JOB) for one in told["jobs"]} == {True}
    assert {has_keys(one, PREVIEW_PLACE) for one in told["places"]} == {True}
    assert told["files"]["bytes_freed"] == told["bytes_freed"] == 100_004
    assert (project.dump(), files(project)) == before


def test_a_long_dry_run(project):
    """Of many, --dry-run prints some and says how many more; --json has them all."""
    jobs = many_ended(project, 25)
    said = project.ok("cleanup", "--older-than", "0s", "--dry-run").out.splitlines()
    assert said[-1] == "  … and 5 more; --json lists them all"
    told = project.json("cleanup", "--older-than", "0s", "--dry-run")
    assert sorted(one["local_id"] for one in told["jobs"]) == sorted(jobs)


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--older-than", "0s"], {"running"}),
        (["--older-than", "0s", "--status", "completed"], {"failed", "running"}),
        (["--older-than", "0s", "--status", "failed", "--status", "completed"], {"running"}),
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


RETENTION = {"older_than": "5d", "failed": "20d"}
KEPT = {
    "docs": {"completed": 5, "failed": 20, "cancelled": 5},
    "other": {"completed": 10, "failed": 1, "cancelled": 10},
}
"""After how many days jobs go, by service and status, with `RETENTION` and what `other` says."""


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        ([], None),
        (["--older-than", "7d"], 7),
    ],
)
def test_settings_by_service_and_status(project, arguments, days):
    """Each service and each status may have an age of its own in tracker.toml, and jobs go exactly
    when they are older than that; --older-than goes before all of them."""
    own = {"base_url": project.url, "cleanup": {"older_than": "10d", "failed": "1d"}}
    status = {"status": {"request": {"path": "/jobs/{server_id}"}, "state": "body.status"}}
    other = {**own, **status, "states": {"completed": ["done"]}}
    project.configure(cleanup=RETENTION, services={"other": other})
    expected = set()
    with project.tracker() as tracker:
        for service, ages in KEPT.items():
            for status, limit in ages.items():
                for age in (0.5, 3, 6, 8, 15, 30):
                    job = tracker.add(service, f"{status}-{age}").local_id
                    project.write(
                        "UPDATE processing_jobs SET status = ?, next_poll_at = NULL, completed_at ="
                        " strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?) WHERE local_id = ?",
                        *(status, f"-{age} days", job),
                    )
                    expected |= {job} if age < (days or limit) else set()
    assert project.json("cleanup", *arguments, "--dry-run")["rows_deleted"] == 36 - len(expected)
    project.ok("cleanup", *arguments)
    assert ids(project) == expected


def test_on_a_terminal(project):
    """On a terminal a count runs along on standard error; with --json, and in a pipe, none does."""
    project.ended()
    shown = on_a_terminal(project, "cleanup", "--older-than", "0s")
    assert "cleaning up" in shown and ids(project) == set()
    assert on_a_terminal(project, "cleanup", "--json") == ""


def test_a_cap(project):
    """With `keep`, the oldest finished jobs beyond that number go although they are young; those
    that run do not count."""
    project.configure(cleanup={"keep": 2})
    jobs = [project.ended(str(number)) for number in range(4)] + [project.add("running")]
    project.ok("cleanup")
    assert ids(project) == set(jobs[2:])


def test_what_is_still_owed_stays(project):
    """A finished job that still owes a notification is not deleted."""
    project.configure(notify={"command": ["false"]})
    job = project.ended()
    age(project, job)
    assert project.json("cleanup")["rows_deleted"] == 0
    assert ids(project) == {job}


def test_two_at_once(project):
    """Two cleanups at once delete each job once, and their receipts add up."""
    many_ended(project, 1200)
    commands = [project.start("cleanup", "--older-than", "0s", "--json") for _ in range(2)]
    receipts = [command.end().json for command in commands]
    assert sum(one["rows_deleted"] for one in receipts) == 1200
    assert ids(project) == set()
    told = project.rows("SELECT count(*) AS n FROM job_events WHERE type = 'job:deleted'")
    assert told == [{"n": 1200}]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--status", "processing"], "'processing' is not one of"),
        *[
            (["--older-than", text], 'expected a duration such as "20s"')
            for text in ("soon", "-1d", "")
        ],
    ],
    ids=str,
)
def test_slips(project, arguments, told):
    """An unfinished status and an age that is none are one line, exit 2, and delete nothing."""
    age(project, project.ended())
    assert told in project.refused(2, "cleanup", *arguments)
