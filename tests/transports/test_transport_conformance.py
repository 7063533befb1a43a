"""What every transport for HTTP promises: requests, replies, and being a transport."""

from __future__ import annotations

import gc
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asking import Ask, echoed, wait_for_replies
from freezegun import freeze_time
from misbehaving import PATIENCE, Misbehaving

from tracker.transports.base import Call, Transport

# Requests and replies


def test_a_reply_brings_status_headers_body_and_time(ask: Ask, server: Misbehaving) -> None:
    """A plain call comes back with everything that a definition reads, and no fault."""
    reply = ask("/ok?a=1")
    assert (reply.status, reply.fault, reply.message) == (200, None, "")
    assert reply.body == b'{"state": "done"}'
    assert reply.headers["content-type"] == "application/json"
    assert reply.url == f"{server.url}/ok?a=1"
    assert 0 < reply.elapsed < 5
    assert reply.sent


def test_header_names_are_lower_case_and_repeats_are_joined(ask: Ask) -> None:
    """A definition finds a header whatever its case, and loses none that comes twice."""
    headers = ask("/repeated").headers
    assert headers["x-thing"] == "one, two"
    assert headers["x-loud"] == "yes"


@pytest.mark.parametrize("status", [204, 304, 400, 404, 409, 418, 429, 500, 503])
def test_any_status_is_a_plain_reply(ask: Ask, status: int) -> None:
    """What a status means is not for the transport to say."""
    reply = ask(f"/status/{status}")
    assert (reply.status, reply.fault) == (status, None)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_method_headers_and_body_arrive_as_given(ask: Ask, method: str) -> None:
    """The service gets exactly the request that was built, with its length."""
    headers = {"X-Key": "v", "content-type": "application/json", "Content-Length": "99"}
    seen = echoed(ask("/echo?q=%20a", method, headers=headers, body=b'{"\xff": 1}'))
    assert (seen["method"], seen["target"]) == (method, "/echo?q=%20a")
    assert seen["body"] == '{"ÿ": 1}'
    assert seen["headers"]["content-type"] == "application/json"
    assert seen["headers"]["x-key"] == "v"
    assert seen["headers"]["content-length"] == "8"


def test_own_headers_replace_the_defaults_whatever_their_case(ask: Ask) -> None:
    """One User-Agent arrives, and it is the definition's."""
    assert echoed(ask("/echo"))["headers"]["user-agent"].startswith("tracker/")
    assert echoed(ask("/echo", headers={"user-AGENT": "me"}))["headers"]["user-agent"] == "me"


def test_a_post_without_body_says_that_it_has_none(ask: Ask) -> None:
    """Servers answer 411 to a POST without any length."""
    assert echoed(ask("/echo", "POST"))["headers"]["content-length"] == "0"


def test_a_body_goes_out_once(ask: Ask) -> None:
    """Nothing of a call is left over for the next one."""
    options = {"body": b"secret", "headers": {"X-Key": "k"}}
    assert echoed(ask("/echo", "POST", **options))["body"] == "secret"
    seen = echoed(ask("/echo", "POST"))
    assert seen["body"] == "" and "x-key" not in seen["headers"]


def test_a_path_goes_out_as_it_is(ask: Ask) -> None:
    """Dots and doubled slashes may mean something over there."""
    target = "/echo/a/../b/.//c?d=/../e"
    assert echoed(ask(target))["target"] == target


def test_head_has_no_body_however_long_it_claims_to_be(ask: Ask) -> None:
    """The length in a HEAD reply is that of a body which never comes."""
    reply = ask("/head", "HEAD", max_bytes=10)
    assert (reply.status, reply.fault, reply.body) == (200, None, b"")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/gzip", b"packed" * 99),
        ("/members", b"onetwo"),
        ("/deflate", b"zlib"),
        ("/raw-deflate", b"raw"),
        ("/chunked", b"hello world"),
        ("/until-close", b"all of it"),
        ("/latin", b"gr\xfcn"),
    ],
)
def test_bodies_are_decoded_but_not_interpreted(ask: Ask, path: str, body: bytes) -> None:
    """Every framing and compression that was asked for is undone; text stays bytes."""
    reply = ask(path)
    assert (reply.fault, reply.body) == (None, body)


def test_a_url_may_hold_what_is_not_ascii(ask: Ask) -> None:
    """Characters outside ASCII travel percent-encoded."""
    assert echoed(ask("/echo/grün und"))["target"] == "/echo/gr%C3%BCn%20und"


def test_userinfo_in_a_url_signs_in_and_a_fragment_stays_here(
    ask: Ask, server: Misbehaving
) -> None:
    """``user:password@`` becomes Basic authentication, as everywhere."""
    url = server.url.replace("://", "://me:pw@") + "/echo#top"
    seen = echoed(ask(url))
    assert seen["headers"]["authorization"] == "Basic bWU6cHc="
    assert seen["target"] == "/echo"


def test_cookies_are_not_kept(ask: Ask) -> None:
    """One job's cookie never goes along with another job's call."""
    ask("/cookie")
    assert "cookie" not in echoed(ask("/echo"))["headers"]


