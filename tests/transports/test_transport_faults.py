"""What every transport for HTTP promises: faults, and the words for them."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
from asking import Ask, wait_for_replies
from misbehaving import PATIENCE, Misbehaving

from tracker.model import Fault
from tracker.transports.base import Call, Transport


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/close",
        "/reset",
        "/reset-body",
        "/garbage",
        "/binary",
        "/short",
        "/bad-chunk",
        "/many-headers",
        "/more-headers",
        "/long-header",
    ],
)
def test_a_broken_connection_is_a_reset_after_sending(ask: Ask, path: str, method: str) -> None:
    """Whatever breaks after the request has left may have been carried out over there."""
    reply = ask(path, method)
    assert (reply.fault, reply.sent) == (Fault.RESET, True)
    assert path in reply.message


def test_no_call_is_repeated_on_a_new_connection(ask: Ask, server: Misbehaving) -> None:
    """A server that drops a first request gets it once, not twice."""
    ask("/reset")
    ask("/close", "POST")
    assert server.paths() == ["/reset", "/close"]


def test_refused_is_unreachable_and_unsent(ask: Ask) -> None:
    """Nobody listens: nothing has left."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        reply = ask(f"http://127.0.0.1:{sock.getsockname()[1]}/", "POST", body=b"x")
    assert (reply.fault, reply.sent) == (Fault.UNREACHABLE, False)
    assert "refused" in reply.message


def test_a_connection_that_does_not_come_about_is_unreachable(ask: Ask) -> None:
    """A host that swallows packets is the service's problem, and nothing has left."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # nobody accepts: from the second on, the system drops the attempts
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        reply = ask(f"http://127.0.0.1:{full.getsockname()[1]}/", "POST", timeout=0.4)
    assert (reply.fault, reply.sent) == (Fault.UNREACHABLE, False)
    assert reply.elapsed < 1.5


def test_an_unknown_host_is_unreachable(ask: Ask) -> None:
    """A name without an address: nothing has left."""
    reply = ask("http://nothing.invalid/x", "POST", timeout=PATIENCE)
    assert (reply.fault, reply.sent) == (Fault.UNREACHABLE, False)
    assert "http://nothing.invalid/x" in reply.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nowhere",
        "/path/only",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
        "http://[::1/",
        "http://127.0.0.1/a\nb",
        "http://127.0.0.1\\@example.com/",
        "http://" + "a" * 300 + ".example/",
    ],
)
def test_what_is_no_url_is_invalid(transport: Transport, url: str) -> None:
    """A URL that cannot be called is a mistake in a definition, not an outage."""
    transport.send(Call("service", "GET", url))
    [(_, reply)] = wait_for_replies(transport, 1)
    assert (reply.fault, reply.sent) == (Fault.INVALID, False)
    assert reply.message


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Key": "a\nInjected: yes"},
        {"X-Key": "a\r\n b"},
        {"X-Key": "a\0b"},
        {"X-Key": "snow\u2603"},
        {"X Key": "a"},
        {"X-Key: b\r\nX": "a"},
        {"": "a"},
    ],
)
def test_headers_that_cannot_be_written_are_invalid(
    ask: Ask, server: Misbehaving, headers: dict[str, str]
) -> None:
    """Nothing smuggles a second header or request; the message does not show the value."""
    reply = ask("/echo", headers=headers)
    assert (reply.fault, reply.sent) == (Fault.INVALID, False)
    assert "Injected" not in reply.message and "snow" not in reply.message
    assert server.requests == []


@pytest.mark.parametrize("method", ["", "GET /x HTTP/1.1\r\nA: b\r\n\r\n", "G T"])
def test_a_method_that_is_no_word_is_invalid(ask: Ask, server: Misbehaving, method: str) -> None:
    """A method cannot smuggle a request either."""
    assert ask("/echo", method).fault is Fault.INVALID
    assert server.requests == []


def test_messages_are_one_short_line_without_secrets(ask: Ask, server: Misbehaving) -> None:
    """Messages end up in rows, logs and terminals: no query, no userinfo, no header."""
    host = server.url.partition("://")[2]
    url = f"http://user:hunter2@{host}/close/{'x' * 500}?token=s3cret#s3cret"
    reply = ask(url, "POST", headers={"Authorization": "Bearer s3cret"})
    assert reply.fault is Fault.RESET
    assert f"http://{host}/close" in reply.message
    assert len(reply.message) <= 200 and reply.message.isprintable()
    assert "s3cret" not in reply.message and "hunter2" not in reply.message


@pytest.mark.parametrize("url", ["http://u:hunter2@h:port/", "http://u:hun/ter2@h/", "u:hunter2"])
def test_messages_show_nothing_of_a_url_that_cannot_be_parsed(
    transport: Transport, url: str
) -> None:
    """Where the parts of a URL cannot be told apart, no part is shown."""
    transport.send(Call("service", "GET", url, timeout=0.2))
    [(_, reply)] = wait_for_replies(transport, 1)
    assert reply.fault is not None
    assert "hun" not in reply.message


def test_no_time_at_all_sends_nothing(ask: Ask, server: Misbehaving) -> None:
    """A timeout of zero is over before the connection."""
    reply = ask("/ok", "POST", timeout=0.0)
    assert (reply.fault, reply.sent) == (Fault.UNREACHABLE, False)
    assert server.requests == []
