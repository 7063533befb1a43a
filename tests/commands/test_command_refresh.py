"""tracker refresh, and tracker show --refresh"""

from __future__ import annotations

import pytest
from contract import JOB, has_keys
from service import Answer

COLUMNS = "SERVICE LISTED ADDED CHANGED DELETED CONFLICTS NOTE"
KEYS = "service refreshed skipped error next_refresh_at listed added changed deleted conflicts"
LIST = {
    "list": {
        "request": {"path": "/jobs/all", "query": {"cursor": "{cursor?}"}},
        "items": "body.jobs",
        "server_id": "body.id",
        "next": "body.next",
        "fields": {"pages": "body.pages"},
    }
}


def lists(service, *items, following=None):
    """Have the service list these jobs on its only page, or on the first of them."""
    service.scripts["all"] = [{"jobs": list(items), "next": following}]


@pytest.fixture
def listing(project):
    """A project whose service has a list."""
    project.configure(LIST)
    return project


def test_pages_are_merged(listing, service):
    """`refresh` reads all pages, tracks what is unknown, and says so in a row; exit 0."""
    service.scripts["all"] = [{"jobs": [{"id": "a"}], "next": "2"}, {"jobs": [{"id": "b"}]}]
    done = listing.ok("refresh")
    heading, row = done.out.splitlines()
    assert heading.split("\t") == [*COLUMNS.split()]
    assert row.split("\t")[:6] == ["docs", "2", "2", "0", "0", "0"]
    assert [one.path for one in service.requests("GET", "/all")] == [
        "/jobs/all",
        "/jobs/all?cursor=2",
    ]
    assert {row["server_id"] for row in listing.rows("SELECT server_id FROM jobs")} == {"a", "b"}


def test_json(listing, service):
    """`refresh --json` is one document: a row with exactly these keys for each service."""
    listing.add("a")
    lists(service, {"id": "a", "pages": 9}, {"id": "b"})
    [found] = listing.json("refresh")
    assert has_keys(found, KEYS) and found.pop("next_refresh_at") is not None
    assert found == {
        "service": "docs",
        "refreshed": True,
        "skipped": None,
        "error": None,
        "listed": 2,
        "added": 1,
        "changed": 1,
        "deleted": 0,
        "conflicts": 0,
    }


def test_the_interval_and_force(listing, service):
    """Within its interval a service is not listed again, unless --force says so."""
    lists(service, {"id": "a"})
    listing.ok("refresh")
    assert "its time has not come" in listing.ok("refresh").out
    assert service.count("GET", "/all") == 1
    [found] = listing.json("refresh", "docs", "--force")
    assert found["refreshed"] and service.count("GET", "/all") == 2


def test_what_cannot_be_listed(project, listing):
    """A service without a list is exit 2, an unknown one exit 4, each in one line; nothing
    changes."""
    listing.create()
    assert "no service 'nope'" in listing.refused(4, "refresh", "nope")
    project.configure({"list": None})
    assert "service 'docs' has no list" in project.refused(2, "refresh", "docs")
    assert project.json("refresh") == []


@pytest.mark.parametrize("reply", [Answer("{", 200), {"jobs": [{}]}, {"jobs": 5}])
def test_a_failing_listing(listing, service, reply):
    """A listing that failed is exit 1 with its reason in the row, also when it will be tried
    again; no job changes."""
    job = listing.add("a")
    before = listing.row(job)
    service.scripts["all"] = [reply]
    done = listing.run("refresh")
    assert listing.row(job) == before
    assert done.code == 1 and "its time" not in done.out


def test_a_failing_listing_changes_nothing(listing, service):
    """A page that fails leaves every job as it was, and the listing is owed still."""
    job = listing.add("a")
    before = listing.row(job)
    service.scripts["all"] = [{"jobs": [{"id": "b"}], "next": "2"}, Answer("{", 200)]
    listing.run("refresh")
    assert listing.rows("SELECT * FROM jobs") == [before]
    [owed] = listing.json("outbox")
    assert (owed["kind"], owed["attempts"]) == ("refresh", 1)


def test_a_loop(listing, service):
    """A listing that goes in circles is given up at once: exit 1, and the reason in the row."""
    lists(service, {"id": "a"}, following="again")
    done = listing.run("refresh")
    assert done.code == 1 and "goes in circles" in done.out
    assert listing.rows("SELECT * FROM jobs") == []
    [found] = listing.json("refresh", "--force", code=1)
    assert not found["refreshed"] and "circles" in found["error"]


