"""Commands without the 0.2 s of CPU that starting Python and importing costs each of them.

A process that has imported all of `tracker` forks for each command. The fork runs the function
that the installed `tracker` runs, in a process, folder and environment of its own, with files as
its standard streams. `tests/commands/test_installed.py` runs each command as it is installed;
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
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

FORKED = os.environ.get("TRACKER_TEST_COMMAND") != "installed"
"""Whether commands that are run to their end may be forks."""


class Ended(NamedTuple):
    """How a command ended; `code` is minus the signal that ended it."""

    code: int
    out: bytes
    err: bytes


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

    def run(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str],
        stdin: bytes | None, timeout: float,
    ) -> Ended:  # fmt: skip
        """Run `tracker` with these arguments to its end; after `timeout` seconds it is killed, and
        TimeoutExpired is raised."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, \
                tempfile.TemporaryFile() as err:  # fmt: skip
            given.write(stdin or b"")
            given.seek(0)
            ours, theirs = socket.socketpair()
            with ours, ours.makefile("rw") as told:
                with theirs, self._turn:
                    files = [theirs.fileno(), given.fileno(), out.fileno(), err.fileno()]
                    socket.send_fds(self._asked, [b"!"], files)
                print(json.dumps([list(arguments), str(cwd), dict(env)]), file=told, flush=True)
                pid = int(told.readline())
                ours.settimeout(timeout)
                try:
                    code = int(told.readline())
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(list(arguments), timeout) from None
            for file in (out, err):
                file.seek(0)
            return Ended(code, out.read(), err.read())

    def close(self) -> None:
        """End it."""
        self._asked.close()
        self._process.wait()


@cache
def warm() -> Warm:
    """The one of this process."""
    one = Warm()
    atexit.register(one.close)
    return one


def _serve(asked: socket.socket) -> None:
    for found in pkgutil.walk_packages(import_module("tracker").__path__, "tracker."):
        import_module(found.name)
    for name in ("requests", "boto3", "psycopg_pool"):
        import_module(name)
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


def _reap(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _keep(told: int, *files: int) -> NoReturn:
    """Fork the command, tell its process id and then how it ended."""
    with socket.socket(fileno=told) as ours, ours.makefile("rw") as line:
        arguments, folder, env = json.loads(line.readline())
        pid = os.fork()
        if pid:
            print(pid, file=line, flush=True)
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status), file=line, flush=True)
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
