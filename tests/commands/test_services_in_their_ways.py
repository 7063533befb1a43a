"""Services that say "no" with HTTP 200, "later", "gone"; forms of several parts; constants."""

from __future__ import annotations

import signal
from email import message_from_bytes, policy
from urllib.parse import parse_qs, urlsplit

import pytest
from helping import cancel, made_due, outbox
from service import Answer, Hang

from tracker import clock

GRAPHQL = {"create": {"idempotency": "none"}, "refused": "body.userErrors[].message"}
ENDS = {"cancel": {"request": {"path": "/jobs/{server_id}", "method": "DELETE"}, "ends": True}}


# No, with HTTP 200.


def test_refused_with_200(project, service):
    """A create that is refused with HTTP 200 is a dead letter with the service's words, at once and
    not in doubt, although nothing tells a repeated create: it was not carried out."""
    project.configure(GRAPHQL)
    service.creates = [{"data": None, "userErrors": [{"message": "no such shop"}]}, "ok"]
    job = project.ok("submit", "docs", "--json").json["local_id"]
    [letter] = outbox(project)
    assert (letter["state"], letter["attempts"]) == ("dead", 1)
    assert letter["last_error"] == "no such shop"
    assert "no such shop" in project.ok("explain", job).out
    project.ok("poll")
    assert service.count("POST") == 1
    project.ok("outbox", "retry", str(letter["id"]))
    project.ok("poll")
    assert project.row(job)["server_id"] == "srv-1" and service.count("POST") == 2


def test_a_poll_that_is_refused(project, service):
    """A status call that is refused with HTTP 200 counts as a failed poll; the job goes on."""
    project.configure(GRAPHQL)
    service.statuses = [{"status": "done", "userErrors": [{"message": "not now"}]}, "done"]
    job = project.add()
    project.poll()
    row = project.row(job)
    assert (row["status"], row["retry_count"]) == ("processing", 1)
    assert "not now" in row["last_error"]
    project.until(lambda: project.poll() or project.row(job)["status"] == "completed")


def test_a_result_that_is_refused(project, service):
    """A result call that is refused with HTTP 200 brings no result: what the service says is no
    result of anybody, and the job fails for want of one, with the service's words."""
    project.configure({**GRAPHQL, "result": {"retry": {"attempts": 1}}})
    service.statuses = ["done"]
    service.results = [{"data": None, "userErrors": [{"message": "link has expired"}]}]
    job = project.add()
    project.poll()
    row = project.row(job)
    assert (row["status"], row["failure_reason"]) == ("failed", "result")
    assert "link has expired" in row["last_error"]
    assert project.rows("SELECT 1 FROM contents") == []
    assert list(project.path.glob("tracker.db.files/results/*")) == []


def test_a_result_that_is_not_looked_into(project, service):
    """A result that is no JSON, or a large one, is kept as it is, whatever it has in it."""
    project.configure(GRAPHQL)
    text = b'{"userErrors": [{"message": "mine"}]}'
    service.statuses = ["done"]
    service.scripts["srv-1/result"] = [Answer(text, headers={"Content-Type": "text/plain"})]
    service.scripts["srv-2/result"] = [Answer(text + b" " * 10**6)]
    jobs = [project.add(server_id) for server_id in ("srv-1", "srv-2")]
    project.poll()
    assert {project.row(job)["status"] for job in jobs} == {"completed"}


# Later.

BUSY = {"pacing": {"again": "body.code == 'BUSY'"}}


@pytest.mark.parametrize("code", [200, 400, 409, 503])
@pytest.mark.parametrize("idempotency", ["none", "header"])
def test_later(project, service, idempotency, code):
    """A create that the service did not begin with and wants later burns no attempt, is not in
    doubt, and pauses nothing: other jobs go on meanwhile, and it is made in the end, once."""
    retry = {"base": "30s", "cap": "30s", "attempts": 1}
    project.configure({**BUSY, "create": {"idempotency": idempotency}, "retry": retry})
    service.creates = [Answer({"code": "BUSY"}, code)] * 4 + ["accepted"]
    job = project.attempted()
    other = project.add("srv-9")
    project.poll()
    [owed] = outbox(project)
    assert (owed["state"], owed["attempts"]) == ("pending", 0)
    assert service.count("POST") == 1 and project.row(other)["poll_count"] > 0
    assert project.rows("SELECT 1 FROM budgets WHERE paused_until > '2020-01-01'") == []
    for _ in range(4):
        made_due(project)
    assert project.row(job)["server_id"] == "srv-1" and len(service.jobs) == 1
    assert outbox(project) == []


