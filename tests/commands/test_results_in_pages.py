"""services.X.result.items and next: results that come in pages."""

from __future__ import annotations

import json
import os
import signal
from urllib.parse import parse_qs, urlsplit

import pytest
from helping import LONG_AGO, at_rest
from service import Answer, Hang, JobService

PAGED = {
    "request": {"query": {"next": "{cursor?}"}},
    "items": "body.items",
    "next": "body.next",
    "content_id": None,
}


def cursor_of(seen):
    """The cursor in a request; the first page has none."""
    return int(parse_qs(urlsplit(seen.path).query).get("next", ["0"])[0])


class Shelf:
    """`pages` of two items each; `told` says otherwise for the n-th call, counted from 1."""

    def __init__(self, service, pages, told=None, next_=None):
        self.pages, self.told = pages, told or {}
        self.next = next_ or (lambda number: number)
        self.calls = []
        service.statuses, service.results = ["done"], [self]

    def __call__(self, seen):
        number = cursor_of(seen)
        self.calls.append(number)
        if len(self.calls) in self.told:
            told = self.told[len(self.calls)]
            return told(seen) if callable(told) else told
        return self.page(number)

    def page(self, number):
        """The page that begins here."""
        more = self.next(number + 1) if number + 1 < self.pages else None
        return {"items": [{"n": 2 * number}, {"n": 2 * number + 1, "ü": "\n"}], "next": more}

    @property
    def numbers(self):
        """What the result has to have, in order."""
        return list(range(2 * self.pages))


def numbers(project, job):
    """Which items the kept result has, one a line."""
    with project.tracker() as tracker:
        body = tracker.result(job)
    assert body.endswith(b"\n") or not body
    return [json.loads(line)["n"] for line in body.splitlines()]


@pytest.fixture
def paged(project):
    """A project whose service's results come in pages."""
    project.configure({"result": PAGED})
    return project


def files(project):
    return [one for one in project.path.glob("tracker.db.files/results/*") if one.is_file()]


@pytest.mark.parametrize("keep", ["auto", "row", "file", "object"])
def test_pages_become_lines(project, service, s3, keep):
    """The pages of a result are kept as one piece, a line of JSON for each item, in order, wherever
    results are kept; nothing of the single pages is left."""
    bucket = project.upload_to(s3, {"result": {**PAGED, "keep": keep}})
    shelf = Shelf(service, 3)
    job = project.add()
    at_rest(project)
    assert project.row(job)["status"] == "completed" and numbers(project, job) == shelf.numbers
    assert shelf.calls == [0, 1, 2]
    [content] = project.rows("SELECT * FROM contents")
    assert content["media_type"] == "application/x-ndjson" and content["partial"] == 0
    place = {"auto": "row"}.get(keep, keep)
    assert (content["body"] is not None) == (place == "row")
    assert len(files(project)) == (place == "file") and len(s3.keys(bucket)) == (place == "object")


@pytest.mark.parametrize("items", [[], [None, 5, "x\n", [1], {"a": "\u2028"}]])
def test_odd_items(paged, service, items):
    """Whatever a page has as items comes back as it was, each on one line; none is fine."""
    service.statuses, service.results = ["done"], [{"items": items, "next": None}]
    job = paged.add()
    paged.poll()
    with paged.tracker() as tracker:
        body = tracker.result(job)
    assert [json.loads(line) for line in body.split(b"\n")[:-1]] == items


def test_one_thousand_pages(paged, service):
    """A result of 1,000 pages (150 in the sample) comes home in one pass, a call a page, no page
    twice."""
    pages = 1000 if os.environ.get("TRACKER_CAMPAIGN") == "full" else 150
    shelf = Shelf(service, pages)
    job = paged.add()
    paged.run("poll", timeout=60)
    assert paged.row(job)["status"] == "completed" and numbers(paged, job) == shelf.numbers
    assert shelf.calls == list(range(pages)) and len(files(paged)) <= 1


@pytest.mark.parametrize(
    ("told", "query"),
    [
        ("{url}/jobs/srv-1/result?next={n}", PAGED["request"]["query"]),
        ("/jobs/srv-1/result?next={n}", None),
    ],
    ids=["url", "path"],
)
def test_the_url_of_the_next_page(project, service, told, query):
    """A next page that is told by its URL is fetched from there; by its path, where the request has
    no cursor to put it into."""
    project.configure({"result": {**PAGED, "request": {"query": query}}})
    shelf = Shelf(service, 3, next_=lambda n: told.format(url=service.url, n=n))
    job = project.add()
    project.poll()
    assert numbers(project, job) == shelf.numbers and shelf.calls == [0, 1, 2]


def test_the_link_header(project, service):
    """`next = "link"` follows the header Link."""
    project.configure({"result": {**PAGED, "next": "link"}})
    head = {"Link": '<http://x.example/>; rel="prev", </jobs/srv-1/result?next=1>; rel="next"'}
    told = {1: Answer({"items": [{"n": 0}, {"n": 1}]}, headers=head)}
    Shelf(service, 2, told)
    job = project.add()
    project.poll()
    assert numbers(project, job) == [0, 1, 2, 3]


