"""Presets of AWS: their requests against botocore's models, and whole lives of jobs over HTTP.

The server is moto's, in this process: it has no way to let a job fail, so tests reach into it. What
it does not speak (MediaConvert, batches of Bedrock) or says otherwise than AWS (it refuses in XML)
comes from a small server that answers what it is told to.
"""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config as Signing
from botocore.loaders import create_loader
from botocore.model import ListShape, Shape, StructureShape
from botocore.serialize import create_serializer
from botocore.session import Session
from botocore.validate import ParamValidator
from servicing import a_job

from tracker import ProcessingJob, Tracker
from tracker.config import Config
from tracker.model import Fault, Reading, State
from tracker.services import Service, load_services
from tracker.services.examples import job_of
from tracker.services.preset import preset_names, preset_text
from tracker.services.results import Step
from tracker.transports.aws import Clients
from tracker.transports.aws_operations import AwsTransport, perform
from tracker.transports.base import Call, Reply
from tracker.transports.tasks import Ask

ACCOUNT, REGION = "123456789012", "us-east-1"
PRESETS = [name for name in preset_names() if name.startswith("aws-")]
HASTE = {
    "rate": "unlimited",
    "timeout": "10s",
    "poll": {
        "first": "0s",
        "every": "20ms",
        "max_per_minute": 6000,
        "lost_after": "50ms",
        "backoff": {"base": "20ms", "cap": "50ms"},
    },
    "retry": {"base": "20ms", "cap": "50ms", "attempts": 3},
}
SPOKEN = {"Media": {"MediaFileUri": "s3://b/a.flac"}, "LanguageCode": "en-US"}


def of_preset(preset: str, **over: Any) -> Service:
    services = {"aws": {"preset": preset, **over}}
    return load_services(Config(database="x.db", services=services))["aws"]


# Against botocore's models.


def operations(service: Service) -> dict[str, Call]:
    """Every call that a preset makes, by what it is for; the create as its example has it."""
    [submitted] = [one for one in service.examples if one.name == "submitted"]
    job = a_job(server_id="a-job", vars={"JobName": "etl"})
    calls = {"create": service.build_create(job_of(service, submitted), "a-key")}
    calls["status"] = service.build_status(job)
    if service.status is not None and service.status.bulk is not None:
        calls["bulk"] = service.build_bulk([job, a_job(id=2, server_id="b")])
    if service.cancel is not None:
        calls["cancel"] = service.build_cancel(job)
    if service.delete is not None:
        calls["delete"] = service.build_delete(job)
    if service.result is not None and service.result.request is not None:
        calls["result"] = service.build_result(job)
    if service.result is not None and service.result.paged:
        calls["next page of the result"] = service.build_result(job, None, Step(cursor="a-cursor"))
    if service.list is not None:
        calls["list"] = service.build_list(None, None)
        calls["next page"] = service.build_list("a-cursor", None)
    return calls


session = functools.cache(Session)


def model_of(call: Call) -> Any:
    assert isinstance(call.task, Ask) and call.task.endpoint.region is None
    return session().get_service_model(call.task.client).operation_model(call.task.operation)


@pytest.mark.parametrize("preset", PRESETS)
def test_requests_are_valid(preset):
    """Every operation of a preset is there, has all the parameters that it needs and none that it
    does not know, and can be put on the wire."""
    calls = operations(of_preset(preset))
    for purpose, call in calls.items():
        model = model_of(call)
        parameters = json.loads(call.body or b"")
        report = ParamValidator().validate(parameters, model.input_shape)
        assert not report.has_errors(), f"{purpose}: {report.generate_report()}"
        serializer = create_serializer(model.service_model.resolved_protocol)
        assert serializer.serialize_to_request(parameters, model)["method"]


