"""What replies, failures and people change: the failure table cell by cell, and what never is."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker import lifecycle
from tracker.lifecycle import Rules
from tracker.model import (
    ACTIVE,
    FINISHED,
    SERVICE_FAULTS,
    Content,
    Failure,
    Fault,
    Job,
    Kind,
    Operation,
    OperationState,
    Reading,
    Reason,
    State,
    Status,
)
from tracker.outcomes import Running, Transition
from tracker.schedule import PollPolicy, RetryPolicy

calm = settings(deadline=None)  # a busy machine is no failure
CODES = (0, 200, 302, 400, 401, 403, 404, 408, 409, 410, 422, 425, 429, 500, 502, 503, 504)
EXCUSED = (Fault.THROTTLED, Fault.UNAUTHORISED, Fault.SIGNED_OUT)
FETCHING = Rules(fetches=True)
TOLD = Rules(sinks=("ops", "desk"))


def job(**values) -> Job:
    """A running job in an executor's hands."""
    return Job(
        **{
            "id": 7,
            "local_id": "01900000-0000-7000-8000-0000deadbeef",
            "service": "docs",
            "account": "",
            "server_id": "r-1",
            "status": "processing",
            "lease": 3,
            "age": 30.0,
            **values,
        }
    )


def operation(kind: Kind = Kind.CREATE, attempts: int = 0, **values) -> Operation:
    """A claimed operation of a job that is where this kind finds it."""
    status = {Kind.CREATE: "pending", Kind.FETCH_RESULT: "retrieving"}.get(kind, "completed")
    return Operation(1, kind, job(status=status, **values), 2, attempts, "key", {}, "docs")


def poll(result, rules=None, **values):
    """What a status call means, without jitter."""
    return lifecycle.after_poll(job(**values), result, rules or Rules(), rnd=lambda: 0.0)


def types(events) -> list[str]:
    return [event.type for event in events]


failures = st.builds(
    Failure,
    st.sampled_from(Fault),
    st.just("broken"),
    http_status=st.sampled_from(CODES),
    retry_after=st.none() | st.floats(0, 300),
    sent=st.booleans(),
)
readings = st.builds(
    Reading,
    st.sampled_from(State),
    word=st.none() | st.sampled_from(["queued", "busy", "done"]),
    progress=st.none() | st.floats(0, 1),
    error=st.none() | st.just("oh"),
    estimated_seconds=st.none() | st.floats(0, 1e6),
    captured=st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
    result=st.none() | st.just({"a": 1}) | st.just("text"),
)
rules_drawn = st.builds(
    Rules,
    poll=st.builds(PollPolicy, give_up_after=st.none() | st.floats(1, 1e4)),
    repeatable=st.booleans(),
    fetches=st.booleans(),
    sinks=st.sampled_from([(), ("ops",)]),
)
jobs_drawn = st.builds(
    job,
    retry_count=st.integers(0, 10**6),
    age=st.floats(-100, 1e5),
    unknown_for=st.none() | st.floats(0, 1e4),
    progress=st.none() | st.floats(0, 1),
    estimated_seconds=st.none() | st.floats(0, 1e5),
    progress_event_age=st.none() | st.floats(0, 100),
)


# Polls.


@pytest.mark.parametrize("fault", list(Fault))
def test_a_failed_poll(fault):
    """P6: a poll that fails counts and backs off; a 429 or a 401 is the service's and does not."""
    for sent, code in product((True, False), CODES):
        outcome = poll(Failure(fault, "broken", http_status=code, sent=sent), retry_count=3)
        assert isinstance(outcome, Running)
        assert outcome.error == "broken" and not outcome.changed and not outcome.events
        if fault in EXCUSED:
            assert outcome.retry_count == 3 and outcome.delay >= 5
        else:
            assert outcome.retry_count == 4 and outcome.delay == 40


@pytest.mark.parametrize("fault", list(Fault))
def test_polls_never_run_out(fault):
    """P6: however often polls fail, the job goes on and comes back within a minute or so."""
    outcome = poll(Failure(fault, "broken"), retry_count=10**6)
    assert isinstance(outcome, Running) and 5 <= outcome.delay <= 66


