"""What people change about jobs: what is owed by it, in which order, and what becomes of that."""

from __future__ import annotations

import json

import pytest
from ledgers import (
    BROKEN,
    RULES,
    Failure,
    at,
    cell,
    claim_operations,
    claim_upload,
    end,
    end_upload,
    in_s3,
    poller_row,
    running,
    spooled,
    submitted,
    types,
)

from tracker import lifecycle
from tracker.errors import Impossible, NotFound
from tracker.lifecycle import Rules
from tracker.model import Fault, NewOperation, OperationState, Reading, State
from tracker.outcomes import Attempted, claim_of
from tracker.store import server_key
from tracker.store.lines import FAR

REPEATABLE = Rules(repeatable=True)
REFUSED = Failure(Fault.REFUSED, "HTTP 400", http_status=400)
OFFLINE = Failure(Fault.UNREACHABLE, "no network", sent=False)
TIMED_OUT = Failure(Fault.UNREACHABLE, "no reply in time", sent=True)


def line(store, job):
    """What a job owes its service, in order: (kind, state, payload)."""
    return [
        (one.kind, str(one.state), {k: v for k, v in one.payload.items() if k != "at"})
        for one in (store._subject(job).line if cell(store, "id", job) else ())
    ]


def kinds(store, job):
    return [kind for kind, _, _ in line(store, job)]


def due(store, job):
    """Which of them are due, and which wait."""
    return [one["next_attempt_at"] != FAR for one in store.operations_of(job)]


def ids(store, job):
    return [one["id"] for one in store.operations_of(job)]


def payload(store, job):
    return json.loads(cell(store, "payload", job))


def status(store, job):
    return cell(store, "sync_status", job, "jobs")


def only(store, job, kind):
    (operation,) = claim_operations(store, only=[job])
    assert operation.kind == kind
    return operation


def accept(store, operation, server_id="r-1"):
    """The service takes a create."""
    operation.job.payload = operation.payload.get("payload", operation.job.payload)
    reading = Reading(State.PROCESSING, server_id=server_id)
    key = server_key("docs", server_id)
    store.settle([lifecycle.after_create(operation, reading, RULES, server_key=key)])


AFTER = {
    "create": lambda one, failure: lifecycle.after_create(one, failure, REPEATABLE),
    "update": lambda one, failure: lifecycle.after_update(one, failure, RULES.retry),
    "cancel": lambda one, failure: lifecycle.after_cancel(one, failure, RULES.retry),
    "delete": lambda one, failure: lifecycle.after_delete(one, failure, RULES.retry),
}


def settle(store, operation, failure=None):
    """The service takes anything but a create, or it fails."""
    store.settle([AFTER[operation.kind](operation, failure)])


def at_service(store, **values):
    """A job that the service has, with what it has of it."""
    job = submitted(store, payload=values or {"a": 1, "b": 1})
    accept(store, only(store, job, "create"), f"r-{job[-8:]}")
    return job


def dead_update(store, **changes):
    job = at_service(store)
    store.change(job, changes or {"a": 2}, tells=True)
    settle(store, only(store, job, "update"), REFUSED)
    return job


# Changes.


@pytest.mark.parametrize("unburnt", [False, True])
def test_an_unsent_create_takes_the_change(store, time, unburnt):
    """A change of a job that certainly never left owes nothing of its own: the create tells it."""
    job = submitted(store, payload={"a": 1})
    if unburnt:
        settle(store, only(store, job, "create"), OFFLINE)
    assert store.change(job, {"a": 2, "b": 3}, tells=False) == {"a": 2, "b": 3}
    assert line(store, job) == [("create", "pending", {})]
    assert payload(store, job) == {"a": 2, "b": 3} and status(store, job) == "pending"
    assert only(store, job, "create").job.payload == {"a": 2, "b": 3}