def test_netrc_is_not_read(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only credentials that the service's definition names are ever sent."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password pw\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert "authorization" not in echoed(ask("/echo"))["headers"]


def test_a_header_may_be_empty(ask: Ask) -> None:
    """An empty value is a value, and an own header is none that a transport may leave out."""
    headers = echoed(ask("/echo", headers={"X-Empty": "", "X-Blank": " ", "X-Key": "a:b"}))[
        "headers"
    ]
    assert (headers["x-empty"], headers["x-blank"], headers["x-key"]) == ("", "", "a:b")


# Being a transport


def test_every_call_comes_back_once_with_its_own_reply(
    transport: Transport, server: Misbehaving
) -> None:
    """Replies are not mixed up, and ``in_flight`` counts what is still owed."""
    for number in range(200):
        call = Call("service", "POST", f"{server.url}/echo", body=b"%d" % number, tag=number)
        transport.send(call)
    assert transport.in_flight == 200
    replies = wait_for_replies(transport, 200)
    assert transport.in_flight == 0
    assert sorted(call.tag for call, _ in replies) == list(range(200))
    assert all(echoed(reply)["body"] == str(call.tag) for call, reply in replies)


def test_a_slow_call_holds_up_nobody(transport: Transport, server: Misbehaving) -> None:
    """Replies come in the order in which they are there."""
    transport.send(Call("service", "GET", f"{server.url}/never", timeout=PATIENCE))
    server.wait_for(lambda: server.paths() == ["/never"])
    transport.send(Call("service", "GET", f"{server.url}/ok", tag="quick"))
    [(call, _)] = wait_for_replies(transport, 1)
    assert call.tag == "quick"
    assert transport.in_flight == 1


@pytest.mark.parametrize("encrypted", [False, True])
def test_the_first_call_to_a_host_holds_up_nobody(
    transport: Transport,
    server: Misbehaving,
    tls_server: Misbehaving,
    tls_files: tuple[Path, Path],
    encrypted: bool,
) -> None:
    """Calls that set out together do not wait for the reply to one of them, whatever is not yet
    known of their host."""
    host = tls_server if encrypted else server
    paths = ["/never", *["/ok"] * 9]
    calls = [
        Call("s", "GET", host.url + path, verify=str(tls_files[0]), tag=path) for path in paths
    ]
    transport.send(*calls)
    replies = wait_for_replies(transport, 9)
    assert {(call.tag, reply.status, reply.fault) for call, reply in replies} == {
        ("/ok", 200, None)
    }
    assert transport.in_flight == 1


def test_frozen_time_does_not_stop_the_network(transport: Transport, server: Misbehaving) -> None:
    """Timeouts run on while a test stands still, and a jump of its clock ends no call."""
    with freeze_time("2026-01-31") as frozen:
        transport.send(Call("service", "GET", f"{server.url}/never", timeout=0.3, tag="slow"))
        transport.send(Call("service", "GET", f"{server.url}/ok", tag="quick"))
        frozen.tick(timedelta(hours=1))
        replies = {call.tag: reply for call, reply in wait_for_replies(transport, 2)}
        assert transport.receive(0.01) == []
    assert replies["quick"].fault is None
    assert 0.3 <= replies["slow"].elapsed < 1.5


def test_receive_waits_no_longer_than_asked(transport: Transport) -> None:
    """With nothing to receive, the timeout is kept, and zero does not wait."""
    started = time.monotonic()
    assert transport.receive(0) == []
    assert time.monotonic() - started < 0.1
    assert transport.receive(0.2) == []
    assert 0.19 <= time.monotonic() - started < 1.5


def test_wake_ends_a_blocked_receive(transport: Transport, server: Misbehaving) -> None:
    """A signal handler gets the loop going again; a wake is used up by one receive."""
    transport.send(Call("service", "GET", f"{server.url}/never", timeout=PATIENCE))
    results: list[list[Any]] = []
    thread = threading.Thread(target=lambda: results.append(transport.receive(PATIENCE)))
    thread.start()
    server.wait_for(lambda: server.paths() == ["/never"])
    transport.wake()
    thread.join(PATIENCE)
    assert results == [[]]
    assert transport.in_flight == 1
    transport.wake()
    transport.wake()
    assert transport.receive(PATIENCE) == []
    assert transport.receive(0.05) == []


def test_close_drops_connections_and_is_repeatable(
    transport: Transport, server: Misbehaving
) -> None:
    """After `close` no connection stays open, idle or busy, and nothing more is taken."""
    transport.send(Call("service", "GET", f"{server.url}/ok"))
    wait_for_replies(transport, 1)
    transport.send(Call("service", "GET", f"{server.url}/never", timeout=20 * PATIENCE))
    server.wait_for(lambda: server.paths()[-1] == "/never")
    started = time.monotonic()
    transport.close()
    transport.close()
    assert time.monotonic() - started < 1
    gc.collect()
    server.wait_for(lambda: server.open == 0)
    with pytest.raises(RuntimeError):
        transport.send(Call("service", "GET", f"{server.url}/ok"))
