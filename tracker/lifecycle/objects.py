"""What one attempt to move or remove an object changes."""

from __future__ import annotations

import random

from tracker import schedule
from tracker.lifecycle.endings import concluded_after
from tracker.lifecycle.operations import again, end_without_result, unburnt
from tracker.lifecycle.rules import Rules
from tracker.model import (
    FILES,
    SERVICE_FAULTS,
    UPLOADS,
    Content,
    Failure,
    Json,
    Kind,
    NewOperation,
    Operation,
    OperationState,
    Reason,
    Status,
)
from tracker.objects import ObjectChange, ObjectState, Scheme, StoredObject
from tracker.outcomes import Attempted, Transition
from tracker.schedule import Random, RetryPolicy

LONGEST_ERROR = 500


def owed_upload(create: NewOperation, target: StoredObject, path: str) -> NewOperation:
    """What a job owes first when its input has to be in S3 before its `create`; `path` is the copy
    in the spool."""
    return NewOperation(
        Kind.UPLOAD_INPUT,
        UPLOADS,
        priority=create.priority,
        idempotency_key=create.idempotency_key,
        payload={"path": path, "priority": create.priority},
        object=target,
    )


def after_upload(
    operation: Operation,
    result: ObjectChange | Failure,
    policy: RetryPolicy,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one step of an input's upload means: tried again, gone on with, or done; then the
    create is owed, with the key that it had from the beginning."""
    if isinstance(result, Failure):
        return _upload_failed(operation, result, policy, rnd)
    if result.state is not ObjectState.PRESENT:
        return _gone_on_with(operation, result)
    job = operation.job
    create = NewOperation(
        Kind.CREATE,
        job.service,
        job.account,
        priority=str(operation.payload.get("priority", "medium")),
        idempotency_key=operation.idempotency_key,
    )
    return Attempted(operation, None, object=result, becomes=create)


def owed_store(operation: Operation, content: Content, target: StoredObject) -> Attempted:
    """A result came home and goes on into S3: the job is still retrieving."""
    job = operation.job
    payload: dict[str, Json] = {"path": content.path, "content_id": content.id}
    for name in ("partial", "end"):
        if name in operation.payload:
            payload[name] = operation.payload[name]
    store = NewOperation(
        Kind.STORE_RESULT,
        UPLOADS,
        priority="high",
        payload=payload,
        object=target,
    )
    kept = Transition(
        job.id, (Status.RETRIEVING,), Status.RETRIEVING, content=content, operations=[store]
    )
    return Attempted(operation, None, transition=kept)


def after_store(
    operation: Operation,
    result: ObjectChange | Failure,
    rules: Rules,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one step of a result's upload means. When it is there, the job is completed and the
    local copy goes; when it cannot be stored, the job fails and keeps its local copy (P7)."""
    target = operation.object
    if isinstance(result, Failure):
        attempted = _upload_failed(operation, result, rules.result_retry, rnd)
        if attempted.state is OperationState.DEAD:
            end_without_result(attempted, result, rules, Reason.RESULT)
        return attempted
    if result.state is not ObjectState.PRESENT or target is None:
        return _gone_on_with(operation, result)
    content_id = str(operation.payload.get("content_id"))
    done = concluded_after(operation, rules, content_id)
    done.content = Content(
        id=content_id,
        media_type=target.media_type or "",
        size=target.size or 0,
        sha256=target.sha256 or "",
        partial=bool(operation.payload.get("partial")),
        object_id=target.id,
    )
    copy = StoredObject(
        Scheme.FILE,
        str(operation.payload.get("path")),
        size=target.size,
        state=ObjectState.REMOVAL_REQUESTED,
    )
    done.operations.append(NewOperation(Kind.REMOVE_OBJECT, FILES, priority="low", object=copy))
    return Attempted(operation, None, object=result, transition=done)


def after_removal(
    operation: Operation,
    result: ObjectChange | Failure,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one attempt to remove an object means. It is owed until it is done."""
    if isinstance(result, ObjectChange):
        return Attempted(operation, None, object=result)
    if result.fault in SERVICE_FAULTS:
        return unburnt(operation, result)
    return Attempted(
        operation,
        OperationState.PENDING,
        delay=schedule.after_removal(operation.attempts + 1, rnd),
        error=result.message[:LONGEST_ERROR],
        http_status=result.http_status,
    )


def after_clean_up(
    operation: Operation,
    result: Failure | None,
    policy: RetryPolicy,
    *,
    rnd: Random = random.random,
) -> Attempted:
    """What one attempt to have a service clean up means; asking twice does no harm."""
    if result is None:
        return Attempted(operation, None)
    if result.fault in SERVICE_FAULTS:
        return unburnt(operation, result)
    return again(operation, result, policy, rnd)


def _upload_failed(
    operation: Operation, failure: Failure, policy: RetryPolicy, rnd: Random
) -> Attempted:
    # A missing bucket or permission is tried again, unlike another service's 4xx: it is the
    # user's own to mend, and the file waits in the spool meanwhile.
    if failure.fault in SERVICE_FAULTS:
        return unburnt(operation, failure)
    return again(operation, failure, policy, rnd)


def _gone_on_with(operation: Operation, change: ObjectChange) -> Attempted:
    return Attempted(operation, OperationState.PENDING, burnt=False, object=change)
