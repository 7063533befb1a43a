"""create.then: a second call has a job begin whose id is on record by then."""

from __future__ import annotations

import signal

import pytest
from desk import Answer, Desk, Hang
from helping import cancel, made_due, outbox

START = r"^/jobs/[^/]+/start$"
THEN = {
    "create": {
        "request": {"path": "/jobs", "json": {"note": "{client_id}"}},
        "idempotency": "none",
        "then": {"request": {"path": "/jobs/{server_id}/start", "json": {"go": True}}},
    },
    "cancel": {"request": {"path": "/jobs/{server_id}", "method": "DELETE"}},
}


@pytest.fixture
def service():
    """A service whose jobs have to be started."""
    one = Desk()
    yield one
    one.close()


@pytest.fixture
def starting(project):
    """A project whose service has them started."""
    project.configure(THEN)
    return project


def calls(service):
    """What was asked for besides statuses, in order."""
    return [
        "start" if one.path.endswith("/start") else one.method
        for one in service.seen
        if one.method != "GET"
    ]


def test_it_is_made_when_the_id_is_on_record(starting, service):
    """A job is created and then begun, in this order, by two calls; the first one's id is in the
    second one's path, and on record when that is made."""
    known = []

    def start(_):
        known.extend(one["server_id"] for one in starting.rows("SELECT server_id FROM jobs"))
        return {}

    service.starts = [start]
    job = starting.ok("submit", "docs", "--json").json["local_id"]
    starting.poll()
    assert calls(service) == ["POST", "start"] and known == ["srv-1"]
    assert service.requests("POST", START)[0].json == {"go": True}
    assert starting.row(job)["status"] == "processing"
    assert outbox(starting) == []


def test_killed_in_between(starting, service):
    """A poller that is killed while the second call is on its way leaves a job that is begun by the
    next one, and is never created again, although its creates may not be repeated."""
    service.starts = [Hang({}), {}]
    job = starting.record()
    poller = starting.start("poll")
    service.wait_for(1, "POST", START)
    poller.signal(signal.SIGKILL)
    poller.end()
    assert starting.row(job)["server_id"] == "srv-1"
    starting.until(lambda: starting.poll() or not outbox(starting))
    assert calls(service) == ["POST", "start", "start"] and service.notes == [job]


def test_it_is_tried_again(starting, service):
    """A second call that fails is made again; the first one is not."""
    service.starts = [Answer({}, 500), Answer({}, 503), {}]
    job = starting.attempted()
    for _ in range(4):
        made_due(starting)
    assert calls(service) == ["POST", "start", "start", "start"] and service.notes == [job]
    assert outbox(starting) == []


def test_refused(starting, service):
    """A second call that is refused is a dead letter that `outbox` shows with the service's words;
    the job stays where it is, and `outbox retry` has the call made again, the create not."""
    service.starts = [Answer({"error": "no credit"}, 400), {}]
    job = starting.attempted()
    made_due(starting)
    [letter] = outbox(starting)
    assert (letter["kind"], letter["state"]) == ("create", "dead")
    assert "no credit" in letter["last_error"]
    assert "no credit" in starting.ok("explain", job).out
    assert starting.row(job)["status"] == "processing"
    starting.ok("outbox", "retry", str(letter["id"]))
    starting.poll()
    assert calls(service) == ["POST", "start", "start"] and service.notes == [job]
    assert outbox(starting) == []


@pytest.mark.parametrize("state", ["pending", "dead"])
def test_cancelled_before_it_began(starting, service, state):
    """A job whose second call is still owed, or was given up, can be cancelled: the service is
    asked to stop it, and it is not begun any more."""
    service.starts = [Answer({"error": "later"}, 503 if state == "pending" else 400)]
    starting.configure({**THEN, "retry": {"base": "1h", "cap": "1h"}})
    job = starting.attempted()
    starting.poll()
    assert [one["state"] for one in outbox(starting)] == [state]
    cancel(starting, job)
    starting.poll()
    service.scripts["srv-1"] = ["cancelled"]
    starting.until(lambda: starting.poll() or starting.row(job)["status"] == "cancelled")
    assert calls(service) == ["POST", "start", "DELETE"]
    assert outbox(starting) == []


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_ended_before_it_began(starting, service, end):
    """What a person has ended is not begun."""
    starting.configure({**THEN, "retry": {"base": "1h", "cap": "1h"}})
    service.starts = [Answer({}, 503)]
    job = starting.attempted()
    starting.poll()
    starting.ok(end, job)
    made_due(starting)
    assert calls(service) == ["POST", "start"]
    assert [one for one in outbox(starting) if one["kind"] == "create"] == []


def test_done_at_once(starting, service):
    """A job that has ended with its first call is not begun."""
    starting.configure({**THEN, "create": {**THEN["create"], "state": "body.status"}})
    service.fates = [Answer({"job_id": "srv-1", "status": "error"}, 201)]
    job = starting.attempted()
    made_due(starting)
    assert starting.row(job)["status"] == "failed" and calls(service) == ["POST"]
