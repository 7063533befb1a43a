"""What templates make of a job: bodies, headers, queries and URLs."""

from __future__ import annotations

import json
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from servicing import BASE, a_job, docs, load, request

from tracker.errors import ConfigError, UsageError
from tracker.services.building import build_create, build_delete, build_status
from tracker.services.results import build_result

ANY_ID = st.one_of(
    st.text(min_size=1, max_size=200),
    st.text(alphabet="./\\%2eE@:?#[]&=;é😀 \r\n\0~_-aZ9", min_size=1, max_size=30),
    st.just("é/😀?#" * 1700),
)


def sent_json(json_toml: str, **job):
    service = request(f'{{ method = "POST", path = "/x", json = {json_toml} }}')
    return json.loads(build_status(service, a_job(**job)).body)


@given(ANY_ID)
@example("../../admin")
@example("x?admin=1#y")
@example("https://evil.example/")
@example("%2e%2e")
def test_an_encoded_id_cannot_leave_its_place(server_id):
    """Whatever the id is, host and path prefix stay, and decoding gives the id back."""
    service = request('{ path = "/jobs/{server_id}/state" }')
    if server_id in (".", ".."):
        with pytest.raises(UsageError, match="a URL cannot carry"):
            build_status(service, a_job(server_id=server_id))
        return
    url = build_status(service, a_job(server_id=server_id)).url
    assert url.startswith(f"{BASE}/jobs/") and url.endswith("/state") and url.isascii()
    middle = url[len(f"{BASE}/jobs/") : -len("/state")]
    assert unquote(middle, errors="strict") == server_id
    assert "/" not in middle and "?" not in middle and "#" not in middle
    assert urlsplit(url).netloc == "api.example.com"


@given(ANY_ID, st.sampled_from(["/jobs/{+server_id}", "{+server_id}", "/{+server_id}/x"]))
@example(".evil.example/x", "{+server_id}")
@example("@evil.example/x", "{+server_id}")
@example("//evil.example/x", "{+server_id}")
@example("https://api.example.com@evil.example/", "{+server_id}")
@example("https://api.example.com\\@evil.example/", "{+server_id}")
@example("https://api.example.com:443:80/", "{+server_id}")
@example("https:/evil.example/", "{+server_id}")
@example("http://api.example.com/v1/x", "{+server_id}")
def test_a_raw_id_never_changes_the_host(server_id, path):
    """A raw placeholder leads to base_url's scheme and host, or to an error; never elsewhere."""
    service = request(f'{{ path = "{path}" }}', base_url="https://api.example.com")
    try:
        url = build_status(service, a_job(server_id=server_id)).url
    except UsageError:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "api.example.com")
    assert url.isascii() and url.isprintable() and " " not in url
    assert not {".", ".."} & set(unquote(parts.path).split("/")) or "%2F" in url.upper()


def test_raw_keeps_reserved_characters():
    """`{+…}` keeps slashes, queries and %XX, and encodes what no URL may hold."""
    service = request('{ path = "/{+server_id}" }')
    url = build_status(service, a_job(server_id="operations/é x%2Fy%?a=b#c")).url
    assert url == f"{BASE}/operations/%C3%A9%20x%2Fy%25?a=b%23c"


@pytest.mark.parametrize("bad", ["a/../b", "..", "a/%2e%2E/b", "../x", "a/..;/b", "a/./b", "."])
def test_raw_dot_segments_are_refused(bad):
    """What clients and servers would normalise away is an error, in every disguise."""
    with pytest.raises(UsageError):
        build_status(request('{ path = "/{+server_id}" }'), a_job(server_id=bad))


@pytest.mark.parametrize("bad", ["", ".", ".."])
def test_path_values_that_vanish_are_refused(bad):
    """An empty or dotted path value is an error that names key and variable."""
    with pytest.raises(UsageError, match=r"docs\.status\.request\.path: payload\.x is"):
        build_status(request('{ path = "/a/{payload.x}/b" }'), a_job(payload={"x": bad}))


def test_a_handle_may_be_a_full_url_of_the_same_origin():
    """A full URL as handle is followed at base_url's origin, default port and case aside."""
    service = request('{ path = "{+server_id}" }')
    for url in (
        "https://api.example.com/other/op?api-version=1",
        "https://API.example.com:443/x",
    ):
        assert build_status(service, a_job(server_id=url)).url == url


