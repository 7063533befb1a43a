"""What comes of moving and removing objects: nothing is lost, and what is owed stays owed."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker import lifecycle
from tracker.lifecycle import Rules
from tracker.model import (
    FILES,
    PRIORITIES,
    SERVICE_FAULTS,
    UPLOADS,
    Content,
    Failure,
    Fault,
    Job,
    Kind,
    NewOperation,
    Operation,
    OperationState,
    Reason,
    Status,
)
from tracker.objects import ObjectChange, ObjectState, Role, Scheme, StoredObject
from tracker.outcomes import Attempted
from tracker.schedule import RetryPolicy

calm = settings(deadline=None)  # a busy machine is no failure
RETRY = RetryPolicy()
TOLD = Rules(sinks=("ops", "desk"))
THERE = ObjectChange(ObjectState.PRESENT, version_id="v1", upload_id="", etag="e1")
BEGUN = ObjectChange(ObjectState.UPLOADING, upload_id="u-1")
STATUS = {Kind.UPLOAD_INPUT: "pending", Kind.STORE_RESULT: "retrieving"}


def target(role: str = Role.INPUT) -> StoredObject:
    return StoredObject(
        Scheme.S3, "in/x.pdf", "bucket", 9, role, size=3, sha256="ab", media_type="a/b"
    )


def operation(kind: Kind, attempts: int = 0, **payload) -> Operation:
    """A claimed operation of a job that is where this kind finds it; none is left of the jobs of
    removals and farewells."""
    job = Job(7, "deadbeef", "docs", "team", "r-1", STATUS.get(kind, ""))
    return Operation(1, kind, job, 2, attempts, "key", payload, UPLOADS, object=target())


failures = st.builds(
    Failure,
    st.sampled_from(Fault),
    st.text(max_size=20) | st.just("ä" * 2000),
    http_status=st.sampled_from([0, 301, 400, 403, 404, 409, 412, 429, 500, 503]),
    retry_after=st.none() | st.floats(0, 300),
    sent=st.booleans(),
)
changes = st.builds(
    ObjectChange,
    st.sampled_from([ObjectState.PRESENT, ObjectState.UPLOADING]),
    version_id=st.none() | st.just("v"),
    upload_id=st.sampled_from([None, "", "u"]),
    etag=st.none() | st.just("e"),
)
attempts_drawn = st.integers(0, 10**6)
jitters = st.floats(0, 1)
policies = st.builds(RetryPolicy, attempts=st.integers(1, 20))


def harmless(attempted: Attempted, failure: Failure) -> None:
    """The attempt is as if it had not been, but for what is shown of it."""
    assert (attempted.state, attempted.burnt) == (OperationState.PENDING, False)
    assert attempted.object is None and attempted.transition is None
    assert attempted.operations == [] and attempted.events == []
    assert attempted.error == failure.message


# Inputs.


@pytest.mark.parametrize("priority", PRIORITIES)
def test_an_upload_is_owed_before_its_create(priority):
    """P14: the upload takes the create's place, with its key and its priority; nothing of the
    create is lost."""
    create = NewOperation(Kind.CREATE, "docs", "team", priority=priority, idempotency_key="key")
    owed = lifecycle.owed_upload(create, target(), "/spool/x")
    assert (owed.kind, owed.service, owed.account) == (Kind.UPLOAD_INPUT, UPLOADS, "")
    assert (owed.priority, owed.idempotency_key, owed.delay) == (priority, "key", 0)
    assert owed.payload["path"] == "/spool/x" and owed.object == target()
    upload = operation(Kind.UPLOAD_INPUT, **owed.payload)
    attempted = lifecycle.after_upload(upload, THERE, RETRY)
    assert attempted.becomes == create
    assert attempted.object is THERE and attempted.operations == []
    assert attempted.state is None and attempted.transition is None


def test_an_upload_goes_on():
    """P14: a step that is not the last one goes on at once, and costs no attempt."""
    attempted = lifecycle.after_upload(operation(Kind.UPLOAD_INPUT, 4), BEGUN, RETRY)
    assert (attempted.state, attempted.delay, attempted.burnt) == (OperationState.PENDING, 0, False)
    assert attempted.object is BEGUN and attempted.operations == []


@pytest.mark.parametrize(("fault", "attempts"), list(product(Fault, (0, 3, 4))))
def test_a_failed_upload(fault, attempts):
    """J8: an upload has five attempts, after 2, 4, 8 and 16 min, whatever S3 said (a missing bucket
    or permission is the user's own to mend); S3 being away, throttled or without credentials costs
    none."""
    failure = Failure(fault, "AccessDenied: no", http_status=403)
    upload = operation(Kind.UPLOAD_INPUT, attempts)
    attempted = lifecycle.after_upload(upload, failure, RETRY, rnd=lambda: 0.0)
    assert attempted.error == "AccessDenied: no" and attempted.transition is None
    if fault in SERVICE_FAULTS:
        harmless(attempted, failure)
    elif attempts < 4:
        assert attempted.state is OperationState.PENDING and attempted.burnt
        assert attempted.delay == (120, None, None, 960)[attempts]
    else:
        assert attempted.state is OperationState.DEAD
        assert [one.type for one in attempted.events] == ["job:error-details"]
        assert attempted.events[0].data["operation"] == Kind.UPLOAD_INPUT


@calm
@given(changes | failures, attempts_drawn, policies, jitters)
def test_no_step_loses_the_create(result, attempts, policy, jitter):
    """P14: after any step of an upload there is one of three: the upload is owed still, the create
    is owed with its key, or a visible dead letter stands for both."""
    upload = operation(Kind.UPLOAD_INPUT, attempts, priority="high")
    attempted = lifecycle.after_upload(upload, result, policy, rnd=lambda: jitter)
    becomes = [] if attempted.becomes is None else [attempted.becomes]
    creates = [(one.kind, one.idempotency_key, one.service) for one in becomes]
    assert attempted.operations == []
    if attempted.state is None:
        assert creates == [(Kind.CREATE, "key", "docs")]
        assert attempted.object is result and result.state is ObjectState.PRESENT
    else:
        assert creates == [] and attempted.transition is None
        assert attempted.state in (OperationState.PENDING, OperationState.DEAD)
        dead = attempted.state is OperationState.DEAD
        assert len(attempted.events) == dead and (not dead or isinstance(result, Failure))


@calm
@given(st.lists(changes | failures, max_size=30))
def test_an_upload_comes_to_an_end(results):
    """P14: however its steps go, an upload ends once, by its create or by its fifth failure that
    counts; and no failure forgets what is known of the object."""
    burnt, upload = 0, operation(Kind.UPLOAD_INPUT)
    for result in results:
        attempted = lifecycle.after_upload(upload, result, RETRY)
        assert (attempted.object is None) == isinstance(result, Failure)
        burnt += isinstance(result, Failure) and attempted.burnt
        if attempted.state is not OperationState.PENDING:
            assert (attempted.state is None) != (burnt == 5)
            return
        upload = operation(Kind.UPLOAD_INPUT, burnt)
    assert burnt < 5


# Results.


def test_a_result_that_goes_on():
    """P7: a result that came home is kept where it is while it goes on into S3; its job is not
    completed yet, and the fetch is not owed any more."""
    content = Content(id="c", path="/results/r", size=3)
    place = target(Role.RESULT)
    attempted = lifecycle.owed_store(operation(Kind.FETCH_RESULT), content, place)
    change = attempted.transition
    assert attempted.state is None and change is not None
    assert (change.from_statuses, change.status) == ((Status.RETRIEVING,), Status.RETRIEVING)
    assert change.content is content and change.content_id is None and change.events == []
    (owed,) = change.operations
    assert (owed.kind, owed.service, owed.object) == (Kind.STORE_RESULT, UPLOADS, place)
    assert owed.priority == "high"
    assert owed.payload == {"path": "/results/r", "content_id": "c"}


def stored(attempts: int = 0) -> Operation:
    return operation(Kind.STORE_RESULT, attempts, path="/results/r", content_id="c")


def test_a_stored_result():
    """P7: with the end of the upload the job is completed, sinks are told, the content names the
    object, and the local copy's removal is owed."""
    attempted = lifecycle.after_store(stored(), THERE, TOLD)
    change = attempted.transition
    assert attempted.state is None and attempted.object is THERE and change is not None
    assert (change.status, change.from_statuses) == (Status.COMPLETED, (Status.RETRIEVING,))
    assert (change.content_id, change.progress) == ("c", 1.0)
    kept = change.content
    assert (kept.id, kept.object_id, kept.path, kept.body) == ("c", 9, None, None)
    assert (kept.size, kept.sha256, kept.media_type) == (3, "ab", "a/b")
    owed = [(one.kind, one.service) for one in change.operations]
    assert owed == [(Kind.NOTIFY, "ops"), (Kind.NOTIFY, "desk"), (Kind.REMOVE_OBJECT, FILES)]
    copy = change.operations[-1].object
    assert (copy.scheme, copy.key, copy.role, copy.owned) == ("file", "/results/r", None, True)
    assert copy.state is ObjectState.REMOVAL_REQUESTED and copy.id == 0


@calm
@given(changes | failures, attempts_drawn, st.integers(1, 20), jitters)
def test_no_step_loses_the_result(result, attempts, most, jitter):
    """P7: after any step the result is on its way still, or the job is completed with it, or it has
    failed and keeps its local copy; it is never a dead letter."""
    rules = Rules(result_retry=RetryPolicy(attempts=most), sinks=("ops",))
    attempted = lifecycle.after_store(stored(attempts), result, rules, rnd=lambda: jitter)
    assert attempted.operations == [] and attempted.events == []
    change = attempted.transition
    if attempted.state is OperationState.PENDING:
        assert change is None
        return
    assert attempted.state is None and change is not None
    removed = [one for one in change.operations if one.kind is Kind.REMOVE_OBJECT]
    if isinstance(result, Failure):
        assert (change.status, change.reason) == (Status.FAILED, Reason.RESULT)
        assert change.error == "Failed to retrieve result" and change.last_error == result.message
        assert change.content is None and removed == [] and attempted.object is None
    else:
        assert change.status is Status.COMPLETED and len(removed) == 1
        assert change.content.object_id == 9 and result.state is ObjectState.PRESENT


@pytest.mark.parametrize(("fault", "attempts"), list(product(Fault, (0, 1, 2))))
def test_a_result_that_cannot_be_stored(fault, attempts):
    """P7: storing a result has three attempts, of which S3 being away costs none."""
    failure = Failure(fault, "broken", http_status=500)
    attempted = lifecycle.after_store(stored(attempts), failure, TOLD, rnd=lambda: 0.0)
    if fault in SERVICE_FAULTS:
        harmless(attempted, failure)
    elif attempts < 2:
        assert attempted.state is OperationState.PENDING and attempted.burnt
        assert attempted.delay == (120, 240)[attempts]
    else:
        assert attempted.transition.status is Status.FAILED


# Removals.


@pytest.mark.parametrize("found", [True, False])
def test_a_removal_that_was_done(found):
    """P10: gone is gone, also where it was gone before."""
    attempted = lifecycle.after_removal(
        operation(Kind.REMOVE_OBJECT, 12), ObjectChange(None, found=found)
    )
    assert attempted.state is None and attempted.object.state is None
    assert attempted.object.found is found and attempted.operations == []


@calm
@given(failures, attempts_drawn, jitters)
def test_a_removal_is_owed_until_it_is_done(failure, attempts, jitter):
    """P9: no failure of a removal ever ends it: it is pending, and tried again after 1 min to 1 h
    (and a tenth more); S3 being away, throttled or without credentials costs nothing."""
    removal = operation(Kind.REMOVE_OBJECT, attempts)
    attempted = lifecycle.after_removal(removal, failure, rnd=lambda: jitter)
    assert attempted.state is OperationState.PENDING
    assert attempted.object is None and attempted.transition is None
    assert attempted.operations == [] and attempted.events == []
    if failure.fault in SERVICE_FAULTS:
        harmless(attempted, failure)
    else:
        assert attempted.burnt and 60 <= attempted.delay <= 1.1 * 3600
        assert attempted.http_status == failure.http_status
        assert failure.message.startswith(attempted.error) and len(attempted.error) <= 500


@calm
@given(st.lists(failures, max_size=40))
def test_removals_back_off(results):
    """P9: one after the other, failures that count come ever later, whatever comes between."""
    attempts, delays = 0, []
    for failure in results:
        removal = operation(Kind.REMOVE_OBJECT, attempts)
        attempted = lifecycle.after_removal(removal, failure, rnd=lambda: 0.0)
        attempts += attempted.burnt
        delays += [attempted.delay] * attempted.burnt
    assert delays == [min(60.0 * 2**n, 3600.0) for n in range(attempts)]


# Farewells.


@pytest.mark.parametrize(("fault", "attempts"), list(product(Fault, (0, 4))))
def test_a_service_that_does_not_clean_up(fault, attempts):
    """P10, O3: asking a service to clean up is tried five times, and is a visible dead letter then;
    it being away costs no attempt."""
    asking = operation(Kind.CLEAN_UP, attempts)
    failure = Failure(fault, "broken", http_status=400)
    attempted = lifecycle.after_clean_up(asking, failure, RETRY, rnd=lambda: 0.0)
    if fault in SERVICE_FAULTS:
        harmless(attempted, failure)
    elif attempts:
        assert attempted.state is OperationState.DEAD and attempted.events
    else:
        assert (attempted.state, attempted.delay) == (OperationState.PENDING, 120)


def test_a_service_that_cleaned_up():
    """Done is done: nothing is owed."""
    attempted = lifecycle.after_clean_up(operation(Kind.CLEAN_UP), None, RETRY)
    assert attempted.state is None and attempted.object is None and attempted.operations == []
