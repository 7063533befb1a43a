"""Cleanup: which jobs may go, what has to stay, and what is owed afterwards."""

from __future__ import annotations

import json

import pytest
from freezegun import freeze_time
from ledgers import (
    DONE,
    EPOCH,
    FETCHING,
    at,
    cell,
    claim,
    claim_operations,
    clean_up,
    count,
    end,
    finished,
    in_s3,
    owed_removals,
    polled,
    poller_row,
    refuse,
    remove,
    running,
    spooled,
    sql,
    submitted,
    types,
)

from tracker import clock, lifecycle
from tracker.lifecycle import Rules
from tracker.model import FILES, REMOVALS, Content, Failure, Fault, Reading, State, Status
from tracker.objects import ObjectChange, ObjectState, Scheme

DAY = 86400.0
WEEK = 7 * DAY


def test_old_finished_jobs_go(store, time):
    """P9: what ended more than 7 days ago goes; its age counts from its end, not its beginning."""
    old = finished(store)
    late = running(store)
    time.tick(6 * DAY)
    end(store, late)
    time.tick(DAY)
    assert clean_up(store, age=WEEK).rows == 0
    time.tick(1)
    (only,) = store.finished_page(None, clock.now() - WEEK)
    assert (only.local_id, only.service, only.status) == (old, "docs", "completed")
    assert only.completed_at == cell(store, "completed_at", old) and not only.owes
    assert clean_up(store, age=WEEK).rows == 1
    assert [one.local_id for one in store.list_jobs()] == [late]
    told = store.events(local_id=old)[-1]
    assert (told.type, told.data) == ("job:deleted", {"by": "cleanup"})


def test_unfinished_jobs_stay(store, time):
    """P9: no job goes that has not ended, however old it is."""
    submitted(store), running(store), running(store)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    time.tick(1000 * DAY)
    assert clean_up(store).rows == 0 and len(store.list_jobs()) == 3


def owe(store, local_id: str, kind: str, state: str = "pending") -> None:
    sql(
        store,
        "INSERT INTO operations (local_id, kind, service, state, next_attempt_at, created_at) "
        "VALUES (?, ?, 'docs', ?, ?, ?)",
        [local_id, kind, state, EPOCH, EPOCH],
    )


@pytest.mark.parametrize("state", ["pending", "in_doubt", "dead"])
@pytest.mark.parametrize(
    "kind",
    ["upload_input", "create", "fetch_result", "store_result", "remove_object", "notify", "delete"],
)
def test_what_owes_something_stays(store, time, kind, state):
    """P9: a job that owes anything stays, and goes once it does not."""
    local_id = finished(store, Status.COMPLETED, in_s3("k"))
    owe(store, local_id, kind, state)
    time.tick(8 * DAY)
    (found,) = store.finished_page(None, clock.now())
    assert found.owes and clean_up(store).rows == 0 and owed_removals(store) in ([], [None])
    sql(store, "DELETE FROM operations")
    assert not store.finished_page(None, clock.now())[0].owes and clean_up(store).rows == 1


def test_what_came_to_owe_something_stays(store, time):
    """P9: a job that began to owe something after it was looked at stays, with all that is its."""
    local_id = finished(store, Status.COMPLETED, in_s3("k"))
    time.tick(1)
    page = store.finished_page(None, clock.now())
    owe(store, local_id, "notify")
    assert store.clean_up(page).rows == 0
    assert store.get(local_id) and [one["key"] for one in store.objects_of(local_id)] == ["k"]


@pytest.mark.parametrize("again", [False, True])
def test_what_was_reopened_stays(store, time, again):
    """P9: a job that was reopened after it was looked at stays, also when it has ended once more
    since: it is a young one now."""
    local_id = finished(store, Status.COMPLETED, in_s3("k"))
    time.tick(8 * DAY)
    page = store.finished_page(None, clock.now() - WEEK)
    store.act(local_id, lifecycle.reopened(store.job_in_hand(local_id)))
    if again:
        end(store, local_id)
    assert len(page) == 1 and store.clean_up(page).rows == 0
    assert store.objects_of(local_id) and owed_removals(store) == []
    assert [one.type for one in store.events(local_id=local_id)].count("job:deleted") == 0


