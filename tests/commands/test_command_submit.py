"""tracker submit"""

from __future__ import annotations

import json
import signal
import time

import pytest
from contract import JOB, has_keys
from service import Answer, Broken, Hang

PLAIN = {
    "base_url": "",
    "rate": "unlimited",
    "create": {"request": {"path": "/jobs", "json": "{payload}"}, "server_id": "body.job_id"},
}


def test_a_job_is_recorded_and_accepted(project, service):
    """`submit` prints the new job's id, alone, and the service has the job when it ends."""
    done = project.ok("submit", "docs", "-p", "language=en")
    job = project.row(done.line)
    assert (job["status"], job["server_id"], job["sync_status"]) == (
        "processing",
        "srv-1",
        "synced",
    )
    assert done.err == ""
    [seen] = service.requests("POST")
    assert seen.json == {"language": "en"}
    assert seen.headers["idempotency-key"] == done.line


def test_json(project):
    """`submit --json` prints the job as it was recorded, with exactly these keys."""
    job = project.json("submit", "docs", "-p", "language=en")
    assert has_keys(job, JOB)
    assert (job["status"], job["service"], job["payload"]) == (
        "pending",
        "docs",
        {"language": "en"},
    )


def test_the_labels(project):
    """Type, project, session, document and estimate are on record."""
    job = project.row(
        project.ok("submit", "docs", "--type", "ocr", "--project", "spring", "--session", "s1",
                   "--document", "d1", "--estimate", "2m").line
    )  # fmt: skip
    labels = [job[name] for name in ("job_type", "project", "session_id", "document_id")]
    assert labels == ["ocr", "spring", "s1", "d1"]
    assert job["estimated_completion_seconds"] == 120


def test_the_id_comes_before_the_attempt(project, service):
    """With a service that never answers the id is there at once; the command ends within 10 s and
    a little, exit 0, and what may be sent again stays owed, what may not is in doubt."""
    service.creates = [Hang()]
    project.configure({"timeout": "60s"}, services={"plain": {**PLAIN, "base_url": service.url}})
    project.create()
    began = time.monotonic()
    commands = [project.start("submit", name) for name in ("docs", "plain")]
    jobs = [command.line() for command in commands]
    assert time.monotonic() - began < 3
    assert [project.row(job)["status"] for job in jobs] == ["pending", "pending"]
    service.wait_for(2, "POST")
    ends = [command.end() for command in commands]
    assert time.monotonic() - began < 13
    assert [end.code for end in ends] == [0, 0]
    assert all("recorded, not accepted yet" in end.err.splitlines()[-1] for end in ends)
    owed = project.rows("SELECT local_id, state, claimed_by FROM operations ORDER BY id")
    assert {row["local_id"]: row["state"] for row in owed} == dict(
        zip(jobs, ["pending", "in_doubt"], strict=True)
    )
    assert [row["claimed_by"] for row in owed] == [None, None]


def test_a_service_that_is_down(project, service):
    """With a service that cannot be reached the job is recorded and stays owed, exit 0; no attempt
    is burnt."""
    service.close()
    done = project.ok("submit", "docs")
    [owed] = project.rows("SELECT local_id, state, attempts, claimed_by FROM operations")
    expected = {"local_id": done.line, "state": "pending", "attempts": 0, "claimed_by": None}
    assert owed == expected
    assert "recorded, not accepted yet" in done.err


def test_a_create_that_is_refused(project, service):
    """A create that the service refuses is given up at once, in the service's words; the job is on
    record."""
    service.creates = [Answer({"error": {"message": "no such language"}}, 422)]
    done = project.run("submit", "docs")
    assert done.code in (0, 1)
    assert "no such language" in done.err
    assert project.row(done.line)["sync_status"] == "failed"
    assert service.count("POST") == 1


def test_a_lost_reply_makes_no_second_job(project, service):
    """With idempotency keys a create whose reply was lost is sent again with the same key, and the
    service has one job."""
    service.creates = [Broken(), "accepted"]
    job = project.ok("submit", "docs").line
    project.until(lambda: project.ok("poll") and project.row(job)["server_id"])
    assert len(service.jobs) == 1
    assert {seen.headers["idempotency-key"] for seen in service.requests("POST")} == {job}


def test_no_sync(project, service):
    """`--no-sync` calls nobody; the next `poll` submits the job."""
    job = project.ok("submit", "docs", "--no-sync").line
    assert service.seen == []
    assert project.row(job)["status"] == "pending"
    assert "1 submitted" in project.ok("poll").out
    assert project.row(job)["server_id"] == "srv-1"


def test_a_file(project, service, tmp_path):
    """A submitted file is copied first, so that it can be sent when the original has gone."""
    project.configure({"create": {"request": {"json": None, "path": "/jobs", "file": True}}})
    file = tmp_path / "report.pdf"
    file.write_bytes(b"%PDF-1.7 and so on")
    job = project.ok("submit", "docs", file, "--no-sync").line
    file.unlink()
    project.ok("poll")
    [seen] = service.requests("POST")
    assert seen.body == b"%PDF-1.7 and so on"
    assert seen.headers["content-type"] == "application/pdf"
    assert project.row(job)["status"] == "processing"


