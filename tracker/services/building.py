"""The calls of a service for its jobs. No I/O, no state.

Each function raises UsageError when the service has no such call, or the job lacks what its
template needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tracker.errors import UsageError
from tracker.model import Job, Json
from tracker.services.template import MISSING
from tracker.transports.base import Call

if TYPE_CHECKING:
    from tracker.services.definition import Service


def build_create(service: Service, job: Job, idempotency_key: str | None = None) -> Call:
    """The call that creates `job`; the key is the job's ``local_id`` where there is none."""
    if service.create is None:
        raise _undefined(service, "create")
    return service.create.request.call(service, job, idempotency_key)


def build_status(service: Service, job: Job) -> Call:
    """The call that asks for the state of `job`."""
    if service.status is None:
        raise _undefined(service, "status")
    return service.status.request.call(service, job)


def build_then(service: Service, job: Job) -> Call:
    """The call that has `job` begin, where creating it takes two."""
    if service.create is None or service.create.then is None:
        raise _undefined(service, "create.then")
    return service.create.then.call(service, job)


def build_update(service: Service, job: Job) -> Call:
    """The call that tells the service ``job.changes``."""
    if service.update is None:
        raise _undefined(service, "update")
    return service.update.request.call(service, job)


def build_cancel(service: Service, job: Job) -> Call:
    """The call that asks the service to stop `job`."""
    if service.cancel is None:
        raise _undefined(service, "cancel")
    return service.cancel.request.call(service, job)


def build_delete(service: Service, job: Job) -> Call:
    """The call that deletes `job` at the service."""
    if service.delete is None:
        raise _undefined(service, "delete")
    return service.delete.request.call(service, job)


def build_cleanup(service: Service, job: Job) -> Call:
    """The call that has the service clean up after the jobs ``job.server_ids``."""
    if service.cleanup.request is None:
        raise _undefined(service, "cleanup.request")
    return service.cleanup.request.call(service, job)


def server_key(
    service: Service,
    job: Job,
    server_id: str | None = None,
    captured: Mapping[str, Json] | None = None,
) -> str:
    """32 hex digits that name a remote job: equal for equal service, account, server id and all
    else that the status request puts into its URL or body (two Jenkins projects both have a build
    42). `server_id` and `captured` are what the reply to a create just brought.
    """
    job = service.with_constants(job)
    if captured:
        job = replace(job, vars={**job.vars, **captured})
    parts: list[Json] = [service.name, job.account, server_id or job.server_id]
    if service.status is not None:
        for name in sorted(service.status.request.identifying):
            value = service.status.request.identifying[name].get(job, None)
            parts += [name, None if value is MISSING else value]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _undefined(service: Service, table: str) -> UsageError:
    return UsageError(f"services.{service.name} has no {table}")
