"""Replies that bring no reading, sorted by whose problem they are (docs/architecture.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from tracker.model import Failure, Fault, Json
from tracker.services import pacing, values
from tracker.services.expression import Envelope, ExpressionError
from tracker.services.pacing import Pacing
from tracker.transports.base import Reply

if TYPE_CHECKING:
    from tracker.services.definition import Service

ORDINARY = Pacing()

LONGEST_MESSAGE = 300
LARGEST_EXPLAINED = 10**6
"""Bytes of an error's body up to which it is searched for the service's words."""


def transport_failure(reply: Reply, told: Pacing = ORDINARY, cap: float = 300.0) -> Failure:
    """The failure of a reply that the transport marked with a fault; its headers may say when to
    come back, at most `cap` seconds from now."""
    fault = reply.fault or Fault.UNREADABLE
    message = values.line(reply.message or fault.value, LONGEST_MESSAGE)
    wait = pacing.retry_after(told, Envelope(reply, None), cap)
    return Failure(fault, message, reply.status, wait, sent=reply.sent)


def unreadable(reply: Reply, message: str) -> Failure:
    """A reply that came, with a body that makes no sense."""
    return Failure(Fault.UNREADABLE, message, reply.status)


def http_failure(service: Service, envelope: Envelope) -> Failure:
    """The failure that an HTTP code stands for, with the service's own words; unless it says
    otherwise in its own way (`tracker.services.pacing`)."""
    told = service.pacing
    failure = _by_code(envelope, words_of(service, envelope), service.retry_after_cap, told)
    if pacing.says(told.throttled, envelope):
        return replace(failure, fault=Fault.THROTTLED)
    if failure.fault is not Fault.UNAUTHORISED and pacing.says(told.again, envelope):
        return replace(failure, fault=Fault.SERVER, again=True)
    final = pacing.says(told.final, envelope)
    # A 5xx that is final says that it is of no use to ask again, not that nothing was done.
    if final and failure.fault is Fault.THROTTLED:
        return replace(failure, fault=Fault.REFUSED)
    return replace(failure, final=final)


def fault_of(service: Service, reply: Reply) -> Failure | None:
    """The failure of a reply that the transport marked with a fault; else None."""
    if reply.fault is None:
        return None
    return transport_failure(reply, service.pacing, service.retry_after_cap)


def objection(service: Service, envelope: Envelope) -> Failure | None:
    """The failure of a reply that says "too many", "later" or "no" although its code does not; else
    None."""
    reply, told = envelope.reply, service.pacing
    if reply.fault is not None:
        return None
    if pacing.says(told.throttled, envelope) or pacing.says(told.again, envelope):
        return http_failure(service, envelope)
    if 200 <= reply.status < 300:
        why = pacing.found(service.refused, envelope)
        if why is not None:
            words = "" if why is True else values.explanation(why)
            words = words or "the reply says that it was refused"
            return Failure(
                Fault.REFUSED,
                service.redacted(values.line(words, LONGEST_MESSAGE)),
                reply.status,
            )
    return None


def http_failure_of(reply: Reply, words: str, retry_after_cap: float) -> Failure:
    """The failure that an HTTP code stands for; `words` explain it."""
    return _by_code(Envelope(reply, None), words, retry_after_cap, ORDINARY)


def _by_code(envelope: Envelope, words: str, retry_after_cap: float, told: Pacing) -> Failure:
    reply = envelope.reply
    message = f"HTTP {_named(reply.status)}" + (f": {words}" if words else _target(reply))
    wait = pacing.retry_after(told, envelope, retry_after_cap)
    return Failure(_fault(reply.status), message, reply.status, wait)


def _fault(code: int) -> Fault:
    if code == 401:
        return Fault.UNAUTHORISED
    if code == 429:
        return Fault.THROTTLED
    if code in (202, 408, 425) or 500 <= code < 600:
        return Fault.SERVER
    if 300 <= code < 400:
        return Fault.REDIRECT
    return Fault.REFUSED if 400 <= code < 500 else Fault.UNREADABLE


def _target(reply: Reply) -> str:
    """Where a redirect leads: the origin, as the rest may hold secrets."""
    target = urlsplit(urljoin(reply.url, reply.headers.get("location", "")))
    led = 300 <= reply.status < 400 and target.hostname
    return f": to {target.scheme}://{target.hostname}" if led else ""


def _named(code: int) -> str:
    from http import HTTPStatus

    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def words_of(service: Service, envelope: Envelope) -> str:
    """What the service says about it, in one line; empty when it says nothing readable."""
    return str(service.redacted(_words(service, envelope)))


def _words(service: Service, envelope: Envelope) -> str:
    reply = envelope.reply
    if not reply.body or len(reply.body) > LARGEST_EXPLAINED:
        return ""
    if not envelope.load():
        plain = reply.headers.get("content-type", "").startswith("text/plain")
        return values.line(reply.body[:2000].decode(errors="replace"), 300) if plain else ""
    found = _by_expression(service, envelope) or _usual_place(envelope.body)
    return values.line(found, LONGEST_MESSAGE) if found else ""


def _by_expression(service: Service, envelope: Envelope) -> str | None:
    error = service.status.error if service.status is not None else None
    if error is None:
        return None
    try:
        return values.explanation(error.find(envelope))
    except ExpressionError:
        return None


def _usual_place(body: Json) -> str | None:
    """``error.message``, ``error``, ``message`` or ``detail`` of a body: where most have it."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    inner = error.get("message") if isinstance(error, dict) else None
    for candidate in (inner, error, body.get("message"), body.get("detail")):
        if (found := values.explanation(candidate)) is not None:
            return found
    return None
