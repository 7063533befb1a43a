"""What replies mean."""

from __future__ import annotations

import hashlib
import json

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st
from servicing import BASE, a_job, docs, load, reply

from tracker.model import Content, Failure, Fault, Reading, State
from tracker.services import values
from tracker.services.reading import (
    read_create,
    read_delete,
    read_plain,
    read_status,
)
from tracker.services.results import read_result

SERVICE = docs()


def status(body=b"", code=200, extra="", job=None, **fields):
    service = docs(extra) if extra else SERVICE
    return read_status(service, job or a_job(), reply(body, code, **fields))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("queued", State.PROCESSING),
        ("done", State.COMPLETED),
        ("error", State.FAILED),
        ("timeout", State.TIMEOUT),
        ("cancelled", State.CANCELLED),
        ("Done", State.UNKNOWN_WORD),
        ("paused", State.UNKNOWN_WORD),
        ("", State.UNKNOWN_WORD),
    ],
)
def test_words_are_looked_up_exactly(word, state):
    """A word means what the definition lists it under; every other word is unknown and is kept."""
    reading = status({"status": word})
    assert (reading.state, reading.word) == (state, word)


@pytest.mark.parametrize("body", [{}, {"status": None}, b"", b" \n", b"null", [], "text"])
def test_no_word_is_an_unknown_word(body):
    """A reply without a word says nothing about the state: neither finished nor unreadable."""
    reading = status(body)
    assert (reading.state, reading.word) == (State.UNKNOWN_WORD, None)


@pytest.mark.parametrize("word", [["done"], {"x": 1}])
def test_structures_are_no_words(word):
    """A list or an object where a word was expected is unreadable."""
    failure = status({"status": word})
    assert isinstance(failure, Failure) and failure.fault is Fault.UNREADABLE


def test_long_words_are_cut():
    """An unknown word is kept up to 200 characters, without NUL."""
    assert status({"status": "x" * 1000}).word == "x" * 200
    assert "\0" not in status({"status": "a\0b"}).word


def test_types_of_words_are_kept_apart():
    """true, 1 and "1" and "true" are four words; 1 and 1.0 are one, as in JSON."""
    extra = """
    [states]
    completed = [true]
    failed = [-1, 1]
    pending = ["1"]
    processing = ["true", false]
    cancelled = [0]
    """
    expected = [
        ("true", State.COMPLETED),
        ("1", State.FAILED),
        ("1.0", State.FAILED),
        ("-1", State.FAILED),
        ('"1"', State.PENDING),
        ('"true"', State.PROCESSING),
        ("false", State.PROCESSING),
        ("0", State.CANCELLED),
        ("2", State.UNKNOWN_WORD),
    ]
    for text, state in expected:
        assert status(f'{{"status": {text}}}'.encode(), extra=extra).state is state, text


def test_fold_case():
    """With fold_case, letters' case does not matter."""
    assert status({"status": "dOnE"}, extra="fold_case = true").state is State.COMPLETED


@pytest.mark.parametrize("body", [b"<html>", b"{", b"NaN", b"\xff", b'"\xff"', b"[" * 10**5])
def test_what_is_not_json_is_unreadable(body):
    """A 2xx with a body that cannot be decoded is a failed call, never a state."""
    failure = status(body)
    assert failure == Failure(Fault.UNREADABLE, "the reply is not JSON", 200)


def test_a_bom_is_no_fault():
    """The byte order mark that some services put before their JSON is passed over."""
    assert status(b'\xef\xbb\xbf{"status":"done"}').state is State.COMPLETED


def test_body_does_not_matter_when_no_expression_needs_it():
    """A state from the HTTP status is read whatever the body is."""
    extra = """
    [status]
    state = "http.status"
    progress = "body.progress"
    [states]
    completed = [200]
    """
    assert status(b"\x89PNG", extra=extra).state is State.COMPLETED


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (400, Fault.REFUSED),
        (401, Fault.UNAUTHORISED),
        (403, Fault.REFUSED),
        (408, Fault.SERVER),
        (409, Fault.REFUSED),
        (422, Fault.REFUSED),
        (425, Fault.SERVER),
        (429, Fault.THROTTLED),
        (500, Fault.SERVER),
        (503, Fault.SERVER),
        (599, Fault.SERVER),
        (302, Fault.REDIRECT),
        (304, Fault.REDIRECT),
        (199, Fault.UNREADABLE),
        (700, Fault.UNREADABLE),
    ],
)
def test_http_codes_are_sorted_by_whose_problem_they_are(code, fault):
    """Every code outside of 2xx is the failure that the failure table says."""
    failure = status({"error": {"message": "no\nway\x1b[31m"}}, code)
    assert (failure.fault, failure.http_status, failure.sent) == (fault, code, True)
    assert failure.message.startswith(f"HTTP {code}") and failure.message.endswith(": no way [31m")


