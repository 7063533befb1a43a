"""Cleaning up by itself: in `tracker poll` and `tracker run`"""

from __future__ import annotations

import signal

from service import Hang

LONG_AGO = "2020-01-01T00:00:00.000Z"


def old(project, *servers):
    """Finished jobs that have been so for years, with a file each in the spool."""
    file = project.path / "input.txt"
    file.write_text("text")
    found = []
    with project.tracker() as tracker:
        for server in servers:
            job = tracker.submit("docs", file=file, sync=False, document_id=server)
            found.append(tracker.complete(job).local_id)
    project.write("UPDATE processing_jobs SET completed_at = ?", LONG_AGO)
    return found


def jobs(project):
    return {row["document_id"] for row in project.rows("SELECT * FROM processing_jobs")}


def spooled(project):
    return list(project.path.glob("tracker.db.files/spool/*"))


def next_at(project):
    [row] = project.rows("SELECT value FROM meta WHERE key = 'next_cleanup_at'")
    return row["value"]


def test_poll_cleans_up(project):
    """`poll` deletes what is old and removes its files, once in `cleanup.every`; a poll with
    nothing else to do knows when it is time again."""
    project.configure(cleanup={"every": "2h"})
    old(project, "a")
    [row] = project.rows("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '119 minutes') AS at")
    assert project.ok("poll").line == "1 cleaned up, 1 files removed"
    assert jobs(project) == set() and spooled(project) == []
    assert next_at(project) >= row["at"]
    old(project, "b")
    assert project.ok("poll").line == "nothing due"
    assert jobs(project) == {"b"}
    project.write("UPDATE meta SET value = ? WHERE key = 'next_cleanup_at'", LONG_AGO)
    summary = project.json("poll")
    assert (summary["cleaned_up"], summary["files_removed"]) == (1, 1)
    assert summary["file_bytes_freed"] == 4
    assert jobs(project) == set() and next_at(project) >= row["at"]


def test_by_the_settings(project):
    """By itself it goes by the settings: the ages of services and statuses, and the cap."""
    project.configure({"cleanup": {"older_than": "36500d"}}, cleanup={"older_than": "0s"})
    old(project, "a", "b", "c")
    project.ok("poll")
    assert jobs(project) == {"a", "b", "c"}
    project.configure({"cleanup": {"older_than": "36500d"}}, cleanup={"keep": 1})
    project.write("UPDATE meta SET value = ? WHERE key = 'next_cleanup_at'", LONG_AGO)
    for one in project.rows("SELECT id FROM processing_jobs"):
        at = f"2020-01-01T00:00:00.00{one['id']}Z"
        project.write("UPDATE processing_jobs SET completed_at = ? WHERE id = ?", at, one["id"])
    project.ok("poll")
    assert jobs(project) == {"c"}


def test_not_by_itself(project):
    """With `automatic = false` nothing goes by itself; what a cleanup by hand left owed is carried
    out all the same."""
    project.configure(cleanup={"automatic": False})
    [job] = old(project, "a")
    project.ok("poll")
    assert jobs(project) == {"a"} and len(spooled(project)) == 1 and next_at(project) == ""
    project.write("UPDATE objects SET state = 'removal_requested'")
    values = "(local_id, kind, service, next_attempt_at, created_at, object_id)"
    project.write(
        f"INSERT INTO operations {values} VALUES (?, 'remove_object', 'storage:files', ?, ?, 1)",
        *(job, LONG_AGO, LONG_AGO),
    )
    assert "1 files removed" in project.ok("poll").out
    assert spooled(project) == []
    project.configure()
    assert "1 cleaned up" in project.ok("poll").out


def test_who_does_not(project):
    """A poll of some services or jobs, one while everything is paused, a wait and a submit leave
    old jobs alone."""
    old(project, "a")
    running = project.add("srv-1")
    project.ok("poll", "--service", "docs")
    with project.tracker() as tracker:
        tracker.poll([running])
        tracker.attempt([tracker.submit("docs", sync=False).local_id])
        tracker.pause()
        tracker.poll()
        assert "a" in jobs(project)
        tracker.resume()
        tracker.poll()
    assert "a" not in jobs(project)


def test_run_cleans_up(project, service):
    """`run` does it beside its polls, again and again, though a service hangs meanwhile."""
    project.configure({"poll": {"every": "100ms"}}, cleanup={"every": "100ms"})
    service.scripts["srv-1"] = [Hang()]
    project.add("srv-1")
    command = project.start("run", "--json")
    service.wait_for(1, "GET")
    for name in ("a", "b"):
        file = project.path / "input.txt"
        file.write_text("text")
        with project.tracker() as tracker:
            job = tracker.submit("docs", file=file, sync=False, document_id=name)
            tracker.complete(job)
        project.write(
            "UPDATE processing_jobs SET completed_at = ? WHERE local_id = ?", LONG_AGO, job.local_id
        )
        project.until(lambda name=name: name not in jobs(project) and not spooled(project))
    command.signal(signal.SIGTERM)
    service.release()
    done = command.end()
    assert done.code == 0
    assert (done.json["cleaned_up"], done.json["files_removed"]) == (2, 2)


def test_a_running_job_is_never_touched(project, service):
    """By itself too, only what has ended and owes nothing goes."""
    service.statuses = ["running"]
    project.configure(notify={"command": ["false"]}, cleanup={"older_than": "0s"})
    old(project, "owes")
    project.add("srv-1", document_id="runs")
    project.record(document_id="pending")
    project.ok("poll")
    assert jobs(project) == {"owes", "runs", "pending"}
