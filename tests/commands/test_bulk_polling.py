"""tracker poll of a service that tells of many jobs in one reply."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

BULK = {
    "status": {
        "bulk": {
            "request": {"path": "/jobs/all", "query": {"ids": "{server_ids.joined}"}},
            "items": "body.jobs",
            "server_id": "body.id",
            "most": 50,
        }
    }
}


def asked(seen):
    """The ids in a request."""
    return parse_qs(urlsplit(seen.path).query)["ids"][0].split(",")


@pytest.fixture
def crowd(project, service):
    """Two hundred running jobs, due now."""
    project.configure(BULK)
    with project.tracker() as tracker:
        for number in range(200):
            tracker.add("docs", f"j{number}")
    service.scripts["all"] = [
        lambda seen: {"jobs": [{"id": one, "status": "running"} for one in asked(seen)]}
    ]
    return project


def test_one_call_for_many(crowd, service):
    """B2: 200 due jobs of a service that takes 50 a call are polled by four calls."""
    assert crowd.ok("poll").line == "200 polled"
    assert service.count("GET") == 4
    assert sorted(one for seen in service.seen for one in asked(seen)) == sorted(
        f"j{number}" for number in range(200)
    )
    assert crowd.rows("SELECT DISTINCT poll_count FROM jobs") == [{"poll_count": 1}]


def test_each_has_its_own_end(crowd, service):
    """B2: of one reply, some jobs are done, some failed, some are unknown and some go on."""
    words = {"j1": "done", "j2": "error"}
    service.scripts["all"] = [
        lambda seen: {
            "jobs": [
                {"id": one, "status": words.get(one, "running")}
                for one in reversed(asked(seen))
                if one != "j3"
            ]
        }
    ]
    crowd.ok("poll")
    assert crowd.rows(
        "SELECT server_id, status, unknown_since IS NOT NULL AS unknown FROM jobs"
        " WHERE server_id IN ('j1', 'j2', 'j3', 'j4') ORDER BY server_id"
    ) == [
        {"server_id": "j1", "status": "completed", "unknown": 0},
        {"server_id": "j2", "status": "failed", "unknown": 0},
        {"server_id": "j3", "status": "processing", "unknown": 1},
        {"server_id": "j4", "status": "processing", "unknown": 0},
    ]


def test_single_calls_make_up_for_it(crowd, service):
    """B2: where the call for many makes no sense, each job is asked for by itself in the same
    pass, and nobody's poll has failed."""
    crowd.write("DELETE FROM processing_jobs WHERE id > 20")
    service.scripts["all"] = [{"oops": 1}]
    assert crowd.ok("poll").line == "20 polled"
    assert service.count("GET", "/jobs/j[0-9]") == 20
    assert crowd.rows("SELECT DISTINCT retry_count FROM jobs") == [{"retry_count": 0}]