@pytest.mark.parametrize("code", [404, 410])
def test_an_unknown_job(code):
    """404 and 410 on a poll say that the service does not know the job; on other calls not."""
    assert status({}, code) == Reading(State.UNKNOWN_JOB)
    assert read_result(SERVICE, a_job(), reply({}, code)).fault is Fault.REFUSED
    assert read_create(SERVICE, a_job(), reply({}, code)).fault is Fault.REFUSED
    assert read_delete(SERVICE, reply({}, code)) is None


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("sent", [True, False])
def test_transport_faults_pass_through(fault, sent):
    """What the transport met stays what it is, with the knowledge whether bytes left."""
    came = reply(fault=fault, message="broken\npipe", sent=sent, status=0)
    for failure in (
        read_status(SERVICE, a_job(), came),
        read_create(SERVICE, a_job(), came),
        read_result(SERVICE, a_job(), came),
        read_plain(SERVICE, came),
    ):
        assert failure == Failure(fault, "broken pipe", 0, None, sent)


@freeze_time("2026-01-01T00:00:00Z")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "9999"}, 60.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30.0),
        (
            {
                "retry-after": "Thu, 01 Jan 2026 10:00:30 GMT",
                "date": "Thu, 01 Jan 2026 10:00:10 GMT",
            },
            20.0,
        ),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers, seconds):
    """Retry-After is capped by the service's cap; a date counts from the service's own clock."""
    for code in (429, 503):
        failure = status({}, code, extra='retry_after_cap = "60s"', headers=headers)
        assert failure.retry_after == seconds


def test_the_services_words():
    """A refusal is told in the service's words, one line of at most 300 characters."""
    cases = [
        ({"error": {"message": "A"}}, ": A"),
        ({"error": "B"}, ": B"),
        ({"message": "C"}, ": C"),
        ({"detail": [{"loc": 1}]}, ': {"loc":1}'),
        (b"<html>secret</html>", "HTTP 403 Forbidden"),
        ({"message": "x" * 5000}, "…"),
    ]
    for body, end in cases:
        message = status(body, 403).message
        assert message.endswith(end) and len(message) < 330 and "\n" not in message


def test_secrets_in_an_echo_are_redacted(monkeypatch):
    """A service that echoes the token does not bring it into messages."""
    monkeypatch.setenv("TOKEN", "s3cret-token")
    service = docs('auth = { bearer = "env:TOKEN" }')
    service.credential.headers()
    failure = read_status(service, a_job(), reply({"error": "bad key s3cret-token"}, 401))
    assert "s3cret" not in failure.message and "***" in failure.message


def test_http_codes_that_are_states():
    """A code in status.http is a state: it goes before every other rule, whatever the body."""
    extra = """
    [status]
    http = { "202" = "running", "404" = "timeout", "422" = "error", "503" = "queued" }
    """
    assert status(b"not json", 202, extra).state is State.PROCESSING
    assert status({"status": "done"}, 202, extra).state is State.PROCESSING
    assert status({}, 503, extra).state is State.PROCESSING
    assert status({}, 404, extra).state is State.TIMEOUT
    failed = status({"message": "bad SQL"}, 422, extra)
    assert (failed.state, failed.error) == (
        State.FAILED,
        "HTTP 422 Unprocessable Entity: bad SQL",
    )
    assert status({"error": {"message": "E"}}, 422, extra).error == "E"
    assert status({"status": "done"}, 200, extra).state is State.COMPLETED


def test_a_reply_for_another_job_is_unreadable():
    """A reply that repeats another id than the job's is not this job's state."""
    failure = status({"status": "done", "job_id": "j2"})
    assert failure.fault is Fault.UNREADABLE
    assert "reply is for another job" in failure.message
    for body in ({"job_id": "j1"}, {"job_id": None}, {}, {"job_id": {}}):
        assert status({"status": "done", **body}).state is State.COMPLETED
    off = '[status]\nserver_id = ""'
    assert status({"status": "done", "job_id": "j2"}, extra=off).state is State.COMPLETED
    own = '[status]\nserver_id = "body.job.id"'
    assert isinstance(status({"status": "done", "job": {"id": 7}}, extra=own), Failure)
    assert status({"status": "done", "job": {"id": 7}}, extra=own, job=a_job(server_id="7")).word


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (42, 0.42),
        ("42", 0.42),
        ("42%", 0.42),
        (0, 0.0),
        (250, 1.0),
        (-5, None),
        (True, None),
        (None, None),
        ("half", None),
        ([1], None),
        (10**400, None),
    ],
)
def test_progress_percent(value, expected):
    """Progress is a percentage by default, clamped to 0..1; what is no number, or negative
    (some say -1 for "not known yet"), is None."""
    body = json.dumps({"status": "running", "progress": value}).encode()
    assert status(body).progress == expected