def test_only_what_is_named_goes(store, time):
    """A batch deletes no other jobs than those that it was given."""
    kept, gone = finished(store), finished(store, Status.FAILED)
    time.tick(1)
    assert clean_up(store, gone).rows == 1
    assert [one.local_id for one in store.list_jobs()] == [kept]
    assert store.clean_up([]).rows == 0


def test_pages(store, time):
    """P9: pages are bounded, oldest end first, and together bring everything once, whether or not
    what was on them goes; also where many jobs ended at one moment."""
    made = []
    for tick in (1, 0, 0, 1, 1):
        made.append(finished(store))
        time.tick(tick)
    seen, after = [], None
    while page := store.finished_page(after, clock.now() + 1, limit=2):
        assert len(page) <= 2
        seen += [one.local_id for one in page]
        after = page[-1]
        if len(seen) == 2:
            store.clean_up(page)
    assert seen == made and len(store.list_jobs()) == 3


def test_two_cleanups_of_one_page(connect, time):
    """P9: a second cleanup that had the same page deletes nothing and owes nothing twice."""
    store, other = connect(), connect()
    finished(store, Status.COMPLETED, in_s3("k"))
    time.tick(1)
    page, same = (one.finished_page(None, clock.now()) for one in (store, other))
    assert page == same
    assert (store.clean_up(page).rows, other.clean_up(same).rows) == (1, 0)
    assert owed_removals(store) == ["s3://bucket/k"]


def test_everything_of_a_job_goes(store, time):
    """P9: contents go with their job; its files are owed as removals in the same transaction."""
    local_id = submitted(store, file=spooled("a.pdf"))
    (create,) = claim_operations(store)
    reading = Reading(State.COMPLETED, server_id="r")
    store.settle([lifecycle.after_create(create, reading, Rules(fetches=True))])
    (fetch,) = claim_operations(store)
    content = Content(id="c", path="/results/a.bin", size=70_000)
    store.settle([lifecycle.after_fetch(fetch, content, Rules())])
    assert store.get(local_id).status == "completed" and owed_removals(store) == []
    time.tick(1)
    cleaned = clean_up(store)
    assert cleaned.rows == 1 and cleaned.asked == 0
    assert cleaned.requested == {Scheme.S3: 0, Scheme.FILE: 2}
    assert cleaned.bytes == {Scheme.S3: 0, Scheme.FILE: 70_005}
    for table in ("processing_jobs", "contents", "job_objects"):
        assert count(store, table) == 0
    assert owed_removals(store) == ["/spool/a.pdf", "/results/a.bin"]
    owed = store.operations_of(local_id)
    assert {(one["service"], one["priority"], one["next_attempt_at"]) for one in owed} == {
        (FILES, 3, at(0))
    }
    rows = store.database.read("SELECT DISTINCT state FROM objects")
    assert rows == [("removal_requested",)] and store.removals_owed(FILES) == 2


def test_a_batch_goes_whole_or_not_at_all(store, time):
    """P9: when a removal cannot be put on record nothing goes: no row, no object, no event."""
    local_id = finished(store, Status.COMPLETED, in_s3("k"))
    time.tick(1)
    before = count(store, "job_events")
    refuse(store, "DELETE", "processing_jobs")
    with pytest.raises(store.database.broken):
        clean_up(store)
    assert store.get(local_id) and owed_removals(store) == []
    (stored,) = store.objects_of(local_id)
    assert stored["state"] == "present" and count(store, "job_events") == before