def test_a_failed_poll_waits_as_long_as_asked():
    """A Retry-After is kept by the job that met it."""
    assert poll(Failure(Fault.SERVER, "busy", 503, retry_after=90.0)).delay == 90
    assert poll(Failure(Fault.THROTTLED, "slow down", 429, retry_after=90.0)).delay == 90


@pytest.mark.parametrize(
    ("state", "status", "reason", "error"),
    [
        (State.PENDING, None, None, None),
        (State.PROCESSING, None, None, None),
        (State.UNKNOWN_WORD, None, None, None),
        (State.UNKNOWN_JOB, None, None, None),
        (State.COMPLETED, Status.COMPLETED, None, None),
        (State.FAILED, Status.FAILED, Reason.SERVICE, "Processing failed"),
        (State.TIMEOUT, Status.FAILED, Reason.TIMEOUT, "Processing timeout"),
        (State.CANCELLED, Status.CANCELLED, None, None),
    ],
)
def test_every_state(state, status, reason, error):
    """Each thing that a service can say has one meaning, and only four of them are an end."""
    outcome = poll(Reading(state), retry_count=5)
    if status is None:
        assert isinstance(outcome, Running)
        assert outcome.retry_count == (6 if state is State.UNKNOWN_JOB else 0)
        return
    assert isinstance(outcome, Transition)
    assert (outcome.status, outcome.reason, outcome.error) == (status, reason, error)
    assert outcome.from_statuses == (Status.PROCESSING,)
    assert outcome.lease == 3 and outcome.polled and not outcome.raise_lease
    assert types(outcome.events)[0] == "job:status-changed"
    assert types(outcome.events)[-1] == "job:finalized"


def test_a_success_forgets_the_failures():
    """P6: the first success puts `retry_count` back to 0 and the cadence back to 20 s."""
    outcome = poll(Reading(State.PROCESSING), retry_count=9)
    assert (outcome.retry_count, outcome.delay, outcome.error) == (0, 20, None)


def test_what_the_call_cost_is_noted():
    """Duration and HTTP code of a call come with whatever it meant."""
    for result in (Reading(State.PROCESSING), Reading(State.FAILED), Failure(Fault.SERVER, "x")):
        outcome = lifecycle.after_poll(job(), result, Rules(), duration=0.5, http_status=200)
        assert (outcome.duration, outcome.http_status) == (0.5, 200)


def test_failed_keeps_the_services_words():
    """P8: the service's message is kept, and "Processing failed" only stands in for none."""
    told = poll(Reading(State.FAILED, error="page 3 is upside down"), TOLD)
    assert told.error == "page 3 is upside down"
    assert [one.service for one in told.operations] == ["ops", "desk"]
    assert told.operations[0].payload["message"].endswith(": page 3 is upside down")
    untold = poll(Reading(State.FAILED), TOLD)
    assert untold.error == "Processing failed"
    assert untold.operations[0].payload["message"].endswith(": Processing failed")
    assert poll(Reading(State.FAILED, error="")).error == "Processing failed"


def test_a_timeout_there():
    """P8: a timeout fails the job with "Processing timeout"; whoever is told may try again."""
    outcome = poll(Reading(State.TIMEOUT, error="took 3 h"), TOLD, document_id="report.pdf")
    assert outcome.error == "Processing timeout" and outcome.last_error == "took 3 h"
    message = outcome.operations[0].payload["message"]
    assert message == "Processing timeout: report.pdf, please try again"
    assert outcome.events[-1].data["notification"] == message


def test_only_a_timeout_asks_to_try_again():
    """P8: no other end says "please try again"."""
    for state in (State.COMPLETED, State.FAILED, State.CANCELLED):
        assert "try again" not in poll(Reading(state), TOLD).operations[0].payload["message"]


def test_results_ready_names_the_document():
    """P7: the notification says "Results ready" and names document, else file, else job."""
    named = [
        poll(Reading(State.COMPLETED), TOLD, **values).operations[0].payload["message"]
        for values in ({"document_id": "D-1"}, {"input": {"name": "scan.png"}}, {})
    ]
    assert named == ["Results ready: D-1", "Results ready: scan.png", "Results ready: deadbeef"]


