"""services.X.result: results that take several calls, and what jobs that ended badly left."""

from __future__ import annotations

import json
import signal

import pytest
from helping import at_rest
from s3front import error
from service import Answer, Hang

FILES, LINK, BLOB = "/jobs/srv-1/files", "/files/f%201", "/blob/1"
BODY = b"\x00\xffthe result"


def hops(**changed):
    """A result behind two hops and a link that takes no credentials."""
    first = {"path": "/jobs/{server_id}/files"}
    second = {"path": "/files/{vars.file}"}
    return {
        "auth": {"bearer": "env:TOKEN"},
        "result": {
            "request": {"path": None, "url": "{+vars.link}", "auth": False},
            "hops": [
                {"request": first, "capture": {"file": "body.files[0].id"}},
                {"request": second, "capture": {"link": "body.url"}},
            ],
            "content_id": None,
            **changed,
        },
    }


@pytest.fixture
def behind(project, service, monkeypatch):
    """A job that is done, whose result is behind two hops."""
    project.env["TOKEN"] = "s3cret"
    monkeypatch.setenv("TOKEN", "s3cret")
    project.configure(hops())
    service.statuses = ["done"]
    service.scripts[FILES] = [{"files": [{"id": "f 1"}, {"id": "other"}]}]
    service.scripts[LINK] = [lambda _: {"url": f"{service.url}{BLOB}?sig=a%2Fb&x=1"}]
    service.scripts[BLOB] = [Answer(BODY, headers={"Content-Type": "a/b"})]
    return project


def killed_during(project, service, path, calls=1):
    """Have a poller killed while its call, the n-th one of this path, is on its way."""
    poller = project.start("poll")
    service.wait_for(calls, "GET", path)
    poller.signal(signal.SIGKILL)
    poller.end()


def result(project, job):
    """The bytes that `show --result` gives out."""
    with project.tracker() as tracker:
        return tracker.result(job)


def test_the_way(behind, service):
    """A result that is behind two replies is fetched by three calls, in order; what one brings is
    in the next one's path or its whole URL, and the link is called without credentials."""
    job = behind.add()
    behind.ok("poll")
    assert behind.row(job)["status"] == "completed" and result(behind, job) == BODY
    way = [one for one in service.seen if one.path != "/jobs/srv-1"]
    assert [one.path for one in way] == [FILES, LINK, f"{BLOB}?sig=a%2Fb&x=1"]
    assert [one.headers.get("authorization") for one in way] == [*["Bearer s3cret"] * 2, None]
    assert "link" not in behind.row(job)["vars"], "a link is of the way, not of the job"


def test_a_link_grows_old(behind, service):
    """When a call on the way fails, all calls are made again; a result that comes then is whole."""
    service.scripts[BLOB] = [Answer(b"expired", 403), *service.scripts[BLOB]]
    job = behind.add()
    behind.poll()
    at_rest(behind)
    assert behind.row(job)["status"] == "completed" and result(behind, job) == BODY
    assert [service.count("GET", path) for path in (FILES, LINK, BLOB)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Answer({"error": "no such file"}, 404), "no such file"),
        (Answer(b"<html>"), "not JSON"),
        ({"files": []}, "lacks body.files[0].id"),
        ({"files": [{"id": None}]}, "lacks body.files[0].id"),
        ([], "lacks body.files[0].id"),
        (Answer({"error": "out of order"}, 500), "out of order"),
    ],
    ids=["404", "text", "none", "null", "list", "500"],
)
def test_a_way_that_leads_nowhere(behind, service, told, words):
    """A way whose first call never brings what is needed is given up after `retry.attempts`; the
    job fails because of its result, with the reason, and nothing behind it is called."""
    service.scripts[FILES] = [told]
    job = behind.add()
    behind.poll()
    at_rest(behind)
    row = behind.row(job)
    assert row["status"] == "failed" and row["failure_reason"] in ("result", "expired")
    assert words in row["last_error"]
    assert (service.count("GET", FILES), service.count("GET", LINK)) == (3, 0)