@pytest.mark.parametrize(
    "bad",
    [
        "https://evil.example/x",
        "http://api.example.com/x",
        "https://api.example.com:8443/x",
        "https://user@api.example.com/x",
        "ftp://api.example.com/x",
        "https://[::1/x",
        "https://api.example.com.evil.example/",
        "https:///x",
        "https://api.example.com/../x",
    ],
)
def test_a_handle_elsewhere_is_refused(bad):
    """A service cannot send the tracker, and its credentials, to another origin."""
    with pytest.raises(UsageError, match=r"docs\.status\.request\.path"):
        build_status(request('{ path = "{+server_id}" }'), a_job(server_id=bad))


def test_allowed_hosts_are_followed_without_credentials():
    """An allowed host gets the call, but not the credentials unless the request says so."""
    extra = """
    allowed_hosts = ["*.blobs.example", "queue.example:8443"]
    auth = { bearer = "env:TOKEN" }
    headers = { X-Plan = "gold" }
    """
    service = request('{ url = "{+server_id}", headers = { X-Own = "1" } }', extra=extra)
    for url in ("https://eu.blobs.example/r?sig=a%2Fb", "https://queue.example:8443/x"):
        call = build_status(service, a_job(server_id=url))
        assert (call.url, call.credential, call.headers) == (url, None, {"X-Own": "1"})
    home = build_status(service, a_job(server_id=f"{BASE}/x"))
    assert home.credential is not None and home.headers == {"X-Plan": "gold", "X-Own": "1"}
    for bad in ("https://blobs.example/", "http://eu.blobs.example/", "https://queue.example/"):
        with pytest.raises(UsageError):
            build_status(service, a_job(server_id=bad))
    trusting = request('{ url = "{+server_id}", auth = true }', extra=extra)
    call = build_status(trusting, a_job(server_id="https://eu.blobs.example/r"))
    assert call.credential is not None and call.headers == {"X-Plan": "gold"}
    bare = request('{ path = "/x", auth = false }', extra=extra)
    assert build_status(bare, a_job()).credential is None


def test_json_keeps_types():
    """A value that is exactly one placeholder keeps its JSON type, also int64 and null."""
    payload = {"n": 3, "list": [1, {"a": 2**63}], "none": None, "yes": True, "text": "3", "f": 0.5}
    made = sent_json(
        '{ n = "{payload.n}", l = "{payload.list}", item = "{payload.list[1].a}", '
        'none = "{payload.none}", yes = "{payload.yes}", text = "{payload.text}", '
        'f = "{payload.f}", mixed = "n={payload.n} {payload.yes} {payload.list}", '
        'fixed = [1, 2.5, true, "x", { deep = "{job.project}" }], brace = "{{{payload.n}}}" }',
        payload=payload,
        project="p1",
    )
    assert made == {
        "n": 3,
        "l": [1, {"a": 2**63}],
        "item": 2**63,
        "none": None,
        "yes": True,
        "text": "3",
        "f": 0.5,
        "mixed": 'n=3 true [1,{"a":9223372036854775808}]',
        "fixed": [1, 2.5, True, "x", {"deep": "p1"}],
        "brace": "{3}",
    }


def test_whole_payload():
    """`{payload}` alone is the whole payload."""
    assert sent_json('"{payload}"', payload={"a": [1]}) == {"a": [1]}


def test_optional_values_drop_their_key():
    """`?` drops keys, list items and query parameters that have no value, and nothing else."""
    json_toml = '{ a = "{payload.a?}", b = ["{payload.b?}", 1], c = { d = "x {vars.q?}" }, e = 1 }'
    assert sent_json(json_toml) == {"b": [1], "c": {}, "e": 1}
    service = request(
        '{ path = "/x", query = { a = "{payload.a?}", p = "{job.project?}", k = 1 } }'
    )
    assert build_status(service, a_job()).url == f"{BASE}/x?k=1"


def test_missing_values_name_key_and_variable():
    """A value that the job lacks is an error that names the key and the variable."""
    expected = (
        r"services\.docs\.status\.request\.json\.language needs payload\.language, "
        "which the job does not have"
    )
    with pytest.raises(UsageError, match=expected):
        sent_json('{ language = "{payload.language}" }')
    with pytest.raises(UsageError, match="needs server_id"):
        build_status(docs(), a_job(server_id=None))


