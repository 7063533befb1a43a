"""One HTTP call from beginning to end, in the thread that makes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse
from urllib3.util import Retry, Timeout

from tracker import __version__
from tracker.errors import TrackerError
from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.connections import NOBODY, Exchange, current
from tracker.transports.faults import Problem, as_fault, invalid, one_line
from tracker.transports.incoming import PIECE, Decoder, FileSink, copy, oversized
from tracker.transports.multipart import Upload, open_upload
from tracker.transports.pool import monotonic
from tracker.transports.routes import Route, Routes

MAX_REDIRECTS = 5
MAX_ERROR_BODY = 8 * 2**20
"""Bytes of a reply kept in memory where ``max_bytes`` was meant for a file."""

_REPEATABLE = frozenset({"GET", "HEAD"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_RETRIES = Retry(False, redirect=False)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(r"[\r\n\0]")
_DEFAULTS = {
    "User-Agent": f"tracker/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
}


class Client:
    """Makes calls; used by many threads at once."""

    def __init__(self, connections: int) -> None:
        self._routes = Routes(connections)
        self._active: set[Exchange] = set()

    def perform(self, call: Call) -> Reply:
        """Make `call`; every failure is a reply with a fault."""
        exchange = Exchange(call.method in _REPEATABLE)
        current.exchange = exchange
        self._active.add(exchange)
        started = monotonic()
        exchange.deadline = started + call.timeout
        try:
            reply = self._answer(call, exchange)
        except Exception as error:
            url = exchange.reply.url or call.url
            reply = as_fault(exchange.reply, url, error, exchange.sent, call.timeout)
        finally:
            self._active.discard(exchange)
            current.exchange = NOBODY  # an idle thread must not keep a large body alive
        # The deadline has been moved by the time that a credential provider took.
        reply.elapsed = monotonic() - (exchange.deadline - call.timeout)
        return reply

    def close(self) -> None:
        """Drop all connections; calls under way end with a fault."""
        for exchange in tuple(self._active):
            exchange.abort()
        self._routes.close()

    def _answer(self, call: Call, exchange: Exchange) -> Reply:
        if not _TOKEN.fullmatch(call.method):
            raise invalid("the method is not a word")
        signature: Mapping[str, str] = {}
        if call.credential is not None:
            try:
                signature = call.credential.headers()
            except TrackerError as error:
                raise Problem(Fault.SIGNED_OUT, str(error)) from error
            exchange.deadline = monotonic() + call.timeout
        reply = self._follow(call, signature, exchange)
        if reply.status == 401 and call.credential is not None:
            renewed = self._renew(call, signature, exchange)
            if renewed is not None:
                # The service has refused the first attempt: it is in nobody's doubt.
                exchange.sent = False
                exchange.reply = Reply(url=call.url)
                reply = self._follow(call, renewed, exchange)
        return reply

    def _renew(
        self, call: Call, used: Mapping[str, str], exchange: Exchange
    ) -> Mapping[str, str] | None:
        """Other headers after a 401, or None; the provider's time is not the call's."""
        assert call.credential is not None
        started = monotonic()
        try:
            return call.credential.headers() if call.credential.renew(used) else None
        except TrackerError:
            return None  # the 401 says it better
        finally:
            exchange.deadline += monotonic() - started

    def _follow(self, call: Call, signature: Mapping[str, str], exchange: Exchange) -> Reply:
        url = call.url
        route, target = self._routes.find(call.service, url, call.verify)
        login = {"Authorization": route.authorization} if route.authorization else {}
        login.update(signature)
        for _ in range(MAX_REDIRECTS + 1):
            exchange.reply.url = url
            response = self._send(call, route, target, login, exchange)
            if response.status not in _REDIRECTS or not exchange.repeatable:
                return self._receive(call, response, exchange)
            _discard(response)
            url = _location(url, response)
            following, target = self._routes.find(call.service, url, call.verify)
            if not route.allows(following):
                raise Problem(Fault.REDIRECT, f"redirects to another host: {following.host}")
            route = following
        raise Problem(Fault.REDIRECT, f"more than {MAX_REDIRECTS} redirects")

    def _send(
        self,
        call: Call,
        route: Route,
        target: str,
        login: Mapping[str, str],
        exchange: Exchange,
    ) -> BaseHTTPResponse:
        """The head of the reply. A dead kept-alive connection is met once by what may repeat."""
        try:
            return self._send_once(call, route, target, login, exchange)
        except (Problem, TimeoutError):
            raise
        except Exception:
            if not (exchange.repeatable and exchange.reused) or exchange.received:
                raise
            exchange.remaining()
        exchange.fresh = True
        try:
            return self._send_once(call, route, target, login, exchange)
        finally:
            exchange.fresh = False

    def _send_once(
        self,
        call: Call,
        route: Route,
        target: str,
        login: Mapping[str, str],
        exchange: Exchange,
    ) -> BaseHTTPResponse:
        with open_upload(call) as upload:
            left = exchange.remaining()
            return route.pool.urlopen(
                call.method,
                target,
                body=upload.content,  # type: ignore[arg-type]  # only `read` is needed
                headers=request_headers(call, upload, login),
                retries=_NO_RETRIES,
                redirect=False,
                assert_same_host=False,
                timeout=Timeout(connect=left, read=left),
                preload_content=False,
                decode_content=False,
            )

    def _receive(self, call: Call, response: BaseHTTPResponse, exchange: Exchange) -> Reply:
        reply = exchange.reply
        reply.status = response.status
        reply.headers = headers = _reply_headers(response)
        success = 200 <= response.status < 300
        limit = call.max_bytes
        if call.sink is not None and not success:
            limit = min(limit, MAX_ERROR_BODY)
        done = False
        try:
            decoder = Decoder(headers.get("content-encoding", ""))
            if (response.length_remaining or 0) > limit and decoder.transparent:
                raise oversized(limit)
            pieces = _pieces(response)
            if call.sink is not None and success:
                with FileSink(call.sink) as sink:
                    copy(pieces, decoder, limit, sink.write)
                    sink.settle(reply)
            else:
                body: list[bytes] = []
                copy(pieces, decoder, limit, body.append)
                reply.body = body[0] if len(body) == 1 else b"".join(body)
            done = True
        finally:
            if not done:
                _drop(response)
        return reply


def request_headers(call: Call, upload: Upload, login: Mapping[str, str]) -> dict[str, str]:
    """All headers of a request, each name once whatever its case.

    Raises `Problem` (INVALID) for what cannot be written, naming the header but not its value.
    """
    merged: dict[str, tuple[str, str]] = {}
    for headers in (_DEFAULTS, upload.defaults, call.headers):
        for name, value in headers.items():
            merged[name.lower()] = (name, value)
    # How long the body is, is for the transport to know.
    merged.pop("content-length", None)
    merged.pop("transfer-encoding", None)
    for headers in (login, upload.headers):
        for name, value in headers.items():
            merged[name.lower()] = (name, value)
    for name, value in merged.values():
        _check(name, value)
    return dict(merged.values())


def _check(name: str, value: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise invalid(f"not a header name: {one_line(name, 40)}")
    if not isinstance(value, str) or _BREAKS.search(value):
        raise invalid(f"the value of the header {name} is not one line of text")
    if not value.isascii():
        try:
            value.encode("latin-1")
        except UnicodeEncodeError as error:
            raise invalid(f"the value of the header {name} is not Latin-1") from error


def _reply_headers(response: BaseHTTPResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _pieces(response: BaseHTTPResponse) -> Iterator[bytes]:
    """The body as it comes; the connection goes back to its pool with the last byte."""
    while data := response.read1(PIECE):
        yield data
        if response.length_remaining == 0:
            return


def _discard(response: BaseHTTPResponse) -> None:
    """Be done with a reply whose body nobody wants, keeping its connection if that is cheap."""
    if response.length_remaining is not None and response.length_remaining <= PIECE:
        for _ in _pieces(response):
            pass
    else:
        _drop(response)


def _drop(response: BaseHTTPResponse) -> None:
    """Close a connection whose reply is not read to its end."""
    response.close()
    response.release_conn()


def _location(url: str, response: BaseHTTPResponse) -> str:
    """Where a redirect leads. Raises `Problem` (REDIRECT) when that cannot be told."""
    location = response.headers.get("location", "")
    try:
        # Header bytes arrive as Latin-1; a target that is not ASCII was meant as UTF-8.
        target = urljoin(url, location.encode("latin-1").decode())
    except ValueError:
        target = ""
    if not location or not target.lower().startswith(("http://", "https://")):
        raise Problem(Fault.REDIRECT, "redirects without a target that can be called")
    return target
