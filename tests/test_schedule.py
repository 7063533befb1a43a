"""When to come back: the exact figures, and what holds whatever the figures are."""

from __future__ import annotations

import math
import time
from email.utils import formatdate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tracker import schedule
from tracker.schedule import PollPolicy, RetryPolicy, parse_retry_after

calm = settings(deadline=None)  # a busy machine is no failure
NOW = 1_800_000_000.0
DEFAULT = PollPolicy()

jitters = st.floats(0, 1)
durations = st.floats(0.001, 36500 * 86400.0)
estimates = st.none() | st.floats(allow_nan=True, allow_infinity=True)
policies = st.builds(
    PollPolicy,
    first=st.floats(0, 1e6),
    every=durations,
    backoff_base=durations,
    backoff_cap=durations,
    max_per_minute=st.integers(1, 6000).map(float) | st.floats(0.01, 6000),
)
steps = st.lists(st.tuples(st.booleans(), jitters, estimates), min_size=1, max_size=60)


def none() -> float:
    """No jitter at all."""
    return 0.0


def full() -> float:
    """All the jitter that there can be."""
    return 1.0


def poll_times(policy: PollPolicy, sequence: list[tuple[bool, float, float | None]]) -> list[float]:
    """When a job is polled whose polls end well (True) or badly, one after the other."""
    times, failures = [0.0], 0
    for good, jitter, estimate in sequence:
        failures = 0 if good else failures + 1
        if good:
            delay = schedule.after_reading(policy, times[-1], estimate)
        else:
            delay = schedule.after_failure(policy, failures, rnd=lambda jitter=jitter: jitter)
        times.append(times[-1] + delay)
    return times


def most_in_a_minute(times: list[float]) -> int:
    """The highest number of `times` in any 60 s, an instant's rounding aside."""
    return max(sum(1 for at in times if start <= at < start + 60 - 1e-6) for start in times)


@pytest.mark.parametrize(
    ("failures", "delay"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), (1000, 60)]
)
def test_failed_polls_back_off(failures, delay):
    """P6: 5, 10, 20, 40, 60, 60 … s, never early, and at most 10 % late."""
    assert schedule.after_failure(DEFAULT, failures, rnd=none) == delay
    assert schedule.after_failure(DEFAULT, failures, rnd=full) == pytest.approx(delay * 1.1)


@calm
@given(st.integers(1, 10**6), jitters)
def test_jitter_is_bounded(failures, jitter):
    """P6: jitter only ever adds, and at most 10 %."""
    exact = schedule.after_failure(DEFAULT, failures, rnd=none)
    assert exact <= schedule.after_failure(DEFAULT, failures, rnd=lambda: jitter) <= exact * 1.1001


def test_the_default_jitter_is_random():
    """Jobs that failed together do not come back together."""
    delays = {schedule.after_failure(DEFAULT, 4) for _ in range(50)}
    assert len(delays) > 10 and all(40 <= delay <= 44.0001 for delay in delays)


@pytest.mark.parametrize(
    ("retry_after", "failures", "delay"),
    [(None, 1, 5), (0.0, 1, 5), (3.0, 1, 5), (30.0, 1, 30), (30.0, 5, 60), (300.0, 5, 300)],
)
def test_the_service_can_ask_for_more_time(retry_after, failures, delay):
    """A Retry-After lengthens a wait and never shortens it."""
    assert schedule.after_failure(DEFAULT, failures, retry_after, rnd=none) == delay


def test_a_running_job():
    """P2, P5: first polled 10 s after it was accepted, then every 20 s."""
    assert schedule.first_poll(DEFAULT) == 10
    assert schedule.after_reading(DEFAULT) == 20
    assert schedule.after_reading(DEFAULT, age=86400) == 20


@pytest.mark.parametrize(
    ("estimate", "delay"), [(None, 10), (4.0, 4), (9.5, 9.5), (10.0, 10), (3600.0, 10), (0.0, 10)]
)
def test_an_estimate_and_the_first_poll(estimate, delay):
    """P2: an estimate brings the first poll forward, never back."""
    assert schedule.first_poll(DEFAULT, estimate) == delay


