"""What tables say in odd ways: refusals with HTTP 200, "later", constants, fields of others."""

from __future__ import annotations

import json

import pytest
from servicing import a_job, docs, load, reply

from tracker.errors import ConfigError, UsageError
from tracker.model import Failure, Fault, Reading, State

READS = ["create", "status", "result", "cancel", "delete", "lookup"]
LOOKUP = """
create.idempotency = "lookup"
create.lookup.request = { path = "/jobs", query = { q = "{client_id}" } }
create.lookup.items = "body.jobs"
create.lookup.match = "body.note"
create.lookup.server_id = "body.id"
cancel.request = { path = "/jobs/{server_id}/cancel" }
"""


def read(service, call, answer):
    """What a service reads in a reply to a call."""
    if call in ("cancel", "delete"):
        return getattr(service, f"read_{call}")(answer)
    return getattr(service, f"read_{call}")(a_job(), answer)


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([{"message": "no such shop"}, {"message": "b"}], "no such shop"),
        ("no such shop", "no such shop"),
        ({"message": "no such shop"}, "no such shop"),
        (True, "the reply says that it was refused"),
        (7, ""),
    ],
)
def test_refused(call, said, words):
    """Whatever the call, a 2xx in which `refused` finds something is a refusal for good, in the
    service's words."""
    service = docs(LOOKUP + 'refused = "body.userErrors"')
    found = read(service, call, reply({"job_id": "j1", "status": "running", "userErrors": said}))
    assert isinstance(found, Failure), found
    assert (found.fault, found.http_status) == (Fault.REFUSED, 200) and words in found.message


@pytest.mark.parametrize("said", [None, [], {}, "", False])
def test_not_refused(said):
    """Nothing, false and the empty are no refusal."""
    service = docs('refused = "body.userErrors"')
    found = service.read_status(a_job(), reply({"status": "done", "userErrors": said}))
    assert isinstance(found, Reading) and found.state is State.COMPLETED


@pytest.mark.parametrize("code", [400, 404, 429, 500])
def test_only_a_good_code_is_refused(code):
    """A reply that fails by its code is read by its code, whatever `refused` finds."""
    plain, with_it = docs(), docs('refused = "body.userErrors"')
    answer = reply({"userErrors": ["x"]}, code)
    assert with_it.read_status(a_job(), answer) == plain.read_status(a_job(), answer)


def test_a_secret_in_a_refusal(monkeypatch):
    """The words of a refusal are kept without the credential that a careless service repeats."""
    monkeypatch.setenv("TOKEN", "s3cret-t0ken")
    service = docs('auth = { bearer = "env:TOKEN" }\nrefused = "body.why"')
    assert service.credential is not None
    service.credential.headers()
    found = service.read_status(a_job(), reply({"why": "bad key s3cret-t0ken\n" * 50}))
    assert isinstance(found, Failure)
    assert "s3cret" not in found.message and "\n" not in found.message and len(found.message) <= 300


PACED = """
refused = "body.no"
[pacing]
throttled = "body.many"
again     = "body.later"
final     = "body.never"
"""


@pytest.mark.parametrize("code", [200, 201, 400, 409, 429, 500])
@pytest.mark.parametrize("call", READS)
def test_the_order(call, code):
    """Where a reply says several things: "too many" goes before "later", and that before "no"."""
    service = docs(LOOKUP + PACED)
    everything = {"many": 1, "later": 1, "no": "no", "never": 1}
    found = read(service, call, reply(everything, code))
    assert isinstance(found, Failure)
    assert (found.fault, found.again, found.final) == (Fault.THROTTLED, False, False)
    found = read(service, call, reply({**everything, "many": 0 or None}, code))
    assert isinstance(found, Failure) and (found.again, found.final) == (True, False)
    if code < 300:
        found = read(service, call, reply({"no": "no", "never": 1}, code))
        assert isinstance(found, Failure) and found.fault is Fault.REFUSED


def test_later_is_not_signed_in():
    """A 401 is about credentials, whatever `again` finds in it."""
    found = docs(PACED).read_status(a_job(), reply({"later": 1}, 401))
    assert isinstance(found, Failure) and (found.fault, found.again) == (Fault.UNAUTHORISED, False)


