"""Reading `[services.X]`: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tomllib

import pytest
from servicing import DOCS, a_job, docs, load, reply

from tracker import config
from tracker.errors import ConfigError, NotFound, UsageError
from tracker.model import State
from tracker.schedule import PollPolicy, RetryPolicy
from tracker.services import load_services, load_sinks

ARCHITECTURE = """
[services.docs]
base_url    = "https://api.example.com/v1"
auth        = { bearer = "env:DOCS_TOKEN" }
rate        = "10/s"
concurrency = 8
[services.docs.poll]
first = "10s"
every = "20s"
backoff = { base = "5s", cap = "60s" }
[services.docs.retry]
base = "1m"
cap = "1h"
attempts = 5
[services.docs.create]
request     = { method = "POST", path = "/jobs", json = { \
document = "{input.url}", language = "{payload.language}" } }
idempotency = "header"
server_id   = "body.job_id"
[services.docs.status]
request  = { path = "/jobs/{server_id}" }
state    = "body.status"
progress = "body.progress"
error    = "body.error.message"
[services.docs.states]
processing = ["queued", "running"]
completed  = ["done"]
failed     = ["error"]
timeout    = ["timeout"]
[services.docs.result]
request    = { path = "/jobs/{server_id}/result" }
content_id = "body.content_id"
"""


def test_the_documented_example():
    """The example of the architecture works as it is shown, and spells out the defaults."""
    service = load_services(config.parse(ARCHITECTURE, "/etc/tracker.toml"))["docs"]
    assert service.rate == 0.1 and service.concurrency == 8 and service.timeout == 30.0
    assert service.poll == PollPolicy() and service.retry == RetryPolicy()
    assert service.result_retry == RetryPolicy(attempts=3)
    assert service.repeatable and service.fetches and service.credential is not None
    assert service.states["queued"] is State.PROCESSING
    job = a_job(payload={"language": "en"}, input={"url": "https://in"})
    call = service.build_create(job, "k")
    assert (call.method, call.url) == ("POST", "https://api.example.com/v1/jobs")
    assert call.body == b'{"document":"https://in","language":"en"}'
    assert call.headers["Idempotency-Key"] == "k"
    assert service.build_status(job).url == "https://api.example.com/v1/jobs/j1"
    assert service.build_result(job).url == "https://api.example.com/v1/jobs/j1/result"


def test_every_setting_arrives():
    """Durations, rates, sizes and limits end as seconds, bytes and counts."""
    service = docs(
        """
        account = "eu"
        rate = "600/m"
        concurrency = 3
        timeout = "1m30s"
        max_bytes = 1000
        retry_after_cap = "10m"
        transport = "curl"
        [poll]
        first = 0
        every = "1h"
        backoff = { base = "250ms", cap = "2m" }
        max_per_minute = 60
        give_up_after = "7d"
        lost_after = "1h"
        [retry]
        base = "2h"
        attempts = 2
        [result]
        keep = "file"
        [result.retry]
        base = "1s"
        attempts = 9
        [cleanup]
        older_than = "30d"
        failed = "1d"
        cancelled = 0
        request = { path = "/jobs/cleanup", json = { ids = "{server_ids}" } }
        most = 7
        instead = true
        """
    )
    cleanup = service.cleanup
    assert cleanup.older_than == 2592000.0 and cleanup.ages == {"failed": 86400.0, "cancelled": 0.0}
    assert (cleanup.most, cleanup.instead, service.result.keep) == (7, True, "file")
    assert (service.account, service.rate, service.concurrency) == ("eu", 0.1, 3)
    assert (service.timeout, service.max_bytes, service.retry_after_cap) == (90.0, 1000, 600.0)
    assert service.transport == "curl"
    assert service.poll == PollPolicy(0.0, 3600.0, 0.25, 120.0, 60.0, 604800.0, 3600.0)
    assert service.retry == RetryPolicy(7200.0, 7200.0, 2)
    assert service.result_retry == RetryPolicy(1.0, 7200.0, 9)
    assert docs('rate = "unlimited"').rate is None


def test_curl_has_to_be_there_for_who_asks_for_it(monkeypatch):
    """It is told when the configuration is read, with what to install; others do not notice."""
    monkeypatch.setitem(sys.modules, "pycurl", None)
    with pytest.raises(ConfigError) as caught:
        docs('transport = "curl"')
    assert caught.value.message.startswith("services.docs.transport: curl needs pycurl")
    assert "pip install 'tracker-jobs[fast]'" in caught.value.hint
    assert docs("").transport == "http"


@pytest.mark.parametrize(
    ("create", "uploads"),
    [
        ('request = { path = "/jobs" }', False),
        ('request = { path = "/jobs", file = true }', False),
        ('request = { path = "/jobs" }\nupload = true', True),
        ('request = { path = "/jobs", json = { name = "{input.name}" } }', False),
        *[
            (f'request = {{ path = "/jobs", json = {{ x = "{{input.{name}{mark}}}" }} }}', True)
            for name in ("url", "uri", "bucket", "key", "version_id")
            for mark in ("", "?")
        ],
        ('request = { path = "/jobs", query = { from = "{input.url}" } }', True),
        ('request = { path = "/jobs", headers = { X-From = "{input.uri}" } }', True),
    ],
)
def test_whether_an_input_is_uploaded(create, uploads):
    """An input goes into S3 first where the create call names its place there, in whatever part,
    and where `upload` says so."""
    service = load(f'base_url = "http://x"\n[create]\nserver_id = "body.id"\n{create}')
    assert service.uploads is uploads


def test_a_cleanup_call():
    """The call that asks a service to clean up names the ids that it gave; without `server_ids` it
    is about one job at a time, and without a request nobody is asked."""
    request = '{ path = "/clean/{vars.p}", json = { ids = "{server_ids}" } }'
    service = docs(f"[cleanup]\nrequest = {request}")
    call = service.build_cleanup(a_job(server_ids=["a", "b/c"], vars={"p": "x y"}))
    assert (call.method, call.url) == ("POST", "https://api.example.com/v1/clean/x%20y")
    assert call.body == b'{"ids":["a","b/c"]}' and service.cleanup.most == 100
    one = docs('[cleanup]\nrequest = { method = "DELETE", path = "/jobs/{server_id}/files" }')
    assert one.cleanup.most == 1 and one.build_cleanup(a_job()).url.endswith("/jobs/j1/files")
    assert docs().cleanup.request is None
    with pytest.raises(UsageError, match=r"docs has no cleanup\.request"):
        docs().build_cleanup(a_job())


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("pol = 1", r"services\.docs\.pol: unknown key \(did you mean 'poll'\?\)"),
        ('[poll]\nevry = "1s"', r"services\.docs\.poll\.evry: unknown key \(did you mean 'every'"),
        (
            '[poll]\nevery = "20 parsecs"',
            r'services\.docs\.poll\.every: expected a duration such as "20s", got "20 parsecs"',
        ),
        ("[poll]\nevery = 0", "poll.every: must be longer than 0"),
        ("[poll]\nmax_per_minute = 0", "poll.max_per_minute: expected a number from"),
        ('[poll]\nbackoff = { base = "1m", cap = "1s" }', "poll.backoff.cap: is shorter"),
        ("poll = 1", "services.docs.poll: expected a table, got 1"),
        ('rate = "10"', 'docs.rate: expected a rate such as "10/s"'),
        ("concurrency = 0", "docs.concurrency: expected a whole number from 1 to 1000, got 0"),
        ("concurrency = true", "docs.concurrency: expected a whole number"),
        ('max_bytes = "8 parsecs"', "docs.max_bytes: expected a size"),
        ('verify = "/no/such/ca.pem"', "docs.verify: there is no CA bundle"),
        ("verify = 1", "docs.verify: expected true, false or a CA bundle"),
        ('transport = "aws"', "docs.transport: expected one of"),
        ('[create]\nidempotency = "lookup"', "create.lookup: goes with idempotency = lookup"),
        ('[create]\nidempotency = "headr"', "did you mean 'header'"),
        ('[create]\nidempotency_key = "X"', "goes with idempotency"),
        ('[create]\nidempotency = "client_id"', "sends no {client_id}"),
        ('[create]\nserver_id = "id"', "create.server_id: 'id' is none of"),
        ("[create]\nrequest = 1", "create.request: expected a table"),
        ('[status]\nhttp = { "2xx" = "done" }', "expected an HTTP code"),
        ('[status]\nhttp = { "202" = "runing" }', "not in services.docs.states.*'running'"),
        ('[status]\nprogress = { num = "body.a" }', "expected percent, or fraction, or num"),
        ("[status]\nprogress_scale = 0", "progress_scale: expected a number"),
        ('[status]\ncapture = { "a b" = "body.x" }', "expected a plain name"),
        ('[states]\nfailed = ["done"]', r'docs\.states\.failed: "done" is also among completed'),
        ('fold_case = true\n[states]\nfailed = ["DONE"]', "also among completed"),
        ("[states]\nfailed = [1]\ntimeout = [1.0]", "also among"),
        ("[states]\ncompleted = []", r"states\.completed: is missing"),
        ('[states]\ncompleted = "done"', "expected an array of words"),
        ("[states]\nfailed = [{}]", "expected strings, numbers or booleans"),
        ('[states]\nfinished = ["x"]', "states.finished: unknown key"),
        ('[result]\nvalue = "body.x"', "expected a request or a value"),
        ("[result]\nmax_bytes = 0", "result.max_bytes: expected a size"),
        ('[result]\nkeep = "row or file"', "result.keep: expected one of"),
        ('[result]\nkeep = "object"', "result.keep: there is no bucket to put results into"),
        (
            '[create]\nupload = false\nrequest = { path = "/", json = { x = "{input.url}" } }',
            r"create\.upload: the request uses input\.url, which only an upload gives",
        ),
        ('[create]\nupload = "yes"', "create.upload: expected true or false"),
        ('[cleanup]\nolder_than = "soon"', "cleanup.older_than: expected a duration"),
        ("[cleanup]\nfailed = -1", "cleanup.failed: expected a duration"),
        ("[cleanup]\nkeep = 3", "cleanup.keep: unknown key"),
        ("[cleanup]\ninstead = true", "cleanup.instead: goes with a request"),
        ('[cleanup]\nrequest = "/x"', "cleanup.request: expected a table"),
        ("[cleanup.request]\nmethod = 'POST'", "cleanup.request: .*"),
        ('[cleanup]\nmost = 0\nrequest = { path = "/{server_ids}" }', "cleanup.most: expected a"),
        (
            '[cleanup]\nmost = 5\nrequest = { path = "/{server_id}" }',
            r"cleanup\.most: goes with a request that uses \{server_ids\}",
        ),
        ('[cleanup]\nrequest = { path = "/{job.status}" }', "job is not known in this call"),
        ('[cleanup]\nrequest = { path = "/{input.name}" }', "input is not known in this call"),
        ('[status]\nrequest = { path = "/{server_ids}" }', "server_ids is not known in this call"),
    ],
)
def test_slips_are_named(extra, message):
    """What is wrong is told in one line, with the key's full path and what was expected."""
    with pytest.raises(ConfigError, match=message) as caught:
        docs(extra)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("services.docs")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://x", "an http.s. URL with a host"),
        ("https://", "an http.s. URL with a host"),
        ("api.example.com", "an http.s. URL with a host"),
        ("https://me:pw@example.com", "must not hold a user or password"),
        ("https://example.com/?key=1", "a plain URL"),
        ("https://example.com/#x", "a plain URL"),
        ("https://example.com/{payload.x}", "a plain URL"),
        ("https://exa mple.com", "a plain URL"),
        ("https://example.com:99999", "a plain URL"),
        ("https://example.com/a/../b", "a plain URL"),
        ("https://exämple.com", "a plain URL"),
    ],
)
def test_base_urls(url, message):
    """A base_url is an http(s) URL with a host, without credentials or a query."""
    with pytest.raises(ConfigError, match=message) as caught:
        load(f'base_url = "{url}"')
    assert str(caught.value).startswith("services.docs.base_url") and "pw" not in str(caught.value)


