"""Whole lives of jobs of presets, against a server on loopback that answers as services do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from service import Answer, JobService, Seen

from tracker import Tracker
from tracker.config import Config

HASTE = {
    "rate": "unlimited",
    "rates": {"creates": "unlimited"},
    "poll": {"first": "0s", "every": "20ms", "max_per_minute": 6000},
    "retry": {"base": "20ms", "cap": "50ms", "attempts": 3},
}
SECRETS = (
    "ANTHROPIC_API_KEY",
    "APIFY_TOKEN",
    "CLOUDCONVERT_API_KEY",
    "DOCUMENTINTELLIGENCE_API_KEY",
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
    "MISTRAL_API_KEY",
    "OPENAI_API_KEY",
    "REPLICATE_API_TOKEN",
    "RUNPOD_API_KEY",
    "RUNWAYML_API_SECRET",
    "SHOPIFY_ACCESS_TOKEN",
)


class Vendor(JobService):
    """Answers by method and path: ``scripts["GET /jobs/1"]`` is a list as in `JobService`."""

    def answer(self, seen: Seen) -> Any:
        """What the script of this path says; 404 where there is none."""
        name = f"{seen.method} {seen.path.partition('?')[0]}"
        script = self.scripts.get(name, [Answer({"error": "no such path"}, 404)])
        return self._resolve(self._step(name, script), seen, "", None)


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    one = Vendor()
    yield one
    one.close()


@pytest.fixture
def elsewhere() -> Iterator[Vendor]:
    """Another host, where results are."""
    one = Vendor()
    yield one
    one.close()


Open = Callable[..., Tracker]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: Vendor) -> Iterator[Open]:
    """Opens a Tracker whose one service, called it, is that preset at the vendor's."""
    for name in SECRETS:
        monkeypatch.setenv(name, "a-secret")
    opened = []

    def open_(preset: str, **over: Any) -> Tracker:
        table = {"preset": preset, "base_url": vendor.url, **HASTE, **over}
        opened.append(Tracker(Config(database=str(tmp_path / "t.db"), services={"it": table})))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def ended(t: Tracker, job: Any) -> Any:
    [one] = t.wait(job, timeout=30)
    return one


def test_a_video_with_a_picture_to_begin_with(vendor, ledger, tmp_path):
    """The create of a video is a multipart form, with or without a picture, and what is fetched is
    the video."""
    done = {"status": "completed", "progress": 100, "expires_at": 4102444800}
    vendor.scripts = {"POST /videos": [{"id": one, "status": "queued"} for one in ("v1", "v2")]}
    for one in ("v1", "v2"):
        vendor.scripts[f"GET /videos/{one}"] = [{"id": one, **done}]
        vendor.scripts[f"GET /videos/{one}/content"] = [Answer(f"mp4 of {one}")]
    t = ledger("openai-video")
    job = ended(t, t.submit("it", {"prompt": "A cat", "model": "sora-2"}))
    assert (job.status, job.expires_at) == ("completed", "2100-01-01T00:00:00.000Z")
    assert t.result(job) == b"mp4 of v1"
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"picture of a cat")
    assert t.result(ended(t, t.submit("it", {"prompt": "A cat"}, file=picture))) == b"mp4 of v2"
    plain, pictured = vendor.requests("POST", "/videos")
    assert all("multipart/form-data" in one.headers["content-type"] for one in (plain, pictured))
    assert b'name="prompt"' in plain.body and b"sora-2" in plain.body
    assert b'name="input_reference"; filename="cat.png"' in pictured.body
    assert b"picture of a cat" in pictured.body and b"input_reference" not in plain.body
    assert b"model" not in pictured.body


def test_a_batch_that_expired(vendor, ledger):
    """B8: what was done of a batch that expired is kept, and marked as a part; one that was
    cancelled before anything was done ends so without asking for a file."""
    lines = b'{"custom_id": "1"}\n'
    batch = {"id": "batch_1", "status": "expired", "output_file_id": "file-1"}
    vendor.scripts = {
        "GET /batches/batch_1": [batch],
        "GET /batches/batch_2": [{"id": "batch_2", "status": "cancelled"}],
        "GET /files/file-1/content": [Answer(lines)],
    }
    t = ledger("openai-batch")
    expired = ended(t, t.add("it", "batch_1"))
    assert (expired.status, expired.remote_state) == ("failed", "expired")
    assert t.result(expired) == lines
    assert [one["partial"] for one in t.details(expired)["contents"]] == [True]
    cancelled = ended(t, t.add("it", "batch_2"))
    assert cancelled.status == "cancelled" and t.details(cancelled)["contents"] == []
    assert vendor.count("GET", "/files/") == 1


ERRED = {"status": "error", "code": "INVALID", "message": "No such page", "operation": "convert"}
EXPORTED = {
    "operation": "export/url",
    "status": "finished",
    "result": {"files": [{"url": "{vendor}/kept"}]},
}