@pytest.mark.parametrize(
    ("arguments", "stdin", "payload"),
    [
        (["-p", "language=en"], None, {"language": "en"}),
        (["-p", "a=b=c", "-p", "empty="], None, {"a": "b=c", "empty": ""}),
        (["-p", "pages:=3", "-p", "tags:=[1, null]"], None, {"pages": 3, "tags": [1, None]}),
        (["-p", "language=en", "-p", "language=de"], None, {"language": "de"}),
        (["--payload", '{"pages": 3}'], None, {"pages": 3}),
        (["--payload", '{"pages": 3, "x": 1}', "-p", "pages:=4"], None, {"pages": 4, "x": 1}),
        (["--payload", "-"], b'{"word": "caf\xc3\xa9 \xf0\x9f\x90\x8d"}', {"word": "café 🐍"}),
        (["--payload", "@job.json"], None, {"from": "file"}),
    ],
    ids=str,
)
def test_payloads(project, arguments, stdin, payload):
    """-p KEY=TEXT, -p KEY:=JSON, --payload JSON, @FILE and - are all the same payload."""
    (project.path / "job.json").write_text('{"from": "file"}')
    job = project.ok("submit", "docs", "--no-sync", *arguments, stdin=stdin).line
    assert json.loads(project.row(job)["payload"]) == payload


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (["-p", "language"], None, "-p language: expected KEY=VALUE or KEY:=JSON"),
        (["-p", "=x"], None, "-p =x: expected KEY=VALUE"),
        (["-p", ":=1"], None, "-p :=1: expected KEY=VALUE"),
        (["-p", "pages:=three"], None, "-p pages:=three: after := stands no JSON"),
        (["-p", "pages:="], None, "after := stands no JSON"),
        (["-p", "pages:=" + "9" * 5000], None, "after := stands no JSON"),
        (["--payload", "{"], None, "--payload is not JSON"),
        (["--payload", "[1]"], None, "--payload: expected a JSON object"),
        (["--payload", "3"], None, "--payload: expected a JSON object"),
        (["--payload", "-"], b"", "--payload is not JSON"),
        (["--payload", "@nowhere.json"], None, "--payload @nowhere.json: No such file"),
        (["--payload", "@."], None, "--payload @.: Is a directory"),
        (["--payload", "@binary"], None, "--payload @binary: is not UTF-8"),
        (["--priority", "urgent"], None, "priority 'urgent' is none of critical, high"),
        (["--estimate", "20 parsecs"], None, "20 parsecs"),
        (["nowhere.pdf"], None, "nowhere.pdf: No such file or directory"),
        (["."], None, ". is not a file"),
        (["empty"], None, "empty is empty"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_submitted(project, service, arguments, stdin, told):
    """What cannot be read as a payload, label or file is one line, exit 2: nothing is recorded,
    nobody is called, no copy stays behind."""
    (project.path / "binary").write_bytes(b"\xff\xfe\x00")
    (project.path / "empty").write_bytes(b"")
    project.create()
    assert told in project.refused(2, "submit", "docs", *arguments, stdin=stdin)
    assert service.seen == []
    assert not list(project.path.glob("tracker.db.files/**/*.*"))


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        pytest.param(["-p", "pages:=NaN"], None, id="nan"),
        pytest.param(["-p", "pages:=1e999"], None, id="too large"),
        pytest.param(["--payload", '{"x": -Infinity}'], None, id="inf"),
        pytest.param(["-p", 'x:="\\ud800"'], None, id="surrogate"),
        pytest.param(["-p", "x=\udcff"], None, id="bytes"),
        pytest.param(["--payload", "-"], b'{"x": "\xff\xfe"}', id="stdin"),
        pytest.param(["--payload", "-"], b'{"x":' * 100_000, id="deep"),
        pytest.param(["--project", "\udcff"], None, id="label"),
    ],
)
def test_values_that_no_json_can_hold(project, service, arguments, stdin):
    """A payload or label that cannot be written as JSON in UTF-8 is one line, exit 2."""
    project.create()
    project.refused(2, "submit", "docs", *arguments, stdin=stdin)
    assert service.seen == []


def test_a_payload_that_lacks_something(project, service):
    """What the create call needs and the payload lacks is named, exit 2; nothing is recorded."""
    project.configure(
        {"create": {"request": {"path": "/jobs", "json": {"x": "{payload.options.depth}"}}}}
    )
    project.create()
    assert "payload.options.depth" in project.refused(2, "submit", "docs", "-p", "options=none")
    assert "payload.options.depth" in project.refused(2, "submit", "docs")
    assert service.seen == []


def test_unknown_services(project):
    """An unknown service is exit 4 with the nearest name; one without a create call is exit 2."""
    project.create()
    assert "no service 'dosc' in tracker.toml (did you mean 'docs'?)" in project.refused(
        4, "submit", "dosc"
    )
    project.configure({"create": None})
    assert "service 'docs' has no create call" in project.refused(2, "submit", "docs")


def test_ctrl_c(project, service):
    """Ctrl-C during the attempt lets the call end, writes what it brought and exits 130; the id is
    out."""
    service.creates = [Hang("accepted")]
    command = project.start("submit", "docs")
    job = command.line()
    service.wait_for(1, "POST")
    command.signal(signal.SIGINT)
    service.release()
    assert command.end().code == 130
    assert project.row(job)["server_id"] == "srv-1"


def test_while_everything_is_paused(project, service):
    """While polling is paused a job is recorded, nobody is called, and the command says so."""
    project.ok("pause")
    done = project.ok("submit", "docs")
    assert service.seen == []
    assert "paused" in done.err
    assert project.row(done.line)["status"] == "pending"