def test_missing_parts():
    """A service may only track, or only create; what it lacks is said when it is asked for."""
    bare = load('base_url = "http://localhost:8080/"')
    assert bare.base_url == "http://localhost:8080" and bare.status is None
    assert bare.read_status(a_job(), reply()).message == "services.docs has no status"
    with pytest.raises(ConfigError, match=r"base_url: is missing"):
        load("")
    with pytest.raises(ConfigError, match=r"status\.state: is missing"):
        load('base_url = "http://x"\n[status]\nrequest = { path = "/" }')


@pytest.mark.parametrize("name", ["a:b", "", "a b", "x" * 65, "-x"])
def test_names_of_services(name):
    """A name fits into `service:server_id` and into a terminal."""
    with pytest.raises(ConfigError, match="no name for a service"):
        load_services(config.Config(database="x", services={name: {"base_url": "http://x"}}))


def test_names_with_dots_are_quoted_in_messages():
    """The path of a key can be pasted back into the file."""
    with pytest.raises(ConfigError, match=r'^services\."a\.b"\.base_url: is missing'):
        load_services(config.Config(database="x", services={"a.b": {}}))


def test_all_services_are_checked():
    """One wrong service is an error even if another one is asked for; unknown names get a hint."""
    tables = {"docs": tomllib.loads(DOCS), "bad": {}}
    with pytest.raises(ConfigError, match=r"services\.bad"):
        load_services(config.Config(database="x", services=tables))
    services = load_services(config.Config(database="x", services={"docs": tables["docs"]}))
    assert services.find("docs") is services["docs"]
    with pytest.raises(NotFound, match="did you mean 'docs'"):
        services.find("dosc")


