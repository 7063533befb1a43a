"""Definitions that do not fit their service, and services that lie, as somebody at a shell meets
them. (Replies without end are in tests/services/test_hostile_replies.py.)"""

from __future__ import annotations

import sys
import time
from collections import Counter
from email.utils import formatdate
from itertools import count
from urllib.parse import urlsplit

import pytest
from service import Answer, JobService

from tracker import clock

LONG_AGO = "2020-01-01T00:00:00.000Z"


def add(project, jobs, service="docs"):
    """Track these jobs."""
    with project.tracker() as tracker:
        for server_id in jobs:
            tracker.add(service, server_id)


def apart(project, service, answers, **docs):
    """Configure a service for each of these answers, each with a running job that is named like it
    and gets that answer; services are paused by themselves."""
    status = {"request": {"path": "/jobs/{server_id}"}, "state": "body.status"}
    states = {"processing": ["running"], "completed": ["done"]}
    one = {"base_url": service.url, "status": status, "states": states, **docs}
    names = {f"s{number}": name for number, name in enumerate(answers)}
    project.configure(services={"docs": None, **dict.fromkeys(names, one)})
    service.scripts = {number: [answers[name]] for number, name in names.items()}
    with project.tracker() as tracker:
        for number in names:
            tracker.add(number, number)
    return names


def rows(project, names):
    """The jobs of `apart`, by the names of their answers."""
    return {names[row["server_id"]]: row for row in project.rows("SELECT * FROM jobs")}


# Definitions.


def test_a_state_that_is_never_found(project, service):
    """A state expression that never matches ends no job and fails no poll: `show` and `explain` say
    what is missing, `services check --live` shows the reply, `health` names the job when it is
    stuck; with the right expression it goes on to its end."""
    project.configure({"status": {"state": "body.state.name"}, "result": None})
    service.statuses = ["done"]
    job = project.add()
    for _ in range(3):
        project.ok("poll", "--quiet")
    row = project.row(job)
    assert (row["status"], row["remote_state"], row["retry_count"]) == ("processing", None, 0)
    missing = "the reply has no state, which the service's definition does not list"
    assert project.json("show", job)["last_error"] == missing
    assert missing in project.ok("explain", job).out
    live = project.run("services", "check", "--live", job)
    assert '"status": "done"' in live.out.replace("'", '"') and "unknown_word" in live.out
    project.write("UPDATE processing_jobs SET accepted_at = ?", LONG_AGO)
    assert job[-8:] in project.run("health").out
    project.configure({"result": None})
    project.ok("poll", "--quiet")
    assert project.row(job)["status"] == "completed"


def test_a_state_that_is_never_found_and_an_end(project, service):
    """Where the definition says when to give up, such a job ends then, and the end quotes what was
    last seen."""
    poll = {"give_up_after": "200ms"}
    project.configure({"status": {"state": "body.state"}, "result": None, "poll": poll})
    service.statuses = ["done"]
    job = project.add()
    project.start("run", "--quiet")
    project.until(lambda: project.row(job)["status"] == "failed")
    row = project.row(job)
    assert row["failure_reason"] == "gave_up"
    assert row["error_message"] == "Not finished after 0.2 s (last state None)"


