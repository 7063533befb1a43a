"""Many jobs in one status call: the call, and what its reply says about each of them (B2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tracker.errors import UsageError
from tracker.model import Failure, Fault, Job, Json, Reading, State
from tracker.services import values
from tracker.services.expression import Envelope, soft
from tracker.services.failures import unreadable
from tracker.services.reading import read_items
from tracker.transports.base import Call, Reply

if TYPE_CHECKING:
    from tracker.services.definition import Service
    from tracker.services.parts import BulkSpec


def build_bulk(service: Service, jobs: Sequence[Job]) -> Call:
    """The call for all of `jobs`, built from the first one but for the ids. Raises UsageError."""
    spec = _spec(service)
    ids = [job.server_id for job in jobs if job.server_id is not None]
    if len(ids) < len(jobs):
        raise UsageError(f"services.{service.name}.status.bulk needs server_id")
    return spec.request.call(service, replace(jobs[0], server_ids=ids))


def read_bulk(
    service: Service, jobs: Sequence[Job], reply: Reply
) -> tuple[Reading | Failure, ...] | Failure:
    """What a reply says about each of `jobs`, in their order: items are told apart by their ids,
    wherever they stand; a Failure where the call as a whole brought nothing."""
    spec = _spec(service)
    envelope = Envelope(reply, jobs[0])
    items = read_items(service, spec.items, envelope, "reply")
    if isinstance(items, Failure):
        return items
    found = {_id_of(spec, reply, item): item for item in items}
    skipped = _ids(soft(spec.unprocessed, envelope))
    return tuple(_one(service, spec, job, reply, found, skipped) for job in jobs)


def _one(
    service: Service,
    spec: BulkSpec,
    job: Job,
    reply: Reply,
    found: dict[str | None, Json],
    skipped: set[str],
) -> Reading | Failure:
    if job.server_id in found:
        item = found[job.server_id]
        body = item
        if spec.body is not None:
            body = soft(spec.body, Envelope(reply, job, item))
        alone = replace(reply, body=msgspec.json.encode(body))
        return service.read_status(job, alone)
    if job.server_id in skipped:
        return Failure(Fault.SERVER, "the service did not get to this job", reply.status)
    if spec.missing == "unknown":
        return Reading(State.UNKNOWN_JOB)
    return unreadable(reply, "the reply does not tell of this job")


def _id_of(spec: BulkSpec, reply: Reply, item: Json) -> str | None:
    return values.identifier(soft(spec.server_id, Envelope(reply, None, item)))


def _ids(found: Json) -> set[str]:
    ids = found if isinstance(found, list) else []
    return {text for one in ids if (text := values.identifier(one)) is not None}


def _spec(service: Service) -> BulkSpec:
    if service.status is None or service.status.bulk is None:
        raise UsageError(f"services.{service.name} has no status.bulk")
    return service.status.bulk
