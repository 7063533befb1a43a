"""Definitions of well-known APIs, over replies as those APIs give them.

Word lists, paths and replies are small facts from the vendors' public documentation and SDKs.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from servicing import a_job, load, reply

from tracker.model import Failure, Fault, State

AZURE = """
base_url = "https://myendpoint.cognitiveservices.azure.com"
auth = { header = "Ocp-Apim-Subscription-Key", value = "env:AZURE_KEY" }
fold_case = true
[create]
server_id = 'headers."operation-location"'
estimated_seconds = 'headers."retry-after"'
[create.request]
path = "/documentintelligence/documentModels/{payload.model}:analyze"
query = { api-version = "2024-11-30" }
json = { urlSource = "{payload.url}" }
[status]
request = { path = "{+server_id}" }
state = "body.status"
progress = "body.percentCompleted"
error = "body.error.innererror.message || body.error.message"
estimated_seconds = 'headers."retry-after"'
[states]
pending = ["notStarted"]
processing = ["running", "inProgress"]
completed = ["succeeded"]
failed = ["failed"]
cancelled = ["canceled", "skipped"]
[result]
value = "body.analyzeResult"
"""

GOOGLE = """
base_url = "https://vision.googleapis.com/v1"
auth = { bearer = "command:gcloud auth print-access-token" }
[create]
request = { path = "/files:asyncBatchAnnotate", json = "{payload}" }
server_id = "body.name"
[status]
request = { path = "/{+server_id}" }
state = '''
body.done && (body.error && (body.error.code == `1` && 'CANCELLED'
|| body.error.code == `4` && 'DEADLINE_EXCEEDED' || 'ERROR') || 'DONE') || 'RUNNING'
'''
progress = "body.metadata.progressPercent"
error = "body.error.message"
[states]
processing = ["RUNNING"]
completed = ["DONE"]
failed = ["ERROR"]
cancelled = ["CANCELLED"]
timeout = ["DEADLINE_EXCEEDED"]
[result]
value = "body.response"
"""

ASSEMBLYAI = """
base_url = "https://api.assemblyai.com/v2"
auth = { header = "Authorization", value = "env:ASSEMBLYAI_KEY" }
[create]
request = { path = "/transcript", json = { audio_url = "{payload.audio_url}" } }
server_id = "body.id"
[status]
request = { path = "/transcript/{server_id}" }
state = "body.status"
error = "body.error"
http = { "400" = "gone" }
[states]
pending = ["queued"]
processing = ["processing"]
completed = ["completed"]
failed = ["error", "gone"]
[result]
value = "body.text"
content_id = "body.id"
"""

SNOWFLAKE = """
base_url = "https://org-acct.snowflakecomputing.com/api/v2"
headers = { X-Snowflake-Authorization-Token-Type = "KEYPAIR_JWT" }
[create]
server_id = "body.statementHandle"
state = "http.status"
[create.request]
path = "/statements"
query = { async = true, requestId = "{idempotency_key}" }
json = { statement = "{payload.sql}" }
[status]
request = { path = "/statements/{server_id}" }
http = { "200" = "done", "202" = "running", "408" = "timeout", "422" = "failed" }
error = "body.message"
[states]
processing = ["running", 202]
completed = ["done", 200]
failed = ["failed"]
timeout = ["timeout"]
[result]
request = { path = "/statements/{server_id}" }
"""

LOCATION = """
base_url = "https://ci.example.com"
auth = { basic = { user = "me", password = "env:CI_TOKEN" } }
[create]
request = { path = "/job/{payload.job}/build" }
server_id = "absolute(headers.location)"
capture = { number = "last_segment(headers.location)" }
[status]
request = { path = "{+server_id}api/json" }
state = "body.cancelled && 'cancelled' || body.executable && 'started' || 'queued'"
[states]
processing = ["queued"]
completed = ["started"]
cancelled = ["cancelled"]
"""

GITHUB = """
base_url = "https://api.github.com"
auth = { bearer = "env:GITHUB_TOKEN" }
headers = { X-GitHub-Api-Version = "2022-11-28" }
[create]
server_id = "body.workflow_run_id"
[create.request]
path = "/repos/{+payload.repo}/actions/workflows/{payload.workflow}/dispatches"
json = { ref = "{payload.ref}", inputs = "{payload.inputs?}", return_run_details = true }
[status]
request = { path = "/repos/{+payload.repo}/actions/runs/{server_id}" }
state = "body.status == 'completed' && body.conclusion || body.status"
server_id = "body.id"
version = "body.run_attempt"
[states]
pending = ["queued", "requested", "waiting", "pending"]
processing = ["in_progress"]
completed = ["success", "neutral"]
failed = ["failure", "startup_failure", "action_required"]
cancelled = ["cancelled", "skipped"]
timeout = ["timed_out", "stale"]
"""

GLUE = """
base_url = "https://glue.example.com"
[create]
server_id = "body.JobRunId"
[create.request]
path = "/"
headers = { X-Amz-Target = "AWSGlue.StartJobRun" }
json = { JobName = "{payload.job}", Arguments = "{payload.arguments?}" }
[status]
state = "body.JobRun.JobRunState"
error = "body.JobRun.ErrorMessage"
[status.request]
method = "POST"
path = "/"
headers = { X-Amz-Target = "AWSGlue.GetJobRun" }
json = { JobName = "{payload.job}", RunId = "{server_id}" }
[states]
processing = ["STARTING", "WAITING", "RUNNING", "STOPPING"]
completed = ["SUCCEEDED"]
failed = ["FAILED", "ERROR"]
cancelled = ["STOPPED"]
timeout = ["TIMEOUT", "EXPIRED"]
"""

ORACLE = """
base_url = "https://epm.example.com"
[status]
request = { path = "/jobs/{server_id}" }
state = "body.status"
error = "body.details"
[states]
processing = [-1, 2]
completed = [0]
failed = [1, 4]
cancelled = [3]
"""

SHOPIFY = """
base_url = "https://shop.example.com/admin/api"
[status]
state = "body.data.node.status"
error = "body.data.node.errorCode || body.errors[0].message"
[status.request]
method = "POST"
path = "/graphql.json"
[status.request.json]
query = "query($id: ID!) {{ node(id: $id) {{ id }} }}"
variables = { id = "{server_id}" }
[states]
pending = ["CREATED"]
processing = ["RUNNING", "CANCELING"]
completed = ["COMPLETED"]
failed = ["FAILED"]
"""


def read(definition: str, body: Any = b"", code: int = 200, **fields: Any):
    job = a_job(server_id=fields.pop("server_id", "j1"), payload={"repo": "o/r", "job": "etl"})
    return load(definition).read_status(job, reply(body, code, **fields))


@pytest.mark.parametrize(
    ("definition", "body", "code", "state", "error"),
    [
        (AZURE, {"status": "notStarted"}, 200, State.PENDING, None),
        (AZURE, {"status": "Running"}, 200, State.PROCESSING, None),
        (AZURE, {"status": "Succeeded", "analyzeResult": {}}, 200, State.COMPLETED, None),
        (
            AZURE,
            {"status": "failed", "error": {"message": "m", "innererror": {"message": "inner"}}},
            200,
            State.FAILED,
            "inner",
        ),
        (GOOGLE, {"name": "j1"}, 200, State.PROCESSING, None),
        (GOOGLE, {"done": False, "metadata": {}}, 200, State.PROCESSING, None),
        (GOOGLE, {"done": True, "response": {"x": 1}}, 200, State.COMPLETED, None),
        (GOOGLE, {"done": True, "error": {"code": 7, "message": "no"}}, 200, State.FAILED, "no"),
        (GOOGLE, {"done": True, "error": {"code": 1}}, 200, State.CANCELLED, None),
        (GOOGLE, {"done": True, "error": {"code": 4}}, 200, State.TIMEOUT, None),
        (ASSEMBLYAI, {"id": "j1", "status": "queued", "error": None}, 200, State.PENDING, None),
        (ASSEMBLYAI, {"id": "j1", "status": "completed", "text": "t"}, 200, State.COMPLETED, None),
        (ASSEMBLYAI, {"status": "error", "error": "no audio"}, 200, State.FAILED, "no audio"),
        (ASSEMBLYAI, {"error": "Transcript not found"}, 400, State.FAILED, "Transcript not found"),
        (SNOWFLAKE, {"message": "Asynchronous execution"}, 202, State.PROCESSING, None),
        (SNOWFLAKE, {"data": [["1"]], "message": "ok"}, 200, State.COMPLETED, None),
        (SNOWFLAKE, {"message": "SQL error"}, 422, State.FAILED, "SQL error"),
        (SNOWFLAKE, b"<html>", 408, State.TIMEOUT, "HTTP 408 Request Timeout"),
        (LOCATION, {"why": "In the queue", "executable": None}, 200, State.PROCESSING, None),
        (LOCATION, {"executable": {"number": 5}}, 200, State.COMPLETED, None),
        (LOCATION, {"cancelled": True}, 200, State.CANCELLED, None),
        (GITHUB, {"status": "in_progress", "conclusion": None}, 200, State.PROCESSING, None),
        (GITHUB, {"status": "completed", "conclusion": "success"}, 200, State.COMPLETED, None),
        (GITHUB, {"status": "completed", "conclusion": "timed_out"}, 200, State.TIMEOUT, None),
        (GITHUB, {"status": "completed", "conclusion": "new"}, 200, State.UNKNOWN_WORD, None),
        (GLUE, {"JobRun": {"JobRunState": "RUNNING"}}, 200, State.PROCESSING, None),
        (GLUE, {"JobRun": {"JobRunState": "FAILED", "ErrorMessage": "E"}}, 200, State.FAILED, "E"),
        (ORACLE, {"status": -1}, 200, State.PROCESSING, None),
        (ORACLE, {"status": 0}, 200, State.COMPLETED, None),
        (ORACLE, {"status": 1, "details": "D"}, 200, State.FAILED, "D"),
        (ORACLE, {"status": False}, 200, State.UNKNOWN_WORD, None),
        (SHOPIFY, {"data": {"node": {"status": "RUNNING"}}}, 200, State.PROCESSING, None),
        (SHOPIFY, {"data": None, "errors": [{"message": "m"}]}, 200, State.UNKNOWN_WORD, None),
    ],
)
def test_replies_are_read_as_their_vendors_mean_them(definition, body, code, state, error):
    """Each reply means what the vendor's documentation says, in this ledger's words."""
    reading = read(definition, body, code)
    assert (reading.state, reading.error) == (state, error)


def test_azure_is_followed_by_its_operation_location():
    """The empty 202 of Azure names its job by a full URL in a header, which is polled as it is."""
    service = load(AZURE)
    handle = f"{service.base_url}/documentintelligence/results/3b31?api-version=2024-11-30"
    job = a_job(server_id=None, payload={"model": "prebuilt-read", "url": "http://host.com/d.pdf"})
    call = service.build_create(job)
    assert call.url.endswith("/documentModels/prebuilt-read:analyze?api-version=2024-11-30")
    headers = {"operation-location": handle, "retry-after": "5"}
    reading = service.read_create(job, reply(b"", 202, headers=headers))
    assert (reading.server_id, reading.estimated_seconds) == (handle, 5.0)
    job.server_id = reading.server_id
    assert service.build_status(job).url == handle
    done = read(AZURE, {"status": "succeeded", "analyzeResult": {"pages": []}})
    assert done.result == {"pages": []}


def test_google_names_keep_their_slashes():
    """An operation's name is a path: its slashes stay."""
    service = load(GOOGLE)
    reading = service.read_create(a_job(server_id=None), reply({"name": "projects/p/operations/o"}))
    url = service.build_status(a_job(server_id=reading.server_id)).url
    assert url == "https://vision.googleapis.com/v1/projects/p/operations/o"
    other = read(GOOGLE, {"name": "operations/2", "done": True}, server_id="operations/1")
    assert isinstance(other, Failure) and other.fault is Fault.UNREADABLE


