"""Definitions that are brought along, and examples."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from servicing import a_job, load, reply

from tracker.config import Config
from tracker.errors import ConfigError, NotFound
from tracker.model import Fault, State
from tracker.services import Service, load_services
from tracker.services.examples import problems
from tracker.services.preset import laid_over, preset_names, read_preset

CHEAP = """
base_url = "https://api.example.com"
[status]
request = { path = "/jobs/{server_id}" }
state = "body.status"
[states]
processing = ["running"]
completed = ["done"]
"""


def preset(name: str, **over) -> Service:
    """A service that is a preset, with this laid over it."""
    services = {"docs": {"preset": name, **over}}
    return load_services(Config(database="x.db", services=services))["docs"]


@pytest.mark.parametrize("name", preset_names())
def test_presets_read_their_examples(name):
    """B14: every preset loads, has a title, and reads each of its examples as it is meant; the
    requests that it builds are the service's own."""
    found = preset(name)
    assert found.title and len(found.examples) >= 3
    assert {one.name: problems(found, one) for one in found.examples} == {
        one.name: [] for one in found.examples
    }
    assert any(one.sends for one in found.examples)
    states = {one.expected.get("state") for one in found.examples}
    assert "completed" in states and states & {"failed", "timeout", "cancelled"}


@pytest.mark.parametrize("name", preset_names())
def test_presets_check_each_of_their_calls(name):
    """B14: of every call that a preset can make about one job, and of every hop on the way to a
    result, an example has the request and another one, or the same, what is read in its reply."""
    found = preset(name)
    calls: set[Any] = {"status"}
    calls |= {call for call in ("create", "cancel", "delete") if getattr(found, call) is not None}
    if found.result is not None and found.result.request is not None:
        hops = range(1, len(found.result.hops) + 1)
        calls |= {("result", 0), *(("result", hop) for hop in hops)}

    def shown(what: str) -> set[Any]:
        return {
            (one.call, one.hop) if one.call == "result" else one.call
            for one in found.examples
            if getattr(one, what)
        }

    assert shown("sends") == calls
    assert shown("expected") == calls


def test_an_example_can_fail():
    """A reply that is read otherwise than it is meant is told, with what was read."""
    service = load(
        CHEAP
        + """
[examples.wrong]
json = { status = "running" }
state = "completed"
[examples.sent]
of = "j1"
json = { status = "done" }
sends = { method = "POST", url = "https://api.example.com/jobs/j2", headers = { X-A = "1" } }
"""
    )
    wrong, sent = service.examples
    assert problems(service, wrong) == ['state is "processing", expected "completed"']
    assert [one.split(",")[0] for one in problems(service, sent)] == [
        'method sent is "GET"',
        'url sent is "https://api.example.com/jobs/j1"',
        "header X-A sent is null",
    ]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('json = { a = 1 }\nbody = "x"\nstate = "failed"', "json exclude each other"),
        ('state = "done"', "state: expected one of"),
        ('http = 42\nstate = "failed"', "http"),
        ('stat = "failed"', "did you mean 'state'"),
    ],
)
def test_bad_examples(table, told):
    """A wrong example is told with its key."""
    with pytest.raises(ConfigError, match=r"examples\.x") as error:
        load(f"{CHEAP}[examples.x]\n{table}\n")
    assert told in str(error.value)


def test_a_preset_that_is_not_there():
    """An unknown preset is told with the nearest name there is."""
    with pytest.raises(ConfigError) as error:
        preset("openai-bach")
    assert str(error.value) == (
        "services.docs.preset: no preset 'openai-bach' (did you mean 'openai-batch'?)"
    )
    with pytest.raises(NotFound):
        read_preset("../../../etc/passwd")


def test_a_preset_is_laid_under():
    """B14: any key of a preset can be said otherwise, and a word moved to another state."""
    own = {
        "base_url": "https://eu.example.com/v1",
        "poll": {"every": "5m"},
        "states": {"failed": ["expired"]},
        "result": {"request": {"url": "https://eu.example.com/x/{server_id}"}},
    }
    found = preset("openai-batch", **own)
    assert found.poll.every == 300 and found.poll.first == preset("openai-batch").poll.first
    assert found.build_status(a_job()).url == "https://eu.example.com/v1/batches/j1"
    assert found.build_result(a_job()).url == "https://eu.example.com/x/j1"
    assert found.states["expired"] is State.FAILED and found.states["failed"] is State.FAILED
    assert found.states["completed"] is State.COMPLETED


def test_one_of_several_keys():
    """Of keys that exclude each other, one that is said takes the preset's other back."""
    below = tomllib.loads(
        '[create]\nrequest = { path = "/a", json = { x = 1 }, query = { q = "1" } }'
    )
    above = tomllib.loads('[create]\nrequest = { url = "https://b", form = { y = "2" } }')
    assert laid_over(below, above) == {
        "create": {"request": {"url": "https://b", "form": {"y": "2"}, "query": {"q": "1"}}}
    }