def test_removals_stay_owed_until_they_are_gone(store, time):
    """P9, J11: a removal is owed until somebody says that it is done, however often it fails; then
    nothing is left of it, whether there was anything to remove or not."""
    for name in "abc":
        end(store, submitted(store, file=spooled(name)))
    time.tick(1)
    clean_up(store)
    first, second, third = claim_operations(store, service=FILES)
    assert (first.object.uri, first.job.id, first.job.status) == ("/spool/a", 0, "")
    denied = Failure(Fault.INVALID, "/spool/c: Permission denied")
    store.settle(
        [
            lifecycle.after_removal(first, ObjectChange(None)),
            lifecycle.after_removal(second, ObjectChange(None, found=False)),
            lifecycle.after_removal(third, denied, rnd=lambda: 0.0),
        ]
    )
    assert owed_removals(store) == ["/spool/c"] and count(store, "objects") == 1
    (owed,) = store.outbox()
    assert (owed["state"], owed["attempts"], owed["last_error"]) == ("pending", 1, denied.message)
    assert owed["next_attempt_at"] == at(60) and claim_operations(store, service=FILES) == []
    assert (store.removals_owed(FILES), store.removals_owed(REMOVALS)) == (1, 0)
    time.tick(60)
    assert remove(store) == 1
    assert count(store, "objects") == count(store, "operations") == store.removals_owed(FILES) == 0


def test_a_batch_counts_exactly(store, time):
    """B13: each batch tells its own rows, objects and bytes by scheme; what is shared counts where
    its last job goes, what has no known size counts no bytes, and what is foreign not at all."""
    objects = [in_s3("a", size=10), in_s3("b"), in_s3("foreign", owned=False, size=1000)]
    first = finished(store, Status.COMPLETED, *objects)
    time.tick(1)
    second = finished(store, Status.COMPLETED, in_s3("a", role="result"), in_s3("c", size=7))
    time.tick(1)
    one, two = clean_up(store, first), clean_up(store, second)
    assert (one.rows, one.requested["s3"], one.bytes["s3"]) == (1, 1, 0)
    assert (two.rows, two.requested["s3"], two.bytes["s3"]) == (1, 2, 17)
    assert one.requested["file"] == two.requested["file"] == one.bytes["file"] == 0
    assert owed_removals(store) == [f"s3://bucket/{key}" for key in "bac"]
    assert store.removals_owed(REMOVALS) == 3


@pytest.mark.parametrize(
    ("state", "upload_id", "traces"),
    [
        (ObjectState.PLANNED, None, True),
        (ObjectState.UPLOADING, "u", True),
        (ObjectState.UPLOADING, None, True),
        (ObjectState.PRESENT, "u", True),  # there, and parts of another upload besides
        (ObjectState.PRESENT, None, False),
        (ObjectState.MISSING, None, False),
    ],
)
def test_unfinished_uploads_are_looked_for(store, time, state, upload_id, traces):
    """B13: where an upload did not come to its end, nobody knows what is there: its removal looks
    for all of it, and other removals do not."""
    local_id = submitted(store, file=spooled("x"), target=in_s3("k", state=ObjectState.PLANNED))
    sql(store, "UPDATE objects SET state = ?, upload_id = ? WHERE scheme = 's3'",
        [state, upload_id])  # fmt: skip
    end(store, local_id)
    time.tick(1)
    clean_up(store)
    (removal,) = claim_operations(store, service=REMOVALS)
    assert removal.payload == ({"traces": True} if traces else {})
    assert (removal.object.key, removal.object.upload_id) == ("k", upload_id)
    (file,) = claim_operations(store, service=FILES)
    assert file.payload == {} and file.object.key == "/spool/x"


def test_other_jobs_keep_what_is_theirs(store, time):
    """A cleanup touches nothing of the jobs that stay."""
    old = running(store)
    store.settle([polled(claim(store)[0], DONE, Rules())])
    time.tick(8 * DAY)
    young = running(store, "docs", in_s3("k"))
    store.settle([polled(claim(store)[0], DONE, Rules())])
    assert clean_up(store, age=WEEK).rows == 1
    assert store.content(young) == (b'{"pages": 3}', None, None)
    assert [one.local_id for one in store.list_jobs()] == [young] and store.contents_of(old) == []
    assert [one["state"] for one in store.objects_of(young)] == ["present"]


