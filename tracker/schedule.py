"""How long until next. Pure: policies and history in, delays in seconds out.

The figures are the defaults of the requirements P2, P5, P6 and J8.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

Random = Callable[[], float]
"""Gives a number from 0 to 1."""


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """When a running job is polled. Durations are seconds.

    ``first`` counts from the service's acceptance. ``give_up_after`` counts from it too; None
    polls for ever. ``lost_after`` is how long a service may deny a job before it is lost. ``words``
    are intervals by the service's own state word: what waits for a person is asked for less often.
    """

    first: float = 10.0
    every: float = 20.0
    backoff_base: float = 5.0
    backoff_cap: float = 60.0
    max_per_minute: float = 10.0
    give_up_after: float | None = None
    lost_after: float = 600.0
    words: Mapping[str, float] = field(default_factory=dict)

    def every_in(self, word: str | None) -> float:
        """The interval for a job of which its service says `word`."""
        return self.words.get(word or "", self.every)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed operation is tried again, in seconds, and how many attempts it has."""

    base: float = 60.0
    cap: float = 3600.0
    attempts: int = 5


@lru_cache(maxsize=256)
def _curve(base: float, cap: float, failures: int) -> float:
    """The `failures`-th (1, 2, …) step of an exponential curve from `base`, capped at `cap`."""
    from backoff import expo

    # Past 64 doublings every curve has met its cap; the bound also keeps the islice short.
    steps = (step for step in expo(base=2, factor=base, max_value=cap) if step is not None)
    return float(next(islice(steps, min(failures, 64) - 1, None)))


def _jittered(delay: float, rnd: Random) -> float:
    return delay * (1.0 + 0.1 * rnd())


def first_poll(policy: PollPolicy, estimated_seconds: float | None = None) -> float:
    """Delay from acceptance to the first poll; an estimate can bring it forward, never back."""
    if estimated_seconds is not None and 0 < estimated_seconds < policy.first:
        return estimated_seconds
    return policy.first


def least_distance(policy: PollPolicy) -> float:
    """Least seconds between two polls of one job; after a first failure, 5/7 of it are enough.

    No two first failures follow each other without a success between them, so any two gaps in a
    row make at least 12/7 of it: never more than `max_per_minute` polls in any minute, with nothing
    to remember. 7 s by default; the defaults of 20 s and 5 s stand at or above both floors.
    """
    return _least_distance(policy.max_per_minute)


@lru_cache(maxsize=256)
def _least_distance(max_per_minute: float) -> float:
    limit = int(max_per_minute)
    if limit < 1:
        return 60.0 / max_per_minute * 7 / 5
    # `limit` gaps have to last a minute: pairs of them, and where they are odd a short one besides.
    return 60.0 / (limit // 2 * 12 / 7 + limit % 2 * 5 / 7)


def after_reading(
    policy: PollPolicy,
    age: float = 0.0,
    estimated_seconds: float | None = None,
    word: str | None = None,
) -> float:
    """Delay to the next poll of a job that is still running.

    `age` and `estimated_seconds` both count from acceptance: a completion that is expected before
    the next ordinary poll gets a poll of its own. `word` is what the service says.
    """
    floor = least_distance(policy)
    delay = max(policy.every_in(word), floor)
    if estimated_seconds is not None and age < estimated_seconds < age + delay:
        delay = max(estimated_seconds - age, floor)
    return delay


def after_failure(
    policy: PollPolicy,
    failures: int,
    retry_after: float | None = None,
    rnd: Random = random.random,
) -> float:
    """Delay after the `failures`-th consecutive failed poll (1 or more).

    5, 10, 20, 40, 60, 60 … s by default, plus up to 10 % so that jobs that failed together do not
    come back together; never less than what the service asked for in `retry_after`.
    """
    floor = least_distance(policy) * (5 / 7 if failures == 1 else 1)
    delay = max(_curve(policy.backoff_base, policy.backoff_cap, failures), floor)
    return max(_jittered(delay, rnd), retry_after or 0.0)


def after_attempt(
    policy: RetryPolicy,
    failures: int,
    retry_after: float | None = None,
    rnd: Random = random.random,
) -> float | None:
    """Delay after the `failures`-th failed attempt of an operation; None when it was the last.

    ``min(base · 2^n, cap)``: 2, 4, 8, 16 minutes by default, the fifth failure is the last (J8).
    """
    if failures >= policy.attempts:
        return None
    delay = _curve(policy.base, policy.cap, failures + 1)
    return max(_jittered(delay, rnd), retry_after or 0.0)


def not_begun(policy: RetryPolicy, rnd: Random = random.random) -> float:
    """Delay after a service said that it did not begin with an operation and will later; it never
    ends, as nothing is wrong."""
    return _jittered(policy.base, rnd)


def after_removal(failures: int, rnd: Random = random.random) -> float:
    """Delay after the `failures`-th failed removal of an object (1 or more): 1 min doubling to
    1 h, plus up to 10 %. It never ends: what is owed stays owed."""
    return _jittered(_curve(60.0, 3600.0, failures), rnd)


def service_pauses(base: float = 5.0, cap: float = 300.0) -> list[float]:
    """How long a service that cannot be reached is left alone, the first time, the second time,
    …; the last is for every time after: 5 s doubling to 5 min."""
    pauses = [_curve(base, cap, 1)]
    while pauses[-1] < cap:
        pauses.append(_curve(base, cap, len(pauses) + 1))
    return pauses


def parse_retry_after(value: str | None, now: float, cap: float = 300.0) -> float | None:
    """Seconds to wait by a ``Retry-After`` header (seconds or an HTTP date), from 0 to `cap`.

    None when there is none or it cannot be read. A date in the past is 0.
    """
    if not value:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        from calendar import timegm
        from email.utils import parsedate_to_datetime

        try:
            # Without a zone (the old asctime form) it is UTC, as HTTP dates are.
            seconds = timegm(parsedate_to_datetime(text).utctimetuple()) - now
        except (ValueError, TypeError, OverflowError):
            return None
    if seconds != seconds:
        return None
    return min(max(seconds, 0.0), cap)
