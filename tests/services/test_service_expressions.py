"""Expressions over the envelope of a reply."""

from __future__ import annotations

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servicing import a_job, reply

from tracker.errors import ConfigError
from tracker.services.expression import Envelope, ExpressionError, compile_expression

NAMES = st.sampled_from(["a", "b", "status", "_x", "é", "operation-location"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


def find(text, body=None, **fields):
    envelope = Envelope(reply(**fields), a_job(payload={"p": 1}), body)
    return compile_expression(text, "key").find(envelope)


@given(
    st.lists(st.sampled_from(["a", "b", "status", "_x", '"operation-location"']), max_size=4),
    st.sampled_from(["body", "headers", "http", "job"]),
    JSON,
)
def test_the_quick_way_is_jmespath(parts, root, body):
    """A plain path finds what JMESPath finds, over any body."""
    text = ".".join([root, *parts])
    envelope = Envelope(reply(headers={"a": "1", "operation-location": "x"}), a_job(), body)
    expression = compile_expression(text, "key")
    assert expression.plain
    assert expression.find(envelope) == jmespath.search(text, envelope.mapping())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http.status", 202),
        ("http.headers.location", "/x"),
        ('headers."operation-location"', "https://h/op"),
        ("http.url", "https://api.example.com/v1/jobs/j1"),
        ("job.payload.p", 1),
        ("job.server_id", "j1"),
        ("body.a[0].b", 5),
        ("body.a[0].b == `5` && 'five' || http.status", "five"),
        ("last_segment('https://h/a/b%2Fc/?q=1')", "b/c"),
        ("last_segment(headers.missing)", None),
        ("absolute(headers.location)", "https://api.example.com/x"),
        ("absolute('y')", "https://api.example.com/v1/jobs/y"),
        ("{s: http.status, b: body.a[0].b}", {"s": 202, "b": 5}),
        ("[http.status, body.none]", [202, None]),
        ("@.http.status", 202),
    ],
)
def test_the_envelope(text, expected):
    """Status, headers, URL, body and the job's own fields can be read."""
    headers = {"location": "/x", "operation-location": "https://h/op"}
    assert find(text, {"a": [{"b": 5}]}, status=202, headers=headers) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("body.[", "not a JMESPath expression at position 6"),
        ("body.operation-location", r"position 14.*quoted"),
        ("body.a b", "position 7"),
        ("body.x ||", "not a JMESPath expression"),
        ("sum(body.x", "not a JMESPath expression"),
        ("status", "'status' is none of.*'body.status'"),
        ("bdy.status", "did you mean 'body'"),
        ("done && 'x' || body.y", "'done' is none of"),
        ("lenght(body.x)", "unknown function 'lenght'.*'length'"),
        ("length(body.x, body.y)", r"length\(\) takes 1 argument\(s\), got 2"),
        ("headers.Location", "lower case here: location"),
        ("http.headers.Location", "lower case here: location"),
        ("(" * 3000, "not a JMESPath"),
        ("body" + ".a" * 4000, "4096 characters"),
    ],
)
def test_wrong_expressions_are_found_at_load(text, message):
    """What can never work is a one-line ConfigError that names key and position."""
    with pytest.raises(ConfigError, match=message) as caught:
        compile_expression(text, "services.docs.status.state")
    assert str(caught.value).startswith("services.docs.status.state: ")
    assert "\n" not in str(caught.value)


def test_runtime_errors_name_the_key():
    """JMESPath's type errors are one kind of error here."""
    with pytest.raises(ExpressionError, match="key cannot be evaluated"):
        find("sum(body.x)", {"x": None})


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("body.a.b", {"body"}),
        ("http.status == `200` && 'done' || 'running'", {"http"}),
        ("sort_by(body.items, &age)[0].name", {"body"}),
        ("[body, headers][0]", {"body", "headers"}),
        ("body.items[?state == 'x'].job | [0]", {"body"}),
        ("@", {"body", "headers", "http", "job"}),
        ("'fixed'", set()),
    ],
)
def test_roots(text, roots):
    """It is known which parts of the envelope an expression reads, so only those are made."""
    assert compile_expression(text, "key").roots == roots
