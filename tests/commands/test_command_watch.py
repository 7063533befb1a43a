"""tracker watch"""

from __future__ import annotations

import json
import select
import signal

from contract import EVENT, has_keys


def test_what_another_process_commits(project):
    """`watch` prints what other processes commit, in order, as it happens; what was before it
    began is not printed. Ctrl-C ends it with 130 and no more words."""
    job = project.add()
    [created] = project.json("events")
    command = project.start("watch", "--json", "--after", str(created["seq"]))
    project.ok("complete", job)
    seen = [json.loads(command.line()) for _ in range(2)]
    assert [one["type"] for one in seen] == ["job:status-changed", "job:finalized"]
    assert all(has_keys(one, EVENT) for one in seen)
    command.signal(signal.SIGINT)
    done = command.end()
    assert (done.code, done.out) == (130, "")


def test_nothing_is_missed_and_nothing_repeated(project):
    """Going on behind the last event that was seen gives, with any number of watchers one after
    another, exactly the event log."""
    jobs = [project.add(f"srv-{number}") for number in range(3)]
    seen, after = [], 0
    for job in jobs:
        command = project.start("watch", "--json", "--after", str(after))
        project.ok("complete", job)
        for _ in range(3):
            seen.append(json.loads(command.line()))
        after = seen[-1]["seq"]
        command.signal(signal.SIGKILL)
        command.end()
    every = project.json("events")
    assert len(every) == 9 and seen == every


def test_one_job(project):
    """With JOB nothing is printed of the others."""
    other, job = project.add("srv-1"), project.add("srv-2")
    command = project.start("watch", job[-8:], "--json", "--after", "0")
    project.ok("complete", other)
    project.ok("complete", job)
    seen = [json.loads(command.line()) for _ in range(3)]
    assert {one["local_id"] for one in seen} == {job}
    assert [one["type"] for one in seen] == ["job:created", "job:status-changed", "job:finalized"]


def test_from_now_on(project):
    """Without --after a watcher begins with what happens next."""
    before = project.add("before")
    command = project.start("watch", "--json")
    # It has begun when it prints one of what is committed again and again from here on.
    names = iter(range(1000))

    def printed():
        project.add(f"later-{next(names)}")
        return ready(command)

    project.until(printed)
    assert json.loads(command.line())["local_id"] != before


def ready(command) -> bool:
    """Whether there is a line to be read."""
    return bool(select.select([command.process.stdout], [], [], 0.05)[0])


def test_for_people(project):
    """A line has the time, the end of the job's id, the type and what changed."""
    job = project.add()
    command = project.start("watch", "--after", "0")
    line = command.line()
    assert job[-8:] in line and "job:created" in line


def test_what_cannot_be(project):
    """An unknown job is exit 4, a number out of range exit 2, each in one line."""
    project.add()
    assert "no job 'ffffffff'" in project.refused(4, "watch", "ffffffff")
    assert "--after" in project.refused(2, "watch", "--after", "-1")


def test_events_that_are_gone(project):
    """Behind an event that has been pruned nobody can go on without missing some: one line of
    error says so, and what to do."""
    project.add()
    project.write("INSERT INTO meta (key, value) VALUES ('events_pruned_to', '7')")
    done = project.run("watch", "--after", "6")
    assert (done.code, done.out) == (5, "")
    assert "the events behind 6 are gone" in done.error and "watch from now" in done.error