# Constants.

CONSTANT = """
vars = { project = "p 1", n = 9007199254740993, list = ["a", "b"], deep = { a = { b = true } } }
[create.request]
path = "/projects/{vars.project}/jobs"
json = { n = "{vars.n}", b = "{vars.deep.a.b}", l = "{vars.list}", x = "{vars.x?}" }
[list]
request = { path = "/projects/{vars.project}/jobs", query = { n = "{vars.n}" } }
items = "body.jobs"
server_id = "body.id"
"""


def test_constants():
    """`vars` of the service fill templates with their types kept, in every call and in listings;
    what a job has of the same name goes before them."""
    service = docs(CONSTANT)
    call = service.build_create(a_job())
    assert call.url.endswith("/projects/p%201/jobs")
    assert json.loads(call.body or b"") == {"n": 9007199254740993, "b": True, "l": ["a", "b"]}
    call = service.build_create(a_job(vars={"project": "own", "x": 1}))
    assert call.url.endswith("/projects/own/jobs") and json.loads(call.body or b"")["x"] == 1
    listing = service.build_list(None, None)
    assert listing.url.endswith("/projects/p%201/jobs?n=9007199254740993")


def test_constants_are_of_the_remote_job():
    """Two services' jobs of one id are different ones where a constant in the status request says
    so; the id on record does not depend on whether a constant or a capture said it."""
    request = '[status]\nrequest = { path = "/{vars.place}/jobs/{server_id}" }'
    one, two = (docs(f'vars = {{ place = "{name}" }}\n{request}') for name in ("a", "b"))
    assert one.server_key(a_job()) != two.server_key(a_job())
    assert one.server_key(a_job(vars={"place": "b"})) == two.server_key(a_job())


@pytest.mark.parametrize("value", ["5", '"x"', "true", "[1]"])
def test_constants_are_a_table(value):
    """Anything but a table is no `vars`."""
    with pytest.raises(ConfigError, match=r"^services\.docs\.vars: expected"):
        docs(f"vars = {value}")


def test_a_listing_has_no_job():
    """A listing that needs what only jobs have is told when it is loaded."""
    with pytest.raises(ConfigError, match=r"services\.docs\.list\.request needs vars\.place"):
        docs(CONSTANT.replace('{vars.project}/jobs", query', '{vars.place}/jobs", query'))


def test_a_constant_that_is_not_there():
    """A job without a value that a template needs is an error that names it."""
    service = docs('[status]\nrequest = { path = "/{vars.place}/{server_id}" }')
    with pytest.raises(UsageError, match=r"vars\.place"):
        service.build_status(a_job())


# The fields of another object.


def body_of(table, payload):
    """The JSON that a create with this table sends."""
    call = docs(f"[create]\nrequest = {{ path = '/jobs', json = {table} }}").build_create(
        a_job(payload=payload)
    )
    return json.loads(call.body or b"")


@pytest.mark.parametrize(
    ("table", "payload", "sent"),
    [
        ('{ "*" = "{payload}" }', {"a": 1, "b": [None]}, {"a": 1, "b": [None]}),
        ('{ "*" = "{payload}", a = 2 }', {"a": 1, "b": 3}, {"a": 2, "b": 3}),
        ('{ a = 2, "*" = "{payload}" }', {"a": 1}, {"a": 2}),
        ('{ "*" = "{payload}", a = "{payload.x?}" }', {"a": 1}, {"a": 1}),
        ('{ "*" = "{payload.more?}", a = 2 }', {}, {"a": 2}),
        ('{ in = { "*" = "{payload.more}" } }', {"more": {"x": 1}}, {"in": {"x": 1}}),
        ('{ "*" = "{payload}" }', {"*": 1, "{x}": "{y}"}, {"*": 1, "{x}": "{y}"}),
        ('{ "*" = "{payload}" }', {}, {}),
        ('{ l = [{ "*" = "{payload}" }] }', {"a": 1}, {"l": [{"a": 1}]}),
    ],
)
def test_fields_of_another(table, payload, sent):
    """`"*"` puts the fields of an object beside others, which go before them; what is in the object
    is data and never read as a template."""
    assert body_of(table, payload) == sent


