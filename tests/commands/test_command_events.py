"""tracker events"""

from __future__ import annotations

import json
import signal

from contract import EVENT, has_keys


def test_in_the_order_of_commits(project, service):
    """`events` prints all events of all jobs, one a line, by rising number."""
    service.statuses = ["done"]
    jobs = [project.attempted(), project.attempted()]
    project.ok("poll")
    rows = [line.split("\t") for line in project.ok("events").out.splitlines()]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    for job in jobs:
        types = [row[3] for row in rows if row[2] == job[-8:]]
        assert types == [
            "job:created", *["job:status-changed"] * 3, "job:finalized"
        ]  # fmt: skip
    assert all(isinstance(json.loads(row[4]), dict) for row in rows)


def test_json(project):
    """`events --json` is a list; each event has exactly these keys."""
    project.ended()
    events = project.json("events")
    assert events[0]["type"] == "job:created"
    assert all(has_keys(event, EVENT) for event in events)


def test_of_one_job_and_after_a_number(project):
    """A job, --after and --limit choose; beyond the last there is nothing."""
    project.ended("a")
    job = project.ended("b")
    of_job = project.json("events", job)
    assert {event["local_id"] for event in of_job} == {job}
    every = project.json("events")
    assert project.json("events", "--after", str(every[1]["seq"])) == every[2:]
    assert project.json("events", "--after", "1", "--limit", "2") == every[1:3]
    assert project.json("events", job, "--limit", "1") == of_job[:1]
    assert project.json("events", "--after", "999999") == []
    assert project.ok("events", "--after", "999999").out == ""


def test_follow(project):
    """--follow prints what is there, then what other processes commit, as it happens; Ctrl-C ends
    it with 130."""
    job = project.add()
    command = project.start("events", "--follow", "--json")
    assert json.loads(command.line())["type"] == "job:created"
    project.ok("complete", job)
    followed = [json.loads(command.line()) for _ in range(2)]
    assert [one["type"] for one in followed] == ["job:status-changed", "job:finalized"]
    assert all(has_keys(one, EVENT) for one in followed)
    command.signal(signal.SIGINT)
    done = command.end()
    assert (done.code, done.out) == (130, "")


def test_follow_until_enough(project):
    """--follow with --limit ends after so many events."""
    job = project.add()
    command = project.start("events", job, "--follow", "--limit", "2")
    assert "job:created" in command.line()
    project.ok("fail", job)
    done = command.end()
    assert (done.code, done.err) == (0, "")
    assert done.line.split("\t")[::3] == ["2", "job:status-changed"]


def test_what_cannot_be(project):
    """An unknown job is exit 4, numbers out of range are exit 2."""
    project.add()
    assert "no job 'ffffffff'" in project.refused(4, "events", "ffffffff")
    assert "--after" in project.refused(2, "events", "--after", "-1")
    assert "--limit" in project.refused(2, "events", "--limit", "0")
    assert "--after" in project.refused(2, "events", "--after", "x")