@pytest.mark.parametrize(
    "link",
    ["http://127.0.0.2:1/x", "https://evil.example/x", "file:///etc/passwd", "//evil.example", 5],
)
def test_a_link_to_another_host(behind, service, link):
    """A link that leads to a host that the service may not have is never called: the job fails,
    and says why."""
    service.scripts[LINK] = [{"url": link}]
    job = behind.add()
    behind.poll()
    at_rest(behind)
    assert behind.row(job)["failure_reason"] == "result"
    assert "result.request" in behind.row(job)["last_error"]


def test_killed_on_the_way(behind, service):
    """A poller that is killed on the way is followed by one that goes on from the step that is on
    record: what is behind is not asked for again."""
    service.scripts[BLOB] = [Hang(), *service.scripts[BLOB]]
    job = behind.add()
    killed_during(behind, service, BLOB)
    assert behind.row(job)["status"] == "retrieving"
    service.release()
    behind.until(lambda: behind.poll() or behind.row(job)["status"] == "completed")
    assert result(behind, job) == BODY
    assert [service.count("GET", path) for path in (FILES, LINK, BLOB)] == [1, 1, 2]


def test_too_many_calls_on_the_way(behind, service):
    """A 429 on the way counts nothing, and what is behind is kept."""
    service.scripts[BLOB] = [Answer({}, 429, {"Retry-After": "0"}), *service.scripts[BLOB]]
    job = behind.add()
    behind.poll()
    at_rest(behind)
    assert behind.row(job)["status"] == "completed"
    assert [service.count("GET", path) for path in (FILES, LINK, BLOB)] == [1, 1, 2]


# What a job that did not end well left.

WORDS = ["error", "timeout", "cancelled"]
ENDED = {
    "error": ("failed", "service", "out of ink"),
    "timeout": ("failed", "timeout", "Processing timeout"),
    "cancelled": ("cancelled", None, None),
}


def ended_badly(project, service, word, *results, **changed):
    """A job of this end after what was left of its result was fetched."""
    states = ["completed", "failed", "timeout", "cancelled"]
    project.configure({"result": {"states": states, **changed}})
    service.statuses = [{"status": word, "error": {"message": "out of ink"}, "left": 2}]
    service.results = results or [{"content_id": "c-1", "pages": [1, 2]}]
    job = project.add()
    project.poll()
    if results:
        at_rest(project)
    row = project.row(job)
    told = (row["status"], row["failure_reason"], row["error_message"])
    assert told[:2] == ENDED[word][:2] and (word != "error" or told[2] == "out of ink")
    return job


@pytest.mark.parametrize("word", WORDS)
def test_what_is_left_is_kept(project, service, word):
    """What a job left that failed, took too long or was cancelled is fetched and marked partial,
    and the job ends as its service said, once."""
    job = ended_badly(project, service, word)
    [content] = project.rows("SELECT * FROM contents")
    assert content["partial"] == 1 and json.loads(result(project, job))["pages"] == [1, 2]
    assert project.row(job)["result_content_id"] == content["id"] == "c-1"
    assert project.json("show", job)["error_message"] == project.row(job)["error_message"]
    ends = [data for kind, data in project.events(job) if kind == "job:finalized"]
    assert [one["status"] for one in ends] == [ENDED[word][0]]


@pytest.mark.parametrize("code", [404, 500])
@pytest.mark.parametrize("word", WORDS)
def test_nothing_is_left(project, service, word, code):
    """A job of which nothing is left ends all the same as its service said: no dead letter, no
    result, and not failed for want of one."""
    ended_badly(project, service, word, Answer({"error": "nothing here"}, code))
    assert project.rows("SELECT * FROM contents") == project.rows("SELECT * FROM operations") == []


def test_others_are_not_asked_for(project, service):
    """Only after the ends in `states` is anything fetched."""
    project.configure({"result": {"states": ["completed", "timeout"]}})
    service.statuses = ["error"]
    job = project.add()
    project.poll()
    assert project.row(job)["status"] == "failed" and service.count("GET", "/result") == 0