@pytest.mark.parametrize("preset", PRESETS)
def test_expressions_name_what_there_is(preset):
    """Every path that a preset reads is in boto3's reply to that operation: not the wire's name of
    it, and no slip of the pen."""
    calls, table = operations(of_preset(preset)), tomllib.loads(preset_text(preset))
    bulk, listed = table["status"].pop("bulk", {}), table.get("list", {})
    table["status"].pop("unknown", None)  # about refusals
    told = {
        "create": [table["create"]],
        "status": [table["status"], table.get("result")],
        "bulk": [bulk.get("items")],
        "list": [listed.get("items"), listed.get("next")],
    }
    for purpose, texts in told.items():
        for path in paths_in(texts):
            follow(model_of(calls[purpose]).output_shape, path)
    if listed:
        items = follow(model_of(calls["list"]).output_shape, *paths_in(listed["items"]))
        for key in ("server_id", "state"):
            follow(items, *paths_in(listed.get(key, table["status"].get(key))))


def paths_in(told: Any) -> list[str]:
    """The paths into a body that are in a text, or in the texts of a table."""
    if isinstance(told, dict):
        told = list(told.values())
    if isinstance(told, list):
        return [path for one in told for path in paths_in(one)]
    text = told if isinstance(told, str) else ""
    return re.findall(r"\bbody((?:\.[A-Za-z]\w*|\[\d*\])+)", text)


def follow(shape: Shape, path: str) -> Shape:
    """What a path leads to."""
    for name in re.findall(r"[A-Za-z]\w*", path):
        shape = shape.member if isinstance(shape, ListShape) else shape
        assert isinstance(shape, StructureShape) and name in shape.members, path
        shape = shape.members[name]
    return shape.member if isinstance(shape, ListShape) else shape


# Lives of jobs.


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """moto's server, in a thread of this process; its URL."""
    from moto.server import ThreadedMotoServer

    one = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    one.start()
    host, port = one.get_host_and_port()
    yield f"http://{host}:{port}"
    one.stop()


one_loader = functools.cache(create_loader)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody's credentials and region, and nothing of this machine. What botocore knows of AWS is
    read once: that is most of what a client costs."""
    monkeypatch.setattr("botocore.session.create_loader", one_loader)
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")


class Moto:
    """moto, empty: ``url`` for whoever is tested, `client` for what has to be there first."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._post("reset")
        self._post("config", {"batch": {"use_docker": False}})

    def client(self, name: str) -> Any:
        return boto3.client(name, endpoint_url=self.url)

    def steps(self, model: str, looks: int) -> None:
        """Have jobs go a step on with every so many looks at them."""
        transition = {"progression": "manual", "times": looks}
        self._post("state-manager/set-transition", {"model_name": model, "transition": transition})

    def inside(self, name: str) -> Any:
        """What moto keeps of a service."""
        from moto.backends import get_backend

        return get_backend(name)[ACCOUNT][REGION]

    def _post(self, path: str, told: Any = None) -> None:
        requests.post(f"{self.url}/moto-api/{path}", json=told, timeout=30).raise_for_status()


@pytest.fixture
def moto(server: str) -> Moto:
    return Moto(server)


Open = Callable[..., Tracker]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Open]:
    """Opens a Tracker whose one service, called aws, is that preset at that URL."""
    opened = []

    def open_(preset: str, url: str, **over: Any) -> Tracker:
        table = {"preset": preset, "aws": {"endpoint_url": url}, **HASTE, **over}
        config = Config(database=str(tmp_path / "tracker.db"), services={"aws": table})
        opened.append(Tracker(config))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def ended(t: Tracker, *jobs: ProcessingJob) -> list[ProcessingJob]:
    return t.wait(*jobs, timeout=30)


