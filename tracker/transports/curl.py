"""The transport over libcurl: one thread, one multi handle, as many calls at once as wanted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pycurl

from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.curl_routes import CurlRoute, CurlRoutes
from tracker.transports.curl_sockets import Sockets
from tracker.transports.curl_transfer import Transfer
from tracker.transports.dialogue import Errand, Request
from tracker.transports.faults import Problem
from tracker.transports.pool import monotonic

_NEVER = float("inf")
_ROUNDS = 3
_PATIENCE = 0.5


class CurlTransport:
    """Sends calls over HTTP, up to `calls` at a time, through libcurl's multi interface.

    Everything moves inside `send` and `receive`, in the caller's thread; what may block (asking a
    credential provider, making a file durable) is done by a thread of its own. Services share
    connections where host and TLS settings are the same. libcurl keeps no time: a call ends at
    its deadline when somebody looks, and not if its reply is there by then.
    """

    def __init__(self, calls: int = 32) -> None:
        if calls < 1:
            raise ValueError("a transport needs at least one call at a time")
        self._limit = calls
        self._routes = CurlRoutes()
        self._waiting: deque[Call] = deque()
        self._transfers: list[Transfer] = []
        self._idle: list[Transfer] = []
        self._active: dict[pycurl.Curl, Transfer] = {}
        self._latest: Transfer | None = None
        self._pioneers: list[CurlRoute] = []
        self._done: list[tuple[Call, Reply]] = []
        self._errands: SimpleQueue[tuple[Transfer, Callable[[Any], Any], Any]] = SimpleQueue()
        self._in_flight = 0
        self._woken = False
        self._closed = False
        self._deadline = _NEVER
        self._sockets = Sockets()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._sockets.watch)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max(2 * calls, 32))

    @property
    def in_flight(self) -> int:
        """Calls sent and not received yet."""
        return self._in_flight

    def send(self, *calls: Call) -> None:
        """Start `calls`, or have them wait for their turn. Raises RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError("the transport is closed")
        self._in_flight += len(calls)
        self._waiting += calls
        self._go_on()
        if self._latest is not None and not self._latest.left:
            self._turn(0.0)  # a near connection is there at once, and the request may leave

    def receive(self, timeout: float) -> list[tuple[Call, Reply]]:
        """All replies there are, waiting up to `timeout` seconds for the first."""
        until = monotonic() + timeout
        wait = 0.0 if self._done or self._woken else timeout
        while not self._closed:
            self._turn(wait)
            wait = until - monotonic()
            if self._done or self._woken or wait <= 0:
                break
        self._woken = False
        replies, self._done = self._done, []
        self._in_flight -= len(replies)
        return replies

    def wake(self) -> None:
        """Make a blocked `receive` return early; safe in a signal handler."""
        if not self._woken:
            self._woken = True
            self._sockets.alarm()

    def close(self) -> None:
        """Stop taking calls and drop connections; calls under way end with a fault."""
        if self._closed:
            return
        self._closed = True
        for curl, transfer in self._active.items():
            self._multi.remove_handle(curl)
            fault = Fault.RESET if transfer.sent else Fault.UNREACHABLE
            self._finish(transfer, error=Problem(fault, "the transport was closed"))
        self._active.clear()
        for transfer in self._transfers:
            transfer.curl.close()
        self._sockets.close()
        # libcurl would wait for a name that is being looked up, which nobody can stop.
        closing = threading.Thread(target=self._multi.close, name="curl", daemon=True)
        closing.start()
        closing.join(_PATIENCE)

    # The loop.

    def _turn(self, wait: float) -> None:
        """Wait for something to happen, up to `wait` seconds, and let it."""
        wait = min(wait, self._deadline - monotonic()) if self._errands.empty() else 0.0
        timer = self._multi.timeout()
        if timer >= 0:
            wait = min(wait, timer / 1000)
        for descriptor, happened in self._sockets.wait(max(wait, 0.0)):
            self._multi.socket_action(descriptor, happened)
        while not self._errands.empty():
            self._advance(*self._errands.get())
        self._collect()
        if self._deadline <= monotonic():
            self._end_late_calls()
        self._go_on()

    def _go_on(self) -> None:
        """Do what can be done without waiting, but not for ever."""
        self._start()
        for _ in range(_ROUNDS):
            if self._multi.timeout() != 0:
                return
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._collect()
            self._start()

    def _collect(self) -> None:
        """Take leave of the handles that are done, and have others follow new connections."""
        if self._pioneers:
            self._follow()
        more = 1
        while more:
            more, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._ended(curl, 0, "")
            for curl, code, text in failed:
                self._ended(curl, code, text)

    def _follow(self) -> None:
        """Have those go on that waited to see what a new connection agrees on: over it or, where
        it carries one request at a time, over connections of their own."""
        for curl, transfer in self._active.items():
            if transfer.stops_waiting(self._pioneers):
                self._multi.remove_handle(curl)
                self._multi.add_handle(curl)
        self._pioneers.clear()

    def _end_late_calls(self) -> None:
        now = monotonic()
        for curl, transfer in list(self._active.items()):
            if transfer.deadline <= now:
                self._multi.remove_handle(curl)
                del self._active[curl]
                transfer.cut()
                self._advance(transfer, transfer.dialogue.throw, TimeoutError())
        self._deadline = min((one.deadline for one in self._active.values()), default=_NEVER)

    # The calls.

    def _start(self) -> None:
        """Begin the calls that wait, as long as there is room."""
        while self._waiting:
            if self._idle:
                transfer = self._idle.pop()
            elif len(self._transfers) < self._limit:
                transfer = Transfer(self._pioneers)
                self._transfers.append(transfer)
            else:
                return
            transfer.begin(self._waiting.popleft(), self._routes)
            self._advance(transfer, transfer.dialogue.send, None)

    def _advance(self, transfer: Transfer, resume: Callable[[Any], Any], answer: Any) -> None:
        """Tell a dialogue what came of its last step, and take the next one."""
        try:
            while True:
                try:
                    step = resume(answer)
                except StopIteration as end:
                    return self._finish(transfer, end.value)
                except Exception as error:
                    return self._finish(transfer, error=error)
                if not isinstance(step, Request):
                    return self._run(transfer, step)
                try:
                    return self._ask(transfer, step)
                except Exception as error:
                    resume, answer = transfer.dialogue.throw, error
        finally:
            del answer  # an error holds this frame, and would go in circles with it

    def _ask(self, transfer: Transfer, request: Request[Any]) -> None:
        if not transfer.repeatable and self._sockets.doubtful:
            transfer.fresh = True
        transfer.prepare(request)
        transfer.fresh = False
        self._multi.add_handle(transfer.curl)
        self._active[transfer.curl] = self._latest = transfer
        self._deadline = min(self._deadline, transfer.deadline)

    def _ended(self, curl: pycurl.Curl, code: int, text: str) -> None:
        self._multi.remove_handle(curl)
        transfer = self._active.pop(curl)
        dialogue = transfer.dialogue
        try:
            location = transfer.ended(code, text)
            body = transfer.body
            if location is None and body is not None:
                if body.lasting:
                    return self._run(transfer, body.finish)
                body.finish()
        except Exception as error:
            if not transfer.met_a_dead_connection:
                return self._advance(transfer, dialogue.throw, error)
            return self._ask_again(transfer)
        self._advance(transfer, dialogue.send, location)

    def _ask_again(self, transfer: Transfer) -> None:
        """Repeat the last request over a new connection."""
        transfer.fresh = True
        try:
            self._ask(transfer, transfer.request)
        except Exception as error:
            self._advance(transfer, transfer.dialogue.throw, error)

    def _finish(
        self, transfer: Transfer, reply: Reply | None = None, *, error: Exception | None = None
    ) -> None:
        call = transfer.call
        if reply is None:
            assert error is not None
            reply = transfer.failed(call, error)
        reply.elapsed = transfer.elapsed(call)
        transfer.rest()
        self._idle.append(transfer)
        self._done.append((call, reply))

    # What may block.

    def _run(self, transfer: Transfer, errand: Errand) -> None:
        def run() -> None:
            try:
                came = (transfer.dialogue.send, errand())
            except Exception as error:
                came = (transfer.dialogue.throw, error)
            except BaseException as error:
                reason = f"unexpected {type(error).__name__} while calling"
                came = (transfer.dialogue.throw, Problem(Fault.INVALID, reason))
            self._errands.put((transfer, *came))
            self._sockets.alarm()

        threading.Thread(target=run, name="curl", daemon=True).start()