def test_ca_bundles_are_found_beside_the_file(tmp_path):
    """A relative CA bundle starts at the configuration file's folder."""
    (tmp_path / "ca.pem").write_text("x")
    file = str(tmp_path / "tracker.toml")
    service = load('base_url = "https://x"\nverify = "ca.pem"', file)
    assert service.verify == str(tmp_path / "ca.pem")


def test_server_keys_tell_jobs_apart():
    """Two jobs have one key exactly when all that makes the remote id unique is equal."""
    service = docs('[status]\nrequest = { path = "/{vars.project}/{server_id}" }')
    keys = {
        service.server_key(a_job(server_id=server_id, account=account, vars={"project": project}))
        for server_id, account, project in [
            ("42", "", "a"),
            ("42", "", "b"),
            ("42", "eu", "a"),
            ("43", "", "a"),
        ]
    }
    assert len(keys) == 4 and all(len(key) == 32 for key in keys)
    job = a_job(server_id="42", vars={"project": "a", "other": 1}, local_id="x")
    assert service.server_key(job) in keys
    created = service.read_create(a_job(server_id=None), reply({"job_id": "42"}))
    created = dataclasses.replace(created, captured={"project": "a"})
    assert service.server_key(a_job(server_id=None), created) in keys


def test_what_loading_imports():
    """A service of plain paths brings in neither jmespath nor a client."""
    code = (
        "import sys, tomllib\n"
        "from tracker.config import Config\n"
        "from tracker.services import load_services\n"
        f"data = tomllib.loads({DOCS!r})\n"
        "load_services(Config(database='x', services={'docs': data}))\n"
        "heavy = {'jmespath', 'requests', 'boto3', 'difflib', 'subprocess', 'sqlite_utils'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_sinks():
    """`[notify]` makes a sink for its command and one for its URL, with credentials."""
    text = '[notify]\ncommand = "mail me"\nurl = "https://h/x"\ntimeout = 5\n'
    sinks = load_sinks(config.parse(text + 'auth = { bearer = "env:X" }', "/tracker.toml"))
    command, url = (sink.build(b"{}") for sink in sinks)
    assert (command.method, command.argv, command.body) == ("RUN", ["mail", "me"], b"{}")
    assert (url.method, url.url, url.timeout) == ("POST", "https://h/x", 5.0)
    assert url.credential is not None and [sink.transport for sink in sinks] == [
        "command",
        "http",
    ]
    for sink in sinks:
        assert sink.read(reply(b"", 200)) is None
        assert sink.read(reply(b"oops", 500, message="mail: ended with exit code 1"))
    with pytest.raises(ConfigError, match=r"notify\.auth\.bearer: expected a reference"):
        load_sinks(config.parse(text + 'auth = { bearer = "s" }', "/tracker.toml"))
    assert load_sinks(config.Config(database="x")) == []