@pytest.fixture
def transcript(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The transcript of every transcription: in moto's S3, behind a signed URL. (moto makes none,
    and names a place at AWS that is not signed.)"""
    from moto.transcribe.models import FakeTranscriptionJob

    made = b'{"results": {"transcripts": [{"transcript": "Smoke from hundreds of wildfires"}]}}'
    s3 = boto3.client("s3", endpoint_url=moto.url, config=Signing(signature_version="s3v4"))
    place = {"Bucket": "aws-transcribe", "Key": "asrOutput.json"}
    s3.create_bucket(Bucket=place["Bucket"])
    s3.put_object(**place, Body=made)
    advance = FakeTranscriptionJob.advance

    def advanced(job: Any) -> None:
        advance(job)
        if job.transcript and job.output_location_type == "SERVICE_BUCKET":
            job.transcript = {"TranscriptFileUri": s3.generate_presigned_url("get_object", place)}

    monkeypatch.setattr(FakeTranscriptionJob, "advance", advanced)
    return made


def test_transcribe(moto, transcript, ledger):
    """A transcription is created under the job's own id, goes through AWS's states, and brings its
    transcript."""
    moto.steps("transcribe::transcriptionjob", 1)
    t = ledger("aws-transcribe", moto.url, allowed_hosts=[moto.url])
    job = t.submit("aws", {**SPOKEN, "TranscriptionJobName": "of another"})
    [done] = ended(t, job)
    assert (done.status, done.remote_state) == ("completed", "COMPLETED")
    assert done.server_id == done.local_id and done.poll_count >= 2
    assert list(moto.inside("transcribe").transcriptions) == [job.local_id]
    assert t.result(job) == transcript


def test_transcribe_into_a_bucket_of_ones_own(moto, transcript, ledger):
    """A transcript that is in somebody's own bucket stays there: the job says where."""
    t = ledger("aws-transcribe", moto.url)
    [done] = ended(t, t.submit("aws", {**SPOKEN, "OutputBucketName": "mine"}))
    assert (done.status, done.remote_state) == ("completed", "COMPLETED")
    assert done.vars["transcript"] == (
        f"https://s3.us-east-1.amazonaws.com/mine/{done.local_id}.json"
    )
    assert t.details(done)["contents"] == []


def test_textract(moto, ledger, monkeypatch):
    """A document's text is asked for with the job's own token, and comes as a line for each
    block."""
    from moto.textract.models import TextractBackend

    monkeypatch.setattr(TextractBackend, "BLOCKS", [{"BlockType": "LINE", "Text": "Smoke"}])
    t = ledger("aws-textract", moto.url)
    place = {"S3Object": {"Bucket": "scans", "Name": "d.pdf"}}
    [done] = ended(t, t.submit("aws", {"DocumentLocation": place}))
    assert (done.status, done.remote_state) == ("completed", "SUCCEEDED")
    assert done.server_id in moto.inside("textract").async_text_detection_jobs
    assert lines(t.result(done)) == [{"BlockType": "LINE", "Text": "Smoke"}]


def test_textract_analysis(moto, ledger, monkeypatch):
    """The preset for text serves for forms and tables, with the names of other operations."""
    from moto.textract.models import TextractBackend

    monkeypatch.setattr(TextractBackend, "BLOCKS", [{"BlockType": "TABLE", "Id": "t1"}])
    get = {"request": {"operation": "GetDocumentAnalysis"}}
    create = {"request": {"operation": "StartDocumentAnalysis"}}
    t = ledger("aws-textract", moto.url, create=create, status=get, result=get)
    place = {"S3Object": {"Bucket": "scans", "Name": "d.pdf"}}
    [done] = ended(t, t.submit("aws", {"DocumentLocation": place, "FeatureTypes": ["TABLES"]}))
    assert done.server_id in moto.inside("textract").async_document_analysis_jobs
    assert lines(t.result(done)) == [{"BlockType": "TABLE", "Id": "t1"}]


def lines(result: bytes) -> list[Any]:
    return [json.loads(line) for line in result.splitlines()]