def test_query_values():
    """Query values are encoded, lists repeat the parameter, objects are refused."""
    service = request(
        '{ path = "/x?v=2", query = { q = "{payload.q}", l = "{payload.l}", ok = true } }'
    )
    call = build_status(service, a_job(payload={"q": "a&b=c d/é", "l": [1, "x"]}))
    assert call.url == f"{BASE}/x?v=2&q=a%26b%3Dc%20d%2F%C3%A9&l=1&l=x&ok=true"
    with pytest.raises(UsageError, match=r"query\.q"):
        build_status(service, a_job(payload={"q": {}, "l": []}))


@pytest.mark.parametrize("bad", ["a\r\nX-Evil: 1", "a\nb", "a\0", "日本", {"a": 1}])
def test_headers_cannot_be_split(bad):
    """A header value with a line break or letters that no header carries is refused."""
    service = request('{ path = "/x", headers = { X-Doc = "{payload.h}" } }')
    with pytest.raises(UsageError, match=r"headers\.X-Doc"):
        build_status(service, a_job(payload={"h": bad}))


def test_headers_override_without_case():
    """A request's header replaces the service's of the same name, whatever its case."""
    service = request(
        '{ path = "/x", headers = { x-version = "2", X-Job = "{job.local_id}" } }',
        extra='headers = { X-Version = "1", Other = "o", X-JOB = "no" }',
    )
    headers = build_status(service, a_job()).headers
    assert headers == {"Other": "o", "x-version": "2", "X-Job": a_job().local_id}


def test_forms_bodies_and_files():
    """form, body, file and multipart end in the fields of the call that transports send."""
    job = a_job(input={"path": "/spool/1", "name": "a.pdf", "media_type": "application/pdf"})
    form = request('{ method = "post", path = "/x", form = { a = "{server_id}", n = 1 } }')
    call = build_status(form, job)
    assert (call.method, call.form, call.body) == ("POST", {"a": "j1", "n": "1"}, None)
    text = request('{ path = "/x", body = "id={server_id} {{x}}" }')
    assert build_status(text, job).body == b"id=j1 {x}"
    raw = build_status(request('{ path = "/x", file = true }'), job)
    assert (str(raw.file), raw.file_field, raw.file_name) == ("/spool/1", None, "a.pdf")
    assert raw.headers == {"Content-Type": "application/pdf"}
    both = build_status(request('{ path = "/x", file = "doc", form = { a = "1" } }'), job)
    assert (both.file_field, both.form, both.headers) == ("doc", {"a": "1"}, {})
    with pytest.raises(UsageError, match="needs a submitted file"):
        build_status(request('{ path = "/x", file = true }'), a_job())


def test_limits_travel_with_the_call():
    """Timeout, size limit, TLS setting and sink of the definition are on the call."""
    service = load(
        """
        base_url = "https://api.example.com"
        timeout = "7s"
        max_bytes = "2MB"
        verify = false
        [status]
        request = { path = "/x", timeout = "1m" }
        state = "body.s"
        [states]
        completed = ["d"]
        [result]
        request = { path = "/r/{server_id}" }
        max_bytes = "3MiB"
        """
    )
    status, result = build_status(service, a_job()), build_result(service, a_job(), None)
    assert (status.timeout, status.max_bytes, status.verify) == (60.0, 2_000_000, False)
    assert (result.timeout, result.max_bytes) == (7.0, 3 * 2**20)


@pytest.mark.parametrize(
    ("key", "toml", "where", "expected"),
    [
        ("header", "", "headers", {"Idempotency-Key": "k1"}),
        ("header", 'idempotency_key = "X-Id"', "headers", {"X-Id": "k1"}),
        ("field", "", "json", {"a": 1, "idempotency_key": "k1"}),
        ("field", 'idempotency_key = "meta.id"', "json", {"a": 1, "meta": {"id": "k1"}}),
    ],
)
def test_idempotency_key_is_sent(key, toml, where, expected):
    """The recorded key goes into the header or the field that the service wants it in."""
    service = load(
        f"""
        base_url = "https://api.example.com"
        [create]
        request = {{ path = "/x", json = {{ a = 1 }} }}
        server_id = "body.id"
        idempotency = "{key}"
        {toml}
        """
    )
    call = build_create(service, a_job(), "k1")
    sent = call.headers if where == "headers" else json.loads(call.body)
    assert expected.items() <= sent.items()


