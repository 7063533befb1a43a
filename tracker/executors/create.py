"""Getting a job accepted: the create call, with its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracker import lifecycle
from tracker.errors import CallFailed
from tracker.executors.base import BEGINS, Executed, Executor, OneByOne, Tools
from tracker.lifecycle import Rules
from tracker.model import ENDINGS, Failure, Fault, Job, Kind, Operation, Status
from tracker.outcomes import Attempted, Outcome
from tracker.services import Service
from tracker.storage.signing import Signer
from tracker.transports.base import Call, Reply

UNSIGNED_SECONDS = 60.0
"""How long a create waits that no URL could be signed for."""


LOOKED, WAITED = "looked", "waited"
"""In a create's payload: the claim for which the service was found not to have the job, and after
how many pollers that died with it there was a wait for what may have been on its way."""


class Create(OneByOne):
    """One create call for one job; before a second one, a look whether the first one arrived; after
    it, where the service wants that, one that has the job begin."""

    def __init__(
        self, service: Service, rules: Rules, signer: Signer, bound: float | None = None
    ) -> None:
        """`signer` signs the URL of an input that is in S3; `bound` shortens the call's time limit,
        in seconds, for an attempt that somebody waits for."""
        self._service = service
        self._rules = rules
        self._signer = signer
        self._bound = bound
        self._lookup = service.create.lookup if service.create is not None else None
        self._begins = service.create is not None and service.create.then is not None

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The create call, or the one before or after it; nothing for a job that somebody ended
        meanwhile. Raises UsageError when the job lacks what the definition needs."""
        [item] = items
        if BEGINS in item.payload:
            return self._service.build_then(item.job)
        if item.job.status != Status.PENDING:
            return [Attempted(item, None)]
        # What was changed after the first attempt is an update's to tell.
        first = item.payload.get("payload")
        if isinstance(first, dict):
            item.job.payload = first
        if self._is_doubtful(item):
            return self._look(item)
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

    def _is_doubtful(self, item: Operation) -> bool:
        """Whether an earlier attempt may have arrived, and the service can be asked."""
        if self._lookup is None or item.payload.get(LOOKED) == item.lease:
            return False
        return item.attempts > 0 or item.unaccounted > 1

    def _look(self, item: Operation) -> Call | list[Outcome]:
        lookup = self._lookup
        assert lookup is not None
        died = item.unaccounted - item.attempts - 1
        if lookup.after and died > int(item.payload.get(WAITED) or 0):
            # Its poller is no more, but the call may be on its way yet.
            waiting = lifecycle.next_step(item, {**item.payload, WAITED: died})
            waiting.delay = lookup.after
            return [waiting]
        return self._service.build_lookup(item.job)

    def _sign(self, job: Job) -> None:
        create, found = self._service.create, job.input or {}
        if create is not None and "input.url" in create.request.uses and "key" in found:
            found["url"] = self._signer.url(found["bucket"], found["key"], found["version_id"])

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """Whether the service has the job now, and under which id."""
        [item] = items
        if BEGINS in item.payload:
            failure = self._service.read_plain(reply)
            return Executed([lifecycle.after_then(item, failure, self._service.retry)], failure)
        if self._is_doubtful(item):
            found = self._service.read_lookup(item.job, reply)
            if found is None:
                # Good for the very next claim: whatever comes between them has it look again.
                told = {**item.payload, LOOKED: item.lease + 1}
                return Executed([lifecycle.next_step(item, told)])
        else:
            found = self._service.read_create(item.job, reply)
        if isinstance(found, Failure):
            failed = lifecycle.after_create(item, found, self._rules)
            if self._lookup is not None and failed.burnt:
                failed.delay = max(failed.delay, self._lookup.after)
            return Executed([failed], found)
        key = self._service.server_key(item.job, found)
        accepted = lifecycle.after_create(item, found, self._rules, server_key=key)
        if self._begins and found.state not in ENDINGS:
            accepted = lifecycle.accepted_first(accepted, {**item.payload, BEGINS: True})
        return Executed([accepted])


def serve(service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
    """The kind of operation that this file is, for `service`; see `tracker.executors`."""
    return {Kind.CREATE: Create(service, tools.rules, tools.signer, tools.bound)}