def test_many_later(project, service):
    """However many creates the service wants later, it is not paused for that."""
    project.configure({**BUSY, "retry": {"base": "1h", "cap": "1h"}})
    service.creates = [Answer({"code": "BUSY"}, 409)]
    for _ in range(7):
        project.record()
    running = project.add("srv-9")
    project.poll()
    assert service.count("POST") == 7 and project.row(running)["poll_count"] > 0
    assert project.rows("SELECT 1 FROM budgets WHERE paused_until > '2020-01-01'") == []
    assert {one["attempts"] for one in outbox(project)} == {0}


@pytest.mark.parametrize("code", [200, 409, 503])
def test_a_result_later(project, service, code):
    """A result that the service wants to give later burns no attempt, and what it says meanwhile is
    not taken for the result."""
    project.configure({**BUSY, "result": {"retry": {"attempts": 1}}})
    service.statuses = ["done"]
    service.results = [Answer({"code": "BUSY"}, code)] * 4 + [{"content_id": "c"}]
    job = project.add()
    for _ in range(6):
        made_due(project)
    assert project.row(job)["status"] == "completed" and service.count("GET", "/result") == 5
    assert [row["id"] for row in project.rows("SELECT id FROM contents")] == ["c"]


def test_a_poll_later(project, service):
    """A status call that the service wants later counts nothing; the next one is made in time."""
    project.configure(BUSY)
    service.statuses = [Answer({"code": "BUSY"}, 409)] * 3 + ["done"]
    job = project.add()
    project.poll()
    row = project.row(job)
    assert (row["status"], row["retry_count"]) == ("processing", 0) and row["last_error"]
    project.until(lambda: project.poll() or project.row(job)["status"] == "completed")


def test_later_says_when(project, service):
    """Where such a reply says when, it is not tried before."""
    project.configure(BUSY)
    service.creates = [Answer({"code": "BUSY"}, 409, {"Retry-After": "120"}), "accepted"]
    project.attempted()
    [owed] = project.rows("SELECT next_attempt_at FROM operations")
    assert 60 < clock.to_seconds(owed["next_attempt_at"]) - clock.now() <= 120
    project.poll()
    assert service.count("POST") == 1


def test_too_many_goes_first(project, service):
    """A reply that says "too many" and "later" pauses the service: nobody is called."""
    pacing = {"again": "body.code", "throttled": "body.code == 'SLOW'"}
    project.configure({"pacing": pacing})
    service.creates = [Answer({"code": "SLOW"}, 200, {"Retry-After": "60"}), "accepted"]
    project.attempted()
    project.add("srv-9")
    project.poll()
    assert service.count("GET") == 0
    [owed] = outbox(project)
    assert owed["attempts"] == 0
    [paused] = project.rows("SELECT fault FROM budgets WHERE paused_until > '2020-01-01'")
    assert paused["fault"] == "throttled"


# Gone.


def test_cancel_ends(project, service):
    """Where cancelling ends a job at its service, it is cancelled by that, not lost, and not asked
    for any more."""
    project.configure(ENDS)
    service.scripts["/jobs/srv-1"] = [
        lambda seen: Answer(b"", 204) if seen.method == "DELETE" else {"status": "running"}
    ]
    job = project.add()
    project.poll()
    project.ok("cancel", job)
    project.until(lambda: project.row(job)["status"] == "cancelled" or project.poll())
    asked = len(service.seen)
    project.poll()
    assert service.count("DELETE") == 1 and len(service.seen) == asked
    ends = [data["status"] for kind, data in project.events(job) if kind == "job:finalized"]
    assert ends == ["cancelled"]


@pytest.mark.parametrize(("code", "ends"), [(404, True), (410, True), (200, True), (409, False)])
def test_what_a_cancel_is_answered(project, service, code, ends):
    """A job that is gone already is cancelled too; a conflict leaves it to the status how the job
    ended."""
    project.configure(ENDS)
    job = project.add()
    project.poll()
    service.scripts["/jobs/srv-1"] = [
        lambda seen: Answer({}, code) if seen.method == "DELETE" else {"status": "done"}
    ]
    cancel(project, job)
    wanted = "cancelled" if ends else "completed"
    project.until(lambda: project.row(job)["status"] == wanted or project.poll())
    assert outbox(project) == []


@pytest.mark.parametrize("code", [403, 500])
def test_a_cancel_that_fails(project, service, code):
    """A cancel that failed ends nothing: the job goes on, and the wish is on record."""
    project.configure(ENDS)
    job = project.add()
    service.scripts["/jobs/srv-1"] = [
        lambda seen: Answer({}, code) if seen.method == "DELETE" else {"status": "running"}
    ]
    cancel(project, job)
    project.poll()
    assert project.row(job)["status"] == "processing"
    assert [one["kind"] for one in outbox(project)] == ["cancel"]