def test_a_key_in_the_whole_payload_leaves_the_payload_alone():
    """Adding the key to a body that is the payload does not change the job."""
    service = load(
        """
        base_url = "https://api.example.com"
        [create]
        request = { path = "/x", json = "{payload}" }
        server_id = "body.id"
        idempotency = "field"
        idempotency_key = "m.k"
        """
    )
    job = a_job(payload={"m": {"x": 1}})
    assert json.loads(build_create(service, job, "k").body) == {"m": {"x": 1, "k": "k"}}
    assert job.payload == {"m": {"x": 1}}


def test_delete_uses_its_own_method():
    """The methods default to POST for create, GET for status and DELETE for delete."""
    service, job = docs(), a_job()
    calls = (build_create(service, job), build_status(service, job), build_delete(service, job))
    assert [call.method for call in calls] == ["POST", "GET", "DELETE"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{ path = "/{serverid}" }', "unknown variable 'serverid'.*did you mean 'server_id'"),
        ('{ path = "/{job.projct}" }', "did you mean 'project'"),
        ('{ path = "/{input.sha}" }', "unknown variable 'input.sha'"),
        ('{ path = "/{env.HOME}" }', "unknown variable 'env'"),
        ('{ path = "/{idempotency_key}" }', "not known in this call"),
        ('{ path = "/{payload.x?}" }', "cannot be left out of a URL"),
        ('{ path = "/{" }', "a lone '{' at position 1"),
        ('{ path = "/}x" }', "a lone '}' at position 1"),
        ('{ path = "/{}" }', "is not a placeholder"),
        ('{ path = "/a b" }', "%XX"),
        ('{ path = "/x#y" }', "%XX"),
        ('{ path = "/a/../b" }', "no place in a path"),
        ('{ path = "https://api.example.com/x" }', "use url"),
        ('{ path = "/x", url = "https://api.example.com/x" }', "a path or a url"),
        ("{ }", "a path or a url"),
        ('{ url = "https://evil.example/x" }', "not the origin of base_url"),
        ('{ url = "/x" }', "begins with https"),
        ('{ path = "/x", query = { a = "{+server_id}" } }', "only in path and url"),
        ('{ path = "/x", json = { a = 1 }, body = "x" }', "exclude each other"),
        ('{ path = "/x", file = true, form = { a = 1 } }', "exclude each other"),
        ('{ path = "/x", json = { a = 2020-01-01 } }', r"json\.a: expected a JSON value"),
        ('{ path = "/x", json = { a = nan } }', r"json\.a: expected a JSON value"),
        ('{ path = "/x", headers = { Host = "x" } }', "set by the transport"),
        ('{ path = "/x", headers = { "a b" = "x" } }', "not a header name"),
        ('{ path = "/x", headers = { Authorization = "x" } }', "service's auth"),
        ('{ path = "/x", headers = { X-Key = "env:KEY" } }', "service's auth"),
        ('{ path = "/x", headers = { X = "a\\nb" } }', "cannot carry line breaks"),
        ('{ path = "/x", methd = "GET" }', "request.methd: unknown key.*'method'"),
        ('{ path = "/x", method = "G T" }', "HTTP method"),
        ('{ path = "/x", body = "{payload.x?}" }', "cannot be left out"),
    ],
)
def test_wrong_requests_are_found_at_load(text, message):
    """A template that could never work is a ConfigError when the service is loaded."""
    with pytest.raises(ConfigError, match=message) as caught:
        request(text)
    assert str(caught.value).startswith("services.docs.status.request")
    assert "\n" not in str(caught.value)


def test_server_id_is_unknown_in_create():
    """The create request cannot use the id that its reply will bring."""
    with pytest.raises(ConfigError, match="server_id is not known in this call"):
        load(
            """
            base_url = "https://api.example.com"
            [create]
            request = { path = "/x/{server_id}" }
            server_id = "body.id"
            """
        )
