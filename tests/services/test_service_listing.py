"""Pages of a listing: the call for one, and what its reply says."""

from __future__ import annotations

import pytest
from servicing import BASE, docs, reply

from tracker.errors import ConfigError, UsageError
from tracker.model import Failure, Fault
from tracker.services.listing import build_list, read_list

LIST = """
[list]
request = { path = "/jobs", query = { cursor = "{cursor?}", since = "{since?}" } }
items = "body.jobs"
server_id = "body.id"
next = "body.next"
fields = { language = "body.lang" }
updated_at = "body.at"
version = "body.rev"
"""
SERVICE = docs(LIST)
LINKED = docs(LIST.replace('"body.next"', '"link"'))


def page(body, code=200, service=SERVICE, **fields):
    return read_list(service, reply(body, code, url=f"{BASE}/jobs", **fields))


def cursor(value):
    return page({"jobs": [], "next": value}).cursor


def test_the_first_page_and_the_next():
    """The first page is asked for without a cursor, the next one with it, each with `since` where
    there is one; texts are encoded."""
    assert build_list(SERVICE, None, None).url == f"{BASE}/jobs"
    assert build_list(SERVICE, "a&b=c", None).url == f"{BASE}/jobs?cursor=a%26b%3Dc"
    assert "since=2026-01-31" in build_list(SERVICE, "2", "2026-01-31T12:00:00Z").url


def test_a_cursor_that_is_a_url_is_the_page():
    """A cursor that is a URL is called as it is."""
    url = f"{BASE}/jobs?page=2&sig=%2F"
    assert build_list(SERVICE, url, None).url == url


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.net/v1/jobs",
        "http://api.example.com/v1/jobs",
        "https://api.example.com:8443/v1/jobs",
        "https://api.example.com@evil.example.net/jobs",
        "https://api.example.com/v1/../admin",
    ],
)
def test_the_host_is_pinned(url):
    """A service cannot send its caller, and the credentials, to another origin by a cursor."""
    with pytest.raises(UsageError):
        build_list(SERVICE, url, None)


def test_a_service_without_a_list():
    """A service that has no list cannot be listed."""
    with pytest.raises(UsageError, match="has no list"):
        build_list(docs(), None, None)


def test_what_an_item_says():
    """Of an item its id, state, version, date and the named fields are kept, and nothing else."""
    item = {"id": 7, "status": "done", "lang": "de", "at": "2026-01-31", "rev": 3, "other": "x"}
    [one] = page({"jobs": [item]}).items
    assert (one.server_id, one.state, one.word) == ("7", "completed", "done")
    assert (one.version, one.updated_at, one.fields) == ("3", "2026-01-31", {"language": "de"})


def test_an_item_with_an_unknown_word():
    """A word that the definition does not list is kept, and means no state."""
    [one] = page({"jobs": [{"id": "a", "status": "paused"}]}).items
    assert (one.state, one.word, one.fields) == (None, "paused", {})


@pytest.mark.parametrize("value", [None, "", False, True])
def test_no_cursor_ends_the_listing(value):
    """Null, the empty text and a flag are no cursor: this was the last page."""
    assert cursor(value) is None
    assert page({"jobs": []}).cursor is None


