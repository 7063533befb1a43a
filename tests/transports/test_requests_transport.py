"""What is particular to the transport over requests, and to its thread pool."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest
from asking import wait_for_replies
from misbehaving import PATIENCE, Misbehaving

from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.incoming import PIECE, Decoder
from tracker.transports.multipart import Stream
from tracker.transports.pool import ThreadPool
from tracker.transports.requests import RequestsTransport


def test_importing_the_transport_does_not_import_requests() -> None:
    """A pass with nothing due does not pay for requests."""
    code = (
        "import sys; from tracker.transports.requests import RequestsTransport as T; T().close();"
        "sys.exit('requests' in sys.modules or 'urllib3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_half_a_status_line_is_an_answer(server: Misbehaving) -> None:
    """Once a byte came back, the connection was alive, and a read is not repeated."""
    transport = RequestsTransport(1)
    for path in ("/ok", "/half-status"):
        transport.send(Call("service", "GET", server.url + path))
        [(_, reply)] = wait_for_replies(transport, 1)
    transport.close()
    assert reply.fault is Fault.RESET
    assert server.paths() == ["/ok", "/half-status"]


def test_sessions_are_apart(server: Misbehaving) -> None:
    """Two services on one host share no connection."""
    transport = RequestsTransport(1)
    for service in ("one", "two"):
        transport.send(Call(service, "GET", f"{server.url}/ok"))
        wait_for_replies(transport, 1)
    transport.close()
    assert server.connections == 2


class Gate:
    """Work that waits until it may end."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began = threading.Semaphore(0)

    def __call__(self, call: Call) -> Reply:
        self.began.release()
        assert self.open.wait(PATIENCE)
        return Reply(status=200)


def a_call(tag: object = None) -> Call:
    return Call("service", "GET", "", tag=tag)


def test_threads_start_only_when_the_others_are_busy() -> None:
    """One call after the other needs one thread; more at a time need more, up to the limit."""
    gate = Gate()
    pool = ThreadPool(gate, 3, "test")
    assert pool.started == 0
    gate.open.set()
    for _ in range(5):
        pool.send(a_call())
        wait_for_replies(pool, 1)
    assert pool.started == 1
    gate.open.clear()
    for _ in range(8):
        pool.send(a_call())
    assert pool.started == 3
    gate.open.set()
    wait_for_replies(pool, 8)
    pool.close()


def test_a_wake_starves_no_call() -> None:
    """A wake that nobody has taken yet does not hide that all threads are busy."""
    gate = Gate()
    pool = ThreadPool(gate, 4, "test")
    pool.wake()
    for number in range(1, 5):
        pool.send(a_call())
        assert gate.began.acquire(timeout=PATIENCE), f"call {number} did not start"
    gate.open.set()
    replies: list[object] = []
    while len(replies) < 4:
        replies += pool.receive(PATIENCE)
    pool.close()


def test_a_closed_pool_starts_nothing_and_its_threads_end() -> None:
    """What waits at `close` is not called; the threads end after the call they are at."""
    gate = Gate()
    pool = ThreadPool(gate, 1, "ending")
    pool.send(a_call())
    pool.send(a_call())
    assert gate.began.acquire(timeout=PATIENCE)
    pool.close()
    gate.open.set()
    for thread in threading.enumerate():
        if thread.name.startswith("ending"):
            assert thread.daemon
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert not gate.began.acquire(blocking=False)


def test_sending_is_cheap() -> None:
    """Handing a call over takes microseconds, so that the loop can keep many in flight."""
    gate = Gate()
    pool = ThreadPool(gate, 1, "test")
    started = time.perf_counter()
    for _ in range(2000):
        pool.send(a_call())
    assert time.perf_counter() - started < 0.2  # 100 µs each; 2 µs on an idle machine
    gate.open.set()
    wait_for_replies(pool, 2000)
    pool.close()


def test_a_stream_is_read_in_pieces_and_never_beyond_its_size(tmp_path: Path) -> None:
    """A file that grows while it is sent does not break the announced length; one that shrinks
    is an error."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        stream = Stream(file, 4, b"<", b">")
        assert stream.length == 6
        assert list(iter(lambda: stream.read(3), b"")) == [b"<", b"012", b"3", b">"]
    with path.open("rb") as file, pytest.raises(OSError, match="shorter"):
        Stream(file, 11).read(10), Stream(file, 1).read(1)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("step", [1, 10**6])
def test_a_decoder_hands_out_small_pieces(encoding: str, step: int) -> None:
    """However much a packed byte stands for, memory holds one piece of it, and none is lost."""
    size = 5 * PIECE + 7
    packed = gzip.compress(b"\0" * size)
    if encoding == "deflate":  # as some servers understand it: without the zlib wrapper
        packed = zlib.compress(b"\0" * size)[2:-4]
    decoder = Decoder(encoding)
    sizes = [
        len(piece)
        for start in range(0, len(packed), step)
        for piece in decoder.feed(packed[start : start + step])
    ]
    decoder.finish()
    assert max(sizes) <= PIECE
    assert sum(sizes) == size