def test_an_unsent_update_takes_the_change(store, time):
    """Changes on top of an update that never left are one update, the newest value of each field;
    what is as the service has it is not told, and with nothing left to tell nothing is owed."""
    job = at_service(store)
    store.change(job, {"a": 2}, tells=True)
    store.change(job, {"a": 3, "b": 2}, tells=True)
    assert line(store, job) == [("update", "pending", {"changes": {"a": 3, "b": 2}})]
    store.change(job, {"b": 1}, tells=True)
    assert line(store, job) == [("update", "pending", {"changes": {"a": 3}})]
    assert status(store, job) == "pending"
    store.change(job, {"a": 1}, tells=True)
    assert line(store, job) == [] and status(store, job) == "synced"


def test_nothing_changed(store, time):
    """What is as it was changes no row, owes nothing and is no event."""
    job = at_service(store)
    before = (cell(store, "version", job), types(store, job))
    assert store.change(job, {"a": 1}, tells=True) == {}
    assert (cell(store, "version", job), types(store, job)) == before
    assert line(store, job) == [] and status(store, job) == "synced"


@pytest.mark.parametrize("how", ["in flight", "burnt", "killed"])
def test_an_attempted_create_keeps_its_body(store, time, how):
    """J4: a create that may have left keeps its key and its body; the change is an update behind
    it, due when the service has the job."""
    job = submitted(store, payload={"a": 1})
    store.beat(poller_row("p1"))
    create = only(store, job, "create")
    if how == "burnt":
        settle(store, create, BROKEN)
    elif how == "killed":
        store.release_dead("p1", ["docs"])
    store.change(job, {"a": 2}, tells=True)
    store.change(job, {"a": 3}, tells=True)
    assert line(store, job) == [
        ("create", "pending", {"payload": {"a": 1}}),
        ("update", "pending", {"changes": {"a": 3}}),
    ]
    assert due(store, job) == [True, False] and payload(store, job) == {"a": 3}
    assert status(store, job) == ("error" if how == "burnt" else "pending")
    if how != "in flight":
        time.tick(3600)
        again = only(store, job, "create")
        assert again.idempotency_key == create.idempotency_key
        assert again.payload["payload"] == {"a": 1}
        create = again
    accept(store, create)
    assert json.loads(cell(store, "last_synced", job)) == {"a": 1}
    assert status(store, job) == "pending"
    update = only(store, job, "update")
    settle(store, update)
    assert json.loads(cell(store, "last_synced", job)) == payload(store, job) == {"a": 3}
    assert line(store, job) == [] and status(store, job) == "synced"


def test_a_create_that_came_back_unsent(store, time):
    """A change is told also when a create in flight kept its old body and then never left."""
    job = submitted(store, payload={"a": 1})
    create = only(store, job, "create")
    store.change(job, {"a": 2}, tells=True)
    settle(store, create, OFFLINE)
    store.change(job, {"a": 3}, tells=True)
    accept(store, only(store, job, "create"))
    for update in claim_operations(store, only=[job]):
        settle(store, update)
    assert json.loads(cell(store, "last_synced", job)) == {"a": 3}


def test_a_goodbye_with_a_create_in_flight(store, time):
    """A poller that ends before the reply came does not make a create unsent: the body stays."""
    job = submitted(store, payload={"a": 1})
    store.beat(poller_row("p1"))
    create = only(store, job, "create")
    store.say_goodbye("p1", [claim_of(Attempted(create, None))])
    store.change(job, {"a": 2}, tells=True)
    assert kinds(store, job) == ["create", "update"]


@pytest.mark.parametrize("how", ["in flight", "burnt", "dead"])
def test_an_attempted_update_stays(store, time, how):
    """An update that may have left is not touched: the next change waits behind it."""
    job = at_service(store)
    store.change(job, {"a": 2}, tells=True)
    update = only(store, job, "update")
    if how != "in flight":
        settle(store, update, BROKEN if how == "burnt" else REFUSED)
    store.change(job, {"a": 1}, tells=True)
    assert [one[2]["changes"] for one in line(store, job)] == [{"a": 2}, {"a": 1}]
    assert due(store, job) == [True, False]
    assert status(store, job) == {"in flight": "pending", "burnt": "error", "dead": "failed"}[how]


