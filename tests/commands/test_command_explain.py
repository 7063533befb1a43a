"""tracker explain"""

from __future__ import annotations

import pytest
from contract import has_keys
from service import Answer, Broken, Hang

LATER = {"poll": {"first": "1h", "every": "1h", "max_per_minute": 6000,
                  "backoff": {"base": "1h", "cap": "2h"}},
         "retry": {"base": "1h", "cap": "2h", "attempts": 3}}  # fmt: skip


@pytest.fixture
def explain(project):
    """`explain --json` of a job."""

    def one(job):
        return project.json("explain", job)

    project.configure(LATER)
    return one


def test_json(project, explain):
    """`explain --json` has exactly these keys."""
    assert has_keys(
        explain(project.add()), "local_id status state owed last next_at next why remedies"
    )


def test_for_people(project):
    """Without --json it is a few lines that each begin with what they tell."""
    job = project.add()
    lines = project.ok("explain", job).out.splitlines()
    assert lines[0] == "state   processing at docs as srv-1"
    assert [line.split()[0] for line in lines] == ["state", "next", "why", "try"]


def test_not_submitted(project, explain):
    """A job that was only recorded: its create is owed and has not been attempted."""
    told = explain(project.record())
    assert told["owed"] == ["create #1 is pending"]
    assert told["why"] == "it has not been attempted yet"
    assert told["remedies"] == ["tracker poll"]


def test_before_its_first_poll(project, explain):
    """A job that was just accepted: when its first poll is."""
    job = project.attempted()
    told = explain(job)
    assert told["state"] == "processing at docs as srv-1"
    assert told["why"] == "the first poll after it was accepted"
    assert told["next_at"] == project.row(job)["next_poll_at"]


def test_due(project, explain):
    """A job that is due and that no poller has taken: what would."""
    told = explain(project.add())
    assert "no poller has taken it" in told["why"]
    assert told["remedies"] == ["tracker poll"]


def test_running(project, explain, service):
    """A running job: its state over there, its progress, and the interval."""
    service.statuses = [{"status": "running", "progress": 42}]
    job = project.add()
    project.poll()
    told = explain(job)
    assert told["state"] == "processing at docs as srv-1, which says 'running' (42%)"
    assert told["why"] == "a running job is polled every 3600 s"
    assert "HTTP 200" in told["last"]
    assert told["remedies"] == [f"tracker poll {job[-8:]}"]


def test_backing_off(project, explain, service):
    """A job whose poll failed: how often, why, and when the next one is."""
    service.statuses = [Answer({"error": {"message": "out of memory"}}, 500)]
    job = project.add()
    project.poll()
    told = explain(job)
    assert told["why"] == "backing off after 1 failure in a row"
    assert "HTTP 500" in told["last"] and "out of memory" in told["last"]
    assert told["next_at"] > project.row(job)["last_poll_at"]


def test_an_owed_create_that_failed(project, explain, service):
    """A create that failed and may be repeated: how often, why, when next."""
    service.creates = [Answer("busy", 503)]
    told = explain(project.attempted())
    assert "create #1 is pending after 1 failed attempt: HTTP 503" in told["owed"][0]
    assert told["why"] == "backing off after 1 failed attempt"


def test_a_paused_service(project, explain, service):
    """A service that asked for rest: until when, and in its words."""
    service.statuses = [Answer({"message": "slow down"}, 429, {"Retry-After": "120"})]
    job = project.add()
    project.poll()
    told = explain(job)
    assert told["why"].startswith("the service is paused until 20")
    assert "HTTP 429" in told["why"] and "slow down" in told["why"]
    waiting = explain(project.record())
    assert waiting["why"].startswith("the service is paused: HTTP 429")
    assert waiting["next_at"] is not None


def test_a_paused_ledger(project, explain):
    """While all polling is paused that is the reason, and `resume` the remedy."""
    jobs = [project.add(), project.record()]
    project.ok("pause")
    for job in jobs:
        told = explain(job)
        assert (told["why"], told["remedies"]) == ("all polling is paused", ["tracker resume"])


