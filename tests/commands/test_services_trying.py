"""tracker services presets, try, check: how a definition is found, tried and looked at live."""

from __future__ import annotations

import json

import pytest
from postgres import no_ledger
from service import Answer

SECRET = "s3cret-token-of-docs"
EXAMPLES = {
    "done": {"of": "j1", "json": {"status": "done"}, "state": "completed"},
    "strange": {"json": {"status": "running"}, "state": "failed"},
}


@no_ledger
def test_presets(project):
    """`services presets` lists what is brought along, with or without a configuration."""
    table = project.ok("services", "presets").out
    assert "openai-batch" in table and "OpenAI" in table
    found = {one["preset"]: one for one in project.json("services", "presets")}
    assert len(found) >= 20 and found["openai-batch"]["base_url"] == "https://api.openai.com/v1"


@no_ledger
def test_a_preset(project):
    """`services presets NAME` prints the table itself, to be read or copied."""
    text = project.ok("services", "presets", "openai-batch").out
    assert text.startswith("title") and "[status]" in text
    assert project.json("services", "presets", "openai-batch")["title"] == "OpenAI Batch API"
    assert "did you mean 'openai-batch'" in project.refused(4, "services", "presets", "openai-bach")


def test_a_service_from_a_preset(project, service):
    """B14: a service that is nothing but a preset, an address and a key takes jobs."""
    project.configure(
        services={
            "batch": {
                "preset": "openai-batch",
                "base_url": service.url,
                "auth": {"bearer": "env:KEY"},
            }
        }
    )
    payload = {"input_file_id": "f", "endpoint": "/v1/x", "completion_window": "24h"}
    done = project.run("submit", "batch", "--payload", json.dumps(payload), "--no-sync", KEY="k")
    assert done.code == 0 and project.row(done.line)["service"] == "batch"


@no_ledger
def test_examples_are_checked(project):
    """`services check` reads each example, tells what is read otherwise than it is meant, and
    exits 1 for that."""
    project.configure({"examples": EXAMPLES})
    done = project.run("services", "check")
    assert done.code == 1 and "1 of 2 examples are read otherwise" in done.out
    assert 'docs.examples.strange: state is "processing", expected "failed"' in done.err
    project.configure({"examples": {"done": EXAMPLES["done"]}})
    assert "ok, 1 examples" in project.ok("services", "check").out
    assert project.json("services", "check")[0]["problems"] == {}


@no_ledger
def test_try(project, tmp_path):
    """`services try` says how a saved reply is read, of a service or a preset."""
    reply = tmp_path / "reply.json"
    reply.write_text(json.dumps({"status": "error", "error": {"message": "too many pages"}}))
    found = project.json("services", "try", "docs", "--reply", reply)
    assert (found["state"], found["error"]) == ("failed", "too many pages")
    assert "too many pages" in project.ok("services", "try", "docs", "--reply", reply).out
    batch = json.dumps({"status": "expired"}).encode()
    done = project.ok("services", "try", "openai-batch", "--reply", "-", "--json", stdin=batch)
    assert done.json["state"] == "timeout"


@no_ledger
@pytest.mark.parametrize(
    ("arguments", "stdin", "state"),
    [
        (["--http", "404"], b"", "unknown"),
        (["--http", "429", "-H", "Retry-After: 7"], b"", "failure"),
        ([], b"<html>", "failure"),
        (["--call", "create"], b'{"job_id": "j9"}', "processing"),
        (["--call", "result"], b"abc", "completed"),
    ],
)
def test_try_other_replies(project, arguments, stdin, state):
    """Any reply can be tried: other codes, headers, calls, and what is no JSON."""
    done = project.run("services", "try", "docs", "--reply", "-", "--json", *arguments, stdin=stdin)
    assert done.json["state"] == state and done.code == (state == "failure")


def test_bad_tries(project, tmp_path):
    """An unknown name, a file that is not there, a header that is none: one line each."""
    project.create()
    reply = tmp_path / "reply.json"
    reply.write_text("{}")
    told = project.refused(4, "services", "try", "docks", "--reply", reply)
    assert "neither a service nor a preset" in told
    project.refused(2, "services", "try", "docs", "--reply", tmp_path / "no")
    project.refused(2, "services", "try", "docs", "--reply", reply, "-H", "no colon")


def test_live(project, service):
    """`check --live` shows what was sent, with the credentials hidden, what came, and how it was
    read; nothing of the job changes."""
    project.configure({"auth": {"bearer": "env:DOCS_TOKEN"}})
    job = project.add("j1")
    before = project.row(job)
    service.statuses = [{"status": "done", "echo": SECRET}]
    done = project.ok("services", "check", "--live", job, "--json", DOCS_TOKEN=SECRET)
    assert done.json["sent"]["url"] == f"{service.url}/jobs/j1"
    assert (done.json["came"]["http"], done.json["read"]["state"]) == (200, "completed")
    assert service.seen[-1].headers["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in done.out + done.err and project.row(job) == before
    table = project.ok("services", "check", "--live", job, DOCS_TOKEN=SECRET).out
    assert "completed" in table and SECRET not in table


def test_live_failures(project, service):
    """A live call that brings nothing exits 1 and says why."""
    job = project.add("j1")
    service.statuses = [Answer("busy", 503)]
    assert project.run("services", "check", "--live", job).code == 1
    project.configure({"base_url": "http://127.0.0.1:9"})
    done = project.run("services", "check", "--live", job, "--json")
    assert done.code == 1 and done.json["read"]["fault"] == "unreachable"
    project.refused(4, "services", "check", "--live", "ffffffff")
