"""Local commands as calls: how a notification reaches a program on this machine."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.faults import one_line
from tracker.transports.pool import ThreadPool, monotonic

TAIL = 4096
"""Bytes of standard error that are kept: the last ones, where programs say what went wrong."""

_PIECE = 2**16
_LOOK = 0.1  # seconds between two looks at whether the command itself has ended
_BUSY = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class CommandTransport(ThreadPool):
    """Runs calls with the method ``RUN``: ``argv``, with ``body`` as its standard input.

    Exit code 0 is a reply with status 200 and standard output (cut at ``max_bytes``) as its body;
    any other end is status 500 with the end of standard error. No shell is involved. At the
    timeout the command and its whole process group are killed.
    """

    def __init__(self, threads: int = 4) -> None:
        super().__init__(run, threads, "command")


def run(call: Call) -> Reply:
    """Run the command of `call`; every failure is a reply with a fault."""
    if call.method != "RUN" or not call.argv:
        return Reply(fault=Fault.INVALID, sent=False, message="the call names no command to run")
    name = one_line(Path(call.argv[0]).name, 80)  # arguments may hold secrets
    started = monotonic()
    try:
        process = subprocess.Popen(
            call.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        fault = Fault.UNREACHABLE if error.errno in _BUSY else Fault.INVALID
        reason = os.strerror(error.errno or 0).lower()
        return Reply(fault=fault, sent=False, message=f"{name}: cannot be run: {reason}")
    except ValueError:  # a NUL byte
        return Reply(fault=Fault.INVALID, sent=False, message=f"{name}: not a command line")
    try:
        reply = _reply(process, call, name, started + call.timeout)
    finally:
        _end(process)
    reply.elapsed = monotonic() - started
    return reply


def _reply(process: subprocess.Popen[bytes], call: Call, name: str, deadline: float) -> Reply:
    pump = _Pump(process, call.body or b"", call.max_bytes)
    try:
        if not pump.run(deadline):
            message = f"{name}: killed after {call.timeout:g} s"
            return Reply(fault=Fault.TIMEOUT, message=message)
    finally:
        pump.close()
    if process.returncode == 0:
        return Reply(status=200, body=bytes(pump.output))
    end = f"exit code {process.returncode}"
    if process.returncode < 0:
        end = f"signal {-process.returncode}"
    return Reply(status=500, body=bytes(pump.errors), message=f"{name}: ended with {end}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """See to it that the command is gone; what it left running on purpose may stay."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class _Pump:
    """Feeds a process and keeps a bounded part of what it says."""

    def __init__(self, process: subprocess.Popen[bytes], body: bytes, limit: int) -> None:
        assert process.stdin and process.stdout and process.stderr
        self.output = bytearray()
        self.errors = bytearray()
        self._process = process
        self._rest = memoryview(body)
        self._limit = limit
        self._in, self._out, self._err = process.stdin, process.stdout, process.stderr
        self._selector = selectors.DefaultSelector()
        for stream, event in (
            (self._in, selectors.EVENT_WRITE),
            (self._out, selectors.EVENT_READ),
            (self._err, selectors.EVENT_READ),
        ):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, event)

    def run(self, deadline: float) -> bool:
        """Pump until the command has ended; False when `deadline` came first."""
        while (left := deadline - monotonic()) > 0:
            ready = self._selector.select(min(left, _LOOK)) if self._selector.get_map() else []
            for key, _ in ready:
                self._move(key.fileobj)  # type: ignore[arg-type]  # only streams are registered
            # A child left in the background may hold the pipes open for ever: once the command
            # has ended and nothing is waiting, it is over.
            if not ready and self._ended(min(left, _LOOK)):
                return True
        return False

    def close(self) -> None:
        """Close all pipes."""
        self._selector.close()
        for stream in (self._in, self._out, self._err):
            with suppress(OSError):
                stream.close()

    def _ended(self, wait: float) -> bool:
        if self._selector.get_map():
            return self._process.poll() is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(wait)
        return self._process.returncode is not None

    def _move(self, stream: IO[bytes]) -> None:
        try:
            done = self._write() if stream is self._in else self._read(stream)
        except BlockingIOError:
            return
        except OSError:
            done = True
        if done:
            self._selector.unregister(stream)
            with suppress(OSError):
                stream.close()

    def _write(self) -> bool:
        if self._rest:
            self._rest = self._rest[os.write(self._in.fileno(), self._rest[:_PIECE]) :]
        return not self._rest

    def _read(self, stream: IO[bytes]) -> bool:
        data = os.read(stream.fileno(), _PIECE)
        if stream is self._out:
            self.output += data[: self._limit - len(self.output)]
        else:
            self.errors = (self.errors + data)[-TAIL:]
        return not data
