"""A file per kind of due work, and which of them serve a service.

A kind of operation on a service's lane is one module with a function ``serve(service, tools)`` that
returns the executors it has for that service, by kind. The modules of this folder are found by
themselves, and so are those that other packages name as entry points of the group
``tracker.executors`` (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from pkgutil import iter_modules
from typing import Any, Protocol

from tracker.errors import ConfigError
from tracker.executors.base import Executor, Lane, Tools
from tracker.executors.clean_up import CleanUp
from tracker.executors.notify import Notify
from tracker.executors.poll import Poll
from tracker.executors.remove import RemoveFiles, RemoveObjects
from tracker.executors.upload import OnBytes, StoreResult, UploadInput
from tracker.lifecycle import Rules
from tracker.model import FILES, POLL, REMOVALS, UPLOADS, Kind, Operation
from tracker.schedule import RetryPolicy
from tracker.services import Service, Sink
from tracker.spool import Folder
from tracker.storage import Storage
from tracker.storage.signing import Signer

NOTIFY_RETRY = RetryPolicy(attempts=3)


def rules_of(service: Service, sinks: Iterable[Sink]) -> Rules:
    """What a service's definition says about the lives of its jobs."""
    return Rules(
        poll=service.poll,
        retry=service.retry,
        result_retry=service.result_retry,
        repeatable=service.repeatable,
        fetches=service.fetches,
        salvages=service.salvages,
        sinks=tuple(sink.name for sink in sinks),
    )


def lanes_of(
    services: Iterable[Service],
    sinks: Iterable[Sink],
    storage: Storage,
    folder: Folder,
    *,
    bound: float | None = None,
    on_bytes: OnBytes | None = None,
) -> list[Lane]:
    """A lane for each service, for each sink, and for what is to be moved and removed. `folder` is
    the tracker's own; `bound`, in seconds, shortens create calls; `on_bytes` is told of each piece
    of an input that was uploaded."""
    services, sinks = list(services), list(sinks)
    rules = {service.name: rules_of(service, sinks) for service in services}
    signer = Signer(storage)
    uploads: dict[str, Executor[Operation]] = {
        Kind.UPLOAD_INPUT: UploadInput(storage, RetryPolicy(), on_bytes),
        # A service that the configuration no longer has tells its sinks all the same.
        Kind.STORE_RESULT: StoreResult(
            storage, lambda name: rules.get(name, Rules(sinks=tuple(one.name for one in sinks)))
        ),
    }
    return [
        *chain.from_iterable(
            _service_lanes(one, rules[one.name], storage, folder, signer, bound) for one in services
        ),
        *map(_sink_lane, sinks),
        _own_lane(UPLOADS, storage, uploads, storage.config.concurrency),
        *removal_lanes(storage, folder),
    ]


def removal_lanes(storage: Storage, folder: Folder) -> list[Lane]:
    """The lanes for what is to be removed."""
    return [
        _own_lane(REMOVALS, storage, {Kind.REMOVE_OBJECT: RemoveObjects(storage)}, 2),
        _own_lane(FILES, storage, {Kind.REMOVE_OBJECT: RemoveFiles(folder)}, 1),
    ]


def clean_up_lane(service: Service) -> Lane:
    """A lane for nothing but what a service is asked to clean up."""
    return replace(_bare_lane(service), operations={Kind.CLEAN_UP: CleanUp(service)}, polls=None)


def _service_lanes(
    service: Service,
    rules: Rules,
    storage: Storage,
    folder: Folder,
    signer: Signer,
    bound: float | None,
) -> list[Lane]:
    tools = Tools(rules, storage, folder, signer, bound)
    operations: dict[str, Executor[Operation]] = {}
    for kind in kinds():
        operations |= kind.serve(service, tools)
    whole = replace(
        _bare_lane(service),
        polls=Poll(service, rules) if service.status is not None else None,
        operations=operations,
        unrepeatable=frozenset() if rules.repeatable else frozenset({Kind.CREATE}),
    )
    return [whole] if not service.rates else list(_by_rate(service, whole))


def _by_rate(service: Service, whole: Lane) -> Iterator[Lane]:
    """A lane for each kind of call that has a rate of its own, and one for the others."""
    for calls in ("", *service.rates):
        lane = replace(
            whole,
            calls=calls,
            alone=False,
            distance=service.rates.get(calls, service.rate),
            polls=whole.polls if service.calls_of(POLL) == calls else None,
            operations={
                kind: executor
                for kind, executor in whole.operations.items()
                if service.calls_of(kind) == calls
            },
        )
        if lane.polls is not None or lane.operations:
            yield lane


class ServiceKind(Protocol):
    """A module that is a kind of operation on a service's lane."""

    def serve(self, service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
        """The executors for `service`, by kind."""


@cache
def kinds() -> tuple[ServiceKind, ...]:
    """All kinds: the modules of this folder, then those of other packages. Raises ConfigError for
    one of those that cannot be imported or has no ``serve``."""
    own = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    others = [_loaded(entry) for entry in entry_points(group="tracker.executors")]
    return tuple(one for one in (*own, *others) if hasattr(one, "serve"))


def _loaded(entry: EntryPoint) -> Any:
    try:
        found = entry.load()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"executor '{entry.name}' of {entry.value} is of no use: {why}") from None
    if not callable(getattr(found, "serve", None)):
        raise ConfigError(f"executor '{entry.name}' of {entry.value} has no function serve")
    return found


def _bare_lane(service: Service) -> Lane:
    return Lane(
        name=service.name,
        account=service.account,
        distance=service.rate,
        concurrency=service.concurrency,
        timeout=service.longest_call,
        transport=service.transport,
        polls=None,
        operations={},
        rests=service.rests if service.pacing.exhausted is not None else None,
    )


def _own_lane(
    name: str, storage: Storage, operations: dict[str, Executor[Operation]], concurrency: int
) -> Lane:
    return Lane(
        name=name,
        account="",
        distance=None,
        concurrency=concurrency,
        timeout=storage.config.timeout,
        transport="s3",
        polls=None,
        operations=operations,
        impatient=True,
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