WRONG = {
    "overlap": ({"states": {"failed": ["done"]}}, 'states.failed: "done" is also among completed'),
    "overlap in another case": (
        {"fold_case": True, "states": {"timeout": ["Done"]}},
        'states.timeout: "Done" is also among completed',
    ),
    "no such preset": (
        {"preset": "openai-bach"},
        "services.docs.preset: no preset 'openai-bach' (did you mean 'openai-batch'?)",
    ),
    "a preset that is a path": ({"preset": "../openai-batch"}, "services.docs.preset: no preset"),
    "an expression that ends early": (
        {"status": {"state": "body.[["}},
        "services.docs.status.state",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_definitions_that_cannot_be(project, service, name):
    """Words that mean two things, presets that there are not and broken expressions are one line
    with their key, exit 2, before anybody is called or anything is written."""
    project.add()
    docs, told = WRONG[name]
    project.configure(docs)
    for command in (["poll"], ["submit", "docs"]):
        assert told in project.refused(2, *command)
    assert service.seen == []


# Redirects.

ELSEWHERE = {
    "another port": "http://127.0.0.1:{port}/jobs/srv-1",
    "localhost": "http://localhost:{port}/jobs/srv-1",
    "no scheme": "//127.0.0.1:{port}/jobs/srv-1",
    "a number": "http://2130706433:{port}/jobs/srv-1",
    "short": "http://127.1:{port}/jobs/srv-1",
    "IPv6": "http://[::ffff:127.0.0.1]:{port}/jobs/srv-1",
    "user": "http://127.0.0.1:{own}@127.0.0.1:{port}/jobs/srv-1",
    "backslash": "http://127.0.0.1:{port}\\@127.0.0.1:{own}/jobs/srv-1",
    "metadata": "http://169.254.169.254/latest/meta-data",
    "a file": "file:///etc/passwd",
}


@pytest.fixture
def other():
    """A service that nobody was told of."""
    one = JobService()
    one.statuses = ["done"]
    yield one
    one.close()


def sent_to(other, service, where):
    """A redirect there."""
    own, port = urlsplit(service.url).port, urlsplit(other.url).port
    return Answer(b"", 302, {"Location": where.format(port=port, own=own)})


def test_status_calls_that_are_sent_elsewhere(project, service, other):
    """A redirect to another host, another port, or loopback by any name is not followed: nobody is
    called there, no credentials leave, and the job goes on with what was wrong on record."""
    answers = {name: sent_to(other, service, where) for name, where in ELSEWHERE.items()}
    auth = {"bearer": "env:DOCS_TOKEN"}
    names = apart(project, service, answers, auth=auth)
    project.ok("poll", "--quiet", DOCS_TOKEN="tok-4711-which-nobody-may-read")
    for name, row in rows(project, names).items():
        assert (row["status"], row["retry_count"]) == ("processing", 1), name
        assert "redirects" in row["last_error"] or "can be called" in row["last_error"], name
    assert other.seen == [] and service.count() == len(ELSEWHERE)
    assert "tok-4711" not in "".join(project.dump())


def failed(project):
    """A job that a running poller saw fail."""
    job = project.add()
    project.start("run", "--quiet")
    project.until(lambda: project.row(job)["status"] == "failed")
    return job


NEAR = ["another port", "localhost", "no scheme", "metadata"]


@pytest.mark.parametrize("name", NEAR)
def test_a_result_that_is_sent_elsewhere(project, service, other, name):
    """The same for the call that fetches a result: its job fails in the end, and says why."""
    service.statuses = ["done"]
    service.results = [sent_to(other, service, ELSEWHERE[name])]
    job = failed(project)
    assert project.row(job)["error_message"] == "Failed to retrieve result"
    assert "another host" in project.ok("show", job).out
    assert other.seen == [] and service.count("GET", "result") == 3


@pytest.mark.parametrize("name", NEAR)
def test_a_result_that_is_said_to_be_elsewhere(project, service, other, name):
    """A URL that the service names in a reply is not called either, unless its host is allowed."""
    own, port = urlsplit(service.url).port, urlsplit(other.url).port
    link = ELSEWHERE[name].format(port=port, own=own)
    project.configure(
        {
            "status": {"capture": {"link": "body.link"}},
            "result": {"request": {"url": "{+vars.link}", "path": None}},
        }
    )
    service.statuses = [{"status": "done", "link": link}]
    row = project.row(failed(project))
    assert "neither base_url's origin nor" in row["last_error"]
    assert other.seen == [] and service.count("GET", "result") == 0


def test_creates_that_are_sent_elsewhere(project, service, other):
    """A create is not repeated at another place, whatever the code says: it is given up, and the
    job waits for a person; a 303 may mean that there is a job, so it is asked for by its key."""
    where = ELSEWHERE["another port"].format(port=urlsplit(other.url).port)
    codes = (301, 302, 303, 307, 308)
    service.creates = [*(Answer(b"", code, {"Location": where}) for code in codes), "accepted"]
    for _ in codes:
        project.record()
    project.start("run", "--quiet")
    project.until(lambda: project.rows("SELECT 1 FROM jobs WHERE status = 'processing'"))
    project.until(lambda: len(project.json("outbox", "--state", "dead")) == 4)
    owed = project.json("outbox")
    assert sorted(one["last_http_status"] for one in owed) == [301, 302, 307, 308]
    assert service.count("POST") == 6 and other.seen == []


# When to come back.

YEARS = "99999999"
AN_HOUR_AGO = formatdate(time.time() - 3600, usegmt=True)
ASKED = {
    "years": ({"Retry-After": YEARS}, 300),
    "beyond numbers": ({"Retry-After": "1e999"}, 300),
    "a date in years": ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 300),
    "less than nothing": ({"Retry-After": "-1"}, 5),
    "nothing": ({"Retry-After": "0"}, 5),
    "in the past": ({"Retry-After": AN_HOUR_AGO}, 5),
    "no number": ({"Retry-After": "NaN"}, 5),
    "a word": ({"Retry-After": "soon"}, 5),
    "two": ({"Retry-After": "3, 60"}, 5),
    "there is enough": ({"Retry-After": "30", "X-RateLimit-Remaining": "1000"}, 30),
    "a reset in the past": ({"Retry-After": "30", "X-RateLimit-Reset": "1"}, 5),
    "a reset in years": ({"Retry-After": "30", "X-RateLimit-Reset": "99999999999"}, 300),
    "a reset that is none": ({"Retry-After": "30", "X-RateLimit-Reset": "never"}, 30),
}
RESET = {"retry_after": [{"value": 'headers."x-ratelimit-reset"', "unit": "epoch"}]}


def test_a_429_that_asks_for_the_absurd(project, service):
    """Whatever a 429 says about when to come back, its service is paused for 5 s at least and for
    `retry_after_cap` at most, and the job is none the worse; of headers that contradict each other
    the first that the definition names counts."""
    answers = {name: Answer({"error": "no"}, 429, headers) for name, (headers, _) in ASKED.items()}
    names = apart(project, service, answers, pacing=RESET)
    began = time.time()
    project.ok("poll", "--quiet")
    took = time.time() - began
    found = project.rows("SELECT service, paused_until FROM budgets")
    pauses = {names[one["service"]]: clock.read(one["paused_until"], 0) - began for one in found}
    for name, (_, seconds) in ASKED.items():
        assert seconds <= pauses[name] <= seconds + took, name
    assert service.count() == len(ASKED)
    assert {row["retry_count"] for row in rows(project, names).values()} == {0}


def test_a_503_that_asks_for_the_absurd(project, service):
    """The same for a failure that is the job's: it backs off, at most as long as the cap."""
    answers = {name: Answer({"error": "no"}, 503, headers) for name, (headers, _) in ASKED.items()}
    names = apart(project, service, answers, pacing=RESET, retry_after_cap="20s")
    project.ok("poll", "--quiet")
    for name, row in rows(project, names).items():
        wait = clock.read(row["next_poll_at"], 0) - clock.read(row["last_poll_at"], 0)
        asked = min(ASKED[name][1], 20)
        assert min(asked, 5) <= wait <= max(asked, 5.5) and row["retry_count"] == 1, name
        assert row["status"] == "processing", name


def test_a_good_reply_that_asks_for_the_absurd(project, service):
    """`Retry-After` of a good reply changes nothing."""
    service.statuses = [Answer({"status": "running"}, 200, {"Retry-After": YEARS})]
    job = project.add()
    project.ok("poll", "--quiet", "--for", "1s")
    assert project.row(job)["poll_count"] > 3


LAST = {"exhausted": "headers.\"x-ratelimit-remaining\" == '0'", **RESET}
LEFT = {
    "none, until soon": ({"X-RateLimit-Remaining": "0", "Retry-After": "40"}, 40),
    "none, until years": ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}, 300),
    "none, until long ago": ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, 0),
    "none, until nobody says": ({"X-RateLimit-Remaining": "0"}, 0),
    "less than none": ({"X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "99999999999"}, 0),
    "enough": ({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "99999999999"}, 0),
}


def test_a_last_call_of_the_absurd(project, service):
    """B3: a good reply that says that no calls are left counts for its job, and rests the service
    until the reset, as long as the cap at most; one that says no more than that rests nothing."""
    answers = {
        name: Answer({"status": "done"}, 200, headers) for name, (headers, _) in LEFT.items()
    }
    names = apart(project, service, answers, pacing=LAST)
    began = time.time()
    project.ok("poll", "--quiet")
    took = time.time() - began
    assert {row["status"] for row in rows(project, names).values()} == {"completed"}
    found = project.rows("SELECT service, paused_until FROM budgets WHERE paused_until NOTNULL")
    pauses = {names[one["service"]]: clock.read(one["paused_until"], 0) - began for one in found}
    for name, (_, seconds) in LEFT.items():
        assert seconds <= pauses.get(name, 0) <= seconds + took, name


def test_the_last_call(project, service):
    """B3: after the reply that says that no calls are left nothing goes out but what was in flight;
    nobody is the worse for it."""
    rest = Answer({"status": "running"}, 200, {"X-RateLimit-Remaining": "0", "Retry-After": "60"})
    project.configure({"pacing": LAST, "result": None})
    number = count(1)
    service.statuses = [lambda seen: rest if next(number) == 20 else "running"]
    add(project, [f"srv-{number}" for number in range(100)])
    project.ok("poll", "--quiet")
    assert 20 <= service.count() <= 20 + 8
    assert project.rows("SELECT max(retry_count) AS most FROM jobs") == [{"most": 0}]
    assert "no calls are left" in project.json("services", "list")[0]["paused_why"]


# Credentials that end in the middle of a pass.

OLD, NEW = "tok-4711-the-old-one", "tok-4712-the-new-one"


def provider(folder, says):
    """A command that prints what a file says, and notes that it ran."""
    (folder / "says").write_text(says)
    script = folder / "provider.py"
    script.write_text(
        f"open({str(folder / 'ran')!r}, 'a').write('x')\n"
        f"print(open({str(folder / 'says')!r}).read())\n"
    )
    return {"auth": {"bearer": f"command:{sys.executable} {script}"}, "result": None}


def test_credentials_that_expire_in_a_pass(project, service, tmp_path):
    """J12: when the credentials expire while a pass over many jobs is under way, the provider is
    asked again, once for all calls that were refused, and every job is polled in that pass."""
    project.configure(provider(tmp_path, OLD))
    add(project, [f"srv-{number}" for number in range(200)])

    def guarded(seen):
        if service.count() >= 60:
            (tmp_path / "says").write_text(NEW)
            if seen.headers["authorization"] != f"Bearer {NEW}":
                return Answer({"error": "expired"}, 401)
        return "running"

    service.statuses = [guarded]
    assert project.ok("poll").line == "200 polled"
    refused = Counter(seen.headers["authorization"] for seen in service.requests()[60:])
    assert refused[f"Bearer {OLD}"] <= 8
    assert (tmp_path / "ran").read_text() == "xx"
    rows = project.rows("SELECT DISTINCT retry_count, last_http_status, last_error FROM jobs")
    assert rows == [{"retry_count": 0, "last_http_status": 200, "last_error": None}]
    assert project.rows("SELECT 1 FROM budgets WHERE pause_count > 0") == []


def test_credentials_that_come_back_late(project, service, tmp_path):
    """J12, J14: where the provider brings the refused ones again, all calls stop after those that
    were in flight, nothing is burnt, and a running poller goes on as soon as there are others."""
    (tmp_path / "token").write_text(OLD)
    project.configure({"auth": {"bearer": f"file:{tmp_path / 'token'}"}, "result": None,
                       "poll": {"every": "1h"}})  # fmt: skip
    add(project, [f"srv-{number}" for number in range(200)])
    refused = []

    def guarded(seen):
        if service.count() >= 60 and seen.headers["authorization"] != f"Bearer {NEW}":
            refused.append(seen)
            return Answer({"error": "expired"}, 401)
        return "running"

    service.statuses = [guarded]
    project.start("run", "--quiet")
    project.until(lambda: project.rows("SELECT 1 FROM budgets WHERE fault = 'unauthorised'"))
    assert project.rows("SELECT max(retry_count) AS most FROM jobs") == [{"most": 0}]
    (tmp_path / "token").write_text(NEW)
    polled = "SELECT count(*) AS jobs FROM jobs WHERE last_http_status = 200"
    project.until(lambda: project.rows(polled) == [{"jobs": 200}])
    assert len(refused) <= 8
    assert project.rows("SELECT max(retry_count) AS most FROM jobs") == [{"most": 0}]