def test_completed_is_retrieving_first():
    """P7: where a result has to be fetched, nothing is completed and nobody told before it is."""
    rules = Rules(fetches=True, sinks=("ops",))
    outcome = poll(Reading(State.COMPLETED, result={"ignored": 1}), rules)
    assert outcome.status is Status.RETRIEVING and outcome.content is None
    assert [one.kind for one in outcome.operations] == [Kind.FETCH_RESULT]
    assert types(outcome.events) == ["job:status-changed"]
    assert outcome.content_id is None


def test_a_result_that_came_along():
    """P7: an inline result is kept with the completion, and `result_content_id` names it."""
    outcome = poll(Reading(State.COMPLETED, result={"ä": [1]}, content_id="c-9"), TOLD)
    assert outcome.content is not None and outcome.content_id == outcome.content.id == "c-9"
    assert outcome.content.body == '{"ä": [1]}'.encode() and outcome.content.size == 11
    assert outcome.progress == 1.0
    assert outcome.operations[0].payload["result_content_id"] == "c-9"
    text = poll(Reading(State.COMPLETED, result="plain"))
    assert text.content.media_type.startswith("text/plain") and text.content.body == b"plain"
    assert text.content_id == text.content.id


def test_a_fetched_result_completes_the_job():
    """P7: the job is completed in the transition that carries its content."""
    content = Content(id="c-1", body=b"x", size=1)
    rules = Rules(fetches=True, sinks=("ops",))
    attempted = lifecycle.after_fetch(operation(Kind.FETCH_RESULT), content, rules)
    change = attempted.transition
    assert attempted.state is None and change is not None
    assert change.status is Status.COMPLETED and change.content is content
    assert change.content_id == "c-1" and change.from_statuses == (Status.RETRIEVING,)
    assert change.operations[0].payload["result_content_id"] == "c-1"


def test_unknown_words_go_on():
    """A word that nobody defined keeps the job running, is kept, and is shown as the problem."""
    outcome = poll(Reading(State.UNKNOWN_WORD, word="zombie"), retry_count=2)
    assert isinstance(outcome, Running)
    assert outcome.delay == 20 and outcome.retry_count == 0 and outcome.remote_state == "zombie"
    assert outcome.error is not None and "'zombie'" in outcome.error


def test_give_up_after():
    """A deadline ends a job that is still running there, or that cannot be asked about."""
    rules = Rules(poll=PollPolicy(give_up_after=60.0))
    for result in (Reading(State.PROCESSING, word="busy"), Failure(Fault.SERVER, "HTTP 500", 500)):
        assert isinstance(poll(result, rules, age=59.9), Running)
        outcome = poll(result, rules, age=60.0)
        assert isinstance(outcome, Transition) and outcome.status is Status.FAILED
        assert outcome.reason is Reason.GAVE_UP and "60 s" in str(outcome.error)
        assert isinstance(poll(result, age=1e9), Running)


def test_a_late_end_is_an_end():
    """A service that finishes after the deadline is believed: the deadline is for running jobs."""
    rules = Rules(poll=PollPolicy(give_up_after=60.0))
    assert poll(Reading(State.COMPLETED), rules, age=1e6).status is Status.COMPLETED
    assert poll(Reading(State.FAILED), rules, age=1e6).reason is Reason.SERVICE


@pytest.mark.parametrize(
    ("unknown_for", "lost"), [(None, False), (0.0, False), (599.9, False), (600.0, True)]
)
def test_lost_after_a_grace(unknown_for, lost):
    """B5: a job that its service denies is asked about for 10 min, and then it is lost."""
    outcome = poll(Reading(State.UNKNOWN_JOB), unknown_for=unknown_for, retry_count=1)
    if lost:
        assert isinstance(outcome, Transition)
        assert (outcome.status, outcome.reason) == (Status.FAILED, Reason.LOST)
    else:
        assert isinstance(outcome, Running)
        assert outcome.unknown and outcome.retry_count == 2 and outcome.delay == 10


def test_only_a_denial_makes_a_job_lost():
    """B5: a failure or a running state after a long denial is no denial."""
    for result in (Failure(Fault.SERVER, "x", 500), Reading(State.PROCESSING)):
        assert isinstance(poll(result, unknown_for=1e6), Running)


