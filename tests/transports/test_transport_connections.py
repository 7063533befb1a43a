"""What every transport for HTTP promises: proxies, and connections that are kept."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from asking import Ask, echoed, wait_for_replies
from misbehaving import Misbehaving

from tracker.model import Fault
from tracker.transports import dialogue
from tracker.transports.base import Call, Transport

Tls = tuple[Path, ssl.SSLContext]


# Proxies


def test_the_environment_names_a_proxy(
    ask: Ask, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call to a host that only the proxy knows arrives at the proxy."""
    monkeypatch.setenv("http_proxy", server.url.replace("://", "://me:pw@"))
    reply = ask("http://inside.invalid/echo?x=1")
    assert (reply.status, reply.url) == (200, "http://inside.invalid/echo?x=1")
    seen = server.requests[0]
    assert seen.target == "http://inside.invalid/echo?x=1"
    assert seen.headers["host"] == "inside.invalid"
    assert seen.headers["proxy-authorization"] == "Basic bWU6cHc="


def test_the_environment_names_exceptions(
    ask: Ask, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``NO_PROXY`` goes around the proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert ask("/ok").fault is Fault.UNREACHABLE
    url = server.url + "/ok"
    for exception in ("127.0.0.0/8", "10.0.0.1, 127.0.0.1", "*"):
        monkeypatch.setenv("no_proxy", exception)
        assert ask(url, verify=exception).status == 200
    monkeypatch.setenv("no_proxy", "localhost")
    assert ask(url, verify="once more").fault is Fault.UNREACHABLE
    assert ask(url.replace("127.0.0.1", "localhost")).status == 200


def test_tls_goes_through_a_proxy(
    ask: Ask, server: Misbehaving, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees a CONNECT; the request goes through its tunnel."""
    server.tunnel = tls[1]
    monkeypatch.setenv("https_proxy", server.url)
    url = server.url.replace("http:", "https:") + "/echo"
    reply = ask(url, "POST", body=b"x", verify=str(tls[0]))
    assert echoed(reply)["body"] == "x"
    assert reply.headers["content-type"] == "application/json"
    assert [request.method for request in server.requests] == ["CONNECT", "POST"]


def test_a_proxy_that_refuses_is_unreachable(
    ask: Ask, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went to the proxy was not the request."""
    monkeypatch.setenv("https_proxy", server.url)
    reply = ask("https://inside.invalid/echo", "POST", body=b"x")
    assert (reply.fault, reply.sent) == (Fault.UNREACHABLE, False)
    assert [request.method for request in server.requests] == ["CONNECT"]


# Kept connections


def test_connections_are_kept(ask: Ask, server: Misbehaving) -> None:
    """Calls one after the other, whatever their method, share one connection."""
    for method in ("GET", "POST", "GET", "POST"):
        assert ask("/echo", method).fault is None
    assert ask("/redirect/302").fault is None
    assert server.connections == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_closed_meanwhile_is_noticed(
    ask: Ask, server: Misbehaving, method: str
) -> None:
    """A server that closed after its reply costs a new connection, not a doubt."""
    ask("/then-close")
    server.wait_for(lambda: server.open == 0)
    assert ask("/echo", method, body=b"x").fault is None
    assert server.paths() == ["/then-close", "/echo"]


def test_a_read_that_crosses_a_close_is_repeated_once(ask: Ask, server: Misbehaving) -> None:
    """Reading twice harms nobody, so a GET survives an old connection."""
    ask("/close-on-second")
    assert ask("/echo").fault is None
    assert server.paths() == ["/close-on-second", "/echo", "/echo"]
    assert server.connections == 2


def test_a_write_that_crosses_a_close_is_in_doubt(ask: Ask, server: Misbehaving) -> None:
    """Nobody can tell whether a POST was carried out, so it is not sent twice."""
    ask("/close-on-second")
    reply = ask("/echo", "POST", body=b"x")
    assert (reply.fault, reply.sent) == (Fault.RESET, True)
    assert server.paths() == ["/close-on-second", "/echo"]


def test_a_repeated_read_gets_a_new_connection(
    ask: Ask, transport: Transport, server: Misbehaving
) -> None:
    """Where one kept connection is dead, the others are likely to be: none of them is tried."""
    for _ in range(3):
        transport.send(Call("service", "GET", f"{server.url}/together"))
    wait_for_replies(transport, 3)
    assert ask("/echo").fault is None
    assert server.paths()[3:] == ["/echo", "/echo"]
    assert server.connections == 4


def test_a_read_that_was_answered_is_not_repeated(ask: Ask, server: Misbehaving) -> None:
    """Once a reply came back, the connection was alive; the reply is what is wrong."""
    ask("/ok")
    assert ask("/garbage").fault is Fault.RESET
    assert server.paths() == ["/ok", "/garbage"]


def test_a_write_does_not_trust_an_idle_connection(
    ask: Ask, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection idle for long carries reads, but no call that must not be repeated."""
    monkeypatch.setattr(dialogue, "MAX_IDLE", -1.0)
    for method in ("GET", "GET", "POST"):
        ask("/echo", method)
    assert [request.connection for request in server.requests] == [1, 1, 2]
