"""URLs as they are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from tracker.transports.address import encoded, parse
from tracker.transports.faults import Problem


@pytest.mark.parametrize(
    ("origin", "host", "port", "origin_again"),
    [
        ("http://Example.COM", "example.com", 80, "http://example.com"),
        ("HTTPS://example.com:443", "example.com", 443, "https://example.com"),
        ("http://[::1]:8080", "[::1]", 8080, "http://[::1]:8080"),
        ("http://h:", "h", 80, "http://h"),
        ("http://under_score.example", "under_score.example", 80, "http://under_score.example"),
        ("https://Grün.example", "xn--grn-ioa.example", 443, "https://xn--grn-ioa.example"),
    ],
)
def test_an_origin_is_taken_apart(origin: str, host: str, port: int, origin_again: str) -> None:
    """Scheme and host without regard to case, the port that the scheme implies, names in ASCII."""
    address = parse(origin)
    assert (address.host, address.port, address.origin) == (host, port, origin_again)
    assert address.authorization == ""


@pytest.mark.parametrize(
    ("login", "value"),
    [
        ("me:pw@", "Basic bWU6cHc="),
        ("me:p%40w@", "Basic bWU6cEB3"),
        ("m@e:pw@", "Basic bUBlOnB3"),
        ("me@", ""),
        (":pw@", ""),
        ("@", ""),
    ],
)
def test_userinfo_becomes_a_header(login: str, value: str) -> None:
    """It is decoded; a user without a password signs nobody in."""
    address = parse(f"http://{login}h")
    assert (address.host, address.authorization) == ("h", value)


@pytest.mark.parametrize(
    "origin",
    [
        "http://",
        "http://h:0",
        "http://h:65536",
        "http://h:x",
        "http://a..b",
        "http://[::1",
        "http://a[b",
        "http://a%20b",
        "http://a,b",
        "http://" + "a" * 64,
        "http://me:s\u2603@h",
        "http://\u2603 x",
        "http://gr\u00fc_n.example",
    ],
)
def test_what_names_no_host_is_a_problem(origin: str) -> None:
    """It is told before anything is asked for, without a secret."""
    with pytest.raises(Problem) as caught:
        parse(origin)
    assert "\u2603" not in caught.value.reason


@pytest.mark.parametrize(
    ("target", "travels"),
    [
        ("/a?b=c", "/a?b=c"),
        ("/grün und", "/gr%C3%BCn%20und"),
        ("/a%2fb", "/a%2Fb"),
        ("/100%", "/100%25"),
        ("/100%?a=%20", "/100%25?a=%2520"),
        ("/../a//b/.", "/../a//b/."),
        ('/{"a"|[1]}', "/%7B%22a%22%7C%5B1%5D%7D"),
    ],
)
def test_targets_travel(target: str, travels: str) -> None:
    """What may not stand in a request is encoded, what already is encoded is left, and no path is
    made shorter."""
    assert encoded(target) == travels


@given(st.text(st.characters(codec="utf-8", exclude_characters="#?", min_codepoint=32)))
def test_targets_are_those_of_urllib3(text: str) -> None:
    """Both transports ask for the same: what is encoded once is not encoded again."""
    once = encoded(f"/{text}?q={text}")
    assert encoded(once) == once and once.isascii() and " " not in once
    assert parse_url(f"http://h/-{once}").request_uri.endswith(once.rpartition("?")[2])