def test_claimed(project, explain, service):
    """A job that is being polled just now: by whom, until when."""
    service.statuses = [Hang()]
    job = project.add()
    project.start("poll")
    service.wait_for(1, "GET")
    row = project.row(job)
    told = explain(job)
    assert told["why"] == f"poller {row['claimed_by'][-8:]} has it until {row['lease_until']}"


def test_in_doubt(project, explain, service):
    """A create that was sent, got no reply and must not be repeated: it is in doubt, with the
    reason, and nothing comes next."""
    project.configure({**LATER, "create": {"idempotency": "none"}})
    service.creates = [Broken()]
    told = explain(project.attempted())
    assert "create #1 is in_doubt after 1 failed attempt" in told["owed"][0]
    assert "sending it again could make a second job" in told["why"]
    assert (told["next"], told["next_at"]) == ("nothing", None)


def test_a_dead_letter(project, explain, service):
    """A create that was given up: the service's words, and nothing comes next."""
    service.creates = [Answer({"message": "no such language"}, 422)]
    told = explain(project.attempted())
    assert "no such language" in told["why"] and "was given up" in told["why"]
    assert (told["next"], told["next_at"]) == ("nothing", None)


def test_an_unknown_service(project, explain):
    """A job whose service the configuration no longer has: what to add."""
    job = project.add()
    project.configure(services={"docs": None})
    told = explain(job)
    assert told["why"] == "the configuration has no service 'docs'"
    assert told["remedies"] == ["add [services.docs] to tracker.toml"]


def test_an_unknown_word(project, explain, service):
    """A state word that the definition does not have keeps the job running, and is shown."""
    service.statuses = ["resting"]
    job = project.add()
    project.poll()
    told = explain(job)
    assert "which says 'resting'" in told["state"]
    assert "'resting', which the service's definition does not list" in told["last"]
    assert "resting" in project.ok("list").out


def test_finished(project, explain):
    """Ended jobs: how, by which reason, and what would bring them back."""
    job = project.ended(failed=True)
    told = explain(job)
    assert told["state"] == "failed at docs as srv-1: Processing failed [person]"
    assert told["why"] == "the job is failed; the first end stands"
    assert told["remedies"] == [f"tracker reopen {job[-8:]}"]
    assert explain(project.ended("srv-2"))["status"] == "completed"


def test_a_result_that_is_owed(project, explain, service):
    """A job whose result could not be fetched yet: what is owed, and when it is tried again."""
    service.statuses, service.results = ["done"], [Answer("oops", 500)]
    project.configure({**LATER, "result": {"retry": {"base": "1h", "cap": "2h", "attempts": 3}}})
    job = project.add()
    project.poll()
    told = explain(job)
    assert told["status"] == "retrieving"
    assert "fetch_result #1 is pending after 1 failed attempt: HTTP 500" in told["owed"][0]
    assert told["next"] == "fetch_result #1 is attempted"


def test_unknown_jobs(project):
    """A job that there is not is exit 4."""
    project.add()
    assert "no job 'ffffffff'" in project.refused(4, "explain", "ffffffff")


def test_more_jobs_than_the_rate_allows(project):
    """A due job of a service that has more of them than its rate can poll: `explain` says how often
    each can be, and what would change it."""
    project.configure({"rate": "1/m"})
    jobs = [project.add(f"srv-{number}") for number in range(3)]
    project.write("UPDATE processing_jobs SET next_poll_at = '2020-01-01T00:00:00.000Z'")
    told = project.json("explain", jobs[2])
    assert "each of its running jobs can be polled every 180 s" in told["why"]
    assert told["remedies"] == ["raise rate in [services.docs], if the service allows it"]


def test_a_job_that_is_denied(project, service):
    """While a service denies a job, `explain` says since when, in its words, and when the job
    counts as lost."""
    service.statuses = [Answer({"message": "deleted by retention"}, 404)]
    project.configure({"poll": {"lost_after": "10m"}})
    job = project.add()
    project.poll()
    found = project.json("show", job)
    told = project.json("explain", job)
    assert found["unknown_since"] in told["why"] and "counts as lost" in told["why"]
    assert "deleted by retention" in told["last"]
