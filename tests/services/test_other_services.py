"""Services without a preset, each as the table that a user would write, with replies as they come.

What real APIs ask of a definition: handles that are URLs, states in HTTP codes, AWS's JSON over
plain HTTP, results on several hops, progress that is not known yet, replies that nothing changed.
"""

from __future__ import annotations

import tomllib

import pytest

from tracker.services import Service
from tracker.services.examples import problems
from tracker.services.loading import read_service
from tracker.tables import Table

FAL = """
base_url = "https://queue.fal.run"
auth     = { header = "Authorization", prefix = "Key ", value = "env:FAL_KEY" }
[create]
request   = { path = "/{+payload.model}", json = "{payload.input}" }
server_id = "body.request_id"
capture   = { status = "body.status_url", answer = "body.response_url" }
[status]
request = { url = "{+vars.status}" }
state   = "body.status == 'COMPLETED' && body.error && 'FAILED' || body.status"
error   = "body.error"
[states]
pending    = ["IN_QUEUE"]
processing = ["IN_PROGRESS"]
completed  = ["COMPLETED"]
failed     = ["FAILED"]
[result]
request = { url = "{+vars.answer}" }
[examples.submitted]
call      = "create"
payload   = { model = "fal-ai/flux/dev", input = { prompt = "a cat" } }
server_id = "r1"
state     = "processing"
[examples.submitted.json]
request_id   = "r1"
status_url   = "https://queue.fal.run/fal-ai/flux/requests/r1/status"
response_url = "https://queue.fal.run/fal-ai/flux/requests/r1"
[examples.submitted.sends]
method = "POST"
url    = "https://queue.fal.run/fal-ai/flux/dev"
json   = { prompt = "a cat" }
[examples.running]
of    = "r1"
vars  = { status = "https://queue.fal.run/fal-ai/flux/requests/r1/status" }
http  = 202
json  = { status = "IN_PROGRESS", logs = [] }
state = "processing"
sends = { method = "GET", url = "https://queue.fal.run/fal-ai/flux/requests/r1/status" }
[examples.done_with_an_error]
of    = "r1"
json  = { status = "COMPLETED", error = "out of memory" }
state = "failed"
error = "out of memory"
"""

SNOWFLAKE = """
base_url = "https://acme.snowflakecomputing.com"
headers  = { X-Snowflake-Authorization-Token-Type = "KEYPAIR_JWT" }
[create]
request   = { path = "/api/v2/statements", query = { async = "true" }, json = "{payload}" }
server_id = "body.statementHandle"
state     = "http.status == `200` && 'done' || 'running'"
capture   = { status = "absolute(body.statementStatusUrl)" }
[status]
request = { url = "{+vars.status}" }
http    = { "200" = "done", "202" = "running", "408" = "timeout", "422" = "failed" }
error   = "body.message"
[states]
processing = ["running"]
completed  = ["done"]
timeout    = ["timeout"]
failed     = ["failed"]
[result]
value = "body.data"
[examples.at_once]
call      = "create"
payload   = { statement = "select 1" }
http      = 200
json      = { statementHandle = "s1", statementStatusUrl = "/api/v2/statements/s1", data = [["1"]] }
url       = "https://acme.snowflakecomputing.com/api/v2/statements?async=true"
state     = "completed"
server_id = "s1"
result    = [["1"]]
captured  = { status = "https://acme.snowflakecomputing.com/api/v2/statements/s1" }
[examples.running]
of    = "s1"
vars  = { status = "https://acme.snowflakecomputing.com/api/v2/statements/s1" }
http  = 202
json  = { message = "Asynchronous execution in progress", statementHandle = "s1" }
state = "processing"
[examples.failed]
of    = "s1"
http  = 422
json  = { message = "SQL compilation error", code = "000904" }
state = "failed"
error = "SQL compilation error"
[examples.too_long]
of    = "s1"
http  = 408
json  = { message = "cancelled after 300 s" }
state = "timeout"
"""