@pytest.mark.parametrize(
    ("age", "estimate", "delay"),
    [
        (30, None, 20),
        (30, 45.0, 15),  # expected before the next ordinary poll
        (30, 50.0, 20),
        (30, 31.0, 7),  # but not sooner than ten polls a minute allow
        (30, 3600.0, 20),
        (30, 30.0, 20),  # overdue
        (30, 10.0, 20),
    ],
)
def test_an_estimate_and_the_next_poll(age, estimate, delay):
    """P2: where a completion is likely there is a poll of its own; no gap is ever stretched."""
    assert schedule.after_reading(DEFAULT, age, estimate) == pytest.approx(delay)


@calm
@given(policies, st.floats(0, 1e9), estimates)
def test_estimates_never_push_a_poll_back(policy, age, estimate):
    """P2: whatever a service estimates, no poll is later for it."""
    assert 0 < schedule.after_reading(policy, age, estimate) <= schedule.after_reading(policy, age)
    assert 0 <= schedule.first_poll(policy, estimate) <= policy.first


@calm
@given(steps)
@example([(False, 0.0, None), (True, 0.0, None)] * 30)
@example([(True, 0.0, 1.0)] * 60)
def test_never_more_than_ten_polls_a_minute(sequence):
    """P5: with the defaults, no mixture of good and bad polls makes an eleventh in 60 s."""
    assert most_in_a_minute(poll_times(DEFAULT, sequence)) <= 10


@calm
@given(policies, steps)
def test_never_more_polls_than_a_policy_allows(policy, sequence):
    """P5: that holds for every `max_per_minute`, whatever else is set (below 1: not twice)."""
    assert most_in_a_minute(poll_times(policy, sequence)) <= max(1, policy.max_per_minute)


@pytest.mark.parametrize("limit", [0.99, 1, 2.5, 3, 7, 9, 15])
def test_never_more_polls_than_an_odd_policy_allows(limit):
    """P5: it holds for odd and broken numbers too (below 1: not twice in a minute)."""
    policy = PollPolicy(every=0.001, backoff_base=0.001, backoff_cap=0.001, max_per_minute=limit)
    times = poll_times(policy, [(False, 0.0, None), (True, 0.0, None)] * 40)
    assert most_in_a_minute(times) <= max(1, limit)


@calm
@given(policies, st.integers(1, 10**6), jitters)
@example(DEFAULT, 10**6, 1.0)
def test_poll_delays_are_sane(policy, failures, jitter):
    """However often a job failed, its next poll is at a finite time in the future."""
    delay = schedule.after_failure(policy, failures, rnd=lambda: jitter)
    assert 0 < delay < math.inf


@calm
@given(durations, durations, st.integers(1, 10**6), jitters)
def test_operation_delays_are_sane(base, cap, failures, jitter):
    """The same for operations, whose waits never pass the cap and its jitter."""
    policy = RetryPolicy(base=base, cap=cap, attempts=10**7)
    delay = schedule.after_attempt(policy, failures, rnd=lambda: jitter)
    assert delay is not None and 0 < delay <= cap * 1.1001


@calm
@given(policies, durations, st.integers(1, 200))
def test_curves_never_fall(policy, base, failures):
    """One more failure never makes a wait shorter."""
    retry = RetryPolicy(base=base, cap=base * 50, attempts=10**6)
    one = schedule.after_failure(policy, failures, rnd=none)
    assert one <= schedule.after_failure(policy, failures + 1, rnd=none)
    first = schedule.after_attempt(retry, failures, rnd=none)
    second = schedule.after_attempt(retry, failures + 1, rnd=none)
    assert first is not None and second is not None and first <= second


@pytest.mark.parametrize(("failures", "minutes"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, None)])
def test_operations_wait(failures, minutes):
    """J8: 2, 4, 8, 16 minutes after the first four failures; the fifth is the last."""
    delay = schedule.after_attempt(RetryPolicy(), failures, rnd=none)
    assert delay == (None if minutes is None else minutes * 60)
    if minutes is not None:
        late = schedule.after_attempt(RetryPolicy(), failures, rnd=full)
        assert late == pytest.approx(minutes * 66)


def test_operations_wait_at_most_an_hour():
    """J8: the wait is min(1 min · 2^n, 1 h)."""
    patient = RetryPolicy(attempts=20)
    assert schedule.after_attempt(patient, 5, rnd=none) == 32 * 60
    assert [schedule.after_attempt(patient, n, rnd=none) for n in (6, 7, 19)] == [3600] * 3
    assert schedule.after_attempt(patient, 20, rnd=none) is None


