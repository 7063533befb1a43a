"""Getting a job accepted: the create call, with its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracker import lifecycle
from tracker.errors import CallFailed
from tracker.executors.base import Executed, Executor, OneByOne, Tools
from tracker.lifecycle import Rules
from tracker.model import Failure, Fault, Job, Kind, Operation, Status
from tracker.outcomes import Attempted, Outcome
from tracker.services import Service
from tracker.storage.signing import Signer
from tracker.transports.base import Call, Reply

UNSIGNED_SECONDS = 60.0
"""How long a create waits that no URL could be signed for."""


class Create(OneByOne):
    """One create call for one job."""

    def __init__(
        self, service: Service, rules: Rules, signer: Signer, bound: float | None = None
    ) -> None:
        """`signer` signs the URL of an input that is in S3; `bound` shortens the call's time limit,
        in seconds, for an attempt that somebody waits for."""
        self._service = service
        self._rules = rules
        self._signer = signer
        self._bound = bound

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The create call; nothing for a job that somebody ended meanwhile. Raises UsageError when
        the job lacks what the definition needs."""
        [item] = items
        if item.job.status != Status.PENDING:
            return [Attempted(item, None)]
        # What was changed after the first attempt is an update's to tell.
        first = item.payload.get("payload")
        if isinstance(first, dict):
            item.job.payload = first
        try:
            self._sign(item.job)
        except CallFailed as error:
            # As with the service's own credentials: without them nothing is attempted.
            failure = Failure(Fault.UNAUTHORISED, str(error), sent=False)
            waiting = lifecycle.after_create(item, failure, self._rules)
            waiting.delay = UNSIGNED_SECONDS
            return [waiting]
        call = self._service.build_create(item.job, item.idempotency_key)
        if self._bound is not None:
            call.timeout = min(call.timeout, self._bound)
        return call

    def _sign(self, job: Job) -> None:
        create, found = self._service.create, job.input or {}
        if create is not None and "input.url" in create.request.uses and "key" in found:
            found["url"] = self._signer.url(found["bucket"], found["key"], found["version_id"])

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """Whether the service has the job now, and under which id."""
        [item] = items
        result = self._service.read_create(item.job, reply)
        if isinstance(result, Failure):
            return Executed([lifecycle.after_create(item, result, self._rules)], result)
        key = self._service.server_key(item.job, result)
        return Executed([lifecycle.after_create(item, result, self._rules, server_key=key)])


def serve(service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
    """The kind of operation that this file is, for `service`; see `tracker.executors`."""
    return {Kind.CREATE: Create(service, tools.rules, tools.signer, tools.bound)}
