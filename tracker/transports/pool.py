"""The threads behind a transport that makes one blocking call at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

from tracker.model import Fault
from tracker.transports.base import Call, Reply

monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
"""Seconds of a clock that never jumps.

Not `tracker.clock`: what waits for the network must go on waiting in a test that freezes time, and
freezegun replaces `time.monotonic` too.
"""


class ThreadPool:
    """Runs `work` on calls in up to `threads` daemon threads; one thread sends and receives.

    Threads start when a call finds the others busy. `work` should not raise; when it does, the
    call comes back as `Fault.INVALID` and may have been sent.
    """

    def __init__(self, work: Callable[[Call], Reply], threads: int, name: str) -> None:
        if threads < 1:
            raise ValueError("a pool needs at least one thread")
        self._work = work
        self._limit = threads
        self._name = name
        self._started = 0
        self._in_flight = 0
        self._woken = False
        self._closed = False
        self._inbox: SimpleQueue[Call | None] = SimpleQueue()
        self._outbox: SimpleQueue[tuple[Call, Reply] | None] = SimpleQueue()

    @property
    def in_flight(self) -> int:
        """Calls sent and not received yet."""
        return self._in_flight

    @property
    def started(self) -> int:
        """Threads started so far."""
        return self._started

    def send(self, *calls: Call) -> None:
        """Hand `calls` to threads. Raises RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError("the transport is closed")
        for call in calls:
            self._in_flight += 1
            self._inbox.put(call)
            if self._started < self._limit and self._busy() > self._started:
                self._start()

    def receive(self, timeout: float) -> list[tuple[Call, Reply]]:
        """All replies there are, waiting up to `timeout` seconds for the first."""
        replies: list[tuple[Call, Reply]] = []
        wait = 0.0 if self._closed else min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        try:
            item = self._outbox.get(timeout=wait) if wait else self._outbox.get_nowait()
            while True:
                if item is None:
                    self._woken = False
                else:
                    replies.append(item)
                item = self._outbox.get_nowait()
        except Empty:
            pass
        self._in_flight -= len(replies)
        return replies

    def wake(self) -> None:
        """Make a blocked `receive` return early; safe in a signal handler (puts are reentrant)."""
        if not self._woken:
            self._woken = True
            self._outbox.put(None)

    def close(self) -> None:
        """Let the threads end after the call they are at; what waits is not started."""
        if not self._closed:
            self._closed = True
            for _ in range(self._started):
                self._inbox.put(None)
            self.wake()

    def _busy(self) -> int:
        # Replies waiting in the outbox occupy nobody; its wake token is not a reply. A count that
        # is one too high starts one thread too many, never one too few.
        return self._in_flight - self._outbox.qsize() + self._woken

    def _start(self) -> None:
        name = f"{self._name}-{self._started}"
        try:
            threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:  # the system gives no more threads: those there are must do
            if not self._started:
                self._drain_unstartable()
            return
        self._started += 1

    def _drain_unstartable(self) -> None:
        reply = Reply(fault=Fault.UNREACHABLE, sent=False, message="no thread could be started")
        while (call := self._inbox.get_nowait() if self._inbox.qsize() else None) is not None:
            self._outbox.put((call, reply))

    def _run(self) -> None:
        while (call := self._inbox.get()) is not None and not self._closed:
            try:
                reply = self._work(call)
            except BaseException as error:  # a dead thread would lose its call for ever
                message = f"unexpected {type(error).__name__} while calling"
                reply = Reply(fault=Fault.INVALID, message=message)
            self._outbox.put((call, reply))
            del call, reply  # an idle thread must not keep a large body alive