# Pacing.

PACED = (
    CHEAP
    + """
[pacing]
throttled = "body.errors[?code=='THROTTLED']"
final = "headers.\\"x-should-retry\\" == 'false'"
retry_after = [
    { value = 'headers."retry-after-ms"', unit = "ms" },
    { value = 'headers."x-reset"', unit = "epoch" },
    { value = "body.wait" },
]
"""
)


def read(body=None, status=200, **headers):
    text = {name.replace("_", "-"): value for name, value in headers.items()}
    return load(PACED).read_status(a_job(), reply(body or {}, status, headers=text))


def test_throttled_by_any_code():
    """A reply that says "too many" in its own way pauses the service, whatever its code."""
    for code in (200, 400, 403, 503):
        found = read({"errors": [{"code": "THROTTLED"}], "wait": 7}, code)
        assert (found.fault, found.retry_after) == (Fault.THROTTLED, 7.0)
    assert read({"status": "running", "errors": []}).state is State.PROCESSING


def test_final_failures():
    """A failure that the service calls final is not tried again: a 429 is a refusal then; a 5xx
    stays what it is, of which nobody knows what was done; a 401 is a matter of credentials."""
    assert read({}, 429, x_should_retry="false").fault is Fault.REFUSED
    failed = read({}, 503, x_should_retry="false")
    assert (failed.fault, failed.final) == (Fault.SERVER, True)
    assert read({}, 503, x_should_retry="true").final is False
    assert read({}, 401, x_should_retry="false").fault is Fault.UNAUTHORISED


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry_after_ms": "1500", "retry_after": "9"}, {}, 1.5),
        ({"retry_after": "9"}, {}, 9.0),
        ({"x_reset": "1769860830", "date": "Sat, 31 Jan 2026 12:00:00 GMT"}, {}, 30.0),
        ({"retry_after_ms": "soon"}, {"wait": "4"}, 4.0),
        ({"retry_after_ms": "99999999999"}, {}, 300.0),
        ({"retry_after_ms": "-1"}, {}, None),
        ({}, {}, None),
    ],
)
def test_when_to_come_back(headers, body, seconds):
    """What says when to come back is looked at in order, read in its unit, and capped; a good reply
    can say it too."""
    assert read(body, 503, **headers).retry_after == seconds
    assert read({"status": "running", **body}, **headers).retry_after == seconds


# What else a status can say.


def test_unknown_in_its_own_words():
    """A service that says "no such job" by another code than 404 is understood."""
    service = load(CHEAP.replace("[states]", """unknown = "contains(body.error || '', 'no job')"
[states]"""))  # fmt: skip
    assert (
        service.read_status(a_job(), reply({"error": "no job 7"}, 400)).state is State.UNKNOWN_JOB
    )
    assert service.read_status(a_job(), reply({"error": "bad"}, 400)).fault is Fault.REFUSED


def test_partial_results():
    """B8: a part of a result is told from all of it; what a failed job left is a part."""
    service = load(
        CHEAP.replace("[states]", 'partial = "body.failed > `0`"\n[states]').replace(
            'completed = ["done"]', 'completed = ["done"]\nfailed = ["error"]'
        )
        + '[result]\nvalue = "body.pages"\n'
    )

    def found(**body):
        return service.read_status(a_job(), reply(body))

    assert found(status="done", pages=[1], failed=1).partial is True
    assert found(status="done", pages=[1], failed=0).partial is False
    left = found(status="error", pages=[1])
    assert (left.result, left.partial) == ([1], True)
    assert found(status="error").partial is False


@pytest.mark.parametrize(
    ("name", "over"),
    [
        ("cloudconvert", {"result": {"request": {"path": "/x/{server_id}"}}}),
        ("gitlab-pipeline", {"auth": {"bearer": "env:X"}}),
        ("azure-lro", {"states": {"completed": ["Skipped"]}}),
        ("databricks-run", {"create": {"idempotency": "none"}}),
        ("databricks-run", {"list": False}),
        ("openai-video", {"status": {"progress": {"num": "body.a", "den": "body.b"}}}),
    ],
)
def test_what_is_said_otherwise_replaces(name, over):
    """B14: an alternative replaces what the preset has of its kind, and `false` takes a table
    back."""
    assert preset(name, **over).states


def test_examples_hold_for_what_they_were_written_for():
    """A preset that was changed is not judged by the preset's own examples."""
    assert preset("openai-batch", auth={"bearer": "env:X"}).examples
    assert preset("openai-batch", base_url="https://eu.example.com").examples == ()