@pytest.fixture
def queue(moto: Moto) -> dict[str, str]:
    """The payload of an AWS Batch job, with all that it names."""
    role = moto.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]
    batch = moto.client("batch")
    place = batch.create_compute_environment(
        computeEnvironmentName="env", type="UNMANAGED", state="ENABLED", serviceRole=role["Arn"]
    )
    order = [{"order": 1, "computeEnvironment": place["computeEnvironmentArn"]}]
    batch.create_job_queue(
        jobQueueName="queue", state="ENABLED", priority=1, computeEnvironmentOrder=order
    )
    container = {"image": "busybox", "vcpus": 1, "memory": 128, "command": ["true"]}
    batch.register_job_definition(
        jobDefinitionName="sleep", type="container", containerProperties=container
    )
    return {"jobName": "a-job", "jobQueue": "queue", "jobDefinition": "sleep"}


def test_batch(moto, queue, ledger, monkeypatch):
    """Due jobs share a DescribeJobs; each gets its own state out of it, also one that AWS does not
    tell of."""
    from moto.batch.models import BatchBackend

    asked: list[list[str]] = []
    describe = BatchBackend.describe_jobs

    def described(backend: Any, jobs: list[str]) -> Any:
        asked.append(jobs)
        return describe(backend, jobs)

    monkeypatch.setattr(BatchBackend, "describe_jobs", described)
    t = ledger("aws-batch", moto.url)
    good = [t.submit("aws", queue, sync=False) for _ in range(4)]
    t.poll()
    monkeypatch.setenv("MOTO_SIMPLE_BATCH_FAIL_AFTER", "0")
    bad = t.submit("aws", queue)
    while t.get(bad).server_id is None:
        t.poll(services=["aws"], limit=0)
    there = moto.inside("batch")._jobs
    ids = [t.get(job).server_id for job in (*good, bad)]
    assert set(ids) == set(there)
    running, gone = there[ids[0]], ids[1]
    running.status = "RUNNING"
    del there[gone]
    asked.clear()
    t.poll([*good, bad])
    assert [sorted(jobs) for jobs in asked if len(jobs) > 1] == [sorted(ids)]
    found = [t.get(job) for job in (*good, bad)]
    assert [job.remote_state for job in found if job.server_id != gone] == [
        "RUNNING", "SUCCEEDED", "SUCCEEDED", "FAILED",
    ]  # fmt: skip
    assert [job.status for job in found] == [
        "processing", "processing", "completed", "completed", "failed",
    ]  # fmt: skip
    running.status = "SUCCEEDED"
    done, lost = ended(t, *good[:2])
    assert done.status == "completed"
    assert lost.status == "failed" and "has not known this job" in (lost.error_message or "")


def test_batch_cancels(moto, queue, ledger):
    """A running job is terminated, with a reason. (moto does not say that it was: how AWS marks
    such a job is in the preset's examples.)"""
    t = ledger("aws-batch", moto.url, poll={**HASTE["poll"], "first": "1h"})
    job = t.submit("aws", queue, sync=False)
    t.poll()
    [there] = moto.inside("batch")._jobs.values()
    there.status = "RUNNING"
    t.cancel(job, sync=False)
    t.poll()
    assert t.outbox() == []
    assert (there.stop, there.job_stopped_reason) == (True, "cancelled by its owner")


@pytest.fixture
def etl(moto: Moto) -> dict[str, str]:
    """The payload of a run of a Glue job, which is there."""
    moto.client("glue").create_job(
        Name="etl",
        Role="r",
        Command={"Name": "glueetl"},
        ExecutionProperty={"MaxConcurrentRuns": 1},
    )
    moto.steps("glue::job_run", 1)
    return {"JobName": "etl"}


def test_glue(moto, etl, ledger):
    """A run is created and polled to its end; one that is there already is tracked by its job's
    name and its id."""
    t = ledger("aws-glue", moto.url)
    [done] = ended(t, t.submit("aws", etl))
    assert (done.status, done.remote_state, done.vars) == ("completed", "SUCCEEDED", etl)
    [there] = moto.inside("glue").jobs["etl"].job_runs
    assert done.server_id == there.job_run_id
    other = moto.client("glue").start_job_run(JobName="etl")["JobRunId"]
    [tracked] = ended(t, t.add("aws", other, variables=etl))
    assert tracked.status == "completed"


