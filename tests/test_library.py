"""`from tracker import Tracker`: the same ledger without the command line."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from postgres import stopped_clock
from service import Answer, Hang

import tracker
from tracker import ProcessingJob, Tracker, TrackerError, clock
from tracker.errors import (
    ConfigError,
    DatabaseError,
    Impossible,
    NotFound,
    UsageError,
    WaitTimeout,
)

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


def test_as_the_issue_has_it(project, service):
    """Submit, poll, wait, result: four lines bring a job from a dict to its result."""
    service.statuses = ["running", "done"]
    with Tracker(project.toml) as t:
        job = t.submit("docs", {"language": "en"})
        t.poll()
        [ended] = t.wait(job)
        assert isinstance(ended, ProcessingJob)
        assert (ended.status, ended.finished, job.local_id) == ("completed", True, ended.local_id)
        assert t.result(job) == b'{"content_id": "content-1", "pages": 3}'
    assert service.requests("POST")[0].json == {"language": "en"}


def test_with_a_file_in_s3(project, service, s3):
    """A file goes up in the background, its job to its end, its result into S3; what the job uses
    is told, read back, and gone when it is cleaned up."""
    service.statuses = ["running", "done"]
    bucket = project.upload_to(s3, {"result": {"keep": "object"}})
    file = project.path / "report.txt"
    file.write_text("text")
    with Tracker(project.toml) as t:
        job = t.submit("docs", file=file, document_id="d1")
        [ended] = t.wait(job, timeout=20)
        assert ended.status == "completed" and t.list(document_id="d1") == [t.get(job)]
        assert json.loads(t.result(job)) == {"content_id": "content-1", "pages": 3}
        used = {(one["role"], one["scheme"]): one for one in t.objects(job)}
        assert set(used) == {("input", "file"), ("input", "s3"), ("result", "s3")}
        t.poll()
        assert t.outbox() == [] and t.count_outbox() == 0 and len(s3.versions(bucket)) == 2
        told = t.cleanup(older_than=-1, dry_run=True)
        receipt = t.cleanup(older_than=-1)
    assert told.objects.requested == receipt.objects.removed == 2 and s3.versions(bucket) == []
    assert (receipt.files.removed, receipt.bytes_freed) == (1, told.bytes_freed)


def test_s3_is_loaded_when_it_is_used(project, service):
    """Whoever uses no S3 does not pay for it: submitting a file, polling, and cleaning up do not
    import boto3."""
    service.statuses = ["done"]
    code = (
        "import sys, tracker\n"
        "with tracker.Tracker(sys.argv[1]) as t:\n"
        "    t.wait(t.submit('docs', file=sys.argv[1]), timeout=20)\n"
        "    t.poll(), t.outbox()\n"
        "    assert t.cleanup(older_than=-1).files.removed == 1\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-P", "-c", code, project.toml]
    subprocess.run(command, check=True, env=project.env, cwd=project.path, timeout=40)


@pytest.mark.parametrize("idempotency", ["header", "none"])
def test_submit_does_not_wait(project, service, idempotency):
    """`submit` returns at once though the service hangs, with the job on record; `close` lets the
    attempt end and leaves nothing claimed."""
    project.configure({"create": {"idempotency": idempotency}, "timeout": "1s"})
    service.creates = [Hang()]
    with Tracker(project.toml) as t:
        t.submit("docs")
        service.wait_for(1, "POST")
        for _ in range(3):
            began = time.monotonic()
            job = t.submit("docs")
            assert time.monotonic() - began < 0.5
            assert project.row(job.local_id)["status"] == "pending"
    states = {"header": {"pending"}, "none": {"in_doubt", "pending"}}[idempotency]
    owed = project.rows("SELECT state, claimed_by FROM operations")
    assert len(owed) == 4
    assert {row["state"] for row in owed} <= states
    assert {row["claimed_by"] for row in owed} == {None}


def test_submit_while_the_service_is_down(project, service):
    """A service that is down costs `submit` no time and the job nothing: it stays owed."""
    service.close()
    with Tracker(project.toml) as t:
        t.submit("docs")
        began = time.monotonic()
        jobs = [t.submit("docs") for _ in range(3)]
        assert time.monotonic() - began < 1.0
    assert {project.row(job.local_id)["sync_status"] for job in jobs} == {"pending"}


def test_many_threads_share_one_tracker(project, service):
    """Twenty threads that submit ten jobs each through one Tracker make two hundred jobs, each
    once, here and at the service."""
    with Tracker(project.toml) as t:

        def submit_ten(thread: int) -> list[str]:
            return [t.submit("docs", {"pages": thread}).local_id for _ in range(10)]

        with ThreadPoolExecutor(20) as pool:
            jobs = [job for ten in pool.map(submit_ten, range(20)) for job in ten]
        t.poll()
    assert len(set(jobs)) == 200
    with Tracker(project.toml) as t:
        while project.rows("SELECT 1 FROM operations"):
            t.poll()
    assert len(service.jobs) == 200
    assert {job["key"] for job in service.jobs.values()} == set(jobs)
    accepted = project.rows("SELECT count(DISTINCT server_id) AS n FROM processing_jobs")
    assert accepted == [{"n": 200}]


def test_threads_that_poll_and_read(project, service):
    """Threads that poll, list, explain and wait at the same time disturb nobody: each job ends
    once."""
    service.statuses = ["running", "running", "done"]
    with Tracker(project.toml) as t, ThreadPoolExecutor(8) as pool:
        jobs = [t.submit("docs", sync=False) for _ in range(20)]
        waiting = [pool.submit(t.wait, job) for job in jobs[:4]]
        polling = [pool.submit(t.poll, seconds=1.0) for _ in range(2)]
        reading = [pool.submit(lambda: [t.explain(job) for job in t.list()]) for _ in range(2)]
        for one in [*waiting, *polling, *reading]:
            one.result(30)
        t.wait(*jobs, timeout=30)
    counts = project.rows(
        "SELECT local_id, count(*) AS n FROM job_events WHERE type = 'job:finalized' GROUP BY 1"
    )
    assert [row["n"] for row in counts] == [1] * 20


def test_wait_gives_up_in_time(project):
    """`wait` raises WaitTimeout after its time, naming the jobs, which go on."""
    with Tracker(project.toml) as t:
        job = t.add("docs", "srv-1")
        began = time.monotonic()
        with pytest.raises(WaitTimeout, match=job.short_id):
            t.wait(job, timeout=0.3)
        assert time.monotonic() - began < 3
        assert t.get(job).status == "processing"


def test_following_another_process(project):
    """A follower sees what another process commits, in order, within a moment."""
    seen: list[str] = []
    there = threading.Event()
    with Tracker(project.toml) as t:
        job = t.add("docs", "srv-1")

        def follow() -> None:
            for event in t.events(job, follow=True, limit=3):
                seen.append(event.type)
                there.set()

        follower = threading.Thread(target=follow)
        follower.start()
        assert there.wait(5)
        project.ok("complete", job.local_id)
        follower.join(5)
        assert not follower.is_alive()
    assert seen == ["job:created", "job:status-changed", "job:finalized"]


def test_run_until_it_is_stopped(project, service):
    """`run` serves until `stop` is called from another thread, and says what it did."""
    pollers = []
    with Tracker(project.toml) as t, ThreadPoolExecutor(1) as pool:
        t.add("docs", "srv-1")
        running = pool.submit(t.run, on_poller=pollers.append)
        service.wait_for(3, "GET")
        pollers[0].stop()
        summary = running.result(10)
    assert summary.stopped and summary.polled >= 3


@stopped_clock
def test_a_clock_that_jumps_back_under_a_running_poller(project, service, monkeypatch):
    """A poller that lives through a clock going back an hour moves the due times with it, and
    goes on polling."""
    project.configure({"poll": {"every": "1s"}})
    offset = [0.0]
    monkeypatch.setattr(clock, "now", lambda: time.time() - offset[0])
    pollers = []
    with Tracker(project.toml) as t, ThreadPoolExecutor(1) as pool:
        job = t.add("docs", "srv-1")
        running = pool.submit(t.run, on_poller=pollers.append)
        try:
            project.until(lambda: t.get(job).poll_count == 1)
            offset[0] = 3600.0
            service.wait_for(2, "GET", timeout=4)
        finally:
            pollers[0].stop()
            running.result(10)
        assert [event.type for event in t.events()].count("ledger:clock-shifted") == 1


def test_errors_have_kinds(project):
    """Each kind of error is a class of its own under TrackerError, with the documented exit code,
    a message and a hint."""
    with Tracker(project.toml) as t:
        job = t.add("docs", "srv-1")
        for kind, code, wrong in [
            (NotFound, 4, lambda: t.submit("dosc")),
            (NotFound, 4, lambda: t.get("ffffffff")),
            (UsageError, 2, lambda: t.submit("docs", priority="urgent")),
            (UsageError, 2, lambda: t.submit("docs", file="nowhere.pdf")),
            (UsageError, 2, lambda: t.list(statuses=["done"])),
            (UsageError, 2, lambda: t.outbox(state="late")),
            (UsageError, 2, lambda: t.cleanup(statuses=["done"])),
            (UsageError, 2, lambda: t.cleanup(archive="nowhere/jobs.jsonl")),
            (UsageError, 2, lambda: t.add("docs", "srv-2", objects=["nowhere"])),
            (NotFound, 4, lambda: t.objects("ffffffff")),
            (NotFound, 4, lambda: t.outbox("ffffffff")),
            (Impossible, 5, lambda: t.add("docs", "srv-1")),
            (Impossible, 5, lambda: t.reopen(job)),
        ]:
            with pytest.raises(kind) as caught:
                wrong()
            assert isinstance(caught.value, TrackerError)
            assert caught.value.exit_code == code
            assert caught.value.message and "\n" not in str(caught.value)
    with pytest.raises(ConfigError):
        Tracker(project.path / "nowhere.toml")
    with pytest.raises(DatabaseError):
        Tracker(project.toml, database=project.path)


def test_a_payload_that_is_no_json(project):
    """A payload that JSON cannot hold is a UsageError, and nothing is recorded."""
    with Tracker(project.toml) as t:
        with pytest.raises(UsageError):
            t.submit("docs", {"when": {1, 2}}, sync=False)  # type: ignore[dict-item]
        assert t.list() == []


def test_the_callers_payload_is_not_shared(project):
    """What the caller does to the dict afterwards does not reach the ledger."""
    payload = {"language": "en"}
    with Tracker(project.toml) as t:
        job = t.submit("docs", payload, sync=False)
        payload["language"] = "de"
        assert t.get(job).payload == job.payload == {"language": "en"}


def test_a_service_that_talks_nonsense(project, service):
    """In the library too a strange service raises nothing: the job's row says what was wrong."""
    service.statuses = [Answer(bytes(range(256)))]
    with Tracker(project.toml) as t:
        job = t.add("docs", "srv-1")
        assert t.poll().errors == 1
        assert t.get(job).last_error == "the reply is not JSON"


