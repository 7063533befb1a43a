"""AWS's own settings, when they are wrong: what S3 is reached by is not the tracker's to know"""

from __future__ import annotations

import pytest
from service import Answer

LONG_AGO = "2020-01-01T00:00:00.000Z"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def file(project, s3):
    """A file for a service that has its inputs in S3."""
    project.upload_to(s3)
    path = project.path / "input.txt"
    path.write_text("this is no configuration of AWS")
    return path


def make_due(project):
    project.write("UPDATE operations SET next_attempt_at = ?", LONG_AGO)
    project.write("UPDATE budgets SET paused_until = ? WHERE paused_until NOTNULL", LONG_AGO)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("AWS_PROFILE", "nope", "The config profile (nope) could not be found"),
        ("AWS_CONFIG_FILE", "input.txt", "Unable to parse config file: "),
        ("AWS_DEFAULT_REGION", "not a region", "doesn't match a supported format"),
        ("AWS_ACCESS_KEY_ID", None, "Unable to locate credentials"),
        ("AWS_SECRET_ACCESS_KEY", None, "Partial credentials found in env"),
    ],
)
def test_an_upload_with_wrong_settings(project, service, s3, file, monkeypatch, name, value, told):
    """Settings of AWS by which nothing can be sent are told in one line; no job is lost, none is
    sent without its input, and once they are mended it goes its way."""
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, str(file) if value == file.name else value)
    job = project.attempted(file=file)
    [owed] = project.rows("SELECT * FROM operations")
    assert told in owed["last_error"] and "\n" not in owed["last_error"]
    assert (owed["kind"], owed["state"]) == ("upload_input", "pending")
    assert s3.log == service.seen == []
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    make_due(project)
    project.poll()
    assert project.row(job)["status"] == "processing"


def test_a_url_that_nobody_can_sign(project, service, s3, file, monkeypatch):
    """A create whose URL cannot be signed waits, without an attempt burnt and without a pause for
    its service, until there are credentials again."""
    service.creates = [Answer(b"", 503), "accepted"]
    job = project.attempted(file=file)
    for name in KEYS:
        monkeypatch.delenv(name)
    for _ in range(5):
        make_due(project)
        project.poll()
    [owed] = project.rows("SELECT * FROM operations")
    assert (owed["kind"], owed["state"], owed["attempts"]) == ("create", "pending", 1)
    assert "credentials" in owed["last_error"] and service.count("POST") == 1
    assert owed["next_attempt_at"] > owed["last_attempt_at"]
    for name in KEYS:
        monkeypatch.setenv(name, s3.env[name])
    other = project.add("srv-9")
    make_due(project)
    project.poll()
    assert project.row(job)["status"] == "processing" and project.row(other)["poll_count"] == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid", "https://{host}"])
def test_an_endpoint_that_is_none(project, service, s3, file, url):
    """An endpoint that refuses, has no address, or speaks no TLS counts as out of reach: no attempt
    is burnt."""
    host = s3.url.partition("//")[2]
    project.upload_to(s3, storage={"endpoint_url": url.format(host=host)})
    project.attempted(file=file)
    [owed] = project.rows("SELECT * FROM operations")
    assert (owed["attempts"], owed["state"]) == (0, "pending") and owed["last_error"]
    [budget] = project.rows("SELECT * FROM budgets WHERE service = 'storage:uploads'")
    assert budget["fault"] == "unreachable" and budget["paused_until"]
    assert service.seen == []
