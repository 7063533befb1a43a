"""Budgets: how fast a service may be called, by however many pollers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from freezegun import freeze_time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import NOON, sql

from tracker import clock, schedule
from tracker.store.budgets import Budget

PAUSES = tuple(schedule.service_pauses())
takes = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 40), st.floats(0, 1.5)), min_size=1, max_size=25
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(distance=st.sampled_from([0.001, 0.0137, 0.1, 1 / 3, 2.0]), sequence=takes)
def test_calls_keep_their_distance(connect, distance, sequence):
    """P5, B3: whoever takes tokens, and when, two calls to one service are never too close, and
    no token is for later than 0.25 s."""
    stores = [connect() for _ in range(3)]
    service, sent = f"docs-{clock.now()}", []
    with freeze_time(NOON) as frozen:
        sql(stores[0], "DELETE FROM budgets")
        for who, wanted, pause in sequence:
            now = clock.now()
            slots, again = stores[who].take_tokens((service, "", ""), wanted, distance)
            assert len(slots) <= wanted and all(0 <= slot <= 0.25 for slot in slots)
            assert again >= 0 and (slots or again > 0)
            sent += [now + slot for slot in slots]
            frozen.tick(pause)
    for one in stores:
        one.close()
    # Due times are stored in milliseconds: that may cost or gain a tenth of one.
    gaps = [later - sooner for sooner, later in pairwise(sent)]
    assert all(gap >= distance - 1.1e-4 for gap in gaps)


def test_tokens_are_there_when_told(store, time):
    """A poller that comes back when it was told to gets a token then."""
    slots, again = store.take_tokens(("docs", "", ""), 100, 0.1)
    assert slots == pytest.approx([0, 0.1, 0.2]) and again == pytest.approx(0.05)
    assert store.take_tokens(("docs", "", ""), 1, 0.1)[0] == []
    time.tick(again + 0.001)
    assert len(store.take_tokens(("docs", "", ""), 1, 0.1)[0]) == 1


def test_an_idle_service_saves_nothing_up(store, time):
    """A service that was not called for an hour does not get a burst for it."""
    store.take_tokens(("docs", "", ""), 1, 0.1)
    time.tick(3600)
    assert store.take_tokens(("docs", "", ""), 100, 0.1)[0] == pytest.approx([0, 0.1, 0.2])


def test_budgets_are_apart(store, time):
    """Each service and account has a budget of its own."""
    for service, account in (("docs", ""), ("docs", "team"), ("other", "")):
        assert len(store.take_tokens((service, account, ""), 1, 10.0)[0]) == 1
    store.pause_service(("docs", "team", ""), "429", PAUSES)
    paused = {key for key, budget in store.budgets().items() if budget.paused_for}
    assert paused == {("docs", "team", "")}
    assert store.budget("docs", "") == store.budget("never", "called") == Budget()


def test_pauses_deepen(store, time):
    """A service that stays away is left alone for 5, 10, 20 … 300 s."""
    for count, pause in enumerate((*PAUSES, 300.0, 300.0), start=1):
        budget = store.pause_service(("docs", "", ""), "no route", PAUSES)
        assert budget.paused_for == pytest.approx(pause, abs=0.002)
        assert budget.pause_count == count and budget.why == "no route"
        time.tick(pause)
        assert store.budget("docs", "").paused_for == 0
        assert store.budget("docs", "").pause_count == count  # one probe goes out


def test_failures_within_a_pause_do_not_deepen_it(store, time):
    """Calls that were on their way when the service was paused fail with it, not after it."""
    for _ in range(5):
        budget = store.pause_service(("docs", "", ""), "no route", PAUSES)
        assert budget.pause_count == 1 and 0 < budget.paused_for <= 5
        time.tick(0.5)
    assert budget.paused_for == pytest.approx(3, abs=0.01)


def test_a_service_may_ask_for_more(store, time):
    """B3: a Retry-After makes a pause longer, also one that has begun, and never shorter."""
    assert store.pause_service(("docs", "", ""), "429", PAUSES, 30.0).paused_for == pytest.approx(
        30
    )
    assert store.pause_service(("docs", "", ""), "429", PAUSES, 60.0).paused_for == pytest.approx(
        60
    )
    assert store.pause_service(("docs", "", ""), "429", PAUSES, 1.0).paused_for == pytest.approx(60)


def test_a_success_forgets_it_all(store, time):
    """After a call that came through the next pause is the first one again."""
    for _ in range(3):
        store.pause_service(("docs", "", ""), "x", PAUSES)
        time.tick(300)
    store.note_failing_jobs(("docs", "", ""), 2)
    store.note_success(("docs", "", ""))
    assert store.budget("docs", "") == Budget()
    assert store.pause_service(("docs", "", ""), "x", PAUSES).paused_for == pytest.approx(5)


def test_a_success_within_a_pause_does_not_end_it(store, time):
    """B3: a call that went out before a 429 and came through after it lifts nothing."""
    store.pause_service(("docs", "", ""), "429", PAUSES, 60.0)
    time.tick(1)
    store.note_success(("docs", "", ""))
    assert store.budget("docs", "").paused_for == pytest.approx(59)
    assert store.pause_service(("docs", "", ""), "429", PAUSES).pause_count == 1


def test_a_success_with_nothing_to_forget_writes_nothing(connect):
    """A healthy service costs no write for being healthy."""
    store, other = connect(), connect()
    before = other.change_count()
    store.note_success(("docs", "", ""))
    assert other.change_count() == before and store.budgets() == {}


def test_failing_jobs_are_counted_by_all(connect):
    """Five jobs failing in a row are five whoever polled them; a pause starts the count anew."""
    store, other = connect(), connect()
    assert [one.note_failing_jobs(("docs", "", "")) for one in (store, other, store)] == [1, 2, 3]
    assert store.note_failing_jobs(("docs", "", ""), 2) == 5
    other.pause_service(("docs", "", ""), "5 jobs in a row failed", PAUSES)
    assert store.budget("docs", "").failing_jobs == 0
    store.note_failing_jobs(("docs", "", ""))
    assert store.budget("docs", "").paused_for > 0  # counting lifts no pause


def test_pauses_do_not_touch_tokens(store, time):
    """A pause is not a token: after it the distance of before is still kept."""
    store.take_tokens(("docs", "", ""), 1, 10.0)
    store.pause_service(("docs", "", ""), "x", PAUSES)
    store.note_success(("docs", "", ""))
    assert store.take_tokens(("docs", "", ""), 1, 10.0)[0] == []


def test_a_pause_remembers_its_fault(connect, time):
    """B3: what a service is paused for is on record for all pollers, the latest fault in one pause,
    while failures are counted, and until a call comes through."""
    store, other = connect(), connect()
    assert store.pause_service(("docs", "", ""), "401", PAUSES, fault="unauthorised").fault == (
        "unauthorised"
    )
    assert other.budgets()["docs", "", ""].fault == "unauthorised"
    other.note_failing_jobs(("docs", "", ""))
    assert store.budget("docs", "").fault == "unauthorised"
    assert (
        other.pause_service(("docs", "", ""), "x", PAUSES, fault="throttled").fault == "throttled"
    )
    time.tick(5)
    assert store.budget("docs", "").fault == "throttled"  # a single probe goes out first
    store.note_success(("docs", "", ""))
    assert other.budget("docs", "").fault is None


@pytest.mark.parametrize("ends_pause", [False, True])
def test_a_call_in_spite_of_a_pause(connect, time, ends_pause):
    """B3: a call that was sent in spite of a pause and came through ends it for all pollers; any
    other success does not."""
    store, other = connect(), connect()
    store.pause_service(("docs", "", ""), "no route", PAUSES, 60.0, fault="unreachable")
    store.note_failing_jobs(("docs", "", ""), 2)
    store.note_success(("docs", "", ""), ends_pause=ends_pause)
    assert other.budget("docs", "").paused_for == (0 if ends_pause else pytest.approx(60))
    assert (other.budget("docs", "") == Budget()) is ends_pause
    if ends_pause:
        assert store.pause_service(("docs", "", ""), "no route", PAUSES).pause_count == 1


def test_ending_no_pause_writes_nothing(connect):
    """A healthy service costs no write for being healthy, whoever was sent in spite of what."""
    store, other = connect(), connect()
    before = other.change_count()
    store.note_success(("docs", "", ""), ends_pause=True)
    assert other.change_count() == before and store.budgets() == {}


def test_kinds_of_calls_are_apart(store, time):
    """B3: a kind of call has tokens and pauses of its own, beside those of the other calls."""
    for calls in ("", "creates", "lists"):
        assert len(store.take_tokens(("docs", "", calls), 1, 10.0)[0]) == 1
    assert store.free_in(("docs", "", "creates")) == pytest.approx(10, abs=0.01)
    store.pause_service(("docs", "", "creates"), "429", PAUSES, 60.0)
    assert store.budget("docs", "", "creates").paused_for == pytest.approx(60)
    assert store.budget("docs", "") == store.budget("docs", "", "lists") == Budget()


def test_a_pause_by_hand_holds_for_all_calls(store, time):
    """A person who pauses a service pauses all kinds of calls to it, whatever replies say
    meanwhile; resuming ends all pauses that there are."""
    store.pause_service(("docs", "", "lists"), "429", PAUSES, 60.0)
    assert store.hold_service("docs", "") and not store.hold_service("docs", "")
    creates = ("docs", "", "creates")
    assert store.budget(*creates).why == "paused by hand"
    assert store.pause_service(creates, "429", PAUSES, 1.0).paused_for > 10**9
    assert not store.rest_service(creates, 60.0, "none left")
    assert store.let_go_service("docs", "") and not store.let_go_service("docs", "")
    assert not any(budget.paused_for for budget in store.budgets().values())


def test_a_rest_is_no_fault(store, time):
    """B3: after a reply that says that no calls are left none is made until then, and no probe
    goes first; it never shortens a pause, and deepens none."""
    place = ("docs", "", "")
    assert store.rest_service(place, 30.0, "none left")
    assert store.budget(*place).paused_for == pytest.approx(30)
    assert not store.rest_service(place, 20.0, "none left")
    time.tick(31)
    assert store.budget(*place).paused_for == store.budget(*place).pause_count == 0
    store.pause_service(place, "429", PAUSES, 60.0)
    assert not store.rest_service(place, 30.0, "none left")
    assert store.budget(*place).paused_for == pytest.approx(60)
    assert store.budget(*place).pause_count == 1