def test_snowflake_may_be_done_at_once():
    """A 200 to the create is the end of a short statement, a 202 its beginning."""
    service, job = load(SNOWFLAKE), a_job(server_id=None, payload={"sql": "select 1"})
    assert "requestId=k1" in service.build_create(job, "k1").url
    body = {"statementHandle": "01b6"}
    assert service.read_create(job, reply(body, 200)).state is State.COMPLETED
    assert service.read_create(job, reply(body, 202)).state is State.PROCESSING
    refused = service.read_create(job, reply({"message": "SQL error"}, 422))
    assert (refused.fault, refused.message) == (
        Fault.REFUSED,
        "HTTP 422 Unprocessable Entity: SQL error",
    )


def test_jenkins_names_its_queue_item_by_a_relative_location():
    """A relative Location is resolved against the URL that answered, and can be polled."""
    service, job = load(LOCATION), a_job(server_id=None, payload={"job": "deploy app"})
    call = service.build_create(job)
    assert call.url == "https://ci.example.com/job/deploy%20app/build"
    came = reply(b"", 201, url=call.url, headers={"location": "/queue/item/42/"})
    reading = service.read_create(job, came)
    assert reading.server_id == "https://ci.example.com/queue/item/42/"
    assert reading.captured == {"number": "42"}
    job.server_id = reading.server_id
    assert service.build_status(job).url == "https://ci.example.com/queue/item/42/api/json"


