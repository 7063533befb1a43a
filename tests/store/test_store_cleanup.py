"""Cleanup: what may go, what has to stay, and what is still owed afterwards."""

from __future__ import annotations

import pytest
from ledgers import (
    DONE,
    FETCHING,
    claim,
    claim_operations,
    finished,
    polled,
    running,
    sql,
    submitted,
)

from tracker import clock, lifecycle
from tracker.lifecycle import Rules
from tracker.model import FINISHED, Content, Reading, State, Status

DAY = 86400.0


def spooled(name: str) -> dict:
    return {"path": f"/spool/{name}", "size": 5, "sha256": "", "name": name, "media_type": ""}


def clean_up(store, age: float = 7 * DAY, statuses=FINISHED, limit: int = 500) -> int:
    return store.clean_up(clock.now() - age, statuses, limit=limit)


def count(store, table: str) -> int:
    return store.database.read(f"SELECT count(*) FROM {table}")[0][0]


def test_old_finished_jobs_go(store, time):
    """P9: what ended more than 7 days ago goes; its age counts from its end, not its beginning."""
    old = finished(store)
    late = running(store)
    time.tick(6 * DAY)
    store.act(late, lifecycle.by_hand(store.job_in_hand(late), Status.FAILED, Rules()))
    time.tick(DAY)
    assert clean_up(store) == 0
    time.tick(1)
    assert [local_id for _, local_id, _ in store.cleanable(clock.now() - 7 * DAY, FINISHED)] == [
        old
    ]
    assert clean_up(store) == 1
    assert [one.local_id for one in store.list_jobs()] == [late]
    assert store.events(local_id=old)[-1].type == "job:deleted"


def test_unfinished_jobs_stay(store, time):
    """P9: no job goes that has not ended, however old it is."""
    submitted(store), running(store), running(store)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    time.tick(1000 * DAY)
    assert clean_up(store) == 0 and len(store.list_jobs()) == 3


@pytest.mark.parametrize("state", ["pending", "in_doubt", "dead"])
@pytest.mark.parametrize("kind", ["create", "fetch_result", "notify", "delete"])
def test_what_owes_something_stays(store, time, kind, state):
    """P9: a job that owes anything stays, and goes once it does not."""
    local_id = finished(store)
    sql(
        store,
        "INSERT INTO operations (local_id, kind, service, state, next_attempt_at, created_at) "
        "VALUES (?, ?, 'docs', ?, '', '')",
        [local_id, kind, state],
    )
    time.tick(8 * DAY)
    assert clean_up(store) == 0
    sql(store, "DELETE FROM operations")
    assert clean_up(store) == 1


def test_only_these_statuses(store, time):
    """A cleanup can be for some ends alone."""
    finished(store, Status.COMPLETED), finished(store, Status.FAILED)
    time.tick(1)
    assert clean_up(store, 0, ["failed"]) == 1
    assert [one.status for one in store.list_jobs()] == ["completed"]
    assert clean_up(store, 0, []) == 0


def test_in_batches(store, time):
    """P9: batches are bounded, oldest first, and together take everything."""
    made = []
    for _ in range(5):
        made.append(finished(store))
        time.tick(1)
    assert clean_up(store, 0, limit=2) == 2
    assert [one.local_id for one in store.list_jobs()] == made[:1:-1]
    assert [clean_up(store, 0, limit=2) for _ in range(3)] == [2, 1, 0]


def test_everything_of_a_job_goes(store, time):
    """P9: contents go with their job; its files are owed as removals in the same transaction."""
    local_id = submitted(store, spooled=spooled("a.pdf"))
    reading = Reading(State.COMPLETED, server_id="r")
    (create,) = claim_operations(store)
    store.settle([lifecycle.after_create(create, reading, Rules(fetches=True))])
    (fetch,) = claim_operations(store)
    content = Content(id="c", path="/results/a.bin", size=70_000)
    store.settle([lifecycle.after_fetch(fetch, content, Rules())])
    assert store.get(local_id).status == "completed" and store.files_to_remove() == []
    time.tick(1)
    assert clean_up(store, 0) == 1
    for table in ("processing_jobs", "contents", "job_objects", "operations"):
        assert count(store, table) == 0
    owed = {path: size for _, path, size in store.files_to_remove()}
    assert owed == {"/spool/a.pdf": 5, "/results/a.bin": 70_000}


def test_files_stay_owed_until_they_are_gone(store, time):
    """P9, J11: a removal is owed until somebody says that it is done; pages join up."""
    for name in "abc":
        local_id = submitted(store, spooled=spooled(name))
        store.act(local_id, lifecycle.by_hand(store.job_in_hand(local_id), Status.FAILED, Rules()))
    time.tick(1)
    clean_up(store, 0)
    first = store.files_to_remove(limit=2)
    rest = store.files_to_remove(after=first[-1][0], limit=2)
    assert [path for _, path, _ in first + rest] == ["/spool/a", "/spool/b", "/spool/c"]
    store.forget_objects([first[0][0], rest[0][0]])
    assert [path for _, path, _ in store.files_to_remove()] == ["/spool/b"]


def test_shared_and_foreign_files_stay(store, time):
    """J11: a file that another job uses stays, and one that is not the tracker's own stays ever."""
    one = submitted(store, spooled=spooled("shared"))
    two = submitted(store, spooled=spooled("foreign"))
    sql(store, "UPDATE objects SET owned = 0 WHERE name = 'foreign'")
    keeper = running(store)
    sql(store, "INSERT INTO job_objects SELECT ?, id, 'input' FROM objects WHERE name = 'shared'",
        [keeper])  # fmt: skip
    for local_id in (one, two):
        store.act(local_id, lifecycle.by_hand(store.job_in_hand(local_id), Status.FAILED, Rules()))
    time.tick(1)
    assert clean_up(store, 0) == 2 and store.files_to_remove() == []
    store.act(keeper, lifecycle.by_hand(store.job_in_hand(keeper), Status.FAILED, Rules()))
    time.tick(1)
    clean_up(store, 0)
    assert [path for _, path, _ in store.files_to_remove()] == ["/spool/shared"]


def test_other_jobs_keep_what_is_theirs(store, time):
    """A cleanup touches nothing of the jobs that stay."""
    old = running(store)
    store.settle([polled(claim(store)[0], DONE, Rules())])
    time.tick(8 * DAY)
    young = running(store)
    store.settle([polled(claim(store)[0], DONE, Rules())])
    assert clean_up(store) == 1
    assert store.content(young)[0] == b'{"pages": 3}'
    assert [one.local_id for one in store.list_jobs()] == [young] and store.contents_of(old) == []


def test_a_cap(store, time):
    """P9: the number of finished jobs can be capped: what is older than the newest N is known."""
    for _ in range(3):
        finished(store)
        time.tick(10)
    assert store.end_of_kept(3) is None and store.end_of_kept(99) is None
    assert store.end_of_kept(2) == pytest.approx(clock.now() - 30)
    assert store.end_of_kept(0) == pytest.approx(clock.now() - 10)


def test_a_deletion_is_told_to_its_user(store, time):
    """R3: the event of a job's deletion carries the job's user, or its user would never see it."""
    local_id = finished(store, user_id="ann")
    time.tick(1)
    clean_up(store, 0)
    assert {event.user_id for event in store.events(local_id=local_id)} == {"ann"}
