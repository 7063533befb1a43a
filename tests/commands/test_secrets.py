"""What nobody may read later: AWS's secrets, and the URLs that are as good as them"""

from __future__ import annotations

import logging
import re

import pytest
from s3front import error
from service import Answer

TOKEN = "session-token-which-nobody-may-read"


@pytest.fixture
def waiting(project, s3, monkeypatch):
    """A recorded job of a service that reads its input by a URL; AWS is used with a session
    token."""
    project.upload_to(s3, {"result": None}, cleanup={"automatic": False})
    project.env["AWS_SESSION_TOKEN"] = TOKEN
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    file = project.path / "input.txt"
    file.write_text("text")
    return project.record(file=file)


def read_anywhere(project, service, said):
    """The secrets that are in `said` or in the database: AWS's own, and what makes a URL that was
    handed out good."""
    urls = [seen.json["document"] for seen in service.requests("POST")]
    signatures = {one for url in urls for one in re.findall("X-Amz-Signature=([0-9a-f]+)", url)}
    assert bool(urls) == bool(signatures)
    everything = "\n".join([said, *project.dump()])
    secrets = {project.env["AWS_SECRET_ACCESS_KEY"], TOKEN, *signatures}
    return {one for one in secrets if one in everything}


def test_a_whole_life(project, service, s3, waiting):
    """Neither AWS's secret key nor its session token nor a signed URL is in the database, in any
    output with -vv, in an event or in the archive."""
    said = ""
    for arguments in (
        ["poll"],
        ["show", waiting, "--json"],
        ["fail", waiting],
        ["cleanup", "--older-than", "0s", "--archive", "jobs.jsonl"],
    ):
        done = project.ok("-vv", *arguments)
        said += done.out + done.err
    assert service.count("POST") == 1 and s3.count("PutObject") == 1
    said += (project.path / "jobs.jsonl").read_text()
    assert read_anywhere(project, service, said) == set()
    assert "X-Amz-Signature" not in said


def test_where_s3_refuses(project, service, s3, waiting):
    """Where S3 refuses its own words are told, and nothing of ours with them."""
    s3.interfere(lambda _: error(403, "SignatureDoesNotMatch", "no"), "PutObject")
    done = project.ok("-vv", "poll")
    said = done.out + done.err
    assert "SignatureDoesNotMatch: no" in said and read_anywhere(project, service, said) == set()


@pytest.mark.parametrize("where", ["create", "status"])
def test_when_the_service_repeats_the_url(project, service, waiting, caplog, where):
    """A service that repeats the URL in its error has its words recorded, logged and shown, without
    what makes the URL a secret."""
    caplog.set_level(logging.DEBUG, "tracker")

    def told(seen):
        [create] = service.requests("POST")
        _, _, query = create.json["document"].partition("&X-Amz-SignedHeaders=host&")
        return {"status": "error", "error": {"message": f"cannot read …?{query} now"}}

    if where == "create":
        service.creates = [lambda seen: Answer(told(seen), 422)]
    else:
        service.statuses = [told]
    for _ in range(2):
        project.poll()
    with project.tracker() as tracker:
        said = caplog.text + str(tracker.explain(waiting)) + str(tracker.get(waiting))
    assert "cannot read" in said and read_anywhere(project, service, said) == set()
