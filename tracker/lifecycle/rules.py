"""What decides a job's life besides the replies."""

from __future__ import annotations

from dataclasses import dataclass, field

from tracker.model import State
from tracker.schedule import PollPolicy, RetryPolicy


@dataclass(frozen=True, slots=True)
class Rules:
    """What a service's definition and the configuration say about a job's life.

    ``repeatable`` is whether a create may be sent twice; ``fetches`` whether a result is fetched
    by a call of its own, ``salvages`` after which other ends what there is of one is; ``sinks`` are
    the names that notifications go to.
    """

    poll: PollPolicy = field(default_factory=PollPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    result_retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=3))
    repeatable: bool = False
    fetches: bool = False
    salvages: frozenset[State] = frozenset()
    sinks: tuple[str, ...] = ()
