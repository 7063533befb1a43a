"""Looking for a job at its service that a create may have made whose reply never came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.errors import UsageError
from tracker.model import Failure, Job, Reading, State
from tracker.services import values
from tracker.services.expression import Envelope, soft
from tracker.services.failures import unreadable
from tracker.services.reading import failure_of, read_items
from tracker.transports.base import Call, Reply

if TYPE_CHECKING:
    from tracker.services.definition import Service
    from tracker.services.parts import LookupSpec


def build_lookup(service: Service, job: Job) -> Call:
    """The call that asks whether the service has `job`. Raises UsageError."""
    return _spec(service).request.call(service, job)


def read_lookup(service: Service, job: Job, reply: Reply) -> Reading | Failure | None:
    """The job as the service has it, with its ``server_id``; None where it has none. A 404 says so
    too. Two that match are a failure: which of them it is, a person has to say."""
    spec = _spec(service)
    envelope = Envelope(reply, job)
    if reply.fault is None and reply.status == 404:
        return None
    if spec.items is None:
        failure = failure_of(service, envelope)
        if failure is not None:
            return failure
        if not envelope.load():
            return unreadable(reply, "the reply to the lookup is not JSON")
        candidates = [envelope.body]
    else:
        items = read_items(service, spec.items, envelope, "lookup")
        if isinstance(items, Failure):
            return items
        candidates = items
    found = set()
    for one in candidates:
        seen = Envelope(reply, job, one)
        if not _matches(spec, seen, job):
            continue
        value = soft(spec.server_id, seen)
        server_id = values.identifier(value)
        if value in (None, "") and spec.items is None and spec.match is None:
            continue  # a reply about nothing
        if server_id is None or service.redacted(server_id) != server_id:
            # It is there: to send it again would make a second one.
            where = spec.server_id.text
            return unreadable(reply, f"the lookup found the job, but {where} holds no usable id")
        found.add(server_id)
    if len(found) > 1:
        return unreadable(reply, f"the lookup found {len(found)} jobs for one key")
    return Reading(State.PROCESSING, server_id=found.pop()) if found else None


def _matches(spec: LookupSpec, envelope: Envelope, job: Job) -> bool:
    return spec.match is None or soft(spec.match, envelope) == job.local_id


def _spec(service: Service) -> LookupSpec:
    if service.create is None or service.create.lookup is None:
        raise UsageError(f"services.{service.name} has no create.lookup")
    return service.create.lookup
