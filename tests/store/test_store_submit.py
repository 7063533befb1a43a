"""Putting jobs on record: submissions, adoptions, and the keys that keep them apart."""

from __future__ import annotations

import re

import pytest
from ledgers import (
    EPOCH,
    at,
    cell,
    claim_operations,
    refuse,
    running,
    spooled,
    sql,
    submitted,
    types,
)

from tracker import lifecycle
from tracker.errors import Impossible, NotFound, TrackerError
from tracker.ids import new_id
from tracker.lifecycle import Rules
from tracker.model import (
    Failure,
    Fault,
    Kind,
    NewOperation,
    OperationState,
    ProcessingJob,
    Reading,
    State,
)
from tracker.outcomes import Attempted
from tracker.store import server_key


def test_a_submission_and_what_it_owes(store, time):
    """P2: one transaction writes the job, its create, its input and its first event."""
    file = spooled("x.pdf", size=3, sha256="ab", media_type="a/b")
    local_id = submitted(store, payload={"language": "ä"}, user_id="ann", project="P", file=file)
    job = store.get(local_id)
    assert (job.status, job.sync_status, job.server_id) == ("pending", "pending", None)
    assert job.payload == {"language": "ä"} and job.initiated_at == job.created_at == at(0)
    (owed,) = store.operations_of(local_id)
    assert (owed["kind"], owed["state"], owed["attempts"]) == ("create", "pending", 0)
    assert owed["next_attempt_at"] == at(0)
    (stored,) = store.objects_of(local_id)
    assert (stored["scheme"], stored["key"], stored["role"]) == ("file", "/spool/x.pdf", "input")
    assert (stored["owned"], stored["state"]) == (True, "present") and owed["object_id"] is None
    (created,) = store.events(local_id=local_id)
    assert created.type == "job:created" and created.user_id == "ann"
    assert created.data["job"]["payload"] == {"language": "ä"}
    (claimed,) = claim_operations(store)
    assert claimed.job.input == {
        "path": "/spool/x.pdf", "name": "x.pdf", "size": 3, "media_type": "a/b", "sha256": "ab"
    }  # fmt: skip


def test_many_submissions_are_as_one_each(store, time):
    """Jobs that are submitted together have what those have that are submitted one by one; when
    one of them cannot be written there is none of them."""
    alone = submitted(store, payload={"language": "ä"}, project="P")

    def another(local_id: str) -> tuple[ProcessingJob, NewOperation]:
        job = ProcessingJob(local_id, "docs", "pending", project="P", payload={"language": "ä"})
        return job, NewOperation(Kind.CREATE, "docs", idempotency_key=f"key-{local_id}")

    together = [new_id() for _ in range(3)]
    store.submit_many([another(local_id) for local_id in together])

    def written(local_id: str) -> list[object]:
        found = [
            store.get(local_id),
            store.operations_of(local_id),
            store.events(local_id=local_id),
        ]
        texts = [repr(one).replace(local_id, "ID") for one in found]
        return [re.sub(r"(seq|id)('?[=:] ?)\d+", r"\1\2N", text) for text in texts]

    assert [written(local_id) for local_id in together] == [written(alone)] * 3
    with pytest.raises(store.database.broken):
        store.submit_many([another(local_id) for local_id in (new_id(), new_id(), alone)])
    for table in ("processing_jobs", "operations"):
        assert store.database.read(f"SELECT count(*) FROM {table}") == [(4,)]
    assert [event.local_id for event in store.events()] == [alone, *together]


def test_a_submission_is_written_whole_or_not_at_all(store):
    """P2: when what is owed cannot be written, there is no job either."""
    refuse(store, "INSERT", "operations")
    with pytest.raises(store.database.broken):
        submitted(store)
    for table in ("processing_jobs", "operations", "job_events"):
        assert store.database.read(f"SELECT count(*) FROM {table}") == [(0,)]


def test_the_initiation_can_be_told(store, time):
    """A job submitted for somebody keeps the time at which they asked."""
    local_id = submitted(store, initiated_at=at(-3600))
    assert store.get(local_id).initiated_at == at(-3600)
    assert store.get(local_id).created_at == at(0)


def test_text_that_is_no_text(store):
    """A payload with bytes that are no UTF-8 (as argv may bring) is kept, or a plain error."""
    try:
        local_id = submitted(store, payload={"name": "caf\udce9"})
    except TrackerError:
        return
    assert store.get(local_id).payload["name"]


def test_an_adopted_job(store, time):
    """A job that already runs at its service is processing at once, and owes nothing."""
    local_id = running(store, due=10, server_id="build:42")
    job = store.get(local_id)
    assert (job.status, job.sync_status, job.server_id) == ("processing", "synced", "build:42")
    assert (job.accepted_at, job.next_poll_at) == (at(0), at(10))
    assert store.operations_of(local_id) == [] and types(store, local_id) == ["job:created"]