@pytest.mark.parametrize("word", ["done", "error"])
@pytest.mark.parametrize(("when", "calls"), [("body.left > `1`", 1), ("body.left > `2`", 0)])
def test_when(project, service, word, when, calls):
    """`when` reads in the last status reply whether there is a result; without one the job has
    ended at once, and nobody asks."""
    states = ["completed", "failed"]
    project.configure({"result": {"states": states, "when": when}})
    service.statuses = [{"status": word, "left": 2}]
    job = project.add()
    project.poll()
    assert project.row(job)["status"] == {"done": "completed", "error": "failed"}[word]
    assert service.count("GET", "/result") == len(project.rows("SELECT 1 FROM contents")) == calls


def test_killed_while_it_is_fetched(project, service):
    """A poller killed while it fetches what a failed job left changes nothing about its end."""
    project.configure({"result": {"states": ["failed"]}})
    service.statuses, service.results = ["error"], [Hang({"content_id": "c"}), {"content_id": "c"}]
    job = project.add()
    killed_during(project, service, "/result")
    service.release()
    project.until(lambda: project.poll() or project.row(job)["status"] == "failed")
    assert project.row(job)["failure_reason"] == "service"
    assert project.rows("SELECT id, partial FROM contents") == [{"id": "c", "partial": 1}]


def test_stopped_and_partial(project, service):
    """What a job left that was cancelled from here is kept as well."""
    cancel = {"request": {"path": "/jobs/{server_id}/cancel"}}
    project.configure({"cancel": cancel, "result": {"states": ["cancelled"]}})
    service.scripts["/jobs/srv-1/cancel"] = [{}]
    job = project.add()
    project.ok("cancel", job)
    service.statuses = ["cancelled"]
    project.until(lambda: project.poll() or project.row(job)["status"] == "cancelled")
    assert [row["partial"] for row in project.rows("SELECT partial FROM contents")] == [1]


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("word", WORDS)
def test_what_is_left_goes_to_s3(project, service, s3, word, stored):
    """What such a job left can be kept in S3 too; it ends as its service said, also where S3 does
    not take it: then it stays in its file."""
    project.upload_to(
        s3, {"result": {"keep": "object", "states": ["failed", "timeout", "cancelled"]}}
    )
    if not stored:
        s3.interfere(lambda _: error(403, "AccessDenied", "no"), "PutObject")
    service.statuses = [{"status": word, "error": {"message": "out of ink"}}]
    job = project.add()
    at_rest(project)
    row = project.row(job)
    assert (row["status"], row["failure_reason"]) == ENDED[word][:2]
    [content] = project.rows("SELECT * FROM contents")
    assert content["partial"] == 1 and (content["object_id"] is not None) == stored
    assert (content["path"] is None) == stored


def test_a_second_life(project, service):
    """When a job of which a part was kept is reopened and completes, its whole result takes the
    place of the part, also under the same id."""
    project.configure({"result": {"states": ["failed"]}})
    service.statuses = ["error", "done"]
    job = project.add()
    project.poll()
    assert [row["partial"] for row in project.rows("SELECT partial FROM contents")] == [1]
    project.ok("reopen", job)
    project.until(lambda: project.poll() or project.row(job)["status"] == "completed")
    assert project.rows("SELECT id, partial FROM contents") == [{"id": "content-1", "partial": 0}]


def test_ended_by_hand_meanwhile(project, service):
    """A job that a person fails while what it left is fetched has failed by that: nothing more is
    fetched, and nothing is owed."""
    retry = {"base": "1h", "cap": "1h"}
    project.configure({"result": {"states": ["failed"], "retry": retry}})
    service.statuses, service.results = ["error"], [Answer({}, 500), {"content_id": "c"}]
    job = project.add()
    project.poll()
    project.ok("fail", job)
    at_rest(project)
    assert project.row(job)["failure_reason"] == "person"
    assert service.count("GET", "/result") == 1 and project.rows("SELECT 1 FROM contents") == []