@pytest.mark.parametrize(
    ("progress", "body", "expected"),
    [
        ('"body.p"\nprogress_scale = 1', {"p": 0.5}, 0.5),
        ('{ fraction = "body.p" }', {"p": 0.5}, 0.5),
        ('{ fraction = "body.p" }', {"p": "50%"}, 0.5),
        ('{ percent = "body.p" }', {"p": 50}, 0.5),
        ('{ num = "body.a", den = "body.b" }', {"a": 1, "b": 4}, 0.25),
        ('{ num = "body.a", den = "body.b" }', {"a": 1, "b": 0}, None),
        ('{ num = "body.a", den = "body.b" }', {"a": 0, "b": None}, None),
        ('{ num = "sum([body.a, body.c])", den = "body.b" }', {"a": None, "c": 1, "b": 2}, None),
    ],
)
def test_progress_kinds(progress, body, expected):
    """Fractions and counters are progress too; what cannot be computed is None, not a failure."""
    reading = status({"status": "running", **body}, extra=f"[status]\nprogress = {progress}")
    assert (reading.state, reading.progress) == (State.PROCESSING, expected)


def test_errors_belong_to_ends():
    """The error text is read in failed, timeout and cancelled only."""
    body = {"error": {"message": "why"}}
    assert status({"status": "running", **body}).error is None
    assert status({"status": "done", **body}).error is None
    for word in ("error", "timeout", "cancelled"):
        assert status({"status": word, **body}).error == "why"
    assert status({"status": "error"}).error is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", {"b": 1}, None], 'a; {"b":1}'),
        ({"code": 7}, '{"code":7}'),
        ("", None),
        ({}, None),
        ([], None),
        (5, "5"),
        ("x\0y\r\nz", "x y \nz"),
        ("x" * 9000, "x" * 2000),
    ],
)
def test_error_texts(value, expected):
    """Lists are joined, objects are JSON, control characters go, 2,000 characters stay."""
    assert status({"status": "error", "error": {"message": value}}).error == expected


def test_extras_of_a_status_reply():
    """Estimates, versions and captured values come along; missing ones are left out."""
    extra = """
    [status]
    estimated_seconds = 'headers."retry-after"'
    version = "body.rev"
    capture = { url = "body.urls.get", none = "body.none" }
    """
    body = {"status": "running", "rev": 2**62, "urls": {"get": "u"}}
    reading = status(body, extra=extra, headers={"retry-after": "12"})
    assert reading.estimated_seconds == 12.0
    assert reading.remote_version == str(2**62)
    assert reading.captured == {"url": "u"}
    assert status({"status": "running", "rev": 1.5}, extra=extra).remote_version is None


def test_a_type_error_in_the_state_expression_is_unreadable():
    """JMESPath's own errors over odd data are a failed call that names the key."""
    failure = status({"status": 5}, extra="[status]\nstate = \"starts_with(body.status, 'd')\"")
    assert failure.fault is Fault.UNREADABLE and "services.docs.status.state" in failure.message


def create(body=b"", code=201, extra="", **fields):
    return read_create(
        docs(extra) if extra else SERVICE, a_job(server_id=None), reply(body, code, **fields)
    )


def test_an_accepted_create_is_processing():
    """Without create.state an accepted job is processing, whatever else the reply says."""
    assert create({"job_id": "7", "status": "done"}) == Reading(State.PROCESSING, server_id="7")


@pytest.mark.parametrize(("raw", "text"), [("7", "7"), ("9223372036854775807", str(2**63 - 1))])
def test_whole_numbers_are_ids(raw, text):
    """Ids that are numbers are kept exactly, never as floats."""
    assert create(f'{{"job_id": {raw}}}'.encode()).server_id == text


@pytest.mark.parametrize("value", [None, "", True, 1.5, {}, ["a"], "x" * 20000, "é" * 9000, "a\0b"])
def test_no_usable_id_is_unreadable(value):
    """A create reply without an id that can be kept is not success, and it was sent."""
    failure = create({"job_id": value})
    assert (failure.fault, failure.sent) == (Fault.UNREADABLE, True)


def test_create_state_may_be_final():
    """With create.state the reply may end the job at once, with error or inline result."""
    extra = '[create]\nstate = "body.status"\nestimated_seconds = "body.eta"'
    assert create({"job_id": "1"}, extra=extra).state is State.PROCESSING
    assert create({"job_id": "1", "status": "odd"}, extra=extra).state is State.UNKNOWN_WORD
    failed = create({"job_id": "1", "status": "error", "error": {"message": "E"}}, extra=extra)
    assert (failed.state, failed.error, failed.server_id) == (State.FAILED, "E", "1")
    assert create({"job_id": "1", "eta": 3}, extra=extra).estimated_seconds == 3.0


