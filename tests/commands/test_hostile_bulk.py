"""Replies about many jobs that do not say what was asked, as `tracker poll` meets them."""

from __future__ import annotations

from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest

LONG_AGO = "2020-01-01T00:00:00.000Z"

BULK = {
    "result": None,
    "poll": {"every": "1h", "backoff": {"base": "1h", "cap": "1h"}},
    "status": {
        "bulk": {
            "request": {"path": "/jobs/all", "query": {"ids": "{server_ids.joined}"}},
            "items": "body.jobs",
            "server_id": "body.id",
            "most": 50,
        }
    },
}


@pytest.fixture
def crowd(project):
    """A hundred running jobs, due now, of a service that is asked for fifty at a time."""
    project.configure(BULK)
    with project.tracker() as tracker:
        for number in range(100):
            tracker.add("docs", f"j{number}")
    return project


def answers(service, make):
    """Have each bulk call answered by what `make` makes of the ids."""

    def answer(seen):
        return {"jobs": make(parse_qs(urlsplit(seen.path).query)["ids"][0].split(","))}

    service.scripts["all"] = [answer]


def running(ids):
    return [{"id": one, "status": "running"} for one in ids]


def statuses(project):
    """How many jobs there are, by status and by what their last poll came to."""
    return Counter(
        (row["status"], row["retry_count"], row["unknown_since"] is not None)
        for row in project.rows("SELECT status, retry_count, unknown_since FROM jobs")
    )


WELL = ("processing", 0, False)
MANY = {
    "reordered": lambda ids: running(sorted(ids, reverse=True)),
    "strangers": lambda ids: [*running(f"x{n}" for n in range(2000)), *running(ids)],
    "jobs of another call": lambda ids: running(f"j{number}" for number in range(100)),
    "each a hundred times": lambda ids: running(ids * 100),
    "nonsense between": lambda ids: [
        None,
        1,
        "j1",
        [],
        {},
        {"id": {}},
        {"id": None},
        *running(ids),
    ],
}


@pytest.mark.parametrize("name", MANY)
def test_a_bulk_reply_with_too_much(crowd, service, name):
    """B2: entries in any order, twice, of strangers and of no sense harm nobody: each job that was
    asked for is polled once."""
    answers(service, MANY[name])
    assert crowd.ok("poll").line == "100 polled"
    assert service.count() == 2
    assert statuses(crowd) == {WELL: 100}
    assert crowd.rows("SELECT DISTINCT poll_count FROM jobs") == [{"poll_count": 1}]


def test_strangers_that_have_ended(crowd, service):
    """B2: what a reply says about jobs that were not asked for in that call ends none of them."""
    answers(service, lambda ids: [
        {"id": f"j{number}", "status": "running" if f"j{number}" in ids else "done"}
        for number in range(100)
    ])  # fmt: skip
    crowd.ok("poll")
    assert statuses(crowd) == {WELL: 100}


def test_a_bulk_reply_that_contradicts_itself(crowd, service):
    """B2: a job that one reply calls done and failed and running ends at most once."""
    words = ("done", "error", "running", "done")
    answers(service, lambda ids: [{"id": one, "status": word} for word in words for one in ids])
    crowd.ok("poll")
    assert set(Counter(row["status"] for row in crowd.rows("SELECT status FROM jobs"))) <= {
        "completed", "failed", "processing"
    }  # fmt: skip
    ends = crowd.rows(
        "SELECT count(*) AS ends FROM job_events WHERE type = 'job:finalized' GROUP BY local_id"
    )
    assert {row["ends"] for row in ends} <= {1}


def test_a_bulk_reply_with_too_little(crowd, service):
    """B2, B5: jobs that a reply lacks are unknown for as long as it lacks them, those beside them
    go on, and nobody is lost within the grace."""
    answers(service, lambda ids: running(ids[: len(ids) // 2]))
    crowd.ok("poll")
    assert statuses(crowd) == {WELL: 50, ("processing", 1, True): 50}
    answers(service, running)
    crowd.write("UPDATE processing_jobs SET next_poll_at = ?", LONG_AGO)
    crowd.ok("poll")
    assert statuses(crowd) == {WELL: 100}


def test_a_bulk_reply_with_nothing(crowd, service):
    """B2, B5: an empty list is no end of anybody; where the definition says `missing = "retry"` no
    job is even unknown."""
    answers(service, lambda ids: [])
    crowd.ok("poll")
    assert statuses(crowd) == {("processing", 1, True): 100}
    retry = {**BULK["status"]["bulk"], "missing": "retry"}
    crowd.configure({**BULK, "status": {"bulk": retry}})
    answers(service, running)
    crowd.write("UPDATE processing_jobs SET next_poll_at = ?", LONG_AGO)
    crowd.ok("poll")
    answers(service, lambda ids: [])
    crowd.write("UPDATE processing_jobs SET next_poll_at = ?", LONG_AGO)
    crowd.ok("poll")
    assert statuses(crowd) == {("processing", 1, False): 100}