def test_glue_fails(moto, etl, ledger):
    """A run that ends badly does so here. moto lets none fail: it is told to."""
    moto.steps("glue::job_run", 1000)
    t = ledger("aws-glue", moto.url)
    for word, status in (("FAILED", "failed"), ("TIMEOUT", "failed"), ("STOPPED", "cancelled")):
        job = t.submit("aws", etl)
        while t.get(job).remote_state is None:
            t.poll([job])
        assert t.get(job).remote_state == "STARTING"
        moto.inside("glue").jobs["etl"].job_runs[-1].status = word
        [end] = ended(t, job)
        assert (end.status, end.remote_state) == (status, word)


# Trouble.


@pytest.mark.parametrize(
    ("preset", "variables"),
    [
        ("aws-transcribe", {}),
        ("aws-textract", {}),
        ("aws-batch", {}),
        ("aws-glue", {"JobName": "etl"}),
    ],
)
def test_a_job_that_is_not_there(moto, ledger, preset, variables):
    """A job that AWS does not know is lost in the end, whatever code AWS has for that."""
    t = ledger(preset, moto.url)
    job = t.add("aws", "nobody", variables=variables)
    assert t.look(job)["read"]["state"] == "unknown"
    [lost] = ended(t, job)
    assert lost.status == "failed" and "has not known this job" in (lost.error_message or "")


def test_a_create_that_got_through(moto):
    """A create whose reply was lost is sent again: the transcription of that name is the job's."""
    service = of_preset("aws-transcribe", aws={"endpoint_url": moto.url})
    job, clients = a_job(payload=SPOKEN, server_id=None), Clients(1)
    with closing(clients):
        for _ in range(2):
            found = service.read_create(job, perform(clients, service.build_create(job)))
            assert isinstance(found, Reading), found
            assert (found.state, found.server_id) == (State.PROCESSING, job.local_id)
    assert list(moto.inside("transcribe").transcriptions) == [job.local_id]


def test_a_delete_that_got_through(moto, ledger):
    """A transcription that is gone already is deleted."""
    t = ledger("aws-transcribe", moto.url)
    jobs = ended(t, *[t.submit("aws", SPOKEN) for _ in range(2)])
    there = moto.inside("transcribe").transcriptions
    del there[jobs[0].local_id]
    for job in jobs:
        t.delete(job, sync=False)
    t.poll()
    assert t.outbox() == [] and there == {} and t.list() == []


def test_without_credentials(moto, ledger, monkeypatch):
    """Without credentials nothing leaves, nothing is lost, and the job goes out when they come."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    t = ledger("aws-transcribe", moto.url)
    assert "no credentials" in str(t.signed_in("aws")["credentials"])
    job = t.submit("aws", SPOKEN, sync=False)
    t.poll()
    assert t.store.budget("aws", "").fault == Fault.SIGNED_OUT
    [owed] = t.outbox(job)
    assert (owed["state"], owed["attempts"]) == ("pending", 0)
    assert moto.inside("transcribe").transcriptions == {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    t.resume("aws")
    assert ended(t, job)[0].status == "completed"


def test_credentials_come_while_a_poller_runs(moto, monkeypatch):
    """A transport that had no credentials, or no good ones, looks for them again."""
    service = of_preset("aws-transcribe", aws={"endpoint_url": moto.url})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with closing(AwsTransport()) as transport:
        assert replied(transport, service).fault == Fault.SIGNED_OUT
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
        assert replied(transport, service).status == 200


def test_credentials_change_while_a_poller_runs(wire, monkeypatch):
    """Keys that AWS does not take any more are looked for again, too."""
    there = wire(
        (400, {"__type": "ExpiredTokenException", "message": "The token is expired."}),
        (200, {"TranscriptionJob": {}}),
    )
    service = of_preset("aws-transcribe", aws={"endpoint_url": there.url})
    with closing(AwsTransport()) as transport:
        assert replied(transport, service).fault == Fault.UNAUTHORISED
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another-id")
        assert replied(transport, service).status == 200
    assert [re.findall(r"Credential=(.*?)/", one) for one in there.signed] == [
        ["an-id"], ["another-id"],
    ]  # fmt: skip


def replied(transport: AwsTransport, service: Service) -> Reply:
    """The reply to a create."""
    transport.send(service.build_create(a_job(payload=SPOKEN)))
    while not (found := list(transport.receive(1.0))):
        pass
    return found[0][1]


def test_without_a_region(moto, ledger, monkeypatch):
    """A shell that names no region is no fault of the job's: it stays owed, nothing is burnt."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    t = ledger("aws-transcribe", moto.url)
    job = t.submit("aws", SPOKEN, sync=False)
    t.poll()
    [owed] = t.outbox(job)
    assert (owed["state"], owed["attempts"]) == ("pending", 0)
    assert "region" in (t.store.budget("aws", "").why or "")


