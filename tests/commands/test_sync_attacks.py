"""Somebody at a shell who means harm, against jobs that are kept in step with their service"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from service import Answer, Broken, Hang

ALL = {
    "update": {"request": {"method": "POST", "path": "/jobs/{server_id}", "json": "{changes}"}},
    "cancel": {"request": {"path": "/jobs/{server_id}"}},
    "delete": {"request": {"path": "/jobs/{server_id}"}},
    "list": {
        "request": {"path": "/jobs/all", "query": {"cursor": "{cursor?}"}},
        "items": "body.jobs",
        "server_id": "body.id",
        "next": "body.next",
        "fields": {"pages": "body.pages"},
    },
}
AUTHORITATIVE = {**ALL, "list": {**ALL["list"], "authoritative": True}}
BEYOND = "9223372036854775808"


@pytest.fixture(autouse=True)
def everything_is_allowed(project, service):
    """The service has a call for everything, and lists nothing."""
    project.configure(ALL)
    service.scripts["all"] = [{"jobs": []}]


def jobs(project):
    """All jobs, as the database has them."""
    return project.rows("SELECT * FROM processing_jobs ORDER BY id")


def owed(project, *kinds):
    """The kinds and states of what is owed, oldest first."""
    found = project.rows("SELECT kind, state FROM operations ORDER BY id")
    return [(one["kind"], one["state"]) for one in found if not kinds or one["kind"] in kinds]


def listed(project):
    """What is staged of listings."""
    return project.rows("SELECT * FROM listed")


def lapse(project):
    """Have the claims of those who were killed lapse."""
    project.write("UPDATE operations SET lease_until = '2020-01-01T00:00:00.000Z' "
                  "WHERE claimed_by IS NOT NULL")  # fmt: skip
    project.write("UPDATE processing_jobs SET lease_until = '2020-01-01T00:00:00.000Z' "
                  "WHERE claimed_by IS NOT NULL")  # fmt: skip


def pages_of(total, size, pages=7):
    """A listing of so many jobs, in pages of this size."""

    def page(seen):
        match = re.search(r"cursor=(\d+)", seen.path)
        first = int(match[1]) if match else 0
        behind = min(total, first + size)
        items = [{"id": f"j{number}", "pages": pages} for number in range(first, behind)]
        return {"jobs": items, "next": str(behind) if behind < total else None}

    return page


# Update.


@pytest.mark.parametrize("value", ["NaN", "1e999", "-Infinity", "[1, NaN]", '"\\ud800"'])
def test_a_value_that_is_not_json(project, service, value):
    """A number that JSON does not have, and half a character, are refused: exit 2, one line,
    nothing changed."""
    job = project.attempted({"pages": 1})
    said = project.refused(2, "update", job, "-p", f"pages:={value}")
    assert "cannot be recorded" in said and service.count("POST") == 1


@pytest.mark.parametrize(
    "value",
    ["null", '""', '"\\u0000"', "1e308", "9" * 400, "[" * 60 + "]" * 60,
     '{"a": {"\\u0000": []}}', '"' + "x" * 60_000 + '"', "true"],
    ids=lambda value: value[:12],
)  # fmt: skip
def test_odd_values(project, service, value):
    """Whatever JSON is taken is on record as JSON, and the service is told the same value, once."""
    job = project.attempted({"pages": 1})
    project.ok("update", job, "-p", f"pages:={value}")
    kept = json.loads(project.row(job)["payload"], parse_constant=pytest.fail)
    _, update = service.requests("POST")
    assert update.json == kept and json.loads(project.ok("show", job, "--json").out)
    assert project.row(job)["sync_status"] == "synced"
    if project.server and value in ('"\\u0000"', '{"a": {"\\u0000": []}}', "1e308"):
        return  # PostgreSQL keeps it in another form: the same again is another value
    project.ok("update", job, "-p", f"pages:={value}")
    assert service.count("POST") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "nope=1"],
        ["-p", "Pages:=2"],
        ["-p", "pages:=2", "-p", "nope=1"],
        ["-p", "pages:="],
        ["-p", "pages:={"],
        ["-p", "pages"],
        ["-p", "=1"],
        ["-p", "pages:=" + "9" * 5000],
        [],
        ["-p", "pages:=" + "[" * 20_000 + "]" * 20_000],
    ],
    ids=lambda arguments: " ".join(arguments)[:20],
)
def test_what_cannot_be_changed(project, service, arguments):
    """An unknown field among them, or what is no value: exit 2, one line, nothing changed."""
    job = project.attempted({"pages": 1})
    project.refused(2, "update", job, *arguments)
    assert service.count("POST") == 1


@pytest.mark.parametrize("end", ["complete", "fail", "cancelled", "deleted", "being deleted"])
def test_a_job_that_is_over(project, service, end):
    """Nobody can change or cancel a job that has ended or is being deleted (exit 5), nor one that
    is gone (exit 4); nothing changes."""
    job = project.attempted({"pages": 1})
    if end == "cancelled":
        service.statuses = ["cancelled"]
        project.ok("cancel", job)
        project.poll()
        assert project.row(job)["status"] == "cancelled"
    elif end == "being deleted":
        project.ok("delete", job, "--no-sync")
    else:
        project.ok("delete" if end == "deleted" else end, job)
    code = 4 if end == "deleted" else 5
    calls = service.count()
    for arguments in (["update", job, "-p", "pages:=2"], ["cancel", job], ["reset", job]):
        project.refused(code, *arguments)
    if "deleted" in end:
        project.refused(code, "delete", job)
    assert service.count() == calls


def test_changes_behind_a_create_in_doubt(project, service):
    """What is changed while a create is in doubt waits, unsent; it goes out, once and in order,
    when a person has decided."""
    project.configure({**ALL, "create": {"idempotency": "none"}})
    service.creates = [Broken(), "accepted"]
    job = project.attempted({"pages": 1})
    project.ok("update", job, "-p", "pages:=2")
    project.ok("update", job, "-p", "pages:=3")
    assert owed(project, "create", "update") == [("create", "in_doubt"), ("update", "pending")]
    project.ok("poll")
    assert service.count("POST") == 1
    [create] = [one for one in project.json("outbox") if one["kind"] == "create"]
    project.ok("outbox", "retry", str(create["id"]))
    for _ in range(2):
        project.ok("poll")
    assert [one.json for one in service.requests("POST")] == [
        {"pages": 1},
        {"pages": 1},
        {"pages": 3},
    ]
    assert project.row(job)["sync_status"] == "synced"


def test_changes_behind_a_dead_create(project, service):
    """A create that was given up keeps its key and its body, also when it is reset; what was
    changed meanwhile is told behind it."""
    service.creates = [Answer("no", 500)] * 3 + ["accepted"]
    job = project.record({"pages": 1})
    project.until(lambda: project.poll() or owed(project, "create") == [("create", "dead")])
    project.ok("update", job, "-p", "pages:=2")
    assert service.count("POST") == 3
    project.ok("reset", job)
    project.ok("update", job, "-p", "pages:=3", "--no-sync")
    for _ in range(2):
        project.ok("poll")
    bodies = [one.json for one in service.requests("POST")]
    assert bodies == [{"pages": 1}] * 4 + [{"pages": 3}]
    keys = {one.headers.get("idempotency-key") for one in service.requests("POST", "/jobs$")}
    assert len(keys) == 1 and project.row(job)["sync_status"] == "synced"


# The outbox, by hand.


@pytest.mark.parametrize("act", ["retry", "discard"])
@pytest.mark.parametrize(
    ("id_", "code"),
    [("999", 4), ("0", 2), ("x", 2), ("1.5", 2), ("", 2), ("-1", 2), ("9223372036854775807", 4)],
)
def test_operations_that_are_not_there(project, act, id_, code):
    """An operation that is none: one line, nothing changed."""
    project.record()
    project.refused(code, "outbox", act, id_)


@pytest.mark.parametrize(
    "arguments",
    [
        ["outbox", "retry", BEYOND],
        ["outbox", "discard", BEYOND],
        ["outbox", "--limit", BEYOND],
        ["watch", "--after", BEYOND],
        ["events", "--after", BEYOND],
    ],
    ids=" ".join,
)
def test_a_number_that_is_too_large(project, arguments):
    """A number that the database cannot hold is a usage error, or not there; never a traceback."""
    project.record()
    done = project.run(*arguments, timeout=10)
    assert done.code in (2, 4, 5) and done.error


@pytest.mark.parametrize("act", ["retry", "discard"])
def test_what_is_on_its_way(project, service, act):
    """An operation that a poller has in its hands is refused, exit 5; it then ends as if nobody had
    asked."""
    service.creates = [Hang("accepted")]
    job = project.record({"pages": 1})
    poller = project.start("poll", "--quiet")
    service.wait_for(1, "POST")
    [create] = [one for one in project.json("outbox") if one["kind"] == "create"]
    done = project.run("outbox", act, str(create["id"]))
    assert done.code == 5 and "is on its way" in done.error
    service.release()
    assert poller.end().code == 0
    assert project.row(job)["status"] == "processing" and service.count("POST") == 1


def test_a_refresh_is_let_go(project, service):
    """Letting a failing listing go leaves nothing of it, and the next one counts as ever."""
    service.scripts["all"] = [{"jobs": [{"id": "a"}], "next": "2"}, Answer("{", 200)]
    project.run("refresh")
    [refresh] = project.json("outbox")
    assert len(listed(project)) == 1
    project.ok("outbox", "discard", str(refresh["id"]))
    assert project.json("outbox") == [] and listed(project) == []
    service.scripts["all"] = [{"jobs": [{"id": "b"}]}]
    project.ok("refresh", "--force")
    assert [one["server_id"] for one in jobs(project)] == ["b"]


def test_only_a_failed_sync_is_reset(project, service):
    """Nothing but what was given up can be reset: exit 5, whatever else the job owes, and nothing
    changes."""
    service.creates = [Answer("", 503)]
    waiting = project.attempted()
    for job in (project.add("r1"), project.record(), project.ended("r2"), waiting):
        assert "no failed sync" in project.refused(5, "reset", job)


def test_what_is_in_doubt_is_not_reset(project, service):
    """A create in doubt is no failed sync: `reset` refuses it and says how a person decides."""
    project.configure({**ALL, "create": {"idempotency": "none"}})
    service.creates = [Broken()]
    job = project.attempted()
    assert owed(project, "create") == [("create", "in_doubt")]
    assert "tracker outbox" in project.refused(5, "reset", job)


# Delete.


def test_everything_of_a_job_goes(project, service, tmp_path):
    """A deleted job leaves no row but its events, and no file of the tracker's own; the person's
    own file stays."""
    project.configure({**ALL, "create": {"request": {"json": None, "file": True}}})
    theirs = tmp_path / "report.txt"
    theirs.write_text("of the person")
    before = {one for one in project.path.rglob("*") if one.is_file()}
    with project.tracker() as tracker:
        job = tracker.submit("docs", {"pages": 1}, file=theirs, sync=False).local_id
    service.statuses = ["done"]
    for _ in range(4):
        project.ok("poll")
    assert project.row(job)["status"] == "completed"
    kept = {one for one in project.path.rglob("*") if one.is_file()} - before
    assert any(one.read_bytes() == b"of the person" for one in kept)
    service.scripts["srv-1"] = [Answer("", 204)]
    project.ok("delete", job)
    project.ok("poll")
    for table in ("processing_jobs", "operations", "contents", "job_objects", "objects"):
        left = project.rows(f"SELECT * FROM {table}")
        assert [one for one in left if one.get("kind") != "refresh"] == [], table
    kept = {one for one in project.path.rglob("*") if one.is_file()}
    assert not [one for one in kept if one.read_bytes() == b"of the person"]
    assert theirs.read_text() == "of the person"


def test_its_objects_go_with_it(project, service, s3, tmp_path):
    """A deleted job's upload goes from the bucket, in every version; an object that the job only
    used, and the file on disk, stay."""
    bucket = project.upload_to(s3, {**ALL, "result": None})
    theirs = tmp_path / "report.txt"
    theirs.write_text("of the person")
    s3.put(bucket, "foreign")
    job = project.ok("submit", "docs", theirs).line
    foreign = project.ok("add", "docs", "r2", "--object", f"s3://{bucket}/foreign").line
    assert project.row(job)["status"] == "processing" and len(s3.versions(bucket)) == 2
    for one, server_id in ((job, "srv-1"), (foreign, "r2")):
        service.scripts[server_id] = [Answer("", 204)]
        project.ok("delete", one)
    project.until(lambda: project.poll() or owed(project, "remove_object") == [])
    assert jobs(project) == [] and project.rows("SELECT * FROM objects") == []
    assert [key for key, *_ in s3.versions(bucket)] == ["foreign"]
    assert s3.markers(bucket) == s3.uploads(bucket) == []
    assert theirs.read_text() == "of the person"


@pytest.mark.parametrize("busy", ["status", "result"])
def test_deleted_while_it_is_asked_for(project, service, busy):
    """A job that is deleted while a poll or its result is on the way is gone for good: what comes
    back brings nothing of it, not as a row and not as a file."""
    job = project.add("srv-1")
    if busy == "status":
        service.scripts["srv-1"] = [Hang("done"), Answer("", 204)]
        path = "/jobs/srv-1$"
    else:
        service.scripts["srv-1"] = ["done", Answer("", 204)]
        service.scripts["srv-1/result"] = [Hang({"content_id": "c", "pages": 3})]
        path = "/result"
    before = {one for one in project.path.rglob("*") if one.is_file()}
    poller = project.start("poll", "--for", "3s", "--quiet")
    service.wait_for(1, "GET", path)
    done = project.run("delete", job)
    assert done.code == 0
    service.release()
    assert poller.end().code == 0
    project.until(lambda: project.poll() or jobs(project) == [])
    assert service.count("DELETE") == 1
    assert project.rows("SELECT * FROM contents") == []
    assert owed(project, "fetch_result", "poll", "delete", "store_result") == []
    new = {one.name for one in project.path.rglob("*") if one.is_file()} - {
        one.name for one in before
    }
    assert not [one for one in new if not one.startswith(("tracker.db", "tracker.log"))]
    assert [kind for kind, _ in project.events(job)].count("job:deleted") == 1


def test_deleted_twice_at_once(project, service):
    """Of several who delete the same job at once one does it; the service is asked once."""
    service.statuses = [Hang(Answer("", 204))]
    job = project.attempted()
    running = [project.start("delete", job) for _ in range(4)]
    service.wait_for(1, "DELETE")
    ended = project.until(
        lambda: sum(one.process.poll() is not None for one in running) == 3, timeout=30
    )
    service.release()
    assert ended
    codes = sorted(one.end().code for one in running)
    assert codes == [0, 5, 5, 5] and service.count("DELETE") == 1 and jobs(project) == []


def test_nobody_to_tell(project, service):
    """Without a delete call the row goes, the reason is said beside the output, and no listing
    brings the job back."""
    project.configure({**ALL, "delete": None})
    job = project.attempted()
    done = project.ok("delete", job)
    assert "no delete call" in done.err and jobs(project) == []
    service.scripts["all"] = [{"jobs": [{"id": "srv-1"}]}]
    project.ok("refresh")
    assert jobs(project) == []
    told = project.json("list")
    assert told == []


# Listings.


def test_a_listing_without_end(project, service):
    """A listing whose pages are empty, each with another next one, is given up."""
    project.configure({**ALL, "list": {**ALL["list"], "max_items": 20}})
    pages = iter(range(1_000_000))
    service.scripts["all"] = [lambda _: {"jobs": [], "next": f"c{next(pages)}"}]
    command = project.start("refresh")
    # Whoever reads 2,000 empty pages of a listing that may have 20 jobs reads on for ever.
    project.until(
        lambda: command.process.poll() is not None or service.count("GET") > 2_000, timeout=60
    )
    pages_read = service.count("GET")
    assert command.process.poll() is not None, f"still at it after {pages_read} pages"
    assert command.end().code == 1


def test_a_listing_that_is_too_long(project, service):
    """One job more than list.max_items and nothing of the listing counts: exit 1. Exactly so many
    are taken."""
    project.configure({**ALL, "list": {**ALL["list"], "max_items": 2_000}})
    service.scripts["all"] = [pages_of(2_001, 200)]
    [told] = project.json("refresh", code=1)
    assert "more than 2000 jobs" in told["error"] and jobs(project) == listed(project) == []
    service.scripts["all"] = [pages_of(2_000, 200)]
    project.ok("refresh", "--force")
    assert len(jobs(project)) == 2_000 and listed(project) == []


def test_an_empty_listing_that_never_was(project, service):
    """A listing that is empty all of a sudden deletes nothing, however few jobs there are."""
    project.configure(AUTHORITATIVE)
    for number in range(3):
        project.add(f"s{number}")
    before = jobs(project)
    done = project.run("refresh")
    assert done.code == 1 and "max_deletions" in done.out
    assert jobs(project) == before


def test_a_repeated_id(project, service):
    """An id that is listed twice, on one page or on two, is one job; the last values count."""
    service.scripts["all"] = [
        {"jobs": [{"id": "a", "pages": 1}, {"id": "a", "pages": 2}], "next": "2"},
        {"jobs": [{"id": "a", "pages": 3}, {"id": "b", "pages": 1}]},
    ]
    project.ok("refresh")
    assert [(one["server_id"], json.loads(one["payload"])) for one in jobs(project)] == [
        ("a", {"pages": 3}),
        ("b", {"pages": 1}),
    ]


@pytest.mark.parametrize(
    "bad",
    [Answer("no", 500), Answer("{", 200), Answer("", 403), Broken(), {"jobs": [{}]},
     Answer("", 302, {"Location": "http://127.0.0.2:9/x"})],
    ids=lambda one: "broken" if isinstance(one, Broken) else str(one),
)  # fmt: skip
def test_a_failure_in_the_middle(project, service, bad):
    """Whatever fails behind the first page leaves every job as it was, and nobody else is called;
    exit 1 and the reason. When it works again the listing counts as a whole."""
    project.configure(AUTHORITATIVE)
    project.add("old")
    before = jobs(project)
    service.scripts["all"] = [{"jobs": [{"id": "a", "pages": 1}], "next": "2"}, bad]
    [told] = project.json("refresh", code=1)
    assert told["error"] and not told["refreshed"]
    assert jobs(project) == before
    service.scripts["all"] = [{"jobs": [{"id": "a"}, {"id": "b"}, {"id": "old"}]}]
    project.write("DELETE FROM budgets")
    project.ok("refresh", "--force")
    assert {one["server_id"] for one in jobs(project)} == {"a", "b", "old"}
    assert listed(project) == []


@pytest.mark.parametrize("following", ["2", "//127.0.0.2:9/x"])
def test_a_cursor_that_expired(project, service, following):
    """A listing whose next page is refused for good begins anew when somebody asks for it."""
    service.scripts["all"] = [
        {"jobs": [{"id": "a"}], "next": following},
        *[
            lambda seen: (
                Answer("expired", 410) if "cursor" in seen.path else {"jobs": [{"id": "b"}]}
            )
        ],
    ]
    assert project.run("refresh").code == 1
    project.ok("refresh", "--force")
    assert [one["server_id"] for one in jobs(project)] == ["b"]


@pytest.mark.parametrize("where", ["pages", "merge"])
def test_killed_in_the_middle(project, service, where):
    """kill -9 of refreshes, while pages are read or a large listing is merged in steps: nothing
    counts before all pages are there, and whoever goes on afterwards brings exactly what the
    service has, with one event for each job."""
    total = 4_000
    for number in range(3):
        project.add(f"j{number}")
    service.scripts["all"] = [pages_of(total, 40 if where == "pages" else 250)]
    seen_merging = seen_pages = kills = 0
    rnd = random.Random(5)
    latest = time.monotonic() + 60
    while time.monotonic() < latest:
        calls = service.count("GET", "/all")
        command = project.start("refresh", "--force")
        if where == "pages":
            service.wait_for(calls + rnd.randint(1, 3), "GET", "/all")
        else:
            sql = "SELECT payload FROM operations"
            while command.process.poll() is None and "merged" not in str(project.rows(sql)):
                pass
        command.signal(signal.SIGKILL)
        command.end()
        kills += 1
        open_ = project.rows("SELECT payload FROM operations WHERE kind = 'refresh'")
        if not open_:
            break
        if "merged" in open_[0]["payload"]:
            seen_merging += 1
        else:
            seen_pages += 1
            assert len(jobs(project)) == 3
            assert all(one["payload"] == "{}" for one in jobs(project))
        lapse(project)
        if kills == 6:
            break
    assert seen_merging if where == "merge" else seen_pages
    lapse(project)
    project.ok("refresh", "--force")
    found = project.rows("SELECT server_id, payload FROM processing_jobs")
    assert sorted(one["server_id"] for one in found) == sorted(f"j{n}" for n in range(total))
    assert [json.loads(one["payload"]) for one in found] == [{"pages": 7}] * total
    assert listed(project) == [] and owed(project, "refresh") == []
    [told] = project.rows("SELECT data FROM job_events WHERE type = 'service:refreshed'")
    assert json.loads(told["data"])["listed"] == total
    created = project.rows("SELECT local_id FROM job_events WHERE type = 'job:created'")
    assert len(created) == len({one["local_id"] for one in created}) == total
    print(f"{kills} kills, {seen_pages} between pages, {seen_merging} between merges")


def test_many_refreshes_at_once(project, service):
    """Of several that are started at once one lists; each page is asked for once."""
    service.scripts["all"] = [pages_of(1_000, 100)]
    running = [project.start("refresh", "--force", "--json") for _ in range(3)]
    told = [one.end() for one in running]
    assert [one.code for one in told] == [0, 0, 0]
    events = project.rows("SELECT data FROM job_events WHERE type = 'service:refreshed'")
    assert service.count("GET", "/all") == 10 * len(events)
    assert sum(one.json[0]["refreshed"] for one in told) == len(events)
    assert len(jobs(project)) == 1_000


def test_what_was_cleaned_up_stays_away(project, service):
    """A job that was cleaned up does not come back by a listing, nor does one that was deleted
    here; one that only the service had dropped does."""
    project.configure({**AUTHORITATIVE, "list": {**AUTHORITATIVE["list"], "max_deletions": 1.0}})
    project.ended("cleaned")
    deleted = project.add("deleted")
    project.add("dropped")
    project.ok("cleanup", "--older-than", "0s")
    service.scripts["deleted"] = [Answer("", 204)]
    project.ok("delete", deleted)
    service.scripts["all"] = [{"jobs": [{"id": "x"}]}]
    project.ok("refresh")
    assert [one["server_id"] for one in jobs(project)] == ["x"]
    everybody = [{"id": one} for one in ("cleaned", "deleted", "dropped", "x")]
    service.scripts["all"] = [{"jobs": everybody}]
    project.ok("refresh", "--force")
    assert {one["server_id"] for one in jobs(project)} == {"x", "dropped"}


def test_changed_while_it_is_read(project, service):
    """What is changed here between two pages of a listing is not undone by it, and is told."""
    service.creates = ["accepted"]
    job = project.attempted({"pages": 1})
    service.scripts["all"] = [
        {"jobs": [{"id": "srv-1", "pages": 1}], "next": "2"},
        Hang({"jobs": []}),
    ]
    command = project.start("refresh")
    service.wait_for(2, "GET", "/all")
    project.ok("update", job, "-p", "pages:=2")
    service.release()
    assert command.end().code == 0
    assert json.loads(project.row(job)["payload"]) == {"pages": 2}
    assert service.requests("POST", "srv-1")[-1].json == {"pages": 2}


def test_shrinking_while_it_is_read(project, service):
    """Jobs that are deleted at the service while pages are read, so that the pages shift, cost no
    job here more than the share that is allowed."""
    project.configure(AUTHORITATIVE)
    for number in range(10):
        project.add(f"s{number}")
    # Three went before the second page was read: s5 to s7 moved to the first page and are missed.
    first = [{"id": f"s{number}"} for number in range(5)]
    second = [{"id": f"s{number}"} for number in range(8, 10)]
    service.scripts["all"] = [{"jobs": first, "next": "5"}, {"jobs": second}]
    done = project.run("refresh")
    assert done.code == 1 and "lacks 3 of 10" in done.out
    assert len(jobs(project)) == 10


def test_recorded_while_it_is_read(project, service):
    """A job that is submitted or tracked between two pages of an authoritative listing, which
    lacks it therefore, stays."""
    project.configure({**AUTHORITATIVE, "list": {**AUTHORITATIVE["list"], "max_deletions": 1.0}})
    project.add("old")
    project.add("gone")
    service.scripts["all"] = [{"jobs": [{"id": "old"}], "next": "2"}, Hang({"jobs": []})]
    command = project.start("refresh")
    service.wait_for(2, "GET", "/all")
    project.ok("submit", "docs", "-p", "pages:=1")
    project.ok("add", "docs", "new")
    service.release()
    assert command.end().code == 0
    assert {one["server_id"] for one in jobs(project)} == {"old", "srv-1", "new"}


@pytest.mark.parametrize(("missing", "left"), [(2, 8), (3, 10)])
def test_how_many_may_go(project, service, missing, left):
    """A fifth of the jobs may be missing from an authoritative listing, not more."""
    project.configure(AUTHORITATIVE)
    for number in range(10):
        project.add(f"s{number}")
    service.scripts["all"] = [{"jobs": [{"id": f"s{number}"} for number in range(10 - missing)]}]
    assert project.run("refresh").code == int(left == 10)
    assert len(jobs(project)) == left


def test_who_owes_stays(project, service):
    """A job that owes something is never deleted because a listing lacks it."""
    project.configure({**AUTHORITATIVE, "list": {**AUTHORITATIVE["list"], "max_deletions": 1.0}})
    job = project.attempted({"pages": 1})
    project.add("gone")
    project.ok("update", job, "-p", "pages:=2", "--no-sync")
    service.scripts["all"] = [{"jobs": [{"id": "x"}]}]
    project.ok("refresh")
    assert {one["server_id"] for one in jobs(project)} == {"srv-1", "x"}


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_refresh_while_all_is_paused(project, service, force):
    """Nothing is listed while all is paused, and that is what the command says."""
    project.create()
    project.ok("pause")
    done = project.run("refresh", *force)
    assert service.seen == [] and "paused" in done.out + done.err


@pytest.mark.parametrize("rule", ["service", "local", "merge"])
def test_both_values_of_a_conflict(project, service, rule):
    """A field that both sides changed is found, both values are in the event, and afterwards both
    sides have the same one."""
    project.configure({**ALL, "list": {**ALL["list"], "conflicts": rule}})
    job = project.attempted({"pages": 1})
    project.ok("update", job, "-p", "pages:=2", "--no-sync")
    service.scripts["all"] = [{"jobs": [{"id": "srv-1", "pages": 3}]}]
    project.ok("refresh")
    [told] = [data for kind, data in project.events(job) if kind == "job:conflict"]
    kept = told["fields"]["pages"].pop("kept")
    assert told == {"rule": rule, "fields": {"pages": {"here": 2, "there": 3, "before": 1}}}
    assert kept == ("there" if rule == "merge" else "here")
    project.poll()
    there = [one.json["pages"] for one in service.requests("POST", "srv-1")] or [3]
    assert json.loads(project.row(job)["payload"]) == {"pages": there[-1]}
    assert project.row(job)["sync_status"] == "synced"


# Creates.


@pytest.mark.parametrize(
    "reply",
    [{}, {"job_id": None}, {"job_id": ""}, {"job_id": []}, {"job_id": True}, [], "null",
     {"job_id": "x\u0000"}],
    ids=lambda one: "broken" if isinstance(one, Broken) else str(one),
)  # fmt: skip
def test_a_create_without_an_id(project, service, reply):
    """A create that was answered without a usable id accepts nothing; the job keeps its key and
    can be tried again; it never is one without an id that is polled."""
    told = Answer("null", 201) if reply == "null" else Answer(json.dumps(reply), 201)
    service.creates = [told]
    job = project.ok("submit", "docs").line
    row = project.row(job)
    assert (row["status"], row["server_id"]) == ("pending", None)
    project.until(lambda: project.poll() or owed(project, "create") == [("create", "dead")])
    assert len({one.headers["idempotency-key"] for one in service.requests("POST")}) == 1
    assert project.run("health").code == 1
    service.creates = ["accepted"]
    project.ok("reset", job)
    project.ok("poll")
    assert project.row(job)["status"] == "processing"


def test_the_id_of_another_job(project, service):
    """A create that is answered with the id of another job here changes nothing about that one, and
    is in the dead letter with the reason."""
    other = project.add("srv-9")
    before = project.row(other)
    service.creates = [Answer({"job_id": "srv-9"}, 201)]
    job = project.ok("submit", "docs").line
    assert project.row(other) == before
    [told] = [one for one in project.json("outbox", "--state", "dead") if one["local_id"] == job]
    assert "the id of another job" in told["last_error"] and project.row(job)["server_id"] is None


def test_the_id_of_a_job_that_a_listing_brought_long_ago(project, service):
    """The same where a listing had brought the other one before this one was recorded: it is not
    taken for this one."""
    service.scripts["all"] = [{"jobs": [{"id": "srv-9", "pages": 4}]}]
    project.ok("refresh")
    [before] = jobs(project)
    service.creates = [Answer({"job_id": "srv-9"}, 201)]
    job = project.ok("submit", "docs").line
    assert before in jobs(project)
    assert project.row(job)["server_id"] is None


# Watching.


ACTOR = """
import os, random, sys
from contextlib import suppress
from tracker import Tracker
from tracker.errors import TrackerError
rnd = random.Random(sys.argv[1])
with Tracker("tracker.toml", database=os.environ.get("TRACKER_DB", "tracker.db")) as tracker:
    for number in range(int(sys.argv[2])):
        known = tracker.list(limit=50) or [tracker.submit("docs", {"pages": 1}, sync=False)]
        job = rnd.choice(known)
        act = rnd.choice([
            lambda: tracker.submit("docs", {"pages": number}, sync=False),
            lambda: tracker.update(job, {"pages": number}, sync=False),
            lambda: tracker.complete(job),
            lambda: tracker.reopen(job),
            lambda: tracker.cancel(job, sync=False),
            lambda: tracker.delete(job, sync=False),
            lambda: tracker.poll([job], seconds=1),
        ])
        with suppress(TrackerError):
            act()
        print(number, flush=True)
