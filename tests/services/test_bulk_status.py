"""Many jobs in one status call."""

from __future__ import annotations

import pytest
from servicing import a_job, load, reply

from tracker.errors import ConfigError
from tracker.executors.poll import Poll
from tracker.lifecycle import Rules
from tracker.model import Failure, Fault, State
from tracker.outcomes import Released, Running
from tracker.transports.base import Reply

BATCH = """
base_url = "https://api.example.com"
[status]
request = { method = "POST", path = "/describe", json = { jobs = ["{server_id}"] } }
state = "body.jobs[0].status"
error = "body.jobs[0].reason"
[status.bulk]
request = { method = "POST", path = "/describe", json = { jobs = "{server_ids}" } }
items = "body.jobs"
server_id = "body.id"
body = "{jobs: [body]}"
unprocessed = "body.later"
most = 3
[states]
processing = ["RUNNING"]
completed = ["DONE"]
failed = ["FAILED"]
"""
JOBS = [a_job(id=n, server_id=f"j{n}") for n in range(3)]


def item(number, status, **more):
    return {"id": f"j{number}", "status": status, **more}


def read(body, status=200, extra=""):
    return load(BATCH.replace("[states]", extra + "[states]")).read_bulk(JOBS, reply(body, status))


def states(found):
    return [getattr(one, "state", None) for one in found]


def test_the_call():
    """B2: one call names the ids of all jobs, as a list or with commas between them."""
    call = load(BATCH).build_bulk(JOBS)
    assert call.body == b'{"jobs":["j0","j1","j2"]}'
    joined = BATCH.replace(
        'json = { jobs = "{server_ids}" }', 'query = { ids = "{server_ids.joined}" }'
    )
    assert load(joined).build_bulk(JOBS).url.endswith("/describe?ids=j0%2Cj1%2Cj2")


def test_each_job_gets_its_own():
    """B2: entries are told apart by their ids, whatever their order; strangers and repetitions
    harm nobody."""
    running = item(0, "RUNNING")
    jobs = [item(2, "FAILED", reason="no disk"), item(9, "DONE"), running, item(1, "DONE"), running]
    found = read({"jobs": jobs})
    assert states(found) == [State.PROCESSING, State.COMPLETED, State.FAILED]
    assert found[2].error == "no disk"


def test_what_is_missing():
    """B2: a job that is not told of is unknown to the service, or its poll failed, as the
    definition says; one that the service did not get to is asked for again."""
    body = {"jobs": [item(0, "RUNNING")], "later": ["j1"]}
    running, later, missing = read(body)
    assert running.state is State.PROCESSING and missing.state is State.UNKNOWN_JOB
    assert isinstance(later, Failure) and later.fault is Fault.SERVER
    assert read(body, extra='missing = "retry"\n')[2].fault is Fault.UNREADABLE


@pytest.mark.parametrize(
    ("body", "status", "fault"),
    [
        (b"<html>", 200, Fault.UNREADABLE),
        ({}, 200, Fault.UNREADABLE),
        ({"jobs": {"j0": 1}}, 200, Fault.UNREADABLE),
        ({"error": "too many"}, 400, Fault.REFUSED),
        ({}, 429, Fault.THROTTLED),
        ({}, 503, Fault.SERVER),
    ],
)
def test_a_call_that_failed_as_a_whole(body, status, fault):
    """A reply without a list is a failure of the call, not news about its jobs."""
    assert read(body, status).fault is fault


@pytest.mark.parametrize(
    "entry", [None, 7, [], {}, {"id": None}, {"id": "j0"}, {"id": "j0", "status": {}}]
)
def test_odd_entries(entry):
    """An entry that makes no sense is the matter of its own job at most."""
    found = read({"jobs": [entry, item(1, "DONE")]})
    assert found[1].state is State.COMPLETED and len(found) == 3


# The executor.


def settled(poll, given, jobs=JOBS):
    return poll.settle(jobs, given)


def test_a_group_is_polled():
    """B2: due jobs share a call, as many as one may carry; each has its own outcome."""
    poll = Poll(load(BATCH), Rules())
    assert poll.most == 3 and len({poll.together(one) for one in JOBS}) == 1
    assert poll.together(a_job(account="other")) != poll.together(JOBS[0])
    body = {"jobs": [item(0, "RUNNING"), item(1, "DONE"), item(2, "RUNNING")]}
    done = settled(poll, reply(body))
    assert [type(one).__name__ for one in done.outcomes] == ["Running", "Transition", "Running"]
    assert done.failure is None


@pytest.mark.parametrize("given", [reply({"error": "one of them is bad"}, 400), reply(b"<html>")])
def test_single_calls_make_up_for_a_group(given):
    """B2: where a call for many is refused or makes no sense, nobody's poll has failed: each is
    asked for by itself, for a minute."""
    poll = Poll(load(BATCH), Rules())
    done = settled(poll, given)
    assert all(isinstance(one, Released) for one in done.outcomes) and done.failure is None
    assert poll.most == 1


@pytest.mark.parametrize(
    "given",
    [
        reply({}, 503),
        reply({}, 429),
        Reply(fault=Fault.UNREACHABLE, message="refused", sent=False),
        Reply(fault=Fault.TIMEOUT, message="no reply in time"),
    ],
)
def test_a_service_that_is_ill(given):
    """A failure of the service is that of all jobs in the call; they go on in groups."""
    poll = Poll(load(BATCH), Rules())
    done = settled(poll, given)
    assert all(isinstance(one, Running) and one.error for one in done.outcomes)
    assert done.failure is not None and poll.most == 3


def test_a_single_job_is_polled_as_ever():
    """One due job is asked for by the single call."""
    poll = Poll(load(BATCH), Rules())
    assert poll.prepare(JOBS[:1]).body == b'{"jobs":["j0"]}'
    done = settled(poll, reply({"jobs": [item(0, "RUNNING")]}), JOBS[:1])
    assert isinstance(done.outcomes[0], Running) and done.outcomes[0].error is None


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('{ jobs = "{server_ids}" }', '{ jobs = "all" }', "server_ids"),
        ('items = "body.jobs"\nserver_id', "server_id", "items"),
        ("most = 3", "most = 1", "most"),
        ('unprocessed = "body.later"', 'missing = "lost"', "missing"),
    ],
)
def test_bad_tables(before, after, told):
    """What is wrong about the table is told when it is loaded."""
    with pytest.raises(ConfigError, match=told):
        load(BATCH.replace(before, after))
