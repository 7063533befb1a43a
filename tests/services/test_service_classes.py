"""services.X.class: the two classes that docs/extending.md shows, and classes that are broken."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from service import Answer, JobService
from servicing import load

from tracker.errors import ConfigError

DOC = (Path(__file__).parents[2] / "docs" / "extending.md").read_text("utf-8")
SECTION = DOC.partition("\n## A service that a table cannot describe\n")[2]
LONG_AGO = "2020-01-01T00:00:00.000Z"


def blocks(language):
    """The section's blocks of code in this language."""
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)


def installed(project, service, number, name, site):
    """Put the n-th example into the project's folder, with `service` in the place of `site`."""
    module, toml = blocks("python")[number], blocks("toml")[number]
    assert module.startswith(f"# {name}.py\n") and f'"{name}:' in toml and site in toml
    (project.path / f"{name}.py").write_text(module)
    quick = 'rate = "unlimited"\npoll = { first = "0s", every = "20ms", max_per_minute = 6000 }\n'
    toml = toml.replace(site, service.url).replace("class ", f"{quick}class ", 1)
    project.toml.write_text(toml)


def polled_until(project, condition):
    """Poll by the installed command, with jobs due at once, until a condition holds."""

    def passed():
        project.ok("poll")
        return condition()

    return project.until(passed)


# The two examples.


@pytest.fixture
def jenkins(project, service):
    """A project on a Jenkins of one project; its queue item 9 becomes build 42."""
    project.env["JENKINS_TOKEN"] = "s3cret"
    installed(project, service, 0, "jenkins", "https://jenkins.example.com")
    item = f"{service.url}/queue/item/9/"
    service.build = f"{service.url}/job/mill/42/"
    service.scripts["/job/mill/buildWithParameters"] = [
        Answer(b"", 201, {"Location": item, "Content-Type": "text/plain"})
    ]
    service.scripts["/queue/item/9/api/json"] = [
        {"why": "no executor", "executable": None},
        lambda _: {"executable": {"number": 42, "url": service.build}},
    ]
    service.scripts["/job/mill/42/api/json"] = [
        {"building": True, "result": None},
        {"building": False, "result": "SUCCESS"},
    ]
    service.scripts["/job/mill/42/consoleText"] = [Answer("it\nworks")]
    return project


def test_jenkins(jenkins, service):
    """The Jenkins of docs/extending.md: the queue item is asked for until it has become a build,
    then the build is, with the same credentials; its console is the result."""
    job = jenkins.ok("submit", "jenkins", "--payload", '{"job": "mill"}', "--json").json["local_id"]
    assert jenkins.row(job)["server_id"] == f"{service.url}/queue/item/9/"
    polled_until(jenkins, lambda: jenkins.row(job)["status"] == "completed")
    asked = [one.path for one in service.seen]
    item, build = "/queue/item/9/api/json", "/job/mill/42/api/json"
    assert asked[1:] == [item, item, build, build, "/job/mill/42/consoleText"]
    assert all(one.headers["authorization"].startswith("Basic ") for one in service.seen)
    assert f"note={job}".encode() in service.seen[0].body
    assert jenkins.ok("show", job, "--result").out == "it\nworks"


def test_jenkins_names_another_host(jenkins, service):
    """A build URL at another host is not followed, and the token does not go there; the job goes
    on, and says why nothing is known of it."""
    other = JobService()
    service.build = f"{other.url}/job/mill/42/"
    job = jenkins.ok("submit", "jenkins", "--payload", '{"job": "mill"}', "--json").json["local_id"]
    polled_until(jenkins, lambda: jenkins.row(job)["last_error"])
    other.close()
    assert other.seen == []
    assert jenkins.row(job)["status"] == "processing"
    assert "status.request" in jenkins.row(job)["last_error"]