def test_the_next_page_is_at_another_host(paged, service):
    """A next page at a host that the service may not have is not fetched: the job fails, nothing of
    it is kept, and the other host never hears of it."""
    other = JobService()
    Shelf(service, 3, next_=lambda n: f"{other.url}/jobs/srv-1/result?next={n}")
    job = paged.add()
    at_rest(paged)
    other.close()
    assert other.seen == [] and paged.row(job)["failure_reason"] == "result"
    assert "result.request" in paged.row(job)["last_error"] and files(paged) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"items": {"a": 1}}, "body.items is no list"),
        ({}, "body.items is no list"),
        (Answer(b"<html>"), "not JSON"),
        (Answer({"error": "gone"}, 410), "gone"),
        (lambda seen: {"items": [], "next": str(cursor_of(seen))}, "in circles"),
        (Answer({"items": [1]}, 202), "202"),
    ],
    ids=["object", "nothing", "text", "410", "circle", "202"],
)
def test_a_page_that_makes_no_sense(paged, service, told, words):
    """A page that cannot be read has all begin anew; a result that never comes whole is given up
    after `retry.attempts`, and no half of one is kept."""
    shelf = Shelf(service, 3, dict.fromkeys((2, 4, 6), told))
    job = paged.add()
    at_rest(paged)
    row = paged.row(job)
    assert row["status"] == "failed" and words in row["last_error"]
    assert shelf.calls == [0, 1] * 3 and files(paged) == []
    assert paged.rows("SELECT 1 FROM contents") == []


def test_begun_anew(paged, service):
    """After a page that failed the result begins with its first page, and has each item once."""
    shelf = Shelf(service, 3, {3: Answer({}, 500)})
    job = paged.add()
    at_rest(paged)
    assert numbers(paged, job) == shelf.numbers and shelf.calls == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("told", [Answer({}, 429, {"Retry-After": "0"}), Answer({}, 401)])
def test_a_pause_between_pages(paged, service, told):
    """A service that says "too many calls" in the middle loses nothing of what is here already: it
    goes on with the page that was refused."""
    shelf = Shelf(service, 4, {3: told})
    job = paged.add()
    at_rest(paged)
    assert paged.row(job)["status"] == "completed" and numbers(paged, job) == shelf.numbers
    assert shelf.calls == [0, 1, 2, 2, 3]


def test_it_grows_too_large(project, service):
    """`max_bytes` holds for all pages together: the job fails, and nothing of it is left."""
    project.configure({"result": {**PAGED, "max_bytes": 60}})
    shelf = Shelf(service, 50)
    job = project.add()
    at_rest(project)
    assert "more than 60 bytes" in project.row(job)["last_error"] and files(project) == []
    assert max(shelf.calls) < 5


def test_killed_between_pages(paged, service):
    """Pollers that are killed again and again while a page is on its way lose no page and bring
    none twice: the next one goes on where the last page was put on record."""
    shelf = Shelf(service, 6, {2: Hang("x"), 4: Hang("x"), 7: Hang("x")})
    job = paged.add()
    for calls in (2, 4, 7):
        poller = paged.start("poll")
        service.wait_for(calls, "GET", "/result")
        poller.signal(signal.SIGKILL)
        poller.end()
        paged.write(
            "UPDATE operations SET next_attempt_at = ? WHERE next_attempt_at < '9000-01-01'",
            LONG_AGO,
        )
    service.release()
    paged.until(lambda: paged.poll() or paged.row(job)["status"] == "completed")
    assert numbers(paged, job) == shelf.numbers
    assert shelf.calls == [0, 1, 1, 2, 2, 3, 4, 4, 5][: len(shelf.calls)]


def test_a_page_that_somebody_removed(paged, service):
    """When a page is no longer on the disk, the result begins anew and comes whole."""

    def removed(seen):
        for one in files(paged):
            one.unlink()
        return shelf.page(cursor_of(seen))

    shelf = Shelf(service, 3, {3: removed})
    job = paged.add()
    at_rest(paged)
    assert paged.row(job)["status"] == "completed" and numbers(paged, job) == shelf.numbers
    assert shelf.calls == [0, 1, 2, 0, 1, 2]


def test_what_killed_pollers_left_goes(paged, service):
    """Pages that nobody knows of any more, written by a poller that was killed before it could say
    so, go with the next cleanup of files that are old."""
    Shelf(service, 3, {2: Hang("x")})
    job = paged.add()
    poller = paged.start("poll")
    service.wait_for(2, "GET", "/result")
    poller.signal(signal.SIGKILL)
    poller.end()
    [page] = files(paged)
    stray = page.with_name(f"{page.name.split('.')[0]}.1.99.page")
    stray.write_bytes(b"{}\n")
    os.utime(stray, (0, 0))
    service.release()
    paged.until(lambda: paged.poll() or paged.row(job)["status"] == "completed")
    with paged.tracker() as tracker:
        tracker.cleanup(older_than=-1)
    paged.poll()
    assert files(paged) == []
