"""One HTTP call from beginning to end, in the thread that makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from urllib3 import BaseHTTPResponse
from urllib3.util import Retry, Timeout

from tracker.transports.base import Call, Reply
from tracker.transports.connections import NOBODY, ThreadExchange, current
from tracker.transports.dialogue import Dialogue, Request, converse
from tracker.transports.faults import Problem
from tracker.transports.headers import joined, request_headers
from tracker.transports.incoming import PIECE, Body
from tracker.transports.multipart import open_upload
from tracker.transports.routes import PooledRoute, Routes

_NO_RETRIES = Retry(False, redirect=False)


class Client:
    """Makes calls; used by many threads at once."""

    def __init__(self, connections: int) -> None:
        self._routes = Routes(connections)
        self._active: set[ThreadExchange] = set()

    def perform(self, call: Call) -> Reply:
        """Make `call`; every failure is a reply with a fault."""
        exchange = ThreadExchange(call.method, call.timeout)
        current.exchange = exchange
        self._active.add(exchange)
        try:
            reply = self._carry(call, exchange, converse(call, exchange, self._routes))
        except Exception as error:
            reply = exchange.failed(call, error)
        finally:
            self._active.discard(exchange)
            current.exchange = NOBODY  # an idle thread must not keep a large body alive
        reply.elapsed = exchange.elapsed(call)
        return reply

    def close(self) -> None:
        """Drop all connections; calls under way end with a fault."""
        for exchange in tuple(self._active):
            exchange.abort()
        self._routes.close()

    def _carry(
        self, call: Call, exchange: ThreadExchange, dialogue: Dialogue[PooledRoute]
    ) -> Reply:
        resume: Callable[[Any], Any] = dialogue.send
        answer: Any = None
        try:
            while True:
                try:
                    step = resume(answer)
                except StopIteration as end:
                    reply: Reply = end.value
                    return reply
                try:
                    asks = isinstance(step, Request)
                    answer = self._ask(call, exchange, step) if asks else step()
                    resume = dialogue.send
                except Exception as error:
                    resume, answer = dialogue.throw, error
        finally:
            del answer  # an error holds this frame, and would keep a connection alive in a circle

    def _ask(
        self, call: Call, exchange: ThreadExchange, request: Request[PooledRoute]
    ) -> str | None:
        response = self._send(call, exchange, request)
        if exchange.redirected(response.status):
            _discard(response)
            return response.headers.get("location", "")
        _receive(call, response, exchange)
        return None

    def _send(
        self, call: Call, exchange: ThreadExchange, request: Request[PooledRoute]
    ) -> BaseHTTPResponse:
        """The head of the reply. A dead kept-alive connection is met once by what may repeat."""
        try:
            return self._send_once(call, exchange, request)
        except (Problem, TimeoutError):
            raise
        except Exception:
            if not exchange.met_a_dead_connection:
                raise
            exchange.remaining()
        exchange.fresh = True
        try:
            return self._send_once(call, exchange, request)
        finally:
            exchange.fresh = False

    def _send_once(
        self, call: Call, exchange: ThreadExchange, request: Request[PooledRoute]
    ) -> BaseHTTPResponse:
        with closing(open_upload(call)) as upload:
            left = exchange.remaining()
            return request.route.pool.urlopen(
                call.method,
                request.target,
                body=upload.content,  # type: ignore[arg-type]  # only `read` is needed
                headers=request_headers(call, upload, request.login),
                retries=_NO_RETRIES,
                redirect=False,
                assert_same_host=False,
                timeout=Timeout(connect=left, read=left),
                preload_content=False,
                decode_content=False,
            )


def _receive(call: Call, response: BaseHTTPResponse, exchange: ThreadExchange) -> None:
    """Read the reply to its end."""
    reply = exchange.reply
    reply.status = response.status
    reply.headers = joined(response.headers.items())
    done = False
    try:
        with closing(Body(call, reply, response.length_remaining)) as body:
            for data in _pieces(response):
                body.feed(data)
            body.finish()
        done = True
    finally:
        if not done:
            _drop(response)


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