def test_jenkins_cancels_in_the_queue(jenkins, service):
    """An item that was taken out of the queue is a cancelled job."""
    service.scripts["/queue/item/9/api/json"] = [{"cancelled": True}]
    job = jenkins.ok("submit", "jenkins", "--payload", '{"job": "mill"}', "--json").json["local_id"]
    polled_until(jenkins, lambda: jenkins.row(job)["status"] == "cancelled")


def workflow(name, status, at=1):
    return {"name": name, "status": status, "created_at": f"2026-01-01T00:00:0{at}Z"}


CIRCLE = {
    "none yet": ([], "processing", "created"),
    "one runs": ([workflow("a", "success"), workflow("b", "running")], "processing", "running"),
    "on hold": ([workflow("a", "failed"), workflow("b", "on_hold")], "processing", "on_hold"),
    "all done": ([workflow("a", "success"), workflow("b", "success")], "completed", "success"),
    "one failed": ([workflow("a", "failed"), workflow("b", "success")], "failed", "failed"),
    "run again": ([workflow("a", "failed"), workflow("a", "success", 2)], "completed", "success"),
    "run before": ([workflow("a", "success", 2), workflow("a", "failed")], "completed", "success"),
    "stopped": ([workflow("a", "canceled"), workflow("b", "success")], "cancelled", "canceled"),
    "new word": ([workflow("a", "teleported")], "completed", "success"),
}


@pytest.fixture
def circle(project, service):
    """A project on a CircleCI."""
    project.env["CIRCLE_TOKEN"] = "s3cret"
    installed(project, service, 1, "circle", "https://circleci.com/api/v2")
    service.scripts["/project/gh%2Facme%2Fmill/pipeline"] = [{"id": "p-1", "number": 7}]
    return project


@pytest.mark.parametrize("case", [name for name in CIRCLE if name != "new word"])
def test_circle(circle, service, case, monkeypatch):
    """The CircleCI of docs/extending.md: a pipeline is as its workflows are together, of which
    those that were run again count once."""
    items, status, word = CIRCLE[case]
    monkeypatch.setenv("CIRCLE_TOKEN", "s3cret")
    service.scripts["/pipeline/p-1/workflow"] = [{"items": items, "next_page_token": None}]
    with circle.tracker() as tracker:
        job = tracker.submit("circle", {"project": "gh/acme/mill", "branch": "main"}, sync=False)
        tracker.poll()
        found = circle.until(
            lambda: tracker.poll() and (tracker.get(job).remote_state and tracker.get(job))
        )
    assert (found.status, found.remote_state) == (status, word)
    assert (found.error_message == "failed: a") == (status == "failed")


def test_circle_by_command(circle, service):
    """The same by the installed command: submit, poll, completed; the examples that
    `tracker services try` is given are read through the class."""
    service.scripts["/pipeline/p-1/workflow"] = [
        {"items": [workflow("a", "running")]},
        {"items": [workflow("a", "success")]},
    ]
    data = '{"project": "gh/acme/mill", "branch": "main"}'
    job = circle.ok("submit", "circle", "--payload", data, "--json").json["local_id"]
    polled_until(circle, lambda: circle.row(job)["status"] == "completed")
    assert {one.headers["circle-token"] for one in service.seen} == {"s3cret"}
    reply = circle.path / "reply.json"
    reply.write_text(json.dumps({"items": [workflow("a", "failed")]}))
    assert "failed: a" in circle.ok("services", "try", "circle", "--reply", reply).out


# Broken ones.

HEAD = """
from dataclasses import replace
import os
import sys
from tracker.model import *
from tracker.services import Service


class Mine(Service):
    def read_status(self, job, reply):
        if job.server_id == "bad":
            return self.odd(job, reply)
        return super().read_status(job, reply)

    def odd(self, job, reply):
        raise AssertionError
"""


@pytest.fixture(autouse=True)
def fresh():
    """Modules of one test are not those of the next."""
    yield
    for name in ("mine", "jenkins", "circle"):
        sys.modules.pop(name, None)