def test_an_update_that_timed_out(store, time):
    """An update that may have been carried out is not dropped when its field is changed back."""
    job = at_service(store)
    store.change(job, {"a": 2}, tells=True)
    settle(store, only(store, job, "update"), TIMED_OUT)
    store.change(job, {"a": 1}, tells=True)
    assert [one[2]["changes"]["a"] for one in line(store, job)][-1:] == [1]


def test_what_cannot_be_changed(store, time):
    """A job that ended, is being deleted, or that the service has and cannot be told about is not
    changed; a job that is not there is not found."""
    ended, going, there = running(store), at_service(store), at_service(store)
    end(store, ended)
    store.delete(going, tells=True)
    for job, tells in ((ended, True), (going, True), (there, False)):
        before = (payload(store, job), line(store, job), types(store, job))
        with pytest.raises(Impossible):
            store.change(job, {"a": 9}, tells=tells)
        assert (payload(store, job), line(store, job), types(store, job)) == before
    with pytest.raises(NotFound):
        store.change("nothing", {"a": 9}, tells=True)


# The order of a job's line.


def test_a_line_is_told_in_order(store, time):
    """What a job owes its service goes out one by one, in the order of the acts."""
    job = submitted(store, payload={"a": 1})
    create = only(store, job, "create")
    store.change(job, {"a": 2}, tells=True)
    assert not store.wish_to_cancel(job, tells=True)
    store.change(job, {"a": 3}, tells=True)
    assert kinds(store, job) == ["create", "update", "cancel", "update"]
    assert due(store, job) == [True, False, False, False]
    assert claim_operations(store, only=[job]) == []
    accept(store, create)
    for kind in ("update", "cancel", "update"):
        assert status(store, job) == "pending"
        settle(store, only(store, job, kind))
    assert line(store, job) == [] and status(store, job) == "synced"
    assert payload(store, job) == json.loads(cell(store, "last_synced", job)) == {"a": 3}


def test_a_dead_letter_blocks_its_own_line(store, time):
    """What is behind a dead letter waits; another job does not."""
    job, other = dead_update(store), at_service(store)
    store.wish_to_cancel(job, tells=True)
    store.change(other, {"a": 5}, tells=True)
    assert due(store, job) == [True, False] and status(store, job) == "failed"
    assert [one.job.local_id for one in claim_operations(store)] == [other]


def test_a_cancel_during_an_upload(store, time):
    """A cancel that came while the input was on its way goes out after the create."""
    job = submitted(store, file=spooled("in"), target=in_s3("in"))
    upload = claim_upload(store)
    store.wish_to_cancel(job, tells=True)
    end_upload(store, upload)
    assert [one.kind for one in claim_operations(store, only=[job])] == ["create"]


def test_a_wish_to_cancel(store, time):
    """A job that never left has ended by a cancel; else it is a wish, once, until it is heard; then
    the job is polled at once."""
    unsent = submitted(store)
    assert store.wish_to_cancel(unsent, tells=False)
    assert cell(store, "status", unsent) == "cancelled" and line(store, unsent) == []
    job = at_service(store)
    assert not store.wish_to_cancel(job, tells=True)
    assert cell(store, "status", job) == "processing" and cell(store, "cancel_requested_at", job)
    with pytest.raises(Impossible, match="being cancelled already"):
        store.wish_to_cancel(job, tells=True)
    settle(store, only(store, job, "cancel"))
    assert cell(store, "next_poll_at", job) == at(0) and status(store, job) == "synced"
    with pytest.raises(Impossible, match="no call for it"):
        store.wish_to_cancel(at_service(store), tells=False)
    with pytest.raises(Impossible, match="is cancelled and cannot be"):
        store.wish_to_cancel(unsent, tells=True)


