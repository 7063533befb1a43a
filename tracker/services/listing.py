"""Pages of a service's own listing: the call for one, and what its reply says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from tracker.errors import UsageError
from tracker.listed import Listed, Page
from tracker.model import Failure, Job
from tracker.services import values
from tracker.services.building import server_key
from tracker.services.expression import Envelope, Expression, all_found, soft
from tracker.services.failures import unreadable
from tracker.services.reading import read_items
from tracker.services.request import Request
from tracker.services.url import checked
from tracker.services.values import word_key
from tracker.transports.base import Call, Reply

if TYPE_CHECKING:
    from tracker.services.definition import Service
    from tracker.services.parts import ListSpec


def build_list(service: Service, cursor: str | None, since: str | None) -> Call:
    """The call for the page that begins at `cursor`: a text that the request's template takes, or
    the URL of the page, which has to be at a host that the service may have. Raises UsageError."""
    spec = service.list
    if spec is None:
        raise UsageError(f"services.{service.name} has no list")
    return page_call(service, spec.request, replace(_nobody(service), cursor=cursor, since=since))


def page_call(service: Service, request: Request, job: Job) -> Call:
    """The call for the page that begins at ``job.cursor``; see `build_list`. Raises UsageError."""
    call = request.call(service, job)
    if job.cursor is not None and re.match(r"https?://", job.cursor):
        call.url = checked(job.cursor, request.key, request.site)
    return call


def read_list(service: Service, reply: Reply) -> Page | Failure:
    """The page that a reply carries; a Failure where there is no list, or an item has no usable
    id. Of an id that is there twice the last one counts."""
    spec = service.list
    assert spec is not None
    envelope = Envelope(reply, None)
    items = read_items(service, spec.items, envelope, "listing")
    if isinstance(items, Failure):
        return items
    found: dict[str, Listed] = {}
    for item in items:
        one = _item(service, spec, Envelope(reply, None, item))
        if isinstance(one, str):
            return unreadable(reply, one)
        found[one.server_key] = one
    return Page(tuple(found.values()), following(spec.next, spec.link, envelope, spec.request))


def _item(service: Service, spec: ListSpec, envelope: Envelope) -> Listed | str:
    """One job of the listing, or what is wrong with it."""
    server_id = values.identifier(soft(spec.server_id, envelope))
    if server_id is None or service.redacted(server_id) != server_id:
        return f"an item of the listing has no usable id ({spec.server_id.text})"
    value = soft(spec.state, envelope)
    key = word_key(value, service.fold_case)
    state = service.states.get(key) if key is not None else None
    captured = service.redacted(all_found(spec.capture, envelope))
    return Listed(
        server_id,
        server_key(service, _nobody(service), server_id, captured),
        str(state) if state is not None else None,
        service.redacted(values.word(values.text(value))) if key is not None else None,
        service.redacted(values.identifier(soft(spec.version, envelope))),
        service.redacted(values.identifier(soft(spec.updated_at, envelope))),
        service.redacted(all_found(spec.fields, envelope)),
        captured,
    )


def following(
    next_: Expression | None, link: bool, envelope: Envelope, request: Request
) -> str | None:
    """Where the page after this one begins: what `next_` finds, or what the reply's ``Link`` header
    says; None where there is none. A path is joined to the URL that answered, unless `request` says
    where a cursor goes: a token in base64 may begin with a slash too."""
    if link:
        return _next_link(envelope.reply)
    found = soft(next_, envelope)
    if isinstance(found, bool) or found in (None, ""):
        return None
    text = values.text(found)
    is_path = text.startswith("/") and "cursor" not in request.uses
    return str(urljoin(envelope.reply.url, text)) if is_path else text


def _next_link(reply: Reply) -> str | None:
    """The ``rel="next"`` of a ``Link`` header (RFC 8288)."""
    for target, attributes in re.findall(r"<([^>]*)>([^,<]*)", reply.headers.get("link", "")):
        if re.search(r';\s*rel\s*=\s*"?[^"]*(?<![\w-])next(?![\w-])', attributes, re.IGNORECASE):
            return str(urljoin(reply.url, target))
    return None


def _nobody(service: Service) -> Job:
    return Job(0, "", service.name, service.account, None, "")
