"""What the demo says of itself, checked from outside."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tracker.demo import Report, run_demo, service
from tracker.demo.samples import SAMPLES
from tracker.demo.script import SCRIPT, Act
from tracker.demo.service import DemoService
from tracker.demo.upload import Upload, read_upload

TRACKER = Path(sys.executable).with_name("tracker")
LIMIT = 30.0
STATUSES = {sample.name: str(sample.status) for sample in SAMPLES}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy this machine uses, loopback is not behind it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def demo(*options: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The installed command, run to its end."""
    return subprocess.run(
        [TRACKER, "demo", *options],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, **environment},
        check=False,
    )


def rows(database: str | Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """A demo for people and one with --json at once: the folder, the output, the document.
    The configuration, database and proxy of their environment would break them."""
    folder = tmp_path_factory.mktemp("demo")
    hostile = {
        "TRACKER_CONFIG": str(folder / "missing.toml"),
        "TRACKER_DB": str(folder),
        "http_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    }
    with ThreadPoolExecutor() as threads:
        for_people = threads.submit(demo, "--dir", folder / "a", **hostile)
        as_json = threads.submit(demo, "--json", **hostile, TMPDIR=str(folder))
    assert (for_people.result().returncode, for_people.result().stderr) == (0, "")
    assert (as_json.result().returncode, as_json.result().stderr) == (0, "")
    yield folder / "a", for_people.result().stdout, json.loads(as_json.result().stdout)


def test_says_where_to_look(played: tuple[Path, str, dict[str, Any]]) -> None:
    """The demo ends 0 within 30 s and tells the database and commands to try on it."""
    folder, output, _ = played
    assert str(folder / "tracker.db") in output
    for verb in ("list", "show", "explain"):
        assert f"--config {folder / 'tracker.toml'} {verb}" in output
    assert "all 8 jobs ended as they should" in output
    assert "HTTP 429 once" in output


def test_prints_its_receipt(played: tuple[Path, str, dict[str, Any]]) -> None:
    """The demo cleans up and prints the receipt, of local files alone: as many bytes as the file
    had that went, and nothing is left owed."""
    folder, output, document = played
    lines = [line.split("\t") for line in output.splitlines()]
    [gone] = [sample for sample in SAMPLES if sample.status == "cancelled"]
    size = str(len(gone.content))
    assert ["deleted: jobs 1"] in lines and ["S3 objects", *"000000"] in lines
    assert ["files", "1", "1", "0", "0", "0", size] in lines
    assert document["cleanup"]["receipt"]["files"]["bytes_freed"] == int(size)
    spooled = [path.name for path in (folder / "tracker.db.files").rglob("*") if path.is_file()]
    assert len(spooled) >= len(SAMPLES) - 1


def test_database_holds_the_jobs(played: tuple[Path, str, dict[str, Any]]) -> None:
    """The database left behind holds all jobs but the cleaned-up one, with their true ends."""
    folder, _, _ = played
    found = dict(rows(folder / "tracker.db", "SELECT document_id, status FROM processing_jobs"))
    assert found == {name: end for name, end in STATUSES.items() if end != "cancelled"}
    count = "SELECT count(*) FROM job_events WHERE type = 'job:finalized' GROUP BY local_id"
    assert rows(folder / "tracker.db", count) == [(1,)] * len(SAMPLES)
    assert rows(folder / "tracker.db", "SELECT * FROM operations") == []
    claimed = "SELECT * FROM processing_jobs WHERE claimed_by IS NOT NULL"
    assert rows(folder / "tracker.db", claimed) == []


def test_large_result_is_a_file(played: tuple[Path, str, dict[str, Any]]) -> None:
    """One result is too large for a row: it is kept as a file, with the digest on record."""
    folder, _, _ = played
    sql = "SELECT path, size, sha256 FROM contents WHERE path IS NOT NULL"
    ((path, size, sha256),) = rows(folder / "tracker.db", sql)
    body = Path(path).read_bytes()
    assert Path(path).is_relative_to(folder)
    assert len(body) == size > 64 * 1024
    assert hashlib.sha256(body).hexdigest() == sha256


def test_left_folder_works(played: tuple[Path, str, dict[str, Any]]) -> None:
    """The commands that the demo proposes work after it, without its service."""
    _, output, _ = played
    proposed = [line.split() for line in output.splitlines() if " --config " in line]
    assert len(proposed) == 4
    for command in proposed:
        arguments = command[command.index("--config") :]
        done = subprocess.run([TRACKER, *arguments], capture_output=True, timeout=LIMIT)
        assert done.returncode == 0, done.stderr


def test_json_document(played: tuple[Path, str, dict[str, Any]]) -> None:
    """`--json` prints one document with every job's expected and actual end, and nothing else."""
    _, _, document = played
    keys = "ok jobs problems stopped service_answers cleanup folder config database seconds"
    assert list(document) == keys.split()
    assert document["ok"] and not document["stopped"] and document["problems"] == []
    assert {job["file"]: job["actual"]["status"] for job in document["jobs"]} == STATUSES
    assert all(job["actual"] == job["expected"] for job in document["jobs"])
    refused = {code: document["service_answers"].get(code) for code in ("429", "500", "503")}
    assert refused == {"429": 1, "500": 1, "503": 1}
    assert document["cleanup"]["dry_run"]["rows_deleted"] == len(SAMPLES)
    assert document["cleanup"]["receipt"]["rows_deleted"] == 1
    assert document["cleanup"]["receipt"]["files"]["removed"] == 1
    assert 0 < document["seconds"] < LIMIT
    assert len(rows(document["database"], "SELECT * FROM processing_jobs")) == len(SAMPLES) - 1


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends the demo with 130 at once, and what was recorded is in the database."""
    command = [TRACKER, "demo", "--dir", tmp_path / "a"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        while "submitted" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT / 6)
    assert process.returncode == 130
    assert errors == "tracker: stopped; what was recorded is safe\n"
    assert len(rows(tmp_path / "a/tracker.db", "SELECT * FROM processing_jobs")) == len(SAMPLES)


def test_progress_bar_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal the wait shows a bar, and a later Ctrl-C leaves no traceback on it."""
    ours, theirs = pty.openpty()
    command = [TRACKER, "demo", "--dir", tmp_path / "a"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"/8" not in shown:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT / 6)
    os.set_blocking(ours, False)
    shown += os.read(ours, 65536)
    os.close(ours)
    assert process.returncode == 130
    assert b"Traceback" not in shown


@pytest.mark.parametrize("option", ["--config", "--db"])
def test_own_configuration_only(option: str) -> None:
    """A configuration or database named on the command line is refused, not silently ignored."""
    command = [TRACKER, option, "x", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "--dir" in done.stderr


def test_overwrites_nothing(tmp_path: Path) -> None:
    """A folder that holds something is left as it is: exit 5, one line."""
    (tmp_path / "tracker.toml").write_text("mine")
    done = demo("--dir", tmp_path)
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1 and "is not empty" in done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_unusable_folder(tmp_path: Path) -> None:
    """A folder that cannot be made is one line and exit 1."""
    (tmp_path / "file").write_text("")
    done = demo("--dir", tmp_path / "file" / "below")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "cannot be used" in done.stderr


def play(folder: Path, patience: float = 10.0) -> Report:
    return run_demo(folder / "demo", samples=SAMPLES[:1], patience=patience)


def test_good_run_has_no_problem(tmp_path: Path) -> None:
    """Where the service does as it should, the report has no problem."""
    report = play(tmp_path)
    assert report.problems == []
    assert report.answers == {200: 2, 201: 1}


def test_wrong_end_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends otherwise than it should is a problem: file and every difference."""
    monkeypatch.setitem(SCRIPT, "hello.txt", Act(0.5, ending="timeout"))
    (problem,) = play(tmp_path).problems
    assert problem.startswith("hello.txt (job ")
    assert "status is 'failed', expected 'completed'" in problem
    assert "failure_reason is 'timeout', expected None" in problem


def test_endless_job_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that does not end keeps nobody: when the patience is over, it is a problem."""
    monkeypatch.setitem(SCRIPT, "hello.txt", Act(seconds=3600))
    (problem,) = play(tmp_path, patience=1.5).problems
    assert "status is 'processing'" in problem


def test_wrong_result_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that was made from other bytes than the submitted ones is a problem."""

    def read_changed(*arguments: Any) -> Upload:
        found = read_upload(*arguments)
        return Upload(found.name, found.content.replace(b"world", b"World"), found.fields)

    monkeypatch.setattr(service, "read_upload", read_changed)
    (problem,) = play(tmp_path).problems
    assert "result is False, expected True" in problem


def test_second_creation_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that forgets its keys makes more jobs than were submitted: that is a problem."""
    create = service.RemoteJobs.create

    def forget(jobs: service.RemoteJobs, _: str | None, upload: Upload) -> service.Answer:
        return create(jobs, None, upload)

    monkeypatch.setattr(service.RemoteJobs, "create", forget)
    monkeypatch.setitem(SCRIPT, "hello.txt", Act(0.5, loses_reply=True))
    problems = play(tmp_path, patience=2.5).problems
    assert "jobs at the service, expected 1" in problems[-1]


def test_exit_code_and_line_of_a_bad_run(tmp_path: Path) -> None:
    """The command ends 1 with one line that names the job that did not end as it should."""
    code = (
        "import sys; from tracker.demo import run_demo; from tracker.demo.samples import SAMPLES; "
        "from tracker.demo.script import SCRIPT, Act; "
        "run_demo.__kwdefaults__['samples'] = SAMPLES[:1]; "
        "SCRIPT['hello.txt'] = Act(0.5, ending='error', message='no'); "
        "sys.argv = ['tracker', 'demo', '--quiet', '--dir', sys.argv[1]]; "
        "from tracker.commands import main; main()"
    )
    command = [sys.executable, "-P", "-c", code, tmp_path / "a"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tracker: not as it should be: hello.txt (job ")
    assert done.stderr.count("\n") == 1


def ask(url: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of a request without any of Tracker's code."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=5) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_service_keeps_its_promises() -> None:
    """The service takes raw bodies too, knows a repeated key, and refuses what is no request."""
    with DemoService() as running:
        headers = {"Idempotency-Key": "k", "X-File-Name": "other.txt"}
        first = ask(f"{running.url}/jobs", data=b"abc", headers=headers)
        assert first == ask(f"{running.url}/jobs", data=b"abc", headers=headers)
        assert first == (201, {"job_id": "demo-1"})
        assert running.job_count == 1
        assert ask(f"{running.url}/jobs/demo-1")[1]["status"] in ("queued", "running")
        assert ask(f"{running.url}/jobs/demo-1/result")[0] == 409
        assert ask(f"{running.url}/jobs/none")[0] == 404
        assert ask(f"{running.url}/elsewhere", data=b"")[0] == 404
        broken = {"Content-Type": "multipart/form-data; boundary=x"}
        assert ask(f"{running.url}/jobs", data=b"--x\r\n", headers=broken)[0] == 400
        # Announced, not sent: a server that does not read on may break a connection that sends.
        huge = {"Content-Length": str(10**6 + 1)}
        assert ask(f"{running.url}/jobs", data=b"", headers=huge)[0] == 413


def test_form_is_read_byte_for_byte() -> None:
    """A file in a form arrives as it was, whatever line breaks and dashes are in it."""
    content = b"\r\n--x\r\n\r\n--xy--\r\n\x00\xff"
    head = b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    head += b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="n.bin"\r\n\r\n'
    body = head + content + b"\r\n--xyz--\r\n"
    found = read_upload("multipart/form-data; boundary=xyz", {}, body)
    assert found == Upload("n.bin", content, {"a": "b"})