def test_aws_is_not_there(ledger):
    """A server that is not there is the service's problem: the job stays owed."""
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        port = held.getsockname()[1]
    t = ledger("aws-glue", f"http://127.0.0.1:{port}")
    job = t.submit("aws", {"JobName": "etl"}, sync=False)
    t.poll()
    budget = t.store.budget("aws", "")
    assert budget.fault == Fault.UNREACHABLE and str(port) in (budget.why or "")
    [owed] = t.outbox(job)
    assert (owed["state"], owed["attempts"]) == ("pending", 0)


class Wire:
    """A server that answers with what is in ``replies``, the last one for ever: an HTTP code and
    JSON, or what makes that of the request's. ``seen`` has (method, path, X-Amz-Target, body) of
    each request, ``signed`` its Authorization."""

    def __init__(self, *replies: tuple[int, Any]) -> None:
        self.replies = list(replies)
        self.seen: list[tuple[str, str, str, Any]] = []
        self.signed: list[str] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target = self.headers.get("X-Amz-Target", "")
                wire.signed.append(self.headers.get("Authorization", ""))
                wire.seen.append((self.command, self.path, target, json.loads(body or b"null")))
                code, told = wire.replies[0] if len(wire.replies) == 1 else wire.replies.pop(0)
                told = told(wire.seen[-1][3]) if callable(told) else told
                found = json.dumps(told).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            do_GET = do_POST = do_PUT = do_DELETE = _answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    made = []

    def make(*replies: tuple[int, Any]) -> Wire:
        made.append(Wire(*replies))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_transcribe_fails(wire, ledger):
    """A transcription that fails does so with AWS's reason. (moto lets none fail.)"""

    def like(status: str, **more: Any) -> Callable[[Any], Any]:
        named = {"TranscriptionJobStatus": status, "CreationTime": 1663711100.441, **more}
        return lambda sent: {
            "TranscriptionJob": {"TranscriptionJobName": sent["TranscriptionJobName"], **named}
        }

    there = wire(
        (200, like("QUEUED")),
        (200, like("IN_PROGRESS")),
        (200, like("FAILED", FailureReason="The media format is another one.")),
    )
    t = ledger("aws-transcribe", there.url)
    [failed] = ended(t, t.submit("aws", SPOKEN))
    assert (failed.status, failed.error_message) == ("failed", "The media format is another one.")
    assert [one[2] for one in there.seen] == [
        "Transcribe.StartTranscriptionJob",
        "Transcribe.GetTranscriptionJob",
        "Transcribe.GetTranscriptionJob",
    ]


def test_not_allowed(wire, ledger):
    """What AWS does not allow is told in its own words, and not asked for again."""
    words = "User: arn:aws:iam::1:user/ada is not authorized to perform: glue:StartJobRun"
    there = wire(
        (400, {"__type": "com.amazon.coral.service#AccessDeniedException", "Message": words})
    )
    t = ledger("aws-glue", there.url)
    job = t.submit("aws", {"JobName": "etl"}, sync=False)
    t.poll()
    [owed] = t.outbox(job)
    assert owed["state"] == "dead" and words in owed["last_error"]
    tracked = t.add("aws", "jr_1", variables={"JobName": "etl"})
    t.poll([tracked])
    found = t.get(tracked)
    assert found.status == "processing" and words in (found.last_error or "")