def test_github_keeps_its_big_ids():
    """A run's id is a number beyond 32 bits; it is kept exactly and checked on each poll."""
    service = load(GITHUB)
    payload = {"repo": "o/r", "workflow": "ci.yml", "ref": "main"}
    job = a_job(server_id=None, payload=payload)
    call = service.build_create(job)
    assert call.url == "https://api.github.com/repos/o/r/actions/workflows/ci.yml/dispatches"
    assert json.loads(call.body) == {"ref": "main", "return_run_details": True}
    reading = service.read_create(job, reply({"workflow_run_id": 22334455667788}))
    assert reading.server_id == "22334455667788"
    same = read(GITHUB, {"id": 7, "status": "queued", "run_attempt": 2}, server_id="7")
    assert (same.state, same.remote_version) == (State.PENDING, "2")
    assert isinstance(read(GITHUB, {"id": 8, "status": "queued"}, server_id="7"), Failure)


def test_glue_asks_with_a_post():
    """A status call may be a POST whose body holds the id, and the rest of a composite key."""
    job = a_job(server_id="jr_1", payload={"job": "etl"})
    call = load(GLUE).build_status(job)
    assert (call.method, call.headers["X-Amz-Target"]) == ("POST", "AWSGlue.GetJobRun")
    assert json.loads(call.body) == {"JobName": "etl", "RunId": "jr_1"}
    other = a_job(server_id="jr_1", payload={"job": "other"})
    assert load(GLUE).server_key(job) != load(GLUE).server_key(other)


def test_graphql_braces_are_doubled():
    """A GraphQL query is a template with doubled braces."""
    call = load(SHOPIFY).build_status(a_job(server_id="gid://shopify/BulkOperation/1"))
    assert json.loads(call.body) == {
        "query": "query($id: ID!) { node(id: $id) { id } }",
        "variables": {"id": "gid://shopify/BulkOperation/1"},
    }