def test_a_cap(store, time):
    """P9: the number of finished jobs can be capped: which is the newest one beyond the newest N
    is known, also where several ended at one moment."""
    made = []
    for tick in (10, 0, 10):
        made.append(finished(store))
        time.tick(tick)
    page = store.finished_page(None, clock.now())
    assert [one.local_id for one in page] == made
    assert store.end_of_kept(3) is None and store.end_of_kept(99) is None
    for keep in range(3):
        assert store.end_of_kept(keep) == (page[2 - keep].completed_at, page[2 - keep].id)


def test_a_deletion_is_told_to_its_user(store, time):
    """R3: the event of a job's deletion carries the job's user, or its user would never see it."""
    local_id = finished(store, user_id="ann")
    time.tick(1)
    clean_up(store)
    assert {event.user_id for event in store.events(local_id=local_id)} == {"ann"}


# When.


def test_the_next_cleanup(connect, time):
    """P9: when the next cleanup by itself is due is on record for all pollers: at once where
    nobody has planned it, and never where none is wanted."""
    store, other = connect(), connect()
    assert store.next_cleanup_in() <= 0
    store.set_next_cleanup(3600)
    assert other.next_cleanup_in() == 3600
    time.tick(3601)
    assert other.next_cleanup_in() == -1
    before = other.change_count()
    store.set_next_cleanup(None), store.set_next_cleanup(None)
    assert other.get_meta("next_cleanup_at") == "" and other.change_count() == before + 1


def test_a_clock_that_went_back_hurries_the_next_cleanup(connect):
    """A clock that went back by months does not put off the next cleanup for as long."""
    with freeze_time("2026-06-01T12:00:00Z") as frozen:
        store = connect()
        store.beat(poller_row("p1"))
        store.set_next_cleanup(3600)
        frozen.move_to("2026-01-31T12:00:00Z")
        assert store.next_cleanup_in() > 100 * DAY
        store.check_clock()
        assert store.next_cleanup_in() == 0


# Looking ahead and looking back.


def test_what_a_job_owns(store, time):
    """B13: a dry run knows what would go with a job: what the tracker owns of it, with how many
    jobs use each, and its kept file; nothing that is foreign."""
    content = Content(id="c", path="/results/a.bin", size=70_000)
    objects = [in_s3("a", size=1), in_s3("foreign", owned=False)]
    objects += [in_s3("shared"), in_s3("shared", role="other")]  # as two things, by one job
    local_id = running(store, "docs", *objects)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    (fetch,) = claim_operations(store)
    store.settle([lifecycle.after_fetch(fetch, content, Rules())])
    running(store, "docs", in_s3("shared")), running(store, "docs", in_s3("shared"))
    found = [(one.uri, one.size, users) for one, users in store.owned_by(local_id)]
    assert found == [
        ("s3://bucket/a", 1, 1),
        ("s3://bucket/shared", None, 3),
        ("/results/a.bin", 70_000, 1),
    ]


def test_the_whole_of_a_job(store, time):
    """P9: an archive gets all that is on record of each job, bodies as bytes, and no other job."""
    local_id = running(store, "docs", in_s3("k", version_id="v", size=3), payload={"b": "ä"})
    store.settle([polled(claim(store)[0], DONE, Rules())])
    running(store)
    (whole,) = store.whole([local_id])
    assert whole["job"]["local_id"] == local_id and json.loads(whole["job"]["payload"]) == {
        "b": "ä"
    }
    assert [one["body"] for one in whole["contents"]] == [b'{"pages": 3}']
    assert [(one["key"], one["version_id"], one["role"]) for one in whole["objects"]] == [
        ("k", "v", "input")
    ]
    assert [one["type"] for one in whole["events"]] == types(store, local_id)
    assert "local_id" not in whole["contents"][0] and store.whole([]) == []


def test_the_whole_of_a_job_that_has_gone(store, time):
    """P9: where another cleanup was faster there is nothing to archive, and no error."""
    gone, there = finished(store), finished(store)
    time.tick(1)
    clean_up(store, gone)
    assert [one["job"]["local_id"] for one in store.whole([gone, there])] == [there]