def test_closing_twice(project):
    """`close` may be called again, also after a submission."""
    t = Tracker(project.toml)
    t.submit("docs")
    t.close()
    t.close()


def test_it_is_typed():
    """The package says that it is typed, and every name that it exports is there."""
    package = Path(tracker.__file__).parent
    assert (package / "py.typed").exists()
    for name in tracker.__all__:
        assert getattr(tracker, name) is not None
    with pytest.raises(AttributeError):
        _ = tracker.nothing


def test_every_public_method_is_documented():
    """Every public method of Tracker has a docstring and an annotation for each parameter."""
    for kind in Tracker.__mro__[:-1]:
        tree = ast.parse(Path(sys.modules[kind.__module__].__file__ or "").read_text())
        for found in (one for one in ast.walk(tree) if isinstance(one, ast.ClassDef)):
            if found.name != kind.__name__:
                continue
            for method in (one for one in found.body if isinstance(one, ast.FunctionDef)):
                if not method.name.startswith("_"):
                    assert ast.get_docstring(method), method.name
                    arguments = method.args.args[1:] + method.args.kwonlyargs
                    assert all(argument.annotation for argument in arguments), method.name
                    assert method.returns is not None


def test_a_program_that_forgets_to_close(project, service):
    """A program that submits and ends without `close` ends by itself, and its job is on record."""
    service.creates = [Hang()]
    code = "import tracker, sys; print(tracker.Tracker(sys.argv[1]).submit('docs').local_id)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, project.toml],
        capture_output=True,
        text=True,
        timeout=20,
        env=project.env,
        cwd=project.path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert project.row(done.stdout.strip())["status"] == "pending"
