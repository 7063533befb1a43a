"""The way to a result: its calls, a step at a time, and what each reply brings.

Most results take one call. Others have hops before it (a reply that holds the id of a file, then a
link to it), or come in pages. After a failure the way begins anew: links grow old.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.errors import UsageError
from tracker.model import Content, Failure, Job, Json
from tracker.services import values
from tracker.services.expression import Envelope, all_found, soft
from tracker.services.failures import http_failure, unreadable
from tracker.services.listing import following, page_call
from tracker.services.reading import failure_of, read_items
from tracker.services.template import encode_json
from tracker.transports.base import Call, Reply

if TYPE_CHECKING:
    from tracker.services.definition import Service
    from tracker.services.parts import ResultSpec

LARGEST_INDEXED = 10**6
"""Bytes of a result up to which a content id is looked for in it."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where the fetching of a result stands: so many hops are behind it, which brought ``vars``;
    ``cursor`` is where the page begins that is next (None: the first, or there are no pages)."""

    hops: int = 0
    vars: dict[str, Json] = field(default_factory=dict)
    cursor: str | None = None


FETCH = Step()
"""The first one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One page of a result, a line of JSON for each item, and the ``following`` step, if any."""

    lines: bytes
    following: Step | None


def build_result(service: Service, job: Job, sink: Path | None = None, step: Step = FETCH) -> Call:
    """The call of a step; what the last one brings goes into the file `sink`, unless it comes in
    pages. Raises UsageError when the job lacks what a template needs."""
    spec = _spec(service)
    job = replace(job, vars={**job.vars, **step.vars})
    if step.hops < len(spec.hops):
        return spec.hops[step.hops].request.call(service, job)
    assert spec.request is not None
    if not spec.paged:
        call = spec.request.call(service, job, None, spec.max_bytes)
        call.sink = sink
        return call
    return page_call(service, spec.request, replace(job, cursor=step.cursor))


def read_result(
    service: Service, job: Job, reply: Reply, step: Step = FETCH
) -> Content | Step | Piece | Failure:
    """What the reply to a step's call brings: the step after a hop, a page, or the whole result, in
    memory or in the reply's file.

    A 202 says that the result is still being made: a failure that is tried again.
    """
    spec = _spec(service)
    envelope = Envelope(reply, job)
    seen = envelope
    if reply.path is not None and _may_object(service):
        seen = Envelope(replace(reply, body=_small(reply) or b""), job)
    failure = failure_of(service, seen)
    if failure is not None:
        return failure
    if reply.status == 202:
        return http_failure(service, envelope)
    if step.hops < len(spec.hops):
        return _after_hop(service, spec, envelope, step)
    if spec.paged:
        return _read_page(service, spec, envelope, step)
    return _read_whole(spec, envelope)


def _after_hop(
    service: Service, spec: ResultSpec, envelope: Envelope, step: Step
) -> Step | Failure:
    hop = spec.hops[step.hops]
    if not envelope.load():
        return unreadable(envelope.reply, "the reply on the way to the result is not JSON")
    found = all_found(hop.capture, envelope)
    missing = [hop.capture[name].text for name in hop.capture if name not in found]
    if missing:
        message = f"the reply on the way to the result lacks {missing[0]}"
        return unreadable(envelope.reply, service.redacted(message))
    return Step(step.hops + 1, {**step.vars, **found})


def _read_page(
    service: Service, spec: ResultSpec, envelope: Envelope, step: Step
) -> Piece | Failure:
    assert spec.items is not None and spec.request is not None
    items = read_items(service, spec.items, envelope, "page")
    if isinstance(items, Failure):
        return items
    cursor = following(spec.next, spec.link, envelope, spec.request)
    lines = b"".join(encode_json(item, spec.items.key) + b"\n" for item in items)
    return Piece(lines, None if cursor is None else replace(step, cursor=cursor))


def _read_whole(spec: ResultSpec, envelope: Envelope) -> Content:
    reply = envelope.reply
    content = Content(
        media_type=values.line(reply.headers.get("content-type", ""), 200),
        partial=reply.status == 206,
    )
    if reply.path is not None:
        content.path, content.size, content.sha256 = str(reply.path), reply.size, reply.sha256
    else:
        content.body, content.size = reply.body, len(reply.body)
        content.sha256 = hashlib.sha256(reply.body).hexdigest()
    if spec.content_id is not None:
        if "body" in spec.content_id.roots:
            envelope.body = _small_body(reply)
        content.id = values.identifier(soft(spec.content_id, envelope))
    return content


def _may_object(service: Service) -> bool:
    """Whether a good reply may say in its body that it is none."""
    told = (service.refused, service.pacing.throttled, service.pacing.again)
    return any(one is not None and "body" in one.roots for one in told)


def _small_body(reply: Reply) -> Json:
    """The JSON of a small reply, also of one in a file; None for anything else."""
    try:
        return values.decode(_small(reply) or b"")
    except values.Undecodable:
        return None


def _small(reply: Reply) -> bytes | None:
    """The body of a small reply with JSON, also of one in a file; None for anything else."""
    media_type = reply.headers.get("content-type", "application/json").partition(";")[0]
    if not re.search(r"[/+]json\s*$", media_type, re.IGNORECASE):
        return None
    if reply.path is None:
        return reply.body if len(reply.body) <= LARGEST_INDEXED else None
    try:
        return reply.path.read_bytes() if reply.size <= LARGEST_INDEXED else None
    except OSError:
        return None


def _spec(service: Service) -> ResultSpec:
    if service.result is None or service.result.request is None:
        raise UsageError(f"services.{service.name} has no result.request")
    return service.result