"""


def test_watched_across_processes(project, service):
    """What several processes do at once, some of them ended by kill -9, a watcher prints as the
    event log has it: none is missing, none is there twice, all in order; so does one that begins
    in the middle."""
    project.create()
    watchers = [project.start("watch", "--json", "--after", "0") for _ in range(2)]
    poller = project.start("run", "--quiet")
    actors = [
        subprocess.Popen(
            [sys.executable, "-c", ACTOR, str(number), "60"],
            cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | project.env,
        )
        for number in range(6)
    ]  # fmt: skip
    try:
        for number, one in enumerate(actors[:3]):
            for _ in range(15 + 10 * number):
                assert one.stdout.readline(), one.stderr.read()
            one.kill()
        poller.signal(signal.SIGKILL)
        for one in actors:
            said = one.communicate(timeout=60)[1]
            assert one.returncode in (0, -signal.SIGKILL), said
    finally:
        for one in actors:
            one.kill()
    poller.end()
    every = project.rows("SELECT seq, local_id, type FROM job_events ORDER BY seq")
    assert len(every) > 150
    for watcher in watchers:
        seen = [json.loads(watcher.line()) for _ in every]
        assert [(one["seq"], one["local_id"], one["type"]) for one in seen] == [
            (one["seq"], one["local_id"], one["type"]) for one in every
        ]
        watcher.signal(signal.SIGINT)
        done = watcher.end()
        assert (done.code, done.out) == (130, "")
    middle = every[len(every) // 2]["seq"]
    behind = [one["seq"] for one in every if one["seq"] > middle]
    command = project.start("watch", "--json", "--after", str(middle))
    assert [json.loads(command.line())["seq"] for _ in behind] == behind
    command.signal(signal.SIGINT)
    assert command.end().out == ""


def test_how_soon_a_watcher_knows(project, capsys):
    """A watcher prints what another process commits; how soon is printed here."""
    project.create()
    command = project.start("watch", "--json", "--after", "0")
    job = project.add()
    json.loads(command.line())
    took = []
    for number in range(20):
        with project.tracker() as tracker:
            began = time.monotonic()
            (tracker.complete if number % 2 == 0 else tracker.reopen)(job)
        committed = time.monotonic()
        line = json.loads(command.line())
        took.append((time.monotonic() - committed, time.monotonic() - began))
        while line["seq"] < project.rows("SELECT max(seq) AS seq FROM job_events")[0]["seq"]:
            line = json.loads(command.line())
        assert line["local_id"] == job
    with capsys.disabled():
        soonest = sorted(one for one, _ in took)
        print(f"watch: median {soonest[10] * 1000:.0f} ms, worst {soonest[-1] * 1000:.0f} ms")


# What every command keeps to.


def test_every_json_is_one_document(project, service):
    """With --json each command prints one document, without a number that JSON does not have, and
    nothing else on standard output, also while all goes wrong."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    service.creates = [Answer("no", 500)] * 2 + ["accepted"]
    service.scripts["all"] = [Answer("{", 200)]
    ended, running, dead = project.ended("e1"), project.add("r1"), project.record({"pages": 1})
    project.until(lambda: project.poll() or len(owed(project, "create")) < 1)
    for arguments in (
        ["submit", "docs", "-p", "pages:=1"],
        ["add", "docs", "r7"],
        ["update", dead, "-p", "pages:=4"],
        ["cancel", dead],
        ["poll"],
        ["list"],
        ["show", running],
        ["show", running, "--refresh"],
        ["objects", ended],
        ["explain", dead],
        ["wait", ended],
        ["outbox"],
        ["events"],
        ["refresh", "--force"],
        ["health"],
        ["services", "list"],
        ["services", "check"],
        ["pause"],
        ["poll"],
        ["resume"],
        ["complete", running],
        ["reopen", running],
        ["fail", running],
        ["delete", running],
        ["cleanup", "--older-than", "0s"],
        ["db", "status"],
    ):
        done = project.run("-vv", *arguments, "--json")
        assert done.code in (0, 1), (arguments, done)
        json.loads(done.out, parse_constant=refuse)


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--json"], ["watch", "--after", "0"], ["health"]], ids=" ".join
)
def test_an_output_that_is_full(project, arguments):
    """Output that cannot be written is one line of error, and not a success."""
    project.add()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [project.command, *arguments],
            cwd=project.path, env=project.env, stdout=full, stderr=subprocess.PIPE, timeout=20,
        )  # fmt: skip
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("tracker: ") and "No space left" in line
    assert done.returncode not in (0, 120)


