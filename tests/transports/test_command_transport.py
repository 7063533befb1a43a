"""Commands as calls."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import wait_for_replies
from misbehaving import PATIENCE

from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.command import TAIL, CommandTransport

Run = Callable[..., Reply]


@pytest.fixture
def run() -> Iterator[Run]:
    """Run a command and wait for its reply; a lone text is a Python program."""
    transport = CommandTransport()

    def one(*argv: str, **options: Any) -> Reply:
        command = [sys.executable, "-c", argv[0]] if len(argv) == 1 else list(argv)
        transport.send(Call("local", "RUN", "", argv=command, **options))
        [(_, reply)] = wait_for_replies(transport, 1)
        return reply

    yield one
    transport.close()


def alive(pid: int) -> bool:
    """Whether `pid` runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_success_is_200_with_standard_output(run: Run) -> None:
    """The body goes in, what the command says comes out."""
    reply = run("cat", "-", body=b"in\0out" * 100_000)
    assert (reply.status, reply.fault, reply.message) == (200, None, "")
    assert reply.body == b"in\0out" * 100_000
    assert reply.elapsed > 0


def test_no_shell_reads_the_arguments(run: Run) -> None:
    """What a job is called cannot run anything."""
    assert run("echo", "$HOME; exit 3").body == b"$HOME; exit 3\n"


def test_failure_is_500_with_the_end_of_standard_error(run: Run) -> None:
    """A failed notification says why, in a bounded number of bytes."""
    reply = run("import sys; sys.stderr.write('x' * 10**6 + 'why'); print('no'); sys.exit(3)")
    assert (reply.status, reply.fault) == (500, None)
    assert reply.body == b"x" * (TAIL - 3) + b"why"
    assert "exit code 3" in reply.message


def test_a_signal_is_a_failure(run: Run) -> None:
    """A command that was killed did not succeed."""
    reply = run("import os; os.kill(os.getpid(), 9)")
    assert (reply.status, reply.fault) == (500, None)
    assert "signal 9" in reply.message


def test_output_is_cut_at_the_limit(run: Run) -> None:
    """A chatty command fills no memory, and is still let to its end."""
    reply = run("print('y' * 10**6)", max_bytes=1000)
    assert (reply.status, reply.body) == (200, b"y" * 1000)


def test_a_command_need_not_read_its_input(run: Run) -> None:
    """A closed standard input is no failure."""
    assert run("true", "", body=b"x" * 10**6).status == 200


def test_the_timeout_kills_the_whole_group(run: Run, tmp_path: Path) -> None:
    """Children of the command end with it, even when they hold its output open."""
    pids = tmp_path / "pids"
    reply = run(
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)",
        timeout=1.5,
    )
    assert (reply.fault, reply.sent) == (Fault.TIMEOUT, True)
    assert 1.5 <= reply.elapsed < 3
    wait_until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def test_a_command_that_closes_its_output_is_still_timed(run: Run) -> None:
    """Silence is not the end."""
    reply = run("import os, time; [os.close(n) for n in range(3)]; time.sleep(600)", timeout=0.5)
    assert reply.fault is Fault.TIMEOUT
    assert reply.elapsed < 2


def test_a_child_left_behind_holds_up_nobody(run: Run) -> None:
    """A command that starts something in the background is over when it ends itself."""
    reply = run(
        "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)", timeout=PATIENCE
    )
    assert reply.status == 200
    assert reply.elapsed < 5
    os.kill(int(reply.body), 9)


@pytest.mark.parametrize("argv", [["/no/such/program", "s3cret"], ["/etc/passwd", "s3cret"], None])
def test_what_cannot_be_run_is_invalid(argv: list[str] | None) -> None:
    """Not found, not executable and not given are mistakes in a definition."""
    transport = CommandTransport()
    transport.send(Call("local", "RUN", "", argv=argv))
    [(_, reply)] = wait_for_replies(transport, 1)
    transport.close()
    assert (reply.fault, reply.sent) == (Fault.INVALID, False)
    assert reply.message
    assert "s3cret" not in reply.message


def test_odd_arguments_are_invalid(run: Run) -> None:
    """A NUL byte cannot be passed to a program, and an HTTP call is not for this transport."""
    assert run("echo", "a\0b").fault is Fault.INVALID
    transport = CommandTransport()
    transport.send(Call("local", "GET", "http://127.0.0.1/"))
    [(_, reply)] = wait_for_replies(transport, 1)
    transport.close()
    assert reply.fault is Fault.INVALID
