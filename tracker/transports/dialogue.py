"""What is said in one call, whoever carries it: sign in, ask, follow redirects, sign in anew.

A dialogue is a generator. It yields a `Request` or an `Errand`, is sent what came of it, or is
thrown what went wrong, and returns the reply; a transport only carries.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias
from urllib.parse import urljoin

from tracker.errors import TrackerError
from tracker.model import Fault
from tracker.transports.address import Directory, R
from tracker.transports.base import Call, Credential, Reply
from tracker.transports.faults import Problem, as_fault, invalid
from tracker.transports.headers import TOKEN
from tracker.transports.pool import monotonic

MAX_REDIRECTS = 5

MAX_IDLE = 2.0
"""Seconds that a connection may have been idle and still carry a call that must not be repeated.

Servers close idle connections after 5 s and more (Node.js 5, Apache 5, nginx 75); a request that
crosses such a close on its way is in doubt. A new connection costs less than a doubt.
"""

MAX_HEADERS = 100
"""More of them in one reply are not taken for HTTP."""

_REPEATABLE = frozenset({"GET", "HEAD"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Exchange:
    """One call under way: until when, and how far it came.

    ``sent`` is True from the moment the first byte may have left. ``reused`` and ``received``
    describe the latest attempt: on a kept-alive connection? any byte of a reply? ``fresh``
    demands a new connection. ``reply`` is the reply so far.
    """

    __slots__ = ("deadline", "fresh", "received", "repeatable", "reply", "reused", "sent")

    def __init__(self, method: str = "", timeout: float = 0.0) -> None:
        self.start(method, timeout)

    def start(self, method: str, timeout: float) -> None:
        """Begin, to be over in `timeout` seconds."""
        self.deadline = monotonic() + timeout
        self.repeatable = method in _REPEATABLE
        self.fresh = False
        self.reused = False
        self.received = False
        self.sent = False
        self.reply = Reply()

    def remaining(self) -> float:
        """Seconds that are left. Raises TimeoutError when none are."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("the call's time is over")
        return left

    def trusts(self, idle: float) -> bool:
        """Whether a connection that was idle for `idle` seconds may carry the request."""
        return not self.fresh and (self.repeatable or idle <= MAX_IDLE)

    @property
    def met_a_dead_connection(self) -> bool:
        """Whether what may be repeated went out on a kept-alive connection and got no answer."""
        return self.repeatable and self.reused and not self.received and not self.fresh

    def redirected(self, status: int) -> bool:
        """Whether `status` sends the call elsewhere; what must not be repeated stays."""
        return self.repeatable and status in _REDIRECTS

    def failed(self, call: Call, error: BaseException) -> Reply:
        """The reply to a call that ended in `error`."""
        url = self.reply.url or call.url
        return as_fault(self.reply, url, error, self.sent, call.timeout)

    def elapsed(self, call: Call) -> float:
        """Seconds since the beginning; the time that a credential provider took does not count."""
        return monotonic() - (self.deadline - call.timeout)


@dataclass(slots=True)
class Request(Generic[R]):
    """Ask for `target` on `route`, with the headers `login`.

    To be answered with None once the exchange's reply is complete, or with the Location of a
    redirect (``""`` without one) if `Exchange.redirected` says so.
    """

    route: R
    target: str
    login: Mapping[str, str]


Errand: TypeAlias = Callable[[], Any]
"""What may take its time, and is no part of the call's."""

Dialogue: TypeAlias = Generator[Request[R] | Errand, Any, Reply]


def converse(call: Call, exchange: Exchange, routes: Directory[R]) -> Dialogue[R]:
    """The dialogue of `call`, whose exchange has started. It raises `Problem`, and what it is
    thrown."""
    if call.credential is None:
        return _follow(call, {}, exchange, routes)
    return _sign_in(call, call.credential, exchange, routes)


def _sign_in(
    call: Call, credential: Credential, exchange: Exchange, routes: Directory[R]
) -> Dialogue[R]:
    signature = credential.at_hand()
    if signature is None:
        try:
            signature = yield credential.headers
        except TrackerError as error:
            raise Problem(Fault.SIGNED_OUT, str(error)) from error
        exchange.deadline = monotonic() + call.timeout
    assert signature is not None
    reply = yield from _follow(call, signature, exchange, routes)
    if reply.status == 401:
        renewed = yield from _renew(credential, signature, exchange)
        if renewed is not None:
            # The service has refused the first attempt: it is in nobody's doubt.
            exchange.sent = False
            exchange.reply = Reply(url=call.url)
            reply = yield from _follow(call, renewed, exchange, routes)
    return reply


def _renew(
    credential: Credential, used: Mapping[str, str], exchange: Exchange
) -> Generator[Errand, Any, Mapping[str, str] | None]:
    """Other headers after a 401, or None; the provider's time is not the call's."""
    started = monotonic()
    try:
        renewed: Mapping[str, str] | None = (
            yield lambda: credential.headers() if credential.renew(used) else None
        )
        return renewed
    except TrackerError:
        return None  # the 401 says it better
    finally:
        exchange.deadline += monotonic() - started


def _follow(
    call: Call, signature: Mapping[str, str], exchange: Exchange, routes: Directory[R]
) -> Dialogue[R]:
    if not exchange.repeatable and not TOKEN.fullmatch(call.method):
        raise invalid("the method is not a word")
    url = call.url
    route, target = routes.find(call.service, url, call.verify)
    login = {"Authorization": route.authorization} if route.authorization else {}
    login.update(signature)
    for _ in range(MAX_REDIRECTS + 1):
        exchange.reply.url = url
        location = yield Request(route, target, login)
        if location is None:
            return exchange.reply
        url = _destination(url, location)
        following, target = routes.find(call.service, url, call.verify)
        if not route.allows(following):
            raise Problem(Fault.REDIRECT, f"redirects to another host: {following.host}")
        route = following
    raise Problem(Fault.REDIRECT, f"more than {MAX_REDIRECTS} redirects")


def _destination(url: str, location: str) -> str:
    """Where a redirect leads. Raises `Problem` (REDIRECT) when that cannot be told."""
    try:
        # Header bytes arrive as Latin-1; a target that is not ASCII was meant as UTF-8.
        target = urljoin(url, location.encode("latin-1").decode())
    except ValueError:
        target = ""
    if not location or not target.lower().startswith(("http://", "https://")):
        raise Problem(Fault.REDIRECT, "redirects without a target that can be called")
    return target