def test_health(project, service):
    """`health` is 0 while all is well or only waits, 1 as long as something needs a person, 0 when
    that was seen to."""
    project.record()
    assert project.run("health").code == 0
    service.creates = [Answer("no", 400)]
    project.poll()
    assert project.run("health").code == 1 and project.json("health", code=1)
    [dead] = project.json("outbox", "--state", "dead")
    project.ok("outbox", "discard", str(dead["id"]))
    assert project.run("health").code == 0
    service.scripts["all"] = [Answer("{", 200)]
    assert project.run("refresh", "--force").code == 1
    assert project.run("health").code == 1
    service.scripts["all"] = [{"jobs": []}]
    project.ok("refresh", "--force")
    assert project.run("health").code == 0


def test_what_is_no_database(project, tmp_path):
    """Every act on a ledger that cannot be had is exit 6, one line, and makes none."""
    nowhere = tmp_path / "none" / "such" / "tracker.db"
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_bytes(b"this is no database" * 500)
    for arguments in (
        ["update", "x", "-p", "a=1"],
        ["delete", "x"],
        ["reset", "x"],
        ["refresh"],
        ["outbox", "discard", "1"],
        ["watch"],
        ["health"],
    ):
        done = project.run(*arguments, "--db", str(rubbish), timeout=20)
        assert done.code == 6 and done.out == "" and done.error, (arguments, done)
    assert rubbish.read_bytes() == b"this is no database" * 500 and not nowhere.exists()