# Deleting.


@pytest.mark.parametrize("how", ["unsent", "unburnt", "dead"])
def test_deleting_what_never_left(store, time, how):
    """J6: a job that the service does not have goes at once, with all it owed, and nobody is
    called."""
    job = submitted(store, payload={"a": 1})
    if how != "unsent":
        settle(store, only(store, job, "create"), OFFLINE if how == "unburnt" else REFUSED)
    store.change(job, {"a": 2}, tells=True)
    assert store.delete(job, tells=True)
    assert cell(store, "id", job) is None and store.operations_of(job) == []
    assert claim_operations(store) == []
    with pytest.raises(NotFound):
        store.delete(job, tells=True)


def test_deleting_at_the_service(store, time):
    """A delete cancels what was not sent, is the job's last word, and the row goes when the service
    has carried it out."""
    job = at_service(store)
    store.change(job, {"a": 2}, tells=True)
    store.wish_to_cancel(job, tells=True)
    assert not store.delete(job, tells=True)
    assert kinds(store, job) == ["delete"] and status(store, job) == "pending_deletion"
    assert cell(store, "next_poll_at", job) == FAR
    for act in (store.delete, store.wish_to_cancel):
        with pytest.raises(Impossible, match="being deleted"):
            act(job, tells=True)
    settle(store, only(store, job, "delete"))
    assert cell(store, "id", job) is None and store.operations_of(job) == []


def test_a_service_without_a_delete_call(store, time):
    """A job whose service cannot delete goes here, at once."""
    job = at_service(store)
    assert store.delete(job, tells=False) and cell(store, "id", job) is None


def test_deleting_behind_a_create_in_flight(store, time):
    """A delete waits for the create that is on its way, then it goes out with the job's id."""
    job = submitted(store)
    create = only(store, job, "create")
    assert not store.delete(job, tells=True)
    assert due(store, job) == [True, False] and status(store, job) == "pending_deletion"
    accept(store, create, "r-9")
    delete = only(store, job, "delete")
    assert delete.job.server_id == "r-9"
    settle(store, delete)
    assert cell(store, "id", job) is None


@pytest.mark.parametrize("kind", ["create", "update"])
def test_deleting_behind_what_dies(store, time, kind):
    """A delete supersedes also what becomes a dead letter after it was asked for."""
    job = submitted(store) if kind == "create" else at_service(store)
    if kind == "update":
        store.change(job, {"a": 2}, tells=True)
    flying = only(store, job, kind)
    store.delete(job, tells=True)
    settle(store, flying, REFUSED)
    assert cell(store, "id", job) is None or only(store, job, "delete")


def test_deleting_over_a_dead_letter(store, time):
    """A delete supersedes a dead letter; nothing else does."""
    job = dead_update(store)
    store.wish_to_cancel(job, tells=True)
    store.change(job, {"b": 7}, tells=True)
    assert [state for _, state, _ in line(store, job)] == ["dead", "pending", "pending"]
    store.delete(job, tells=True)
    assert kinds(store, job) == ["delete"] and due(store, job) == [True]
    settle(store, only(store, job, "delete"), REFUSED)
    assert status(store, job) == "failed"


# The outbox, by hand.


def test_reset(store, time):
    """J9: `reset` brings a job's dead letters back from the beginning, in their order; of anything
    else it is an error."""
    job = dead_update(store)
    store.change(job, {"a": 3}, tells=True)
    store.reset(job)
    assert due(store, job) == [True, False] and status(store, job) == "pending"
    assert only(store, job, "update").attempts == 0
    for other in (job, submitted(store), at_service(store)):
        with pytest.raises(Impossible, match="no failed sync"):
            store.reset(other)
    with pytest.raises(NotFound):
        store.reset("nothing")