def test_killed_while_it_is_cancelled(project, service):
    """A poller that is killed after the service has removed the job, before it knew, leaves a job
    that is cancelled by the next one: a 404 of its status meanwhile loses nothing."""
    project.configure(ENDS)
    job = project.add()
    gone = []

    def answer(seen):
        if seen.method == "DELETE":
            gone.append(seen)
            return Hang(Answer({}, 204)) if len(gone) == 1 else Answer({}, 404)
        return Answer({}, 404) if gone else {"status": "running"}

    service.scripts["/jobs/srv-1"] = [answer]
    cancel(project, job)
    poller = project.start("poll")
    service.wait_for(1, "DELETE")
    poller.signal(signal.SIGKILL)
    poller.end()
    service.release()
    project.until(lambda: project.row(job)["status"] == "cancelled" or project.poll())
    assert service.count("DELETE") == 2


# Forms, constants, fields.


def parts(seen):
    """The parts of a multipart body: names, file names and contents."""
    head = f"Content-Type: {seen.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + seen.body, policy=policy.HTTP)
    return [
        (one.get_param("name", header="content-disposition"), one.get_filename(), one.get_content())
        for one in message.iter_parts()
    ]


def test_multipart_without_a_file(project, service):
    """`multipart = true` sends a form in parts although there is no file."""
    form = {"language": "{payload.language?}", "title": 'a "title"\r\n--x', "left": "{payload.no?}"}
    request = {"json": None, "form": form, "multipart": True}
    project.configure({"create": {"request": request}})
    project.ok("submit", "docs", "-p", "language=Zürich")
    [seen] = service.requests("POST")
    assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert [one[:2] for one in parts(seen)] == [("language", None), ("title", None)]
    assert "Zürich".encode() in seen.body and b'a "title"\r\n--x' in seen.body


@pytest.mark.parametrize("with_file", [False, True])
@pytest.mark.parametrize("multipart", [False, True])
def test_a_file_if_there_is_one(project, service, with_file, multipart):
    """`file = "name?"` sends the file of a job that has one, and the form alone of one without, as
    one part of several or urlencoded, as `multipart` says."""
    request = {"json": None, "form": {"language": "en"}, "file": "doc?", "multipart": multipart}
    project.configure({"create": {"request": request}})
    source = project.path / "a.txt"
    source.write_text("words")
    project.attempted(file=source if with_file else None)
    [seen] = service.requests("POST")
    if with_file:
        assert [one[:2] for one in parts(seen)] == [("language", None), ("doc", "a.txt")]
        assert b"\r\n\r\nwords\r\n--" in seen.body
    elif multipart:
        assert [one[:2] for one in parts(seen)] == [("language", None)]
    else:
        assert parse_qs(seen.body.decode()) == {"language": ["en"]}
    assert outbox(project) == []


def test_constants_and_fields_of_another(project, service):
    """Constants and the payload's fields reach the service in creates, polls and listings."""
    path = "/places/{vars.place}/jobs"
    create = {"path": path, "json": {"*": "{payload}", "place": "{vars.place}", "language": None}}
    project.configure(
        {
            "vars": {"place": "a b"},
            "create": {"request": create},
            "status": {"request": {"path": f"{path}/{{server_id}}"}},
            "list": {
                "request": {"path": path, "query": {"in": "{vars.place}"}},
                "items": "body.jobs",
                "server_id": "body.job_id",
            },
        }
    )
    created = {"job_id": "srv-1", "status": "running", "jobs": [{"job_id": "srv-2"}]}
    service.scripts["/places/a%20b/jobs"] = [created]
    service.scripts["/places/a%20b/jobs/srv-1"] = ["done"]
    service.scripts["/places/a%20b/jobs/srv-2"] = [{"job_id": "srv-2", "status": "running"}]
    job = project.ok("submit", "docs", "-p", "a:=1", "-p", "place=mine", "--json").json["local_id"]
    assert service.seen[0].json == {"a": 1, "place": "a b"}
    project.poll()
    assert project.row(job)["remote_state"] is not None
    project.ok("refresh", "docs")
    [listed] = [one for one in service.seen if "?" in one.path]
    assert parse_qs(urlsplit(listed.path).query) == {"in": ["a b"]}
    assert {row["server_id"] for row in project.rows("SELECT server_id FROM jobs")} == {
        "srv-1",
        "srv-2",
    }