def classed(project, text, reference="mine:Mine", **table):
    """A project whose service is this class."""
    (project.path / "mine.py").write_text(dedent(text))
    project.configure({"class": reference, **table})


@pytest.mark.parametrize(
    ("reference", "text", "words"),
    [
        ("nothing:Mine", "", "No module named 'nothing'"),
        ("mine:Yours", HEAD, "mine:Yours is no class made of tracker.services.Service"),
        ("mine:Mine", "class Mine: pass", "mine:Mine is no class"),
        ("mine:Mine", "Mine = 5", "mine:Mine is no class"),
        ("mine:Mine", "def (", "SyntaxError"),
        ("mine:Mine", "1 / 0", "ZeroDivisionError: division by zero (mine.py:1)"),
        ("mine:Mine", "import sys\nsys.exit(0)", "SystemExit: 0 (mine.py:2)"),
        ("mine:Mine", "raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("mine", HEAD, 'expected "module:Class"'),
        ("../mine:Mine", HEAD, 'expected "module:Class"'),
        ("mine:Mine:x", HEAD, 'expected "module:Class"'),
    ],
)
def test_it_cannot_be_loaded(tmp_path, reference, text, words):
    """A class that cannot be had is one line with the key."""
    (tmp_path / "mine.py").write_text(text)
    table = f'class = "{reference}"\nbase_url = "http://example.com"'
    with pytest.raises(ConfigError) as told:
        load(table, str(tmp_path / "tracker.toml"))
    assert told.value.message.startswith("services.docs.class: ") and words in told.value.message
    assert "\n" not in told.value.message and str(tmp_path) not in sys.path


def test_it_is_told_before_anything_is_done(project):
    """`poll` with a class that cannot be had is one line of error, exit 2, and polls nobody."""
    project.add()
    classed(project, "import sys\nsys.exit(0)")
    told = project.refused(2, "poll")
    assert told == "services.docs.class: SystemExit: 0 (mine.py:2)"


@pytest.mark.parametrize("reference", ["5", "true", "[]", "{}", '""'])
def test_it_is_no_text(reference):
    """A class is named by a text."""
    with pytest.raises(ConfigError, match=r"^services\.docs\.class: "):
        load(f'class = {reference}\nbase_url = "http://example.com"')


ODD = {
    "raise ValueError('boom')": "Mine.read_status: ValueError: boom (mine.py:16)",
    "raise ValueError('boom\\n' * 1000)": "ValueError: boom boom",
    "return job.nothing": "AttributeError",
    "sys.exit(0)": "SystemExit",
    "return None": "returned None, expected Reading or Failure",
    "return 'done'": "returned str, expected Reading or Failure",
    "return Reading": "returned type, expected Reading or Failure",
    "return Reading('finished')": "'finished'",
    "return Reading(5)": "`$.state`",
    "return Reading(State.PROCESSING, word=5)": "`$.word`",
    "return Reading(State.PROCESSING, word=object())": "object",
    "return Reading(State.PROCESSING, captured=[1])": "`$.captured`",
    "return Reading(State.PROCESSING, captured={'a': object()})": "object",
    "return Reading(State.PROCESSING, word='\\ud800')": "surrogates",
    "return Reading(State.PROCESSING, progress='half')": "`$.progress`",
    "return Reading(State.PROCESSING, progress=7)": "not from 0 to 1",
    "return Reading(State.PROCESSING, estimated_seconds=-1)": "estimated_seconds",
    "return Reading(State.PROCESSING, expires_at='soon')": "'soon' is no time",
    "return Reading(State.PROCESSING, retry_after='x')": "`$.retry_after`",
    "return Reading(State.FAILED, error=['x'])": "`$.error`",
    "return Failure('broken', 'x')": "`$.fault`",
    "return Failure(Fault.SERVER, None)": "`$.message`",
}


@pytest.mark.parametrize("line", ODD)
def test_what_makes_no_sense(project, service, line):
    """Whatever a class raises or returns for one job, that job's poll has failed, with one clear
    line; the poller lives on, and the other jobs are polled."""
    classed(project, HEAD.replace("raise AssertionError", line))
    with project.tracker() as tracker:
        jobs = [tracker.add("docs", server_id).local_id for server_id in ("bad", "good")]
        for _ in range(2):
            project.write("UPDATE processing_jobs SET next_poll_at = ?", LONG_AGO)
            tracker.poll()
    bad, good = map(project.row, jobs)
    assert (bad["status"], bad["retry_count"], good["poll_count"]) == ("processing", 2, 2)
    assert ODD[line] in bad["last_error"] and len(bad["last_error"]) < 500
    assert "\n" not in bad["last_error"] and good["last_error"] is None


def test_one_line_in_the_log(project, service):
    """The installed command says it in one line, without a traceback, and exits as ever."""
    classed(project, HEAD.replace("raise AssertionError", "raise ValueError('boom')"))
    for server_id in ("bad", "good"):
        project.add(server_id)
    done = project.ok("poll")
    assert "2 polled" in done.out
    [line] = done.err.splitlines()
    assert "Mine.read_status: ValueError: boom (mine.py:16)" in line


def test_plain_words_will_do(project, service):
    """A state as plain text, and numbers beyond all bounds, are put right: the word counts, a wait
    is at most `retry_after_cap`."""
    line = "return Reading('processing', retry_after=1e300, estimated_seconds=float('inf'))"
    classed(project, HEAD.replace("raise AssertionError", line), retry_after_cap="1h")
    job = project.add("bad")
    project.poll()
    row = project.row(job)
    assert (row["status"], row["last_error"], row["estimated_completion_seconds"]) == (
        "processing", None, None
    )  # fmt: skip
    assert row["next_poll_at"] < "2100"


BUILT = {
    "build_status": "return None",
    "build_result": "return 'http://example.com'",
    "read_result": "return None",
    "read_cancel": "return True",
    "read_create": "return Reading(State.PROCESSING)",
    "build_create": "return 5",
}


@pytest.mark.parametrize("name", BUILT)
def test_each_call_has_its_own_failure(project, service, name):
    """A function of any call that returns nonsense fails that call alone: the pass goes on, what
    else is owed is done, and the reason is on record."""
    text = (
        "from tracker.services import Service\nfrom tracker.model import *\nclass Mine(Service):\n"
    )
    cancel = {"request": {"path": "/jobs/{server_id}", "method": "DELETE"}}
    classed(project, f"{text}    pass\n", cancel=cancel)
    service.scripts["srv-9"] = ["done"] if name.endswith("result") else ["running"]
    with project.tracker() as tracker:
        running = tracker.add("docs", "srv-9")
        if name == "read_cancel":
            tracker.cancel(running, sync=False)
        tracker.submit("docs", {}, sync=False)
    sys.modules.pop("mine", None)
    (project.path / "mine.py").write_text(f"{text}    def {name}(self, *a, **k): {BUILT[name]}\n")
    project.poll()
    assert f"Mine.{name} returned" in "".join(project.dump())
    assert service.count("POST", "^/jobs$") == (name != "build_create")
    assert (service.count("GET", "^/jobs/srv-9$") > 0) == (name != "build_status")


def test_secrets(project, service):
    """A credential in what a class raises is neither logged nor kept."""
    token = "s3cret-t0ken"
    line = "raise ValueError('Bearer ' + os.environ['TOKEN'])"
    classed(project, HEAD.replace("raise AssertionError", line), auth={"bearer": "env:TOKEN"})
    project.env["TOKEN"] = token
    job = project.add("bad")
    done = project.ok("poll")
    assert service.seen[0].headers["authorization"] == f"Bearer {token}"
    shown = project.ok("explain", job).out + project.ok("show", job).out
    assert token not in done.err + done.out + shown + "".join(project.dump())
    assert "ValueError: ***" in done.err and "ValueError" in shown