def test_an_operation_with_one_attempt():
    """`attempts = 1` means that nothing is tried twice."""
    assert schedule.after_attempt(RetryPolicy(attempts=1), 1) is None


def test_an_operation_waits_for_the_service():
    """A Retry-After lengthens an operation's wait too, and revives none that is over."""
    assert schedule.after_attempt(RetryPolicy(), 1, retry_after=300.0, rnd=none) == 300
    assert schedule.after_attempt(RetryPolicy(), 5, retry_after=300.0, rnd=none) is None


@pytest.mark.parametrize(
    ("failures", "delay"),
    [(1, 60), (2, 120), (3, 240), (6, 1920), (7, 3600), (8, 3600), (10**9, 3600)],
)
def test_failed_removals_back_off(failures, delay):
    """P9: a removal is tried again after 1 min, doubling to 1 h, and never given up."""
    assert schedule.after_removal(failures, none) == delay
    assert schedule.after_removal(failures, full) == pytest.approx(delay * 1.1)


@calm
@given(st.integers(1, 10**9), jitters)
def test_a_removal_never_hurries_and_never_ends(failures, jitter):
    """P9: after any number of failures the wait is from 1 min to 1 h and a tenth, and a later
    failure never makes it shorter."""
    delay = schedule.after_removal(failures, lambda: jitter)
    assert 60 <= delay <= 1.1 * 3600
    assert schedule.after_removal(failures + 1, lambda: jitter) >= delay


def test_removals_that_failed_together_come_back_apart():
    """P9: a thousand keys that were denied in one call are not asked for all at once again."""
    assert len({schedule.after_removal(1) for _ in range(50)}) > 10


def test_pauses_of_a_service():
    """A service that cannot be reached is left alone for 5 s, doubling to 5 min."""
    assert list(schedule.service_pauses()) == [5, 10, 20, 40, 80, 160, 300]


@calm
@given(st.floats(0.1, 1e3), st.floats(1, 1e7))
def test_pauses_of_any_service(base, cap):
    """Pauses are finite, positive, never fall, and end at the cap."""
    pauses = list(schedule.service_pauses(base, cap))
    assert pauses == sorted(pauses) and pauses[0] > 0 and pauses[-1] == cap


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("   ", None),
        ("0", 0),
        ("120", 120),
        ("  7 ", 7),
        ("1.5", 1.5),
        ("-5", 0),
        ("-inf", 0),
        ("nan", None),
        ("inf", 300),
        ("1e400", 300),
        ("9" * 5000, 300),
        ("301", 300),
        ("soon", None),
        ("5 s", None),
        ("\x00", None),
        ("🕐", None),
        (formatdate(NOW + 60, usegmt=True), 60),
        (formatdate(NOW + 86400, usegmt=True), 300),
        (formatdate(NOW - 60, usegmt=True), 0),
        (formatdate(0, usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        ("Fri, 31 Foo 2027 00:00:00 GMT", None),
        ("Fri, 99 Dec 2027 00:00:00 GMT", None),
        ("Mon, 01 Jan 99999999 00:00:00 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    """Retry-After in seconds or as a date, capped at 5 min; what cannot be read is not there."""
    assert parse_retry_after(value, NOW) == seconds


def test_retry_after_has_a_cap_of_its_own():
    """How long a service may keep us waiting can be set."""
    assert parse_retry_after("7200", NOW, cap=3600.0) == 3600
    assert parse_retry_after("7200", NOW, cap=86400.0) == 7200


@calm
@given(st.text(max_size=60))
def test_any_retry_after_is_harmless(value):
    """Whatever the header holds, the answer is None or from 0 to the cap."""
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= 300


@pytest.mark.parametrize("value", ["Fri Jan 15 08:01:00 2027", "Fri, 15 Jan 2027 08:01:00 -0000"])
def test_retry_after_dates_are_utc(value, monkeypatch):
    """HTTP dates are UTC in all three of their forms (RFC 9110, 5.6.7), wherever one lives."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert parse_retry_after(value, NOW) == 60
    finally:
        monkeypatch.undo()
        time.tzset()