SELLING = """
base_url = "https://sellingpartnerapi-eu.amazon.com/reports/2021-06-30"
allowed_hosts = ["*.amazonaws.com"]
rate = "2/s"
[rates]
creates = "1/m"
lists   = "1/45s"
[create]
request   = { path = "/reports", json = "{payload}" }
server_id = "body.reportId"
[status]
request = { path = "/reports/{server_id}" }
state   = "body.processingStatus"
capture = { document = "body.reportDocumentId" }
[states]
pending    = ["IN_QUEUE"]
processing = ["IN_PROGRESS"]
completed  = ["DONE"]
failed     = ["FATAL"]
cancelled  = ["CANCELLED"]
[result]
request = { url = "{+vars.url}" }
hops    = [{ request = { path = "/documents/{vars.document}" }, capture = { url = "body.url" } }]
expires_after = "72h"
[examples.done]
of       = "r1"
json     = { reportId = "r1", processingStatus = "DONE", reportDocumentId = "amzn1.doc/1" }
state    = "completed"
captured = { document = "amzn1.doc/1" }
[examples.hop]
call     = "result"
hop      = 1
of       = "r1"
vars     = { document = "amzn1.doc/1" }
json     = { reportDocumentId = "amzn1.doc/1", url = "https://x.s3.amazonaws.com/d?sig=1" }
state    = "step"
captured = { url = "https://x.s3.amazonaws.com/d?sig=1" }
[examples.hop.sends]
url = "https://sellingpartnerapi-eu.amazon.com/reports/2021-06-30/documents/amzn1.doc%2F1"
[examples.document]
call  = "result"
of    = "r1"
vars  = { url = "https://x.s3.amazonaws.com/d?sig=1" }
state = "completed"
sends = { url = "https://x.s3.amazonaws.com/d?sig=1" }
"""

MUX = """
base_url = "https://api.mux.com/video/v1"
auth     = { basic = { user = "token", password = "env:MUX_SECRET" } }
[create]
request   = { path = "/assets", json = "{payload}" }
server_id = "body.data.id"
state     = "body.data.status"
[status]
request  = { path = "/assets/{server_id}" }
state    = "body.data.status"
progress = { percent = "body.data.progress.progress" }
error    = "body.data.errors.messages"
[states]
processing = ["preparing"]
completed  = ["ready"]
failed     = ["errored"]
[examples.not_begun]
of       = "a1"
json     = { data = { id = "a1", status = "preparing", progress = { progress = -1 } } }
state    = "processing"
[examples.half]
of       = "a1"
json     = { data = { id = "a1", status = "preparing", progress = { progress = 50.5 } } }
state    = "processing"
progress = 0.505
[examples.failed]
of    = "a1"
json  = { data = { status = "errored", errors = { messages = ["no video", "bad codec"] } } }
state = "failed"
error = "no video; bad codec"
"""

SEARCH = """
base_url = "https://es.example.com"
[create]
request   = { path = "/logs/_async_search", json = "{payload}" }
server_id = "body.id"
state     = "body.is_running && 'running' || body.is_partial && 'partial' || 'done'"
[status]
request = { path = "/_async_search/status/{server_id}" }
state   = "body.is_running && 'running' || body.completion_status == `200` && 'done' || 'failed'"
expires_at = "body.expiration_time_in_millis"
[status.progress]
num = "body._shards.successful"
den = "body._shards.total"
[states]
processing = ["running"]
completed  = ["done"]
failed     = ["failed", "partial"]
[result]
request = { path = "/_async_search/{server_id}" }
[examples.at_once]
call    = "create"
payload = { query = { match_all = {} } }
json    = { is_running = false, is_partial = false, response = { took = 3 } }
state   = "completed"
[examples.running]
of         = "FmRldE8=="
state      = "processing"
progress   = 0.4
expires_at = "2020-03-16T16:58:10.986Z"
sends      = { url = "https://es.example.com/_async_search/status/FmRldE8%3D%3D" }
[examples.running.json]
id         = "FmRldE8=="
is_running = true
_shards    = { total = 10, successful = 4 }
expiration_time_in_millis = 1584377890986
[examples.gone]
of    = "FmRldE8=="
http  = 404
json  = { error = { type = "resource_not_found_exception" } }
state = "unknown"
"""

ATHENA = """
base_url = "https://athena.eu-west-1.amazonaws.com"
headers  = { Content-Type = "application/x-amz-json-1.1" }
[pacing]
throttled = "ends_with(not_null(body.__type, ''), 'TooManyRequestsException')"
[create]
idempotency     = "field"
idempotency_key = "ClientRequestToken"
server_id       = "body.QueryExecutionId"
[create.request]
path    = "/"
headers = { X-Amz-Target = "AmazonAthena.StartQueryExecution" }
json    = { "*" = "{payload}" }
[status]
state = "body.QueryExecution.Status.State"
error = "body.QueryExecution.Status.StateChangeReason"
[status.request]
method  = "POST"
path    = "/"
headers = { X-Amz-Target = "AmazonAthena.GetQueryExecution" }
json    = { QueryExecutionId = "{server_id}" }
[status.bulk]
items       = "body.QueryExecutions"
server_id   = "body.QueryExecutionId"
body        = "{QueryExecution: body}"
unprocessed = "body.UnprocessedQueryExecutionIds[].QueryExecutionId"
most        = 50
[status.bulk.request]
method  = "POST"
path    = "/"
headers = { X-Amz-Target = "AmazonAthena.BatchGetQueryExecution" }
json    = { QueryExecutionIds = "{server_ids}" }
[states]
pending    = ["QUEUED"]
processing = ["RUNNING"]
completed  = ["SUCCEEDED"]
failed     = ["FAILED"]
cancelled  = ["CANCELLED"]
[examples.submitted]
call      = "create"
payload   = { QueryString = "select 1", WorkGroup = "primary" }
json      = { QueryExecutionId = "q1" }
state     = "processing"
server_id = "q1"
[examples.submitted.sends]
method  = "POST"
json    = { QueryString = "select 1", WorkGroup = "primary", ClientRequestToken = "key" }
headers = { X-Amz-Target = "AmazonAthena.StartQueryExecution" }
[examples.failed]
of    = "q1"
state = "failed"
error = "no table"
sends = { method = "POST", json = { QueryExecutionId = "q1" } }
[examples.failed.json.QueryExecution]
QueryExecutionId = "q1"
Status = { State = "FAILED", StateChangeReason = "no table" }
[examples.throttled]
of    = "q1"
http  = 400
json  = { __type = "com.amazonaws.athena#TooManyRequestsException" }
state = "failure"
fault = "throttled"
"""

