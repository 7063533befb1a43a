"""How long until next. Pure: policies and history in, delays in seconds out.

The figures are the defaults of the requirements P2, P5, P6 and J8.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

Random = Callable[[], float]
"""Gives a number from 0 to 1."""


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """When a running job is polled. Durations are seconds.

    ``first`` counts from the service's acceptance. ``give_up_after`` counts from it too; None
    polls for ever. ``lost_after`` is how long a service may deny a job before it is lost.
    """

    first: float = 10.0
    every: float = 20.0
    backoff_base: float = 5.0
    backoff_cap: float = 60.0
    max_per_minute: float = 10.0
    give_up_after: float | None = None
    lost_after: float = 600.0


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


def after_reading(
    policy: PollPolicy, age: float = 0.0, estimated_seconds: float | None = None
) -> float:
    """Delay to the next poll of a job that is still running.

    `age` and `estimated_seconds` both count from acceptance: a completion that is expected before
    the next ordinary poll gets a poll of its own.
    """
    gap = 60.0 / policy.max_per_minute
    # A success is followed by 7/6 of the mean gap and a first failure by 5/6 of it (below), so any
    # two gaps in a row make at least two mean gaps: never more than `max_per_minute` polls in any
    # minute, with nothing to remember. The defaults (20 s; 5 s) stand at or above both floors.
    floor = gap * 7 / 6
    delay = max(policy.every, floor)
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
    gap = 60.0 / policy.max_per_minute
    floor = gap * (5 if failures == 1 else 7) / 6
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
        from email.utils import parsedate_to_datetime

        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    if seconds != seconds:
        return None
    return min(max(seconds, 0.0), cap)