def test_cursors():
    """A cursor is a text or a number as it is, whatever it begins with, where the request has a
    place for it; else a path is taken from the host of the page."""
    assert cursor("abc") == "abc"
    assert cursor(2) == "2"
    assert cursor("/Q29udGludWU=") == "/Q29udGludWU="
    paths = docs(LIST.replace('cursor = "{cursor?}", ', ""))
    found = page({"jobs": [], "next": "/v1/jobs?page=2"}, service=paths)
    assert found.cursor == f"{BASE}/jobs?page=2"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f'<{BASE}/jobs?page=2>; rel="next"', f"{BASE}/jobs?page=2"),
        ('</v1/jobs?page=2>; rel="next"', f"{BASE}/jobs?page=2"),
        ("<?page=2>; rel=next", f"{BASE}/jobs?page=2"),
        (f'<{BASE}/jobs?page=1>; rel="prev", <?page=3>; title="x"; rel="next"', "?page=3"),
        ('<?page=2>; REL="last next"', "?page=2"),
        ('<?page=9,10>; rel="next"', "?page=9,10"),
        (f'<{BASE}/jobs?page=1>; rel="prev"', None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_link_headers(header, expected):
    """The target of the link whose relation is `next` is the next page; without one there is
    none."""
    found = page({"jobs": []}, service=LINKED, headers={"link": header}).cursor
    assert found is None if expected is None else found is not None and found.endswith(expected)


def test_a_relation_that_only_sounds_like_next_is_another_one():
    """`rel="next-archive"` is not the next page."""
    header = f'<{BASE}/jobs?page=1>; rel="next-archive"'
    assert page({"jobs": []}, service=LINKED, headers={"link": header}).cursor is None


@pytest.mark.parametrize("item", [{}, {"id": None}, {"id": ""}, {"id": {}}, {"id": []}, 5, None])
def test_an_item_without_an_id(item):
    """One item without a usable id spoils the page: a listing is complete or it is none."""
    found = page({"jobs": [{"id": "a"}, item]})
    assert isinstance(found, Failure) and found.fault is Fault.UNREADABLE
    assert "no usable id (body.id)" in found.message


@pytest.mark.parametrize("body", [b"{", b"<html>", b"\xff\xfe", b'{"jobs": [{"id": "a"}'])
def test_bad_json(body):
    """What is no JSON is a failure, never an empty listing."""
    found = page(body)
    assert isinstance(found, Failure) and found.fault is Fault.UNREADABLE


@pytest.mark.parametrize("items", [{}, "abc", 5, True, {"a": {"id": "a"}}])
def test_items_that_are_no_list(items):
    """What is no list is a failure, never an empty listing."""
    found = page({"jobs": items})
    assert isinstance(found, Failure) and "body.jobs is no list" in found.message


@pytest.mark.parametrize("body", [{}, {"jobs": None}, {"error": "try later"}, None, b""])
def test_a_reply_that_has_no_items_at_all(body):
    """A reply that lacks the list altogether is no listing of nothing: an authoritative one would
    delete jobs."""
    assert isinstance(page(body), Failure)


def test_an_empty_page():
    """An empty list is an empty page."""
    assert page({"jobs": []}).items == ()


def test_an_id_that_is_there_twice_is_one_job():
    """An id that a page repeats is one job; the last item counts."""
    [one] = page({"jobs": [{"id": "a", "lang": "de"}, {"id": "a", "lang": "en"}]}).items
    assert one.fields == {"language": "en"}


@pytest.mark.parametrize(
    ("code", "fault"), [(500, Fault.SERVER), (429, Fault.THROTTLED), (403, None), (404, None)]
)
def test_codes(code, fault):
    """Every code but 2xx is a failure, whatever the body says."""
    found = page({"jobs": [{"id": "a"}]}, code)
    assert isinstance(found, Failure) and found.http_status == code
    assert fault is None or found.fault is fault


@pytest.mark.parametrize(
    "line", ["max_deletions = 1.5", 'conflicts = "mine"', "max_items = 0", "every = 0", "sort = 1"]
)
def test_settings_that_cannot_be(line):
    """A setting out of range, or an unknown one, is an error of the configuration."""
    with pytest.raises(ConfigError, match=r"list"):
        docs(f"{LIST}\n{line}")


@pytest.mark.parametrize("name", ["items", "server_id", "request"])
def test_settings_that_have_to_be(name):
    """Without a request, its items or their id there is no list."""
    lines = [line for line in LIST.splitlines() if not line.startswith(f"{name} =")]
    with pytest.raises(ConfigError, match=f"list.{name}: is missing"):
        docs("\n".join(lines))