@pytest.mark.parametrize(
    ("age", "told"), [(None, True), (0.0, False), (9.9, False), (10.0, True), (60.0, True)]
)
def test_progress_events_are_rare(age, told):
    """R1: progress is written whenever it changes, and told at most once in 10 s."""
    outcome = poll(Reading(State.PROCESSING, progress=0.5), progress=0.4, progress_event_age=age)
    assert outcome.progress == 0.5 and outcome.changed
    assert types(outcome.events) == (["job:stream-progress"] if told else [])
    assert outcome.progress_event is told


def test_nothing_new_is_not_written():
    """A poll that brought nothing new changes no visible field and makes no event."""
    known = {"remote_state": "busy", "progress": 0.5, "vars": {"a": 1}, "estimated_seconds": 90.0}
    reading = Reading(
        State.PROCESSING, word="busy", progress=0.5, captured={"a": 1}, estimated_seconds=60.0
    )
    outcome = poll(reading, **known)
    assert not outcome.changed and not outcome.events


def test_news_are_written():
    """What a poll brought is on its outcome, with captured values beside the older ones."""
    reading = Reading(
        State.PROCESSING, word="busy", captured={"b": 2}, estimated_seconds=5.0, remote_version="v2"
    )
    outcome = poll(reading, remote_state="queued", vars={"a": 1}, estimated_seconds=None)
    assert outcome.changed and outcome.remote_state == "busy" and outcome.remote_version == "v2"
    assert outcome.vars == {"a": 1, "b": 2} and outcome.estimated_seconds == 35.0
    assert outcome.events[0].data == {"remote_state": "busy"}


@calm
@given(jobs_drawn, readings | failures, rules_drawn)
def test_no_poll_moves_an_ended_job(one, result, rules):
    """The first terminal status stands: no outcome of a poll applies to any but a running job."""
    outcome = lifecycle.after_poll(one, result, rules)
    if isinstance(outcome, Transition):
        assert outcome.from_statuses == (Status.PROCESSING,)
        assert outcome.lease == one.lease and not outcome.raise_lease
    else:
        assert 0 < outcome.delay <= 3600


@calm
@given(jobs_drawn, readings | failures, rules_drawn)
def test_an_end_is_told_once(one, result, rules):
    """B7: every end has exactly one `job:finalized`, and one notification for each sink."""
    outcome = lifecycle.after_poll(one, result, rules)
    ended = isinstance(outcome, Transition) and outcome.status in FINISHED
    assert types(outcome.events).count("job:finalized") == ended
    if isinstance(outcome, Transition):
        told = [op.service for op in outcome.operations if op.kind is Kind.NOTIFY]
        assert told == (list(rules.sinks) if ended else [])


def polled_at(results) -> list[float]:
    """When a job is polled whose polls bring these results."""
    at, one, times = 0.0, job(age=0.0), [0.0]
    for result in results:
        outcome = lifecycle.after_poll(one, result, Rules(), rnd=lambda: 0.0)
        assert isinstance(outcome, Running)
        at += outcome.delay
        times.append(at)
        one = job(age=at, retry_count=outcome.retry_count)
    return times


def crowded(times: list[float]) -> bool:
    return any(b - a < 60 - 1e-6 for a, b in zip(times, times[10:], strict=False))


@calm
@given(
    st.lists(
        readings.filter(lambda one: one.state in (State.PROCESSING, State.UNKNOWN_JOB)) | failures,
        max_size=40,
    )
)
def test_ten_polls_a_minute(results):
    """P5: no mixture of replies and failures polls a job eleven times in 60 s."""
    assert not crowded(polled_at(results))


@pytest.mark.parametrize("fault", EXCUSED)
def test_ten_polls_a_minute_also_when_excused(fault):
    """P5: refusals that do not count still keep the distance that any poll keeps."""
    assert not crowded(polled_at([Failure(fault, "later")] * 20))


# Creates.


def create_expected(fault: Fault, sent: bool, repeatable: bool, code: int) -> str:
    """The failure table for creates: free (unburnt), again, doubt or dead."""
    if fault in EXCUSED:
        return "free"  # refused in so many words: it did not begin
    if fault is Fault.UNREACHABLE and not sent:
        return "free"
    if fault in (Fault.REFUSED, Fault.REDIRECT, Fault.INVALID) and (code or not sent):
        return "dead"
    if sent and not repeatable and code not in (425, 503):
        return "doubt"
    return "again"