def test_a_job_is_adopted_once(store):
    """Two jobs of one ledger never stand for the same remote one; the error names the first."""
    first = running(store, server_id="r")
    with pytest.raises(Impossible, match=first[-8:]) as caught:
        running(store, server_id="r")
    assert caught.value.exit_code == 5
    assert len(store.list_jobs()) == 1 and len(store.events()) == 1


def test_server_keys_tell_jobs_apart():
    """Service, account, id and further parts make a key, wherever one ends and the next begins."""
    keys = [
        server_key("a", "42"),
        server_key("a", "43"),
        server_key("b", "42"),
        server_key("a", "42", "team"),
        server_key("a", "42", "", ("project",)),
        server_key("a", "42", "", ("project", "")),
        server_key("a", "4", "2"),
        server_key("a4", "2"),
        server_key("a", "x" * 10_000),
        server_key("a", "🙂/../?"),
    ]
    assert len(set(keys)) == len(keys) and {len(key) for key in keys} == {32}


def accept(store, operation, server_id):
    """Settle a create that was accepted as `server_id`."""
    reading = Reading(State.PROCESSING, server_id=server_id)
    key = server_key("docs", server_id)
    attempted = lifecycle.after_create(operation, reading, Rules(), server_key=key)
    return store.settle([attempted])


def test_acceptance(store, time):
    """P2: an accepted job is processing and first polled 10 s later; its create is owed no more."""
    local_id = submitted(store)
    (operation,) = claim_operations(store)
    time.tick(2)
    assert accept(store, operation, "r-1").applied == 1
    job = store.get(local_id)
    assert (job.status, job.server_id, job.sync_status) == ("processing", "r-1", "synced")
    assert (job.accepted_at, job.next_poll_at) == (at(0), at(10))
    assert store.operations_of(local_id) == []


def test_two_jobs_with_one_server_id(store):
    """A service that answers with the id of another job does not take that job over."""
    first, second = submitted(store), submitted(store)
    operations = {one.job.local_id: one for one in claim_operations(store)}
    accept(store, operations[first], "r-1")
    accept(store, operations[second], "r-1")
    assert store.get(first).server_id == "r-1"
    job = store.get(second)
    assert (job.status, job.server_id, job.sync_status) == ("pending", None, "failed")
    (owed,) = store.operations_of(second)
    assert owed["state"] == "dead" and first[-8:] in owed["last_error"]


def test_one_batch_with_one_server_id_twice(store):
    """The same holds when both replies are settled in one transaction."""
    submitted(store), submitted(store)
    operations = claim_operations(store)
    reading = Reading(State.PROCESSING, server_id="r")
    key = server_key("docs", "r")
    store.settle(
        [lifecycle.after_create(one, reading, Rules(), server_key=key) for one in operations]
    )
    assert sorted(one.sync_status for one in store.list_jobs()) == ["failed", "synced"]


def test_an_acceptance_after_the_end(store):
    """A job that somebody ended while it was being created keeps its end, and gets its id."""
    local_id = submitted(store)
    (operation,) = claim_operations(store)
    by_hand = lifecycle.by_hand(store.job_in_hand(local_id), "failed", Rules())
    assert store.act(local_id, by_hand)
    accept(store, operation, "r-1")
    job = store.get(local_id)
    assert (job.status, job.server_id) == ("failed", "r-1")
    assert types(store, local_id).count("job:finalized") == 1


def test_a_running_job_always_has_a_due_time(store):
    """A running job without a due time is due since 1970 instead of never, however it came so."""
    local_id = running(store)
    sql(store, "UPDATE processing_jobs SET next_poll_at = NULL WHERE local_id = ?", [local_id])
    assert cell(store, "next_poll_at", local_id) == EPOCH
    other = submitted(store)
    sql(store, "UPDATE processing_jobs SET status = 'processing' WHERE local_id = ?", [other])
    assert cell(store, "next_poll_at", other) == EPOCH
    third = new_id()
    sql(
        store,
        "INSERT INTO processing_jobs (local_id, service, status, initiated_at, created_at, "
        "updated_at) VALUES (?, 'docs', 'processing', ?, ?, ?)",
        [third, EPOCH, EPOCH, EPOCH],
    )
    assert cell(store, "next_poll_at", third) == EPOCH


def test_a_status_is_one_of_six(store):
    """No row can hold a status that this program does not know."""
    local_id = running(store)
    with pytest.raises(store.database.broken):
        sql(store, "UPDATE processing_jobs SET status = 'queued' WHERE local_id = ?", [local_id])