def test_keys_that_are_no_good(wire, ledger):
    """Credentials that AWS does not take pause the service, as a 401 does."""
    told = {"__type": "UnrecognizedClientException", "message": "The token is invalid."}
    there = wire((400, told))
    t = ledger("aws-glue", there.url)
    job = t.submit("aws", {"JobName": "etl"}, sync=False)
    t.poll()
    assert t.store.budget("aws", "").fault == Fault.UNAUTHORISED
    assert t.outbox(job)[0]["state"] == "pending"


@pytest.mark.parametrize(
    ("preset", "payload", "code"),
    [
        ("aws-transcribe", SPOKEN, "LimitExceededException"),
        ("aws-textract", {"DocumentLocation": {}}, "LimitExceededException"),
        ("aws-textract", {"DocumentLocation": {}}, "ProvisionedThroughputExceededException"),
        ("aws-glue", {"JobName": "etl"}, "ThrottlingException"),
    ],
)
def test_too_many(wire, ledger, preset, payload, code):
    """AWS says "too many" by HTTP 400 and a word: the service waits, the job loses nothing."""
    there = wire((400, {"__type": code, "message": "Rate exceeded"}))
    t = ledger(preset, there.url)
    job = t.submit("aws", payload, sync=False)
    t.poll()
    assert t.store.budget("aws", "").fault == Fault.THROTTLED
    [owed] = t.outbox(job)
    assert (owed["state"], owed["attempts"]) == ("pending", 0)


def test_a_run_waits_for_another(wire, ledger):
    """A Glue job has a limit of runs at once: a new one is tried again until it is let in, burns
    no attempt, and nothing else waits."""
    full = (400, {"__type": "ConcurrentRunsExceededException", "message": "Too many runs"})
    run = {"Id": "jr_1", "JobRunState": "RUNNING"}
    there = wire(full, *[full] * HASTE["retry"]["attempts"], (200, {"JobRunId": "jr_1"}),
                 (200, {"JobRun": run}))  # fmt: skip
    t = ledger("aws-glue", there.url)
    job = t.submit("aws", {"JobName": "etl"}, sync=False)
    t.poll()
    [owed] = t.outbox(job)
    assert (owed["state"], owed["attempts"]) == ("pending", 0)
    assert t.store.budget("aws", "").fault is None
    while t.get(job).remote_state is None:
        t.poll([job])
    assert (t.get(job).server_id, t.get(job).remote_state) == ("jr_1", "RUNNING")


def test_a_transcript_whose_url_is_old(wire, ledger):
    """The URL of a transcript is good for 15 minutes: the job is asked for a fresh one, and AWS's
    credentials are not shown to where it leads."""

    def with_url(name: str) -> Callable[[Any], Any]:
        def told(sent: Any) -> Any:
            url = f"{there.url}/{name}?X-Amz-Expires=900"
            done = {"TranscriptionJobStatus": "COMPLETED", "Transcript": {"TranscriptFileUri": url}}
            return {"TranscriptionJob": {**sent, **done}}

        return told

    there = wire(
        (200, with_url("old")),
        (200, with_url("old")),
        (403, {"Code": "AccessDenied", "Message": "Request has expired"}),
        (200, with_url("fresh")),
        (200, {"results": {"transcripts": [{"transcript": "Smoke"}]}}),
    )
    t = ledger("aws-transcribe", there.url, allowed_hosts=[there.url])
    [end] = ended(t, t.submit("aws", SPOKEN))
    assert end.status == "completed"
    assert json.loads(t.result(end)) == {"results": {"transcripts": [{"transcript": "Smoke"}]}}
    calls = zip(there.seen, there.signed, strict=True)
    fetched = [(one[1], signed) for one, signed in calls if one[0] == "GET"]
    assert fetched == [("/old?X-Amz-Expires=900", ""), ("/fresh?X-Amz-Expires=900", "")]


