"""Asking a service to clean up after jobs that are gone here."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from tracker import lifecycle
from tracker.executors.base import Executed, Executor, Tools
from tracker.model import Job, Kind, Operation
from tracker.services import Service
from tracker.transports.base import Call, Reply


class CleanUp:
    """One call for as many jobs as the service takes. Their rows have gone: what the call is built
    from came along with the operation."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.most = service.cleanup.most

    def together(self, item: Operation) -> Hashable:
        """Jobs of one account share a call."""
        return item.account

    def prepare(self, items: Sequence[Operation]) -> Call:
        """The call. Raises UsageError when a job lacks what the definition needs."""
        jobs = [_job_of(item) for item in items]
        ids = [job.server_id for job in jobs if job.server_id is not None]
        return self._service.build_cleanup(replace(jobs[0], server_ids=ids))

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """Whether it was done; a 404 says that nothing was left to do."""
        failure = self._service.read_delete(reply)
        outcomes = [lifecycle.after_clean_up(item, failure, self._service.retry) for item in items]
        return Executed(outcomes, failure)


def _job_of(item: Operation) -> Job:
    known = item.payload
    return replace(
        item.job,
        server_id=known.get("server_id"),
        vars=known.get("vars") or {},
        payload=known.get("payload") or {},
    )


def serve(service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
    """The kind of operation that this file is, for `service`; see `tracker.executors`."""
    return {Kind.CLEAN_UP: CleanUp(service)} if service.cleanup.request is not None else {}