STABILITY = """
base_url = "https://api.stability.ai/v2beta"
auth     = { bearer = "env:STABILITY_KEY" }
[create]
server_id = "body.id"
[create.request]
path      = "/image-to-video"
form      = { seed = "{payload.seed?}" }
multipart = true
file      = "image?"
[status]
request = { path = "/image-to-video/result/{server_id}", headers = { Accept = "application/json" } }
http    = { "200" = "done", "202" = "running", "404" = "expired" }
[states]
processing = ["running"]
completed  = ["done"]
failed     = ["expired"]
[result]
request = { path = "/image-to-video/result/{server_id}", headers = { Accept = "video/*" } }
expires_after = "24h"
[examples.running]
of    = "v1"
http  = 202
json  = { id = "v1", status = "in-progress" }
state = "processing"
[examples.expired]
of    = "v1"
http  = 404
json  = { name = "not_found", errors = ["expired"] }
state = "failed"
"""

EPM = """
base_url = "https://epm.example.com/rest"
[status]
request = { path = "/jobs/{server_id}" }
state   = "body.status"
error   = "body.details"
[states]
processing = [-1, 2]
completed  = [0]
failed     = [1, 4]
cancelled  = [3]
[examples.running]
of    = "12345678901234567890"
json  = { jobId = 12, status = -1, details = "In process" }
state = "processing"
sends = { url = "https://epm.example.com/rest/jobs/12345678901234567890" }
[examples.invalid]
of    = "12"
json  = { jobId = 12, status = 4, details = "Invalid parameter" }
state = "failed"
error = "Invalid parameter"
"""

CODE = r"""
base_url = "https://code.example.com"
[pacing]
exhausted   = "headers.\"x-ratelimit-remaining\" == '0'"
retry_after = [{ value = 'headers."x-ratelimit-reset"', unit = "epoch" }]
[status]
state   = "body.status"
capture = { etag = "headers.etag" }
http    = { "304" = "unchanged" }
[status.request]
path    = "/runs/{server_id}"
headers = { If-None-Match = "{vars.etag?}" }
[states]
processing = ["running", "unchanged"]
completed  = ["done"]
[examples.first]
of       = "7"
headers  = { ETag = 'W/"a1"' }
json     = { status = "running" }
state    = "processing"
captured = { etag = 'W/"a1"' }
[examples.nothing_new]
of    = "7"
vars  = { etag = 'W/"a1"' }
http  = 304
state = "processing"
[examples.nothing_new.sends]
headers = { If-None-Match = 'W/"a1"' }
"""

TABLES = {
    "code": CODE,
    "athena": ATHENA,
    "epm": EPM,
    "fal": FAL,
    "mux": MUX,
    "search": SEARCH,
    "selling": SELLING,
    "snowflake": SNOWFLAKE,
    "stability": STABILITY,
}


def service(name: str) -> Service:
    """The service of that name."""
    return read_service(name, Table(f"services.{name}", tomllib.loads(TABLES[name])), "/x.toml")


@pytest.mark.parametrize("name", TABLES)
def test_each_example_is_read_as_it_is_meant(name):
    """A service is a table: what it sends and how it is read needs no Python."""
    found = service(name)
    assert len(found.examples) > 1
    assert {one.name: problems(found, one) for one in found.examples} == {
        one.name: [] for one in found.examples
    }


def test_the_examples_can_fail():
    """An example that is meant otherwise says what it yielded."""
    table = tomllib.loads(EPM)
    table["examples"]["running"]["state"] = "completed"
    found = read_service("epm", Table("services.epm", table), "/x.toml")
    [said] = problems(found, found.examples[0])
    assert said == 'state is "processing", expected "completed"'
