"""tracker health"""

from __future__ import annotations

import json

import pytest
from contract import has_keys
from service import Answer

KEYS = """
healthy problems jobs operations oldest_operation_seconds stuck_jobs stuck_operations expiring
all_paused paused listings outgrown ended_last_day success_rate pollers tables database_bytes
"""
LONG_AGO = "2020-01-01T00:00:00.000Z"


def problem(project) -> str:
    """The one problem that there is, in words; the command exits 1 for it."""
    done = project.run("health")
    assert (done.code, done.err) == (1, "")
    [told] = [line for line in done.out.splitlines() if line.startswith("! ")]
    assert done.out.splitlines()[-1] == "not healthy"
    return told.removeprefix("! ")


def test_all_is_well(project):
    """Exit 0 and the word where nothing needs a person; jobs under way are no problem."""
    project.add()
    project.record()
    done = project.ok("health")
    assert done.out.splitlines()[-1] == "healthy"
    assert "!" not in done.out


def test_an_empty_database(project):
    """A database with nothing in it is healthy."""
    project.create()
    found = project.json("health")
    assert found["healthy"] and found["success_rate"] is None
    assert found["oldest_operation_seconds"] is None


def test_json(project):
    """`health --json` is one document with exactly these keys."""
    project.add()
    project.record()
    found = project.json("health")
    assert has_keys(found, KEYS)
    assert has_keys(found["operations"], "pending in_doubt dead")
    assert (found["jobs"]["processing"], found["jobs"]["pending"]) == (1, 1)
    assert found["operations"]["pending"] == 1 and found["oldest_operation_seconds"] >= 0
    assert found["tables"]["processing_jobs"] == 2 and found["database_bytes"] > 0


def test_the_last_listing(project):
    """The last listing of each service is told."""
    project.create()
    project.write(
        "INSERT INTO services (service, account, last_refresh_at, refresh_error)"
        " VALUES ('docs', '', ?, 'HTTP 500')",
        LONG_AGO,
    )
    done = project.run("health", "--json")
    assert done.code == 1
    [listing] = json.loads(done.out)["listings"]
    assert (listing["service"], listing["last_refresh_at"]) == ("docs", LONG_AGO)
    assert problem(project) == "docs was not listed: HTTP 500"


def test_what_was_given_up(project, service):
    """A dead letter is a problem; the line says where to look."""
    service.creates = [Answer({"error": "no such language"}, 422)]
    project.attempted()
    assert problem(project) == "1 operations were given up: tracker outbox --state dead"


def test_what_is_in_doubt(project):
    """A submission of which nobody knows whether it arrived is a problem."""
    project.record()
    project.write("UPDATE operations SET state = 'in_doubt'")
    assert problem(project) == "1 submissions are in doubt: tracker outbox --state in_doubt"


def test_stuck_operations(project):
    """What has been due for more than half an hour is a problem: nobody does it."""
    project.record()
    project.write("UPDATE operations SET next_attempt_at = ?", LONG_AGO)
    assert "1 operations have been due for more than 30 min" in problem(project)


def test_stuck_jobs(project):
    """A job that has been processing for more than half an hour is a problem, and is named."""
    job = project.add()
    project.write("UPDATE processing_jobs SET accepted_at = ?", LONG_AGO)
    found = project.json("health", code=1)
    assert found["problems"] == [f"jobs have been processing for more than 30 min: {job[-8:]}"]
    assert (found["healthy"], found["stuck_jobs"]) == (False, [job])


def test_a_stuck_job_alerts_once(project):
    """However often it is looked at, a stuck job is told of by one event."""
    job = project.add()
    project.write("UPDATE processing_jobs SET accepted_at = ?", LONG_AGO)
    with project.tracker() as tracker:
        assert tracker.store.alert_stuck() == [job]
        assert tracker.store.alert_stuck() == []
    told = [data for type_, data in project.events(job) if type_ == "job:stuck"]
    assert told == [{"processing_since": LONG_AGO}]


def test_all_is_paused(project):
    """A pause that a person began is a problem until a person ends it."""
    project.add()
    project.ok("pause")
    assert problem(project) == "all polling is paused: tracker resume"
    project.ok("resume")
    project.ok("health")


def test_a_paused_service(project, service):
    """A service that is paused is a problem, with the reason; when it is over, it is none."""
    service.statuses = [Answer(b"", 429, {"Retry-After": "600"})]
    project.add()
    project.poll()
    found = project.json("health", code=1)
    [paused] = found["paused"]
    assert paused["why"] and found["problems"] == [f"docs is paused: {paused['why']}"]
    assert has_keys(paused, "service account calls until why")


def test_a_service_that_outgrew_its_rate(project):
    """More running jobs than the rate can poll as often as is set is a problem."""
    project.configure({"rate": "6/m", "poll": {"every": "1m", "max_per_minute": None}})
    for number in range(7):
        project.add(f"srv-{number}")
    assert problem(project) == "docs has 7 running jobs, more than its rate can poll"


@pytest.mark.parametrize(("wrong", "well"), [(1, True), (2, False)])
def test_the_success_rate(project, wrong, well):
    """Below 95 % of right ends in a day, of 20 jobs or more, is a problem; what the service itself
    called failed is a right end."""
    for number in range(20):
        project.ended(f"srv-{number}", failed=number < wrong + 1)
    project.write(
        "UPDATE processing_jobs SET failure_reason = 'retries' WHERE server_id IN"
        f" ({', '.join(repr(f'srv-{number}') for number in range(wrong))})"
    )
    found = project.json("health", code=0 if well else 1)
    assert found["success_rate"] == 1 - wrong / 20
    assert bool(found["problems"]) is not well


def test_no_database(project):
    """A folder whose configuration is no good is one line of error, exit 2."""
    project.toml.write_text("services = 5\n")
    assert project.refused(2, "health")