@pytest.mark.parametrize(
    ("server_id", "operations", "expected"),
    [
        (None, [], "pending"),
        ("r", [], "synced"),
        (None, [("create", "pending", 0)], "pending"),
        (None, [("create", "pending", 1)], "error"),
        (None, [("create", "in_doubt", 0)], "failed"),
        (None, [("create", "dead", 5)], "failed"),
        ("r", [("update", "pending", 0)], "pending"),
        ("r", [("update", "pending", 2)], "error"),
        ("r", [("update", "dead", 5)], "failed"),
        ("r", [("cancel", "pending", 0)], "pending"),
        ("r", [("cancel", "dead", 1)], "failed"),
        ("r", [("delete", "pending", 0)], "pending_deletion"),
        ("r", [("delete", "pending", 3)], "pending_deletion"),
        ("r", [("delete", "dead", 5)], "failed"),
        ("r", [("update", "pending", 1), ("delete", "pending", 0)], "pending_deletion"),
        ("r", [("update", "dead", 5), ("delete", "pending", 0)], "failed"),
        ("r", [("update", "pending", 0), ("update", "pending", 1)], "error"),
        (None, [("upload_input", "pending", 0)], "pending"),
        (None, [("upload_input", "pending", 1)], "error"),
        (None, [("upload_input", "dead", 5)], "failed"),
        ("r", [("fetch_result", "pending", 2)], "synced"),
        ("r", [("store_result", "pending", 2)], "synced"),
        ("r", [("store_result", "dead", 3), ("remove_object", "pending", 9)], "synced"),
        ("r", [("notify", "dead", 3)], "synced"),
        (None, [("notify", "dead", 3)], "pending"),
        ("r", [("notify", "dead", 3), ("update", "pending", 0)], "pending"),
    ],
)
def test_sync_status(store, time, server_id, operations, expected):
    """J3: the sync status follows from what the job owes its service, and from nothing else."""
    local_id = new_id()
    job = ProcessingJob(local_id, "docs", "processing", server_id=server_id)
    store.adopt(job, new_id(), 0)
    for kind, state, attempts in operations:
        sql(
            store,
            "INSERT INTO operations (local_id, kind, service, state, attempts, next_attempt_at, "
            "last_attempt_at, created_at) VALUES (?, ?, 'docs', ?, ?, ?, ?, ?)",
            [local_id, kind, state, attempts, EPOCH, at(0), EPOCH],
        )
    assert store.get(local_id).sync_status == expected
    syncing = ("upload_input", "create", "update", "cancel", "delete")
    mine = [one for one in operations if one[0] in syncing]
    ((count, last),) = store.database.read(
        "SELECT sync_retry_count, sync_last_attempt_at FROM jobs WHERE local_id = ?", [local_id]
    )
    assert count == max((one[2] for one in mine), default=0)
    assert last == (at(0) if mine else None)


def test_a_dead_letter_stays_visible(store, time):
    """O3: an operation that was given up stays, with its last words."""
    local_id = submitted(store)
    (operation,) = claim_operations(store)
    refused = Failure(Fault.REFUSED, "no", http_status=422)
    store.settle([lifecycle.after_create(operation, refused, Rules())])
    (owed,) = store.operations_of(local_id)
    assert (owed["state"], owed["last_error"], owed["last_http_status"]) == ("dead", "no", 422)
    assert owed["attempts"] == 1 and owed["last_attempt_at"] == at(0)
    assert claim_operations(store) == [] and store.operation_counts() == {"dead": 1}
    assert store.get(local_id).status == "pending"


def test_burnt_attempts_count(store, time):
    """An attempt that counts is counted, one that does not is not, and both may wait."""
    local_id = submitted(store)
    for burnt, attempts in ((True, 1), (False, 1), (True, 2)):
        (operation,) = claim_operations(store)
        assert operation.attempts == attempts - burnt
        store.settle([Attempted(operation, OperationState.PENDING, delay=120.0, burnt=burnt)])
        (owed,) = store.operations_of(local_id)
        assert (owed["attempts"], owed["next_attempt_at"]) == (attempts, at(120))
        assert claim_operations(store) == []
        time.tick(120)


def test_unknown_jobs(store):
    """What is not there is NotFound, and not an empty answer."""
    with pytest.raises(NotFound):
        store.get(new_id())
    assert store.get_many([new_id()]) == []
    with pytest.raises(NotFound):
        store.content(running(store))


def test_operations_keep_their_priority(store, time):
    """O1: critical goes before high, medium and low, and within one the older goes first."""
    order = []
    for priority in ("low", "high", "critical", "medium"):
        job = ProcessingJob(new_id(), "docs", "pending")
        store.submit(job, NewOperation(Kind.CREATE, "docs", priority=priority))
        order.append((("critical", "high", "medium", "low").index(priority), job.local_id))
        time.tick(1)
    got = [claim_operations(store, 1)[0].job.local_id for _ in range(4)]
    assert got == [local_id for _, local_id in sorted(order)]
