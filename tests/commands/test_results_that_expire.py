"""status.expires_at and result.expires_after: results that a service does not keep for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from helping import LONG_AGO, outbox
from service import Answer

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
ISO = SOON.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@pytest.fixture
def expiring(project):
    """A project whose service says until when it keeps a job."""
    project.configure({"status": {"expires_at": "body.until"}, "rate": "unlimited"})
    return project


@pytest.mark.parametrize(
    "until",
    [
        ISO,
        SOON.isoformat(),
        SOON.astimezone().isoformat(),
        int(SOON.timestamp()),
        SOON.timestamp(),
        int(SOON.timestamp() * 1000),
        str(int(SOON.timestamp())),
    ],
    ids=["Z", "+00:00", "local", "seconds", "float", "ms", "text"],
)
def test_it_is_shown(expiring, service, until):
    """Whichever way a service states until when it keeps a job, `show --json` has it as UTC."""
    service.statuses = [{"status": "running", "until": until}]
    job = expiring.add()
    expiring.poll()
    assert expiring.json("show", job)["expires_at"] == ISO


@pytest.mark.parametrize(
    "until", [0, -1, "", None, True, "soon", [], {}, 1e300, "9999-99-99", "99999-01-01T00:00:00Z"]
)
def test_what_is_no_time(expiring, service, until):
    """What is no time, or none that can come, is no date; the job goes on."""
    service.statuses = [{"status": "running", "until": until}, "done"]
    job = expiring.add()
    expiring.poll()
    assert expiring.row(job)["expires_at"] is None
    expiring.until(lambda: expiring.poll() or expiring.row(job)["status"] == "completed")


def test_a_date_that_moves(expiring, service):
    """The last date that a service stated counts; a reply without one takes none back."""
    later = SOON + timedelta(days=1)
    service.statuses = [
        {"status": "running", "until": int(SOON.timestamp())},
        {"status": "running", "until": int(later.timestamp())},
        "running",
    ]
    job = expiring.add()
    for polls in (1, 2, 3):
        expiring.until(lambda n=polls: expiring.poll() or service.count("GET") >= n)
    assert expiring.row(job)["expires_at"] == later.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def owed(project):
    """The result that is owed, as `outbox` shows it."""
    [found] = outbox(project)
    assert found["kind"] == "fetch_result"
    return found


@pytest.mark.parametrize("stated", ["with the end", "before"])
def test_it_is_fetched_first(expiring, service, stated):
    """A result that will not be there for ever goes before one that will and is due for longer:
    also where the date was stated by an earlier reply than the last one."""
    retry = {"base": "1h", "cap": "1h"}
    one_by_one = {"status": {"expires_at": "body.until"}, "concurrency": 1}
    expiring.configure({**one_by_one, "result": {"retry": retry}})
    first, last = ({"until": ISO}, {}) if stated == "before" else ({}, {"until": ISO})
    service.scripts["srv-2"] = [{"status": "running", **first}, {"status": "done", **last}]
    service.scripts["srv-1"] = ["done"]
    service.results = [Answer({}, 500), Answer({}, 500), {}]
    jobs = [expiring.add(server_id) for server_id in ("srv-1", "srv-2")]
    expiring.until(lambda: expiring.poll() or len(outbox(expiring)) == 2)
    for number, job in enumerate(jobs):
        long_ago = LONG_AGO.replace("000Z", f"{number:03}Z")
        expiring.write(
            "UPDATE operations SET next_attempt_at = ? WHERE local_id = ?", long_ago, job
        )
    expiring.poll()
    fetched = [one.path for one in service.requests("GET", "/result$")]
    assert fetched[2:] == ["/jobs/srv-2/result", "/jobs/srv-1/result"]


@pytest.mark.parametrize(("told", "priority"), [({}, 1), ({"until": ISO}, 0)])
def test_the_priority(expiring, service, told, priority):
    """The fetching of a result that expires is critical (0); of others it is high (1)."""
    service.statuses = [{"status": "done", **told}]
    service.results = [Answer({}, 500)]
    later = {"retry": {"base": "1h", "cap": "1h"}}
    expiring.configure({"status": {"expires_at": "body.until"}, "result": later})
    expiring.add()
    expiring.poll()
    assert owed(expiring)["priority"] == priority


def test_a_service_that_does_not_say(project, service):
    """`expires_after` counts from the reply that said that the job is done."""
    project.configure({"result": {"expires_after": "3h", "retry": {"base": "1h", "cap": "1h"}}})
    service.statuses, service.results = ["done"], [Answer({}, 500)]
    job = project.add()
    project.poll()
    stated = datetime.fromisoformat(project.json("show", job)["expires_at"])
    assert abs(stated - datetime.now(UTC) - timedelta(hours=3)) < timedelta(minutes=1)
    assert owed(project)["priority"] == 0


@pytest.mark.parametrize("word", ["running", "done"])
def test_health_warns(expiring, service, word):
    """`health` warns of a result that is there for less than a day more, and was not fetched for a
    minute although it could have been: of a job that nobody polls, or a result nobody gets."""
    service.statuses = [{"status": word, "until": ISO}]
    service.results = [Answer({}, 429, {"Retry-After": "3600"})]
    job = expiring.add()
    expiring.poll()
    assert expiring.json("health", code=expiring.run("health").code)["expiring"] == []
    expiring.write(
        "UPDATE processing_jobs SET next_poll_at = ?, updated_at = ?", LONG_AGO, LONG_AGO
    )
    told = expiring.run("health")
    assert told.code == 1
    assert f"{job[-8:]} until {ISO}" in told.out + told.err
    assert expiring.json("health", code=1)["expiring"] == [{"local_id": job, "expires_at": ISO}]


def test_health_is_calm(expiring, service):
    """What is kept for longer than a day, or was fetched, worries nobody."""
    later = int((SOON + timedelta(days=2)).timestamp())
    service.scripts["srv-2"] = [{"status": "running", "until": later}]
    service.scripts["srv-1"] = [{"status": "done", "until": ISO}]
    for server_id in ("srv-1", "srv-2"):
        expiring.add(server_id)
    expiring.poll()
    expiring.write(
        "UPDATE processing_jobs SET next_poll_at = ?, updated_at = ?", LONG_AGO, LONG_AGO
    )
    assert expiring.json("health", code=expiring.run("health").code)["expiring"] == []