@pytest.mark.parametrize(
    ("preset", "script", "kept", "status"),
    [
        (
            "anthropic-message-batches",
            "GET /messages/batches/1",
            {"id": "1", "processing_status": "ended", "results_url": "{vendor}/kept",
             "request_counts": {"succeeded": 0, "errored": 0, "expired": 0, "canceled": 2}},
            "cancelled",
        ),
        (
            "apify",
            "GET /actor-runs/1",
            {"data": {"id": "1", "status": "TIMED-OUT", "defaultDatasetId": "d"}},
            "failed",
        ),
        (
            "cloudconvert",
            "GET /jobs/1",
            {"data": {"id": "1", "status": "error", "tasks": [ERRED, EXPORTED]}},
            "failed",
        ),
        (
            "mistral-batch",
            "GET /batch/jobs/1",
            {"id": "1", "status": "FAILED", "error_file": "f"},
            "failed",
        ),
        (
            "shopify-bulk",
            "POST /graphql.json",
            {"data": {"node": {"id": "1", "status": "FAILED", "errorCode": "TIMEOUT",
                               "partialDataUrl": "{vendor}/kept"}}},
            "failed",
        ),
        (
            "runpod-batch",
            "GET /batch/1",
            {"id": "1", "status": "CANCELLED", "requestCompleted": 1},
            "cancelled",
        ),
    ],
)  # fmt: skip
def test_what_a_job_left(vendor, ledger, preset, script, kept, status):
    """B8: what there is of a job that ended otherwise than well is kept, and marked as a part."""
    line = {"custom_id": "1"}
    vendor.scripts = {
        script: [json.loads(json.dumps(kept).replace("{vendor}", vendor.url))],
        "GET /kept": [line],
        "GET /files/f/content": [line],
        "GET /actor-runs/1/dataset/items": [line],
        "GET /batch/1/requests": [{"requests": [line], "hasMore": False}],
    }
    t = ledger(preset)
    job = ended(t, t.add("it", "1"))
    assert job.status == status
    assert json.loads(t.result(job)) == line
    assert [one["partial"] for one in t.details(job)["contents"]] == [True]


def pages(*told: dict[str, Any]) -> dict[str, Any]:
    """What RunPod answers about a batch of five requests, whose result comes in these pages."""
    done = {"id": "b1", "status": "FINALIZED", "requestTotal": 5, "requestCompleted": 5}
    return {
        "POST /batch": [{"id": "b1", "status": "DRAFT"}],
        "POST /batch/b1/finalize": [{"id": "b1", "status": "FINALIZED"}],
        "GET /batch/b1": [done],
        "GET /batch/b1/requests": list(told),
    }


def test_a_batch_in_two_calls(vendor, ledger):
    """A batch begins with the second call; its result comes in pages, each behind the last."""
    requests = [{"id": f"req_{n}"} for n in range(5)]
    vendor.scripts = pages(
        {"requests": requests[:3], "offset": 0, "hasMore": True},
        {"requests": requests[3:], "offset": 3, "hasMore": False},
    )
    t = ledger("runpod-batch")
    job = ended(t, t.submit("it", {"requests": [{"input": {}}] * 5}))
    assert job.status == "completed"
    assert [json.loads(line) for line in t.result(job).splitlines()] == requests
    assert [one.path for one in vendor.requests("GET", "requests")] == [
        "/batch/b1/requests",
        "/batch/b1/requests?offset=3",
    ]
    assert [one.path for one in vendor.requests("POST")] == ["/batch", "/batch/b1/finalize"]


def test_a_result_is_not_cut_short(vendor, ledger):
    """Pages that do not say where they begin are no result: part of it must not pass for all."""
    vendor.scripts = pages({"requests": [{"id": "req_0"}], "hasMore": True})
    t = ledger("runpod-batch")
    job = ended(t, t.submit("it", {"requests": [{"input": {}}]}))
    assert job.status == "failed" and "go in circles" in (job.last_error or "")


def test_a_file_behind_a_signed_url(vendor, elsewhere, ledger):
    """The file is fetched from where the job says, without the service's credentials."""
    task = {
        "operation": "export/url",
        "status": "finished",
        "result": {"files": [{"url": f"{elsewhere.url}/file.pdf?signed"}]},
    }
    vendor.scripts = {
        "GET /jobs/1": [{"data": {"id": "1", "status": "finished", "tasks": [task]}}],
        "GET /jobs/2": [{"data": {"id": "2", "status": "finished", "tasks": [task, task]}}],
        "GET /jobs/3": [{"data": {"id": "3", "status": "finished", "tasks": []}}],
    }
    elsewhere.scripts = {"GET /file.pdf": [Answer(b"%PDF")]}
    t = ledger("cloudconvert", allowed_hosts=[elsewhere.url])
    assert t.result(ended(t, t.add("it", "1"))) == b"%PDF"
    assert "authorization" not in elsewhere.seen[0].headers
    several = json.loads(t.result(ended(t, t.add("it", "2"))))
    assert several == {"data": {"id": "2", "status": "finished", "tasks": [task, task]}}
    nothing = ended(t, t.add("it", "3"))
    assert nothing.status == "completed" and t.details(nothing)["contents"] == []


