"""Connections to S3 that do not come about, break, or bring nonsense."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest
from asking_s3 import TASKS, Asker, task_of
from s3front import Answer, Request
from s3server import S3Server
from unruly import cutting, failing

from tracker.model import Fault
from tracker.transports.aws import ATTEMPTS
from tracker.transports.base import Call
from tracker.transports.tasks import Begin, Get, Item, Look, Put, Remove


@pytest.mark.parametrize("kind", TASKS)
def test_a_server_that_is_not_there_is_unreachable(ask: Asker, s3: S3Server, kind: str) -> None:
    """Refused connections pause the service and burn no attempt; nothing has left."""
    task, _ = task_of(ask, s3, kind)
    s3.pause()
    fault, sent, message = ask.refused(task)
    assert (fault, sent) == (Fault.UNREACHABLE, False)
    assert "Could not connect" in message
    s3.resume()
    assert ask.do(task).fault is None


def test_an_unknown_host_is_unreachable(ask: Asker) -> None:
    """A name without an address: nothing has left."""
    task = Look(replace(ask.endpoint, url="http://nothing.invalid"), "bucket", "k")
    assert ask.refused(task)[:2] == (Fault.UNREACHABLE, False)


def test_a_port_that_speaks_no_tls_is_unreachable(ask: Asker, s3: S3Server) -> None:
    """https to a server of http is a matter of the configuration: nothing has left."""
    s3.need_front()
    task = Look(replace(ask.endpoint, url=s3.url.replace("http:", "https:")), "bucket", "k")
    assert ask.refused(task)[:2] == (Fault.UNREACHABLE, False)


@pytest.mark.parametrize("kind", TASKS)
def test_a_connection_that_breaks_is_a_reset(ask: Asker, s3: S3Server, kind: str) -> None:
    """What was sent may have been carried out; boto3's own attempts are used up by then."""
    task, operation = task_of(ask, s3, kind)
    s3.interfere(cutting, operation)
    assert ask.refused(task)[:2] == (Fault.RESET, True)
    assert s3.count(operation) == ATTEMPTS


def test_a_body_that_breaks_off_is_a_reset(ask: Asker, s3: S3Server) -> None:
    """Half an object is no object."""
    bucket = s3.bucket()
    s3.put(bucket, "k", b"x" * 1000)
    s3.interfere(lambda request: replace(s3.pass_on(request), cut=500), "GetObject")
    assert ask.refused(Get(ask.endpoint, bucket, "k"))[:2] == (Fault.RESET, True)


@pytest.mark.parametrize("kind", ["put", "get", "delete"])
def test_a_server_that_falls_silent_times_out(ask: Asker, s3: S3Server, kind: str) -> None:
    """The configured number of seconds without a byte, and no longer, for each attempt."""
    task, operation = task_of(ask, s3, kind)
    task = replace(task, endpoint=replace(task.endpoint, timeout=0.1))
    over = threading.Event()

    def dawdle(request: Request) -> Answer:
        over.wait(30)
        return Answer(cut=0)

    s3.interfere(dawdle, operation)
    fault, sent, message = ask.refused(task)
    over.set()
    assert (fault, sent) == (Fault.TIMEOUT, True)
    assert "timeout" in message.lower()


@pytest.mark.parametrize("kind", ["put", "begin", "part", "delete"])
def test_one_failure_is_made_good_within_the_call(ask: Asker, s3: S3Server, kind: str) -> None:
    """boto3's standard mode tries again by itself after what passes."""
    task, operation = task_of(ask, s3, kind)
    s3.interfere(failing(503, "SlowDown"), operation, times=ATTEMPTS - 1)
    assert ask.do(task).fault is None
    assert s3.count(operation) == ATTEMPTS


PAGE = b"<html><body>Sign in to the hotel's network</body></html>"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("begin", PAGE),
        ("begin", b""),
        ("list", b"garbage"),
        ("delete", b"garbage"),
        ("delete", PAGE),
    ],
)
def test_a_reply_that_makes_no_sense_is_no_success(
    ask: Asker, s3: S3Server, kind: str, body: bytes
) -> None:
    """A proxy's page in place of S3's XML is told as what it is, and may have been carried out."""
    task, operation = task_of(ask, s3, kind)
    s3.interfere(lambda request: Answer(200, body), operation)
    fault, sent, message = ask.refused(task)
    # botocore itself takes a 200 that is no XML for an error of the server.
    assert fault is (Fault.SERVER if body == b"garbage" else Fault.UNREADABLE) and sent
    assert message.startswith(f"s3://{task.bucket}")


def test_tasks_go_on_beside_each_other(ask: Asker, s3: S3Server) -> None:
    """A slow upload does not hold up a removal: calls are in flight at the same time."""
    bucket = s3.bucket()
    s3.put(bucket, "old")
    meeting = threading.Barrier(2, timeout=20)

    def meet(request: Request) -> None:
        meeting.wait()

    s3.interfere(meet, "PutObject", "DeleteObjects", times=2)
    tasks: list[Put | Remove | Begin] = [
        ask.put(bucket, "new"),
        Remove(ask.endpoint, bucket, [Item("old")]),
    ]
    for task in tasks:
        ask.transport.send(Call("storage:uploads", "TASK", "", task=task))
    replies = []
    while len(replies) < 2:
        replies += ask.transport.receive(30)
    assert [reply.fault for _, reply in replies] == [None, None]
    assert s3.keys(bucket) == ["new"]


def test_a_closed_transport_takes_no_more(ask: Asker) -> None:
    """After close, sending is an error, and closing again is none."""
    ask.transport.close()
    ask.transport.close()
    with pytest.raises(RuntimeError):
        ask.transport.send(Call("storage:uploads", "TASK", ""))


def test_a_connect_that_hangs_is_unreachable(ask: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that swallows packets is unreachable, and nothing has left."""
    monkeypatch.setattr("tracker.transports.aws.CONNECT_SECONDS", 0.1)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:  # nobody accepts: from the second on, the attempts are dropped
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        task = Look(replace(ask.endpoint, url=url), "bucket", "k")
        assert ask.refused(task)[:2] == (Fault.UNREACHABLE, False)
        for client in clients:
            client.close()