WRITTEN = {
    "free": (OperationState.PENDING, False, 0.0, {}),
    "again": (OperationState.PENDING, True, 120.0, {}),
    "doubt": (OperationState.IN_DOUBT, True, 0.0, {"in_doubt": True}),
    "dead": (OperationState.DEAD, True, 0.0, {"gave_up": True}),
}
"""State, whether the attempt counts, delay in seconds, and what the event says."""


@pytest.mark.parametrize(
    ("fault", "sent", "repeatable"), list(product(Fault, (True, False), (True, False)))
)
def test_a_failed_create(fault, sent, repeatable):
    """Every way a create can fail is free, tried again, in doubt or refused, as the table says."""
    rules = Rules(repeatable=repeatable)
    for code in (0,) if fault is Fault.UNREACHABLE else (0, *CODES[2:]):
        failure = Failure(fault, "broken", http_status=code, sent=sent)
        attempted = lifecycle.after_create(operation(), failure, rules, rnd=lambda: 0.0)
        state, burnt, delay, told = WRITTEN[create_expected(fault, sent, repeatable, code)]
        assert (attempted.state, attempted.burnt, attempted.delay) == (state, burnt, delay), code
        assert attempted.transition is None
        assert (attempted.error, attempted.http_status) == ("broken", code)
        assert types(attempted.events) == (["job:error-details"] if told else [])
        assert not told or told.items() <= attempted.events[0].data.items()


@pytest.mark.parametrize(("attempts", "delay"), [(0, 120), (1, 240), (2, 480), (3, 960), (4, None)])
def test_creates_run_out(attempts, delay):
    """J8: a create is tried five times, after 2, 4, 8 and 16 min; then it is a dead letter."""
    attempted = lifecycle.after_create(
        operation(attempts=attempts),
        Failure(Fault.TIMEOUT, "late"),
        Rules(repeatable=True),
        rnd=lambda: 0.0,
    )
    if delay is None:
        assert attempted.state is OperationState.DEAD and attempted.events
    else:
        assert (attempted.state, attempted.delay) == (OperationState.PENDING, delay)


@calm
@given(failures.filter(lambda one: one.sent), st.integers(0, 10))
def test_an_unrepeatable_create_is_never_sent_twice(failure, attempts):
    """B6: what may have left and may have begun is never pending again without a key."""
    attempted = lifecycle.after_create(operation(attempts=attempts), failure, Rules())
    refused = failure.fault in EXCUSED or failure.http_status in (425, 503)
    if not refused:
        assert attempted.state in (OperationState.IN_DOUBT, OperationState.DEAD)


@calm
@given(
    failures.filter(lambda one: one.fault in EXCUSED),
    st.integers(0, 10**6),
    st.booleans(),
    jobs_drawn,
)
def test_a_service_fault_costs_nobody_anything(failure, attempts, repeatable, one):
    """B3, J12: a 429 or a 401 burns no attempt, raises no `retry_count` and ends nothing."""
    rules = Rules(repeatable=repeatable, fetches=True)
    for attempted in (
        lifecycle.after_create(operation(Kind.CREATE, attempts), failure, rules),
        lifecycle.after_fetch(operation(Kind.FETCH_RESULT, attempts), failure, rules),
        lifecycle.after_notify(operation(Kind.NOTIFY, attempts), failure, RetryPolicy()),
    ):
        assert attempted.state is OperationState.PENDING and not attempted.burnt
        assert attempted.transition is None and not attempted.events
    polled = lifecycle.after_poll(one, failure, rules)
    assert isinstance(polled, Running) and polled.retry_count == one.retry_count


def test_an_accepted_create():
    """P2: with the service's id the job is processing and first polled 10 s later."""
    reading = Reading(State.PENDING, word="queued", server_id="r-9", captured={"url": "/r/9"})
    rules = Rules(poll=PollPolicy(give_up_after=60.0))
    attempted = lifecycle.after_create(operation(), reading, rules, server_key="k")
    change = attempted.transition
    assert attempted.state is None and change is not None
    assert (change.status, change.from_statuses) == (Status.PROCESSING, (Status.PENDING,))
    assert (change.server_id, change.server_key, change.accepted) == ("r-9", "k", True)
    assert change.next_delay == 10 and change.give_up_after == 60.0
    assert change.vars == {"url": "/r/9"} and change.remote_state == "queued"


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.TIMEOUT, State.CANCELLED])
def test_a_create_that_ends_at_once(state):
    """A service may finish in its first reply: the end counts, and its id is kept."""
    attempted = lifecycle.after_create(operation(), Reading(state, server_id="r"), TOLD)
    change = attempted.transition
    assert change is not None and change.status in FINISHED and change.accepted
    assert change.server_id == "r" and change.from_statuses == (Status.PENDING,)
    assert types(change.events).count("job:finalized") == 1