def test_retry(store, time):
    """`outbox retry` makes the first of a line due; one that waits for another goes on waiting."""
    job = dead_update(store)
    store.change(job, {"a": 3}, tells=True)
    first, second = ids(store, job)
    assert store.retry_operation(second) == job
    assert due(store, job) == [True, False] and claim_operations(store, only=[job]) == []
    assert store.retry_operation(first) == job
    assert status(store, job) == "pending"
    assert only(store, job, "update").id == first


def test_a_revived_create_keeps_its_body(store, time):
    """A create that came back from the dead may be there already: a change is an update."""
    job = submitted(store, payload={"a": 1})
    settle(store, only(store, job, "create"), REFUSED)
    store.reset(job)
    store.change(job, {"a": 2}, tells=True)
    assert line(store, job)[0] == ("create", "pending", {"payload": {"a": 1}})
    assert kinds(store, job) == ["create", "update"]


def test_what_is_on_its_way_is_left_alone(store, time):
    """What is claimed can neither be retried nor discarded; what is not there is not found."""
    job = submitted(store)
    only(store, job, "create")
    (id_,) = ids(store, job)
    for act in (store.retry_operation, store.discard_operation):
        with pytest.raises(Impossible, match="on its way"):
            act(id_)
        with pytest.raises(NotFound):
            act(id_ + 1)
    assert line(store, job) == [("create", "pending", {})]


def test_discarding_a_create(store, time):
    """A job whose submission is let go has failed, with the reason, and owes nothing."""
    job = submitted(store, payload={"a": 1})
    settle(store, only(store, job, "create"), REFUSED)
    store.change(job, {"a": 2}, tells=True)
    assert store.discard_operation(ids(store, job)[0]) == job
    assert cell(store, "status", job) == "failed" and line(store, job) == []
    assert cell(store, "failure_reason", job) == "rejected"
    assert "HTTP 400" in cell(store, "error_message", job)


def test_discarding_an_update(store, time):
    """A change that the service is not told is not kept here; the next in the line goes on."""
    job = dead_update(store)
    store.wish_to_cancel(job, tells=True)
    store.discard_operation(ids(store, job)[0])
    assert payload(store, job) == {"a": 1, "b": 1}
    assert only(store, job, "cancel") and status(store, job) == "pending"


@pytest.mark.parametrize("which", [0, 1])
def test_discarding_one_of_two_updates(store, time, which):
    """After a discard the job says what the service will have when the rest is told."""
    job = dead_update(store, a=2)
    store.change(job, {"a": 3}, tells=True)
    store.discard_operation(ids(store, job)[which])
    store.reset(job) if which else None
    settle(store, only(store, job, "update"))
    assert payload(store, job) == json.loads(cell(store, "last_synced", job))


def test_discarding_a_delete(store, time):
    """A job whose deletion is let go goes on, and is polled again."""
    job = at_service(store)
    store.delete(job, tells=True)
    store.discard_operation(ids(store, job)[0])
    assert line(store, job) == [] and status(store, job) == "synced"
    assert cell(store, "next_poll_at", job) == at(0)
    assert store.change(job, {"a": 2}, tells=True)


def test_discarding_a_create_of_a_deleted_job(store, time):
    """A job that a person deleted does not come back when its submission is let go."""
    job = submitted(store)
    store.beat(poller_row("p1"))
    create = only(store, job, "create")
    store.record_intent([create], "p1")
    store.release_dead("p1", ["docs"])
    assert line(store, job)[0][1] == OperationState.IN_DOUBT
    store.delete(job, tells=True)
    store.discard_operation(create.id)
    assert cell(store, "id", job) is None or kinds(store, job) == ["delete"]


def test_a_kind_of_ones_own(store, time):
    """What is owed beside the line waits for nobody, and is not part of the sync status."""
    job = at_service(store)
    store.owe(job, NewOperation("thumbnail", "docs", "default"))
    assert status(store, job) == "synced" and kinds(store, job) == []
    assert due(store, job) == [True]