def test_ids_from_headers():
    """An id may come from a header of an empty reply, also of a redirect, and be resolved."""
    extra = '[create]\nserver_id = "last_segment(headers.location)"'
    headers = {"location": "/v1/jobs/a%20b/?x=1"}
    assert create(b"", 202, extra, headers=headers).server_id == "a b"
    assert create(b"<html>", 303, extra, headers=headers).server_id == "a b"
    assert create(b"", 303, extra).fault is Fault.REDIRECT
    assert create({"job_id": "1"}, 303, headers=headers).fault is Fault.REDIRECT
    extra = '[create]\nserver_id = "absolute(headers.location)"'
    reading = create(b"", 202, extra, headers={"location": "../q/7"}, url=f"{BASE}/jobs/")
    assert reading.server_id == "https://api.example.com/v1/q/7"


def test_client_ids():
    """With client_id the job's own id is the id there, and 409 means that it is there already."""
    extra = """
    [create]
    request = { json = { name = "{client_id}" } }
    idempotency = "client_id"
    """
    mine = a_job().local_id
    assert create({}, 200, extra).server_id == mine
    assert create(b"", 204, extra).server_id == mine
    assert create(b"not json", 200, extra).server_id == mine
    assert create({"job_id": "x"}, 200, extra).server_id == "x"
    assert create({"error": "exists"}, 409, extra) == Reading(State.PROCESSING, server_id=mine)
    assert create({"error": "exists"}, 409).fault is Fault.REFUSED
    assert docs(extra).repeatable and not SERVICE.repeatable


def test_captured_by_create():
    """What create.capture finds is kept for later calls."""
    extra = '[create]\ncapture = { run = "body.run", region = \'headers."x-region"\' }'
    reading = create({"job_id": "1", "run": [1]}, extra=extra, headers={"x-region": "eu"})
    assert reading.captured == {"run": [1], "region": "eu"}


def test_results(tmp_path):
    """A result is the body in memory or the sink's file, with type, size, hash and content id."""
    body = b'{"content_id": 9, "x": 1}'
    digest = hashlib.sha256(body).hexdigest()
    content = read_result(SERVICE, a_job(), reply(body))
    assert content == Content("result", "9", "application/json", len(body), digest, body=body)
    path = tmp_path / "r"
    path.write_bytes(body)
    came = reply(b"", path=path, size=len(body), sha256=digest)
    content = read_result(SERVICE, a_job(), came)
    assert (content.id, content.path, content.body, content.sha256) == (
        "9",
        str(path),
        None,
        digest,
    )
    binary = read_result(
        SERVICE, a_job(), reply(b"%PDF", headers={"content-type": "application/pdf"})
    )
    assert (binary.id, binary.media_type, binary.size) == (None, "application/pdf", 4)
    assert read_result(SERVICE, a_job(), reply(b"", 204)).size == 0
    assert read_result(SERVICE, a_job(), reply(b"x", 206)).partial
    assert read_result(SERVICE, a_job(), reply({}, 202)).fault is Fault.SERVER
    assert read_result(SERVICE, a_job(), reply({}, 500)).fault is Fault.SERVER


def test_inline_results():
    """result.value is taken from the status reply when the job is completed, not before."""
    service = load(
        """
        base_url = "https://api.example.com"
        [status]
        request = { path = "/jobs/{server_id}" }
        state = "body.status"
        [states]
        completed = ["done"]
        [result]
        value = "body.output"
        content_id = "body.output.id"
        """
    )
    done = read_status(service, a_job(), reply({"status": "done", "output": {"id": "c"}}))
    assert (done.result, done.content_id) == ({"id": "c"}, "c")
    running = read_status(service, a_job(), reply({"status": "x", "output": {"id": "c"}}))
    assert running.result is None
    assert not service.fetches


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_int64_is_an_exact_id(number):
    """Ids keep every digit."""
    assert values.identifier(values.decode(b"%d" % number)) == str(number)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()), st.integers(0, 999))
def test_no_reply_raises(body, code):
    """Whatever comes back is a reading or a failure, never an exception."""
    came = reply(body, code, headers={"retry-after": "x", "location": "/j/1"})
    assert isinstance(read_status(SERVICE, a_job(), came), (Reading, Failure))
    assert isinstance(read_create(SERVICE, a_job(), came), (Reading, Failure))
    assert isinstance(read_result(SERVICE, a_job(), came), (Content, Failure))


@given(JSON)
def test_no_field_raises(value):
    """Whatever stands in the fields that are read, the result is a reading or a failure."""
    body = {"status": value, "progress": value, "error": {"message": value}, "job_id": value}
    came = reply(json.dumps(body).encode())
    reading = read_status(SERVICE, a_job(), came)
    assert isinstance(reading, (Reading, Failure))
    if isinstance(reading, Reading) and reading.progress is not None:
        assert 0 <= reading.progress <= 1