def test_the_payload_stays_as_it_is():
    """What is sent is a copy: the job's payload does not get the fields beside it."""
    payload = {"a": {"b": 1}}
    body_of('{ "*" = "{payload}", c = 1 }', payload)
    assert payload == {"a": {"b": 1}}


@pytest.mark.parametrize("value", [[1], "x", 5, True])
def test_what_has_no_fields(value):
    """Only an object has fields; anything else is an error that names the key."""
    with pytest.raises(UsageError, match=r'create\.request\.json\."\*": \{payload\.x\} is no obj'):
        body_of('{ "*" = "{payload.x}" }', {"x": value})


@pytest.mark.parametrize("value", ['"x{payload}"', '"payload"', "5", "{ a = 1 }", "true", '""'])
def test_fields_are_one_placeholder(value):
    """`"*"` is one placeholder and nothing else."""
    with pytest.raises(ConfigError, match=r'create\.request\.json\."\*": expected one placeholder'):
        body_of(f'{{ "*" = {value} }}', {})


# What is wrong is told when it is loaded.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('create.idempotency = "lookup"', "create.lookup: goes with idempotency = lookup"),
        ('create.lookup = { server_id = "body.id" }', "create.lookup: goes with"),
        (LOOKUP.replace('server_id = "body.id"', "x = 1"), "create.lookup.server_id: is missing"),
        (LOOKUP.replace("lookup.match", "x").replace("{client_id}", "x"), "nothing tells"),
        (LOOKUP.replace("lookup.request", "lookup.reqest"), "lookup.request"),
        (LOOKUP.replace('"body.jobs"', '"body.["'), "create.lookup.items"),
        (LOOKUP + 'create.lookup.after = "x"', "create.lookup.after"),
        ('create.then = { }', "create.then.request: is missing"),
        ('create.then = 5', "create.then: expected a table"),
        ('result.hops = [{ request = { path = "/x" } }]', "result.hops[0].capture: is missing"),
        ('result.hops = { }', "result.hops: expected an array of tables"),
        ("result.hops = [5]", "result.hops: expected an array of tables"),
        ('result.hops = [{ capture = { a = "body" } }]', "result.hops[0].request"),
        ('result.hops = [{ x = 1, request.path = "/x", capture.a = "body" }]', "hops[0].x"),
        ('result.items = "body.items"', "result.next: is missing"),
        ('result.next = "link"', "result.items: is missing"),
        ('result.states = ["done"]', "result.states: expected some of"),
        ('result.states = "failed"', "result.states: expected"),
        ('result.when = 5', "result.when"),
        ('result.expires_after = "0s"', "result.expires_after"),
        ('result.expires_after = "x"', "result.expires_after"),
        ('status.expires_at = ["x"]', "status.expires_at"),
        ('refused = "body.["', "refused"),
        ('pacing.again = 5', "pacing.again"),
        ('cancel = { request = { path = "/x" }, ends = "yes" }', "cancel.ends"),
        ('create.request.multipart = true', "create.request.multipart: goes with a form"),
        ('create.request.file = "?"', "create.request.file"),
        ('create.request.json = { a = "{cursor}" }', "cursor"),
    ],
)  # fmt: skip
def test_wrong_tables(text, words):
    """Everything wrong with the new keys is told with the key's full path when it is loaded."""
    with pytest.raises(ConfigError) as told:
        docs(text)
    assert words in told.value.message and told.value.message.startswith("services.docs.")


@pytest.mark.parametrize("key", ["hops", "states", "when", "items", "next", "keep"])
def test_a_value_has_no_way(key):
    """What goes with a call has no meaning for a result in the status reply."""
    value = {"hops": "[]", "states": "[]"}.get(key, '"body.x"' if key != "keep" else '"row"')
    with pytest.raises(ConfigError, match=rf"result\.{key}: goes with a request"):
        load(f"""
            base_url = "https://api.example.com"
            [status]
            request = {{ path = "/jobs/{{server_id}}" }}
            state = "body.status"
            [states]
            completed = ["done"]
            [result]
            value = "body.result"
            {key} = {value}
        """)
