"""Listings: gathered page by page, and what is deleted when one is complete."""

from __future__ import annotations

import pytest
from ledgers import (
    BROKEN,
    RULES,
    claim_operations,
    count,
    end,
    running,
    sql,
    submitted,
    types,
)
from listings import (
    ALL,
    DOCS,
    counts,
    ids,
    jobs,
    page,
    refresh,
    turn,
)

from tracker.listed import Merging, Page
from tracker.model import Failure, Fault, Kind, NewOperation
from tracker.store import Store
from tracker.store.refreshing import Wanted

# Gathering.


def test_nothing_counts_before_the_last_page(store, time):
    """Pages are kept apart until the last one is there; then all of them count at once."""
    refresh(store, page("a", cursor="2"), page("b", "a", cursor="3"))
    assert (ids(store), count(store, "listed")) == (set(), 2)
    turn(store, page("c"))
    assert (ids(store), count(store, "listed")) == ({"a", "b", "c"}, 0)
    assert counts(store) == {"listed": 3, "added": 3}


def test_the_next_page_is_asked_for_behind_the_last(store, time):
    """What is owed next is the page behind the last one, at once, and no attempt is burnt."""
    refresh(store, page("a", cursor="2"))
    [operation] = claim_operations(store, kinds=[Kind.REFRESH])
    assert (operation.payload["cursor"], operation.attempts) == ("2", 0)


def test_a_failing_page_leaves_everything_as_it_was(store, time):
    """A failure in the middle changes no job; the listing goes on with the page that failed, and
    after the last attempt it is given up, with its reason and without its pages."""
    running(store, server_id="gone")
    before = jobs(store)
    refresh(store, page("a", cursor="2"), merging=ALL)
    for _ in range(RULES.retry.attempts):
        turn(store, BROKEN, ALL)
        time.tick(7200)
    assert jobs(store) == before
    assert (count(store, "listed"), count(store, "operations")) == (0, 0)
    [state] = store.listings()
    assert state["refresh_error"] == "HTTP 500" and state["last_refresh_at"] is None


def test_a_listing_goes_on_where_it_failed(store, time):
    """After a failed page the pages before it need not be read again."""
    refresh(store, page("a", cursor="2"), BROKEN)
    time.tick(7200)
    turn(store, page("b"))
    assert ids(store) == {"a", "b"}


def test_an_unreachable_service_burns_no_attempt(store, time):
    """A service that is down is not a failing listing: it is still owed after any number of
    attempts."""
    refresh(store)
    for _ in range(20):
        turn(store, Failure(Fault.UNREACHABLE, "down"))
        time.tick(7200)
    turn(store, page("a"))
    assert ids(store) == {"a"}


@pytest.mark.parametrize("cursors", [["2", "2"], ["2", "3", "2"], ["2", "3", "4", "3"]])
def test_cursors_that_loop(store, time, cursors):
    """A listing whose next page was there before is given up, and nothing of it counts."""
    running(store, server_id="gone")
    refresh(store, *(page(f"j{cursor}", cursor=cursor) for cursor in cursors), merging=ALL)
    assert ids(store) == {"gone"}
    assert (count(store, "listed"), count(store, "operations")) == (0, 0)
    assert "circles" in store.listings()[0]["refresh_error"]


def test_too_many_items(store, time):
    """A listing that is longer than allowed is given up, and nothing of it counts; one that has
    exactly so many is merged."""
    few = Merging(most_items=3)
    refresh(store, page("a", "b", cursor="2"), page("c", "d"), merging=few)
    assert (ids(store), count(store, "listed")) == (set(), 0)
    assert "list.max_items" in store.listings()[0]["refresh_error"]
    refresh(store, page("a", "b", cursor="2"), page("c"), merging=few)
    assert ids(store) == {"a", "b", "c"}
    assert store.listings()[0]["refresh_error"] is None


def test_the_same_refresh_never_twice(store, connect, time):
    """A service that is being listed is not owed another listing, by whomever and with force."""
    other = connect()
    assert store.owe_refreshes([DOCS]) == ["docs"]
    assert other.owe_refreshes([DOCS]) == other.owe_refreshes([DOCS], force=True) == ["docs"]
    assert count(store, "operations") == 1
    claim_operations(store, kinds=[Kind.REFRESH])
    assert other.owe_refreshes([DOCS], force=True) == []
    assert claim_operations(other, poller="p2", kinds=[Kind.REFRESH]) == []


def test_the_interval(store, time):
    """A listing is owed when its interval has passed since the one before was owed, not sooner."""
    refresh(store, page())
    time.tick(899)
    assert store.owe_refreshes([DOCS]) == []
    time.tick(2)
    assert store.owe_refreshes([DOCS]) == ["docs"]