# Results and notifications.


@pytest.mark.parametrize(("fault", "attempts"), list(product(Fault, (0, 1, 2))))
def test_a_failed_fetch(fault, attempts):
    """P7: a result is tried for three times, then the job fails and nothing is owed any more."""
    for sent, code in product((True, False), (0, 404, 410, 500)):
        failure = Failure(fault, "broken", http_status=code, sent=sent)
        attempted = lifecycle.after_fetch(
            operation(Kind.FETCH_RESULT, attempts), failure, FETCHING, rnd=lambda: 0.0
        )
        if fault in SERVICE_FAULTS:
            assert attempted.state is OperationState.PENDING and not attempted.burnt
        elif attempts < 2:
            assert attempted.state is OperationState.PENDING and attempted.burnt
            assert attempted.delay == (120, 240)[attempts]
        else:
            change = attempted.transition
            assert attempted.state is None and change is not None
            assert (change.status, change.from_statuses) == (Status.FAILED, (Status.RETRIEVING,))
            assert change.error == "Failed to retrieve result" and change.last_error == "broken"
            assert change.reason is (Reason.EXPIRED if code in (404, 410) else Reason.RESULT)


@pytest.mark.parametrize(
    ("fault", "sent", "attempts"), list(product(Fault, (True, False), (0, 1, 2)))
)
def test_a_failed_notification(fault, sent, attempts):
    """O3: telling somebody is tried three times and then a dead letter; the job is untouched."""
    attempted = lifecycle.after_notify(
        operation(Kind.NOTIFY, attempts),
        Failure(fault, "broken", sent=sent),
        RetryPolicy(attempts=3),
        rnd=lambda: 0.0,
    )
    assert attempted.transition is None
    if fault in SERVICE_FAULTS:
        assert attempted.state is OperationState.PENDING and not attempted.burnt
    elif attempts < 2:
        assert attempted.state is OperationState.PENDING and attempted.delay > 0
    else:
        assert attempted.state is OperationState.DEAD


def test_a_notification_that_was_taken():
    """Told is told: nothing is owed."""
    assert lifecycle.after_notify(operation(Kind.NOTIFY), None, RetryPolicy()).state is None


# People.


@pytest.mark.parametrize("status", ACTIVE)
def test_by_hand(status):
    """P15: a person can end a job from any state it may be in; claims out there become void."""
    done = lifecycle.by_hand(job(status=status), Status.COMPLETED, TOLD)
    assert done.status is Status.COMPLETED and set(done.from_statuses) == set(ACTIVE)
    assert done.raise_lease and done.lease is None and done.reason is None and done.error is None
    failed = lifecycle.by_hand(job(status=status), Status.FAILED, TOLD, error="wrong file")
    assert (failed.status, failed.reason, failed.error) == (
        Status.FAILED,
        Reason.PERSON,
        "wrong file",
    )
    for change in (done, failed):
        assert all(event.data["by"] == "person" for event in change.events)
        assert types(change.events).count("job:finalized") == 1
        assert [one.kind for one in change.operations] == [Kind.NOTIFY] * 2


def test_failed_by_hand_without_a_word():
    """P8's text stands in for a person's too."""
    assert lifecycle.by_hand(job(), Status.FAILED, Rules()).error == "Processing failed"


@pytest.mark.parametrize("status", FINISHED)
def test_reopened(status):
    """P15: a finished job is processing again and due now, and old claims are void."""
    change = lifecycle.reopened(job(status=status))
    assert change.status is Status.PROCESSING and set(change.from_statuses) == set(FINISHED)
    assert change.next_delay == 0.0 and change.raise_lease and change.lease is None
    assert change.accepted  # its age counts from now
    assert change.reason is None and change.error is None and not change.operations
    assert change.events[0].data == {"from": status, "to": "processing", "by": "person"}
