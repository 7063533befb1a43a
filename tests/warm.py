"""Commands without the 0.2 s of CPU that starting Python and importing costs each of them.

A process that has imported all of `tracker` forks for each command. The fork runs the function
that the installed `tracker` runs, in a process, folder and environment of its own, on pipes of
its own. `tests/commands/test_installed.py` runs each command as it is installed;
`TRACKER_TEST_COMMAND=installed` does so in all tests.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import NoReturn

FORKED = os.environ.get("TRACKER_TEST_COMMAND") != "installed"
"""Whether commands may be forks."""

WIDTH = 12
"""Bytes of a process id or exit code on its way."""


class Forked:
    """A command that runs, or has ended; as `subprocess.Popen`, as far as tests need that."""

    def __init__(self, pid: int, told: socket.socket, out: int, err: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout, self.stderr = os.fdopen(out, "rb", 0), os.fdopen(err, "rb", 0)
        self._told = told

    def poll(self) -> int | None:
        """The exit code, or minus the signal, if it has ended."""
        if self.returncode is None and wait([self._told], 0):
            self.returncode = _told(self._told)
            self._told.close()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait until it has ended."""
        if self.returncode is None and not wait([self._told], timeout):
            raise subprocess.TimeoutExpired("tracker", timeout)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, timeout: float = 20) -> tuple[bytes, bytes]:
        """The rest of its output, once it has ended."""
        latest = time.monotonic() + timeout
        found = {self.stdout: b"", self.stderr: b""}
        reading = set(found)
        while reading:
            ready = wait(reading, max(latest - time.monotonic(), 0))
            if not ready:
                raise subprocess.TimeoutExpired("tracker", timeout)
            for stream in ready:
                chunk = stream.read(1 << 16)
                found[stream] += chunk
                if not chunk:
                    reading.discard(stream)
        self.wait(max(latest - time.monotonic(), 1))
        for stream in found:
            stream.close()
        return found[self.stdout], found[self.stderr]

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Have it end at once."""
        self.send_signal(signal.SIGKILL)


class Warm:
    """The process that forks; it ends with the one that made this object. Threads may share it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._asked, self._turn = ours, threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"LANG": "C.UTF-8", "LC_ALL": ""},
                stdin=subprocess.DEVNULL,
            )

    def start(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: bytes = b""
    ) -> Forked:
        """Start `tracker` with these arguments, which reads `stdin`."""
        ours, theirs = socket.socketpair()
        (out, its_out), (err, its_err) = os.pipe(), os.pipe()
        with theirs, tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            with self._turn:
                files = [theirs.fileno(), given.fileno(), its_out, its_err]
                socket.send_fds(self._asked, [b"!"], files)
            os.close(its_out)
            os.close(its_err)
        ours.sendall(json.dumps([list(arguments), str(cwd), dict(env)]).encode() + b"\n")
        return Forked(_told(ours), ours, out, err)

    def close(self) -> None:
        """End it."""
        self._asked.close()
        self._process.wait()


def _tell(asker: socket.socket, number: int) -> None:
    asker.sendall(b"%*d" % (WIDTH, number))


def _told(keeper: socket.socket) -> int:
    return int(keeper.recv(WIDTH, socket.MSG_WAITALL))


@cache
def warm() -> Warm:
    """The one of this process."""
    one = Warm()
    atexit.register(one.close)
    return one


def _serve(asked: socket.socket) -> None:
    for found in pkgutil.walk_packages(import_module("tracker").__path__, "tracker."):
        import_module(found.name)
    for name in ("requests", "psycopg_pool"):
        import_module(name)
    _read_about_s3()
    gc.collect()
    gc.freeze()  # what a collection does not visit stays shared
    signal.signal(signal.SIGCHLD, _reap)
    while True:
        _, files, _, _ = socket.recv_fds(asked, 1, 4)
        if not files:
            return
        if os.fork() == 0:
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep(*files)
        for file in files:
            os.close(file)


def _read_about_s3() -> None:
    """Have botocore read what it knows of S3 here, once: that is most of what a client costs."""
    boto3, session = import_module("boto3"), import_module("botocore.session")
    session.create_loader = cache(session.create_loader)
    boto3.Session("nobody", "nothing", region_name="us-east-1").client("s3")


def _reap(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _keep(told: int, *files: int) -> NoReturn:
    """Fork the command, tell its process id and then how it ended."""
    with socket.socket(fileno=told) as asker:
        with asker.makefile("r") as line:
            arguments, folder, env = json.loads(line.readline())
        pid = os.fork()
        if pid:
            for file in files:
                os.close(file)
            _tell(asker, pid)
            _, status = os.waitpid(pid, 0)
            with suppress(OSError):  # nobody wants to know
                _tell(asker, os.waitstatus_to_exitcode(status))
            os._exit(0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    _be_the_command(arguments)


def _be_the_command(arguments: list[str]) -> NoReturn:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        was = getattr(sys, name)
        mode = "w" if number else "r"
        fresh = open(number, mode, encoding=was.encoding, errors=was.errors)  # noqa: PTH123, SIM115
        setattr(sys, name, fresh)
        setattr(sys, f"__{name}__", fresh)
    sys.argv = ["tracker", *arguments]
    code: object = 0
    try:
        from tracker.commands import main

        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    # What the end of a program does, but for freeing its memory.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