def test_since(store, time):
    """Where the service can tell what changed, it is asked from shortly before the last complete
    listing began; a failed one does not count as that."""
    since = Wanted("docs", "", 900.0, since=True, overlap=60.0)
    refresh(store, page("a", cursor="2"), wanted=since)
    time.tick(300)
    turn(store, page("b"))
    refresh(store, page("c", cursor="2"), page(cursor="2"), wanted=since)
    store.owe_refreshes([since], force=True)
    [operation] = claim_operations(store, kinds=[Kind.REFRESH])
    assert str(operation.payload["since"]).startswith("2026-01-31T11:59:00")


# Deletions.


def several(store: Store, number: int = 10) -> list[str]:
    """Jobs j0, j1, …; all on record for a minute when the next listing begins."""
    return [running(store, server_id=f"j{n}") for n in range(number)]


def present(number: int) -> Page:
    """The last page of a listing of the first so many of them."""
    return page(*(f"j{n}" for n in range(number)))


def test_deletions(store, time):
    """What a complete and authoritative listing lacks is deleted here, and the event says how
    many."""
    several(store)
    time.tick(60)
    refresh(store, present(8), merging=Merging(authoritative=True))
    assert ids(store) == {f"j{n}" for n in range(8)}
    assert counts(store) == {"listed": 8, "deleted": 2}


def test_no_deletions_without_authority(store, time):
    """A listing that is not authoritative deletes nothing, nor does one of changes only."""
    several(store)
    time.tick(60)
    refresh(store, page())
    since = Wanted("docs", "", 900.0, since=True)
    refresh(store, page(), merging=ALL, wanted=since)
    assert len(ids(store)) == 10


def test_too_many_deletions(store, time):
    """Beyond the share nothing is deleted, and the reason says how to go on; what else the listing
    says is merged."""
    several(store)
    time.tick(60)
    refresh(store, page(*(f"j{n}" for n in range(7)), "new"), merging=Merging(authoritative=True))
    assert len(ids(store)) == 11
    error = store.listings()[0]["refresh_error"]
    assert "lacks 3 of 10 jobs" in error and "services.docs.list.max_deletions" in error


def test_an_empty_listing_of_few_jobs(store, time):
    """A listing that is empty although it never was deletes nothing, however few the jobs are."""
    several(store, 4)
    time.tick(60)
    refresh(store, page(), merging=Merging(authoritative=True))
    assert len(ids(store)) == 4


@pytest.mark.parametrize("kind", [Kind.UPDATE, Kind.CANCEL, Kind.NOTIFY, "thumbnail"])
@pytest.mark.parametrize("state", ["pending", "dead"])
def test_what_owes_is_not_deleted(store, time, kind, state):
    """A job that owes anything, dead letters too, is not deleted by a listing."""
    job = running(store)
    store.owe(job, NewOperation(kind, "docs"))
    sql(store, "UPDATE operations SET state = ?", [state])
    time.tick(60)
    refresh(store, page(), merging=ALL)
    assert types(store, job) == ["job:created"] and count(store, "processing_jobs") == 1


def test_what_never_left_is_not_deleted(store, time):
    """A job that its service never had is not missing there."""
    job = submitted(store)
    end(store, job)
    sql(store, "DELETE FROM operations")
    time.tick(60)
    refresh(store, page(), merging=ALL)
    assert count(store, "processing_jobs") == 1


def test_what_came_during_the_listing_is_not_deleted(store, time):
    """A job that was accepted after the listing began may be on a page that was read before."""
    running(store, server_id="old")
    time.tick(60)
    refresh(store, page(cursor="2"), merging=ALL)
    time.tick(60)
    running(store, server_id="new")
    turn(store, page(), ALL)
    assert ids(store) == {"old", "new"}  # it is read once more: it may have changed meanwhile
    turn(store, page(cursor="2"), ALL), turn(store, page(), ALL)
    assert ids(store) == {"new"}


def test_a_job_that_slipped_from_page_to_page_is_not_deleted(store, time):
    """J10: a listing that changed while it was read is not complete: what one reading of its pages
    lacks, and another has, is there."""
    several(store, 2)
    running(store, server_id="gone")
    time.tick(60)
    first = page("j0", cursor="2"), page()  # another job went, and j1 moved to the page before
    refresh(store, *first, page("j0", "j1", cursor="2"), page(), merging=ALL)
    assert ids(store) == {"j0", "j1"}


def test_other_services_and_accounts_are_let_be(store, time):
    """A listing says nothing about jobs of another service or account."""
    running(store, "mail", server_id="m")
    running(store, server_id="other", account="b")
    time.tick(60)
    refresh(store, page(), merging=ALL)
    assert ids(store) == {"m", "other"}
