"""A file per kind of due work, and which of them serve a service."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tracker.executors.base import Lane
from tracker.executors.create import Create
from tracker.executors.notify import Notify
from tracker.executors.poll import Poll
from tracker.executors.result import FetchResult
from tracker.lifecycle import Rules
from tracker.model import Kind
from tracker.schedule import RetryPolicy
from tracker.services import Service, Sink

NOTIFY_RETRY = RetryPolicy(attempts=3)


def rules_of(service: Service, sinks: Iterable[Sink]) -> Rules:
    """What a service's definition says about the lives of its jobs."""
    return Rules(
        poll=service.poll,
        retry=service.retry,
        result_retry=service.result_retry,
        repeatable=service.repeatable,
        fetches=service.fetches,
        sinks=tuple(sink.name for sink in sinks),
    )


def lanes_of(
    services: Iterable[Service],
    sinks: Iterable[Sink],
    results: Path,
    bound: float | None = None,
) -> list[Lane]:
    """A lane for each service and each sink. `results` is the folder that results are kept in;
    `bound`, in seconds, shortens create calls."""
    sinks = list(sinks)
    return [
        _service_lane(service, rules_of(service, sinks), results, bound) for service in services
    ] + [_sink_lane(sink) for sink in sinks]


def _service_lane(service: Service, rules: Rules, results: Path, bound: float | None) -> Lane:
    return Lane(
        name=service.name,
        account=service.account,
        distance=service.rate,
        concurrency=service.concurrency,
        timeout=service.longest_call,
        transport=service.transport,
        polls=Poll(service, rules) if service.status is not None else None,
        operations={
            Kind.CREATE: Create(service, rules, bound),
            Kind.FETCH_RESULT: FetchResult(service, rules, results),
        },
        unrepeatable=frozenset() if rules.repeatable else frozenset({Kind.CREATE}),
    )


def _sink_lane(sink: Sink) -> Lane:
    return Lane(
        name=sink.name,
        account="",
        distance=None,
        concurrency=2,
        timeout=sink.timeout,
        transport=sink.transport,
        polls=None,
        operations={Kind.NOTIFY: Notify(sink, NOTIFY_RETRY)},
    )
