"""Logs: every attempt, its trigger and its outcome, as text or JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker import Tracker, config
from tracker.logs import set_up

SERVICE = """
[log]
level  = "info"
format = "{format}"
[services.docs]
base_url = "http://127.0.0.1:1"
[services.docs.create]
request   = {{ path = "/jobs" }}
server_id = "body.id"
[services.docs.status]
request = {{ path = "/jobs/{{server_id}}" }}
state   = "body.status"
[services.docs.states]
completed = ["done"]
"""


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The package's logger as it was."""
    logger = logging.getLogger("tracker")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def logged(folder: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The local id of a job whose service cannot be reached, and what its attempt logged."""
    (folder / "tracker.toml").write_text(SERVICE.format(format=form))
    found = config.load(str(folder / "tracker.toml"))
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    set_up(found)
    with Tracker(found) as tracker:
        job = tracker.submit("docs", sync=False)
        tracker.attempt([job.local_id])
    return job.local_id, stream.getvalue()


def test_json_lines_name_job_trigger_and_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt is one JSON object with the job, the service, what was tried, what triggered it
    and what came of it."""
    local_id, text = logged(tmp_path, "json", monkeypatch)
    [line] = [json.loads(line) for line in text.splitlines()]
    expected = {
        "level": "warning",
        "job": local_id,
        "service": "docs",
        "operation": "create",
        "trigger": "submit",
    }
    assert {key: line[key] for key in expected} == expected
    assert "refused" in line["message"].lower() and line["at"].endswith("Z")


def test_text_lines_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, an attempt is one line that begins with its time and its level."""
    local_id, text = logged(tmp_path, "text", monkeypatch)
    [line] = text.splitlines()
    assert " WARNING docs create: " in line and f"job={local_id}" in line


def test_an_unforeseen_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback reaches a user: the log names the error and the place where it was raised."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    set_up(config.parse("", str(tmp_path / "tracker.toml")))
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        logging.getLogger("tracker.poller").exception("job x: its reply could not be read")
    [line] = stream.getvalue().splitlines()
    assert "RuntimeError: two lines" in line and "Traceback" not in line