def test_a_url_that_is_old(vendor, elsewhere, ledger):
    """A task is asked for a fresh URL where the one that it gave does not serve any more."""
    urls = [f"{elsewhere.url}/{name}.mp4" for name in ("old", "older", "fresh")]
    vendor.scripts = {
        "GET /tasks/1": [{"id": "1", "status": "SUCCEEDED", "output": [url]} for url in urls]
    }
    elsewhere.scripts = {"GET /fresh.mp4": [Answer(b"mp4")]}
    t = ledger("runway", allowed_hosts=[elsewhere.url])
    job = ended(t, t.add("it", "1"))
    assert (job.status, t.result(job)) == ("completed", b"mp4")
    assert [one.path for one in elsewhere.seen] == ["/older.mp4", "/fresh.mp4"]


@pytest.mark.parametrize(
    ("preset", "path", "running"),
    [
        ("cloudconvert", "/jobs/1", {"data": {"id": "1", "status": "processing"}}),
        ("runway", "/tasks/1", {"id": "1", "status": "RUNNING"}),
        ("azure-lro", "/1", {"status": "running"}),
    ],
)
def test_cancelled_by_a_delete(vendor, ledger, preset, path, running):
    """Where a job is stopped by deleting it, it is cancelled then, and not lost one day."""
    vendor.scripts = {f"GET {path}": [running], f"DELETE {path}": [Answer(status=204)]}
    t = ledger(preset)
    job = t.add("it", "1")
    t.poll([job])
    t.cancel(job)
    assert ended(t, job).status == "cancelled"


def test_one_bulk_query_at_a_time(vendor, ledger):
    """A shop runs one bulk query at a time: the next one waits for its turn and burns no attempt.
    One that finds nothing is done; a wrong one is refused in the shop's words."""

    def answered(message: str | None) -> dict[str, Any]:
        operation = {"id": "gid://shopify/BulkOperation/1", "status": "CREATED"}
        errors = [] if message is None else [{"field": None, "message": message}]
        told = {"bulkOperation": None if message else operation, "userErrors": errors}
        return {"data": {"bulkOperationRunQuery": told}}

    busy = answered("A bulk query operation for this app and shop is already in progress: 7.")
    done = {"id": "gid://shopify/BulkOperation/1", "status": "COMPLETED", "url": None}
    vendor.scripts = {
        "POST /graphql.json": [
            *[busy] * 4,
            answered(None),
            {"data": {"node": done}},
            answered("Bulk queries must contain at least one connection."),
        ]
    }
    t = ledger("shopify-bulk")
    job = ended(t, t.submit("it", {"query": "{ products { edges { node { id } } } }"}))
    assert job.status == "completed" and t.details(job)["contents"] == []
    wrong = t.submit("it", {"query": "{ shop { id } }"}, sync=False)
    t.poll()
    [owed] = t.outbox(wrong)
    assert owed["state"] == "dead" and "at least one connection" in owed["last_error"]


@pytest.mark.parametrize(
    ("preset", "path", "prefix", "since_1970"),
    [
        ("github-actions", "/repos/o/r/actions/runs/47", "x-ratelimit", True),
        ("gitlab-pipeline", "/projects/p/pipelines/47", "ratelimit", True),
        ("replicate", "/predictions/47", "ratelimit", False),
    ],
)
def test_no_calls_are_left(vendor, ledger, preset, path, prefix, since_1970):
    """A good reply that says that no calls are left has nobody call before the reset; one that
    says that some are left has no such effect."""
    reset = 120 + (int(time.time()) if since_1970 else 0)

    def answered(left: int) -> Answer:
        told = {f"{prefix}-remaining": str(left), f"{prefix}-reset": str(reset)}
        return Answer({"id": "47", "status": "running"}, headers=told)

    vendor.scripts = {f"GET {path}": [answered(1), answered(0)]}
    t = ledger(preset)
    job = t.add("it", "47", variables={"owner": "o", "repo": "r", "project": "p"})
    t.poll([job])
    assert vendor.count("GET") == 1
    assert [one for one in t.store.budgets().values() if one.paused_for] == []
    t.poll([job])
    assert vendor.count("GET") == 2 and t.get(job).status == "processing"
    [paused] = [one for one in t.store.budgets().values() if one.paused_for]
    assert paused.fault == "exhausted" and 60 < paused.paused_for <= 121