def test_another_host(listing, service):
    """A next page elsewhere is not called; nothing of the listing counts."""
    lists(service, {"id": "a"}, following="http://127.0.0.2:9/jobs")
    listing.run("refresh")
    assert listing.rows("SELECT * FROM jobs") == []
    assert service.count() == 1


def test_too_many_deletions(project, service):
    """A listing that lacks too many jobs deletes none: exit 1, and the row says how to go on."""
    project.configure({**LIST, "list": {**LIST["list"], "authoritative": True}})
    for number in range(6):
        project.add(f"s{number}")
    lists(service, {"id": "s0"})
    done = project.run("refresh")
    assert done.code == 1
    assert "lacks 5 of 6 jobs" in done.out and "services.docs.list.max_deletions" in done.out
    assert len(project.rows("SELECT * FROM jobs")) == 6


def test_the_poller_lists_too(listing, service):
    """`tracker run` lists its services by itself."""
    lists(service, {"id": "a"})
    command = listing.start("run")
    service.wait_for(1, "GET", "/jobs/a$")
    command.signal(2)
    command.end()
    assert [row["server_id"] for row in listing.rows("SELECT * FROM jobs")] == ["a"]


# show --refresh


def test_show_of_a_stale_job(project, service):
    """`show --refresh` asks the service first and shows what it says."""
    job = project.add("srv-1")
    service.statuses = [{"status": "running", "progress": 40}]
    shown = project.json("show", job, "--refresh")
    assert has_keys({key: shown[key] for key in JOB.split()}, JOB)
    assert shown["progress"] == 0.4 and service.count("GET", "/jobs/srv-1$") == 1
    project.json("show", job)
    assert service.count() == 1


def test_show_of_a_finished_job(project, service):
    """A job that has ended is shown as it is: nobody is called."""
    project.json("show", project.ended(), "--refresh")
    assert service.count() == 0


def test_show_of_an_unknown_job(project, service):
    """`show --refresh SERVICE:ID` of a job that only its service knows tracks it."""
    shown = project.json("show", "docs:srv-9", "--refresh")
    assert (shown["server_id"], shown["status"]) == ("srv-9", "processing")
    assert len(project.rows("SELECT * FROM jobs")) == 1


def test_show_of_a_nonexistent_job(project, service):
    """A job that its service does not know either is exit 4 in one line, and is not tracked."""
    project.create()
    service.scripts["srv-9"] = [Answer({"error": "no"}, 404)]
    done = project.run("show", "docs:srv-9", "--refresh")
    assert (done.code, done.out) == (4, "")
    assert "docs" in done.error and "srv-9" in done.error
    assert project.rows("SELECT * FROM jobs") == []


def test_show_of_no_reference_at_all(project, service):
    """A reference that names no service is exit 4, and nobody is called."""
    project.create()
    assert "no job 'ffffffff'" in project.refused(4, "show", "ffffffff", "--refresh")
    assert "no job 'nope:1'" in project.refused(4, "show", "nope:1", "--refresh")
    assert service.count() == 0


def test_a_job_that_was_asked_for_too_early(listing, service):
    """A job that did not exist when somebody asked for it is tracked once the service lists it."""
    service.scripts["srv-9"] = [Answer({"error": "no"}, 404), "running"]
    assert listing.run("show", "docs:srv-9", "--refresh").code == 4
    lists(service, {"id": "srv-9"})
    assert listing.json("refresh")[0]["added"] == 1


@pytest.mark.parametrize("reply", [Answer(b"", 500), Answer("{", 200)])
def test_show_when_the_service_fails(project, service, reply):
    """A job on record whose service cannot tell is one line of error with the reason; it goes on
    being tracked."""
    job = project.add("srv-1")
    service.statuses = [reply]
    done = project.run("show", job, "--refresh")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"tracker: job {job[-8:]}: ")
    assert project.row(job)["status"] == "processing"


def test_show_of_an_unknown_job_when_the_service_fails(project, service):
    """A job that the service did not get to say anything about is not shown as if it existed."""
    service.scripts["srv-9"] = [Answer(b"", 500)]
    done = project.run("show", "docs:srv-9", "--refresh")
    assert (done.code, done.out) == (1, "")


def test_what_nobody_confirmed_is_not_tracked(project, service):
    """A job that only exists if its service says so is not tracked before it did."""
    service.scripts["srv-9"] = [Answer(b"", 500)]
    project.run("show", "docs:srv-9", "--refresh")
    assert project.rows("SELECT * FROM jobs") == []


def test_an_unknown_job_is_asked_for_once(project, service):
    """One look is one call, also where the job was unknown here."""
    project.json("show", "docs:srv-9", "--refresh")
    assert service.count() == 1