def test_textract_pages(wire, ledger):
    """Blocks come in pages, which become one result; a poll brings no more than it needs."""

    def page(*ids: str, **more: Any) -> tuple[int, Any]:
        return 200, {"JobStatus": "SUCCEEDED", "Blocks": [{"Id": one} for one in ids], **more}

    there = wire(
        (200, {"JobId": "b9ab1e2f"}), page("p1", NextToken="t2"), page("p1", "l1", NextToken="t2"),
        page("l2", "l3", NextToken="t3"), page("l4"),
    )  # fmt: skip
    t = ledger("aws-textract", there.url)
    place = {"S3Object": {"Bucket": "scans", "Name": "d.pdf"}}
    [end] = ended(t, t.submit("aws", {"DocumentLocation": place}))
    assert [one["Id"] for one in lines(t.result(end))] == ["p1", "l1", "l2", "l3", "l4"]
    assert [one[3].get("NextToken") for one in there.seen[2:]] == [None, "t2", "t3"]
    assert [one[3].get("MaxResults") for one in there.seen] == [None, 1, 1000, 1000, 1000]


def test_mediaconvert(wire, ledger):
    """The wire says job.status, boto3 Job.Status: from create to end, with what is said between."""

    def job(status: str, **more: Any) -> dict[str, Any]:
        return {"job": {"id": "1515-abc", "status": status, **more}}

    settings = {
        "outputGroups": [
            {"outputGroupSettings": {"fileGroupSettings": {"destination": "s3://b/o/"}}}
        ]
    }
    there = wire(
        (201, job("SUBMITTED")),
        (200, job("PROGRESSING", jobPercentComplete=37)),
        (200, job("COMPLETE", jobPercentComplete=100, settings=settings)),
    )
    t = ledger("aws-mediaconvert", there.url)
    begun = t.submit("aws", {"Role": "arn:aws:iam::1:role/r", "Settings": {}})
    [done] = ended(t, begun)
    assert (done.status, done.server_id, done.progress) == ("completed", "1515-abc", 1.0)
    assert json.loads(t.result(done)) == ["s3://b/o/"]
    create, *polls = there.seen
    assert create[:2] == ("POST", "/2017-08-29/jobs")
    assert create[3]["clientRequestToken"] == begun.local_id
    assert {one[:2] for one in polls} == {("GET", "/2017-08-29/jobs/1515-abc")}


def test_bedrock(wire, ledger):
    """A batch is asked for by its ARN, as one piece of the path; what AWS gave up in the middle is
    a part of a result."""
    arn = "arn:aws:bedrock:us-east-1:111122223333:model-invocation-job/abcdefghijkl"
    place = {"s3OutputDataConfig": {"s3Uri": "s3://b/out/"}}
    there = wire(
        (200, {"jobArn": arn}),
        (200, {"jobArn": arn, "status": "InProgress", "outputDataConfig": place,
               "totalRecordCount": 1000, "processedRecordCount": 250}),
        (200, {"jobArn": arn, "status": "PartiallyCompleted", "outputDataConfig": place}),
    )  # fmt: skip
    t = ledger("aws-bedrock-batch", there.url)
    [submitted] = [
        one for one in of_preset("aws-bedrock-batch").examples if one.name == "submitted"
    ]
    job = t.submit("aws", submitted.payload)
    [done] = ended(t, job)
    assert (done.status, done.remote_state, done.progress) == (
        "completed",
        "PartiallyCompleted",
        1.0,
    )
    assert t.result(job) == b"s3://b/out/"
    assert [one["partial"] for one in t.details(job)["contents"]] == [True]
    create, *polls = there.seen
    assert create[3]["clientRequestToken"] == job.local_id
    where = "/model-invocation-job/arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3A"
    assert {one[1] for one in polls} == {where + "model-invocation-job%2Fabcdefghijkl"}
