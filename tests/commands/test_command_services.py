"""tracker services"""

from __future__ import annotations

import json

from contract import has_keys
from postgres import no_ledger
from service import Answer

SECRET = "s3cret-token-of-docs"
AUTH = {"auth": {"bearer": "env:DOCS_TOKEN"}}


def test_list(project, service):
    """`services list` tells each service's address, speed, jobs, and pause with its reason."""
    service.statuses = [Answer("slow down", 429, {"Retry-After": "60"})]
    project.configure({"rate": "10/s"}, services={"other": {"base_url": service.url}})
    project.add()
    project.poll()
    docs, other = project.json("services", "list")
    for one in (docs, other):
        assert has_keys(
            one,
            "service base_url seconds_between_calls concurrency poll_every_seconds running_jobs "
            "possible_every_seconds calls_left_this_second budgets paused_until paused_why",
        )
    assert (docs["service"], docs["base_url"], docs["running_jobs"]) == ("docs", service.url, 1)
    assert docs["seconds_between_calls"] == 0.1
    assert "429" in docs["paused_why"] and docs["paused_until"] > "2026"
    assert (other["paused_until"], other["paused_why"], other["running_jobs"]) == (None, None, 0)
    heading, first, _ = project.ok("services", "list").out.splitlines()
    assert heading == "SERVICE\tURL\tCALLS\tLEFT\tPOLLED EVERY\tPOSSIBLE\tRUNNING\tPAUSED"
    assert first.startswith(f"docs\t{service.url}\t10/s\t0\t0.02 s\t0.1 s\t1\tuntil 20")


@no_ledger
def test_no_services(project):
    """Without services the list is empty, not an error."""
    project.configure(services={"docs": None})
    assert project.json("services", "list") == []
    assert project.json("services", "check") == []


@no_ledger
def test_check(project, service):
    """`services check` reads each service's credentials, calls nobody and shows no secret."""
    project.configure(AUTH, services={"open": {"base_url": service.url}})
    done = project.ok("services", "check", "--json", DOCS_TOKEN=SECRET)
    docs, other = done.json
    assert docs == {
        "service": "docs",
        "definition": "ok",
        "examples": 0,
        "problems": {},
        "account": "",
        "credentials": "ok",
        "from": ["env:DOCS_TOKEN"],
        "expires_in": None,
    }
    assert (other["credentials"], other["from"]) == ("none needed", [])
    assert SECRET not in done.out + done.err
    assert service.seen == []


@no_ledger
def test_who_is_signed_in(project, tmp_path):
    """`services check` tells whose the credentials are and for how long they are good: as the
    command that brings them says, or as the configuration names the user."""
    answer = {"token": SECRET, "expires_in": 3600, "account": "ann@example.com"}
    (tmp_path / "token").write_text(json.dumps(answer))
    command = f"command:cat {tmp_path / 'token'}"
    basic = {"basic": {"user": "bob", "password": "env:DOCS_TOKEN"}}
    project.configure(
        {"auth": {"bearer": command}}, services={"open": {"base_url": "http://o", "auth": basic}}
    )
    done = project.ok("services", "check", "--json", DOCS_TOKEN=SECRET)
    docs, other = done.json
    assert docs["account"] == "ann@example.com" and 3500 < docs["expires_in"] < 3600
    assert (other["account"], other["from"]) == ("bob", ["env:DOCS_TOKEN"])
    table = project.ok("services", "check", DOCS_TOKEN=SECRET).out
    assert "ann@example.com" in table and SECRET not in table + done.out


def test_a_missing_credential(project, service):
    """A secret that is not there is exit 1, and the check says which reference and which key."""
    project.configure(AUTH, services={"open": {"base_url": service.url}})
    done = project.run("services", "check")
    assert done.code == 1
    assert "env:DOCS_TOKEN is not set" in done.out
    assert "services.docs.auth.bearer" in done.out
    assert project.run("services", "check", "open").code == 0
    assert project.run("services", "check", "docs", "--json").json[0]["service"] == "docs"


def test_unknown_services(project):
    """An unknown service is exit 4 with the nearest name."""
    project.create()
    assert "did you mean 'docs'" in project.refused(4, "services", "check", "dosc")
