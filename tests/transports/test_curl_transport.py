"""What is particular to the transport over libcurl, and how it is chosen."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import echoed, wait_for_replies
from misbehaving import PATIENCE, Misbehaving
from second import Second

from tracker.errors import ConfigError
from tracker.model import Fault
from tracker.transports import HTTP, TRANSPORTS
from tracker.transports.base import Call, Reply
from tracker.transports.curl import CurlTransport
from tracker.transports.dialogue import MAX_IDLE
from tracker.transports.requests import RequestsTransport


@pytest.fixture
def curl() -> Iterator[CurlTransport]:
    one = CurlTransport()
    yield one
    one.close()


def replied(transport: CurlTransport, call: Call) -> Reply:
    transport.send(call)
    [(_, reply)] = wait_for_replies(transport, 1)
    return reply


# Which transport


def test_asking_for_curl_without_pycurl(monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear error, with the command that helps."""
    monkeypatch.setitem(sys.modules, "pycurl", None)
    with pytest.raises(ConfigError, match=r"needs pycurl.*pip install 'tracker-jobs\[fast\]'"):
        TRANSPORTS["curl"](1)


def test_whoever_names_none_has_curl_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word about it calls go over curl where pycurl is installed and of use; over
    requests where it is not."""
    found = TRANSPORTS[HTTP](1)
    found.close()
    assert isinstance(found, CurlTransport)
    monkeypatch.delattr("pycurl.M_SOCKETFUNCTION")  # as with one that is too old
    old = TRANSPORTS[HTTP](1)
    old.close()
    monkeypatch.setitem(sys.modules, "pycurl", None)
    monkeypatch.delitem(sys.modules, "tracker.transports.curl")
    broken = TRANSPORTS[HTTP](1)
    broken.close()
    assert [type(one) for one in (old, broken)] == [RequestsTransport] * 2


def test_nothing_is_imported_before_the_first_call() -> None:
    """A pass with nothing due does not pay for pycurl, and one over curl not for requests."""
    code = (
        "import sys; import tracker.transports as t, tracker.services;"
        "assert t.pycurl_is_there() and 'pycurl' not in sys.modules;"
        "t.TRANSPORTS['curl'](1).close();"
        "sys.exit('requests' in sys.modules or 'urllib3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


# HTTP/2


def test_calls_share_one_connection_where_the_server_speaks_http_2(
    curl: CurlTransport, tls_files: tuple[Path, Path]
) -> None:
    """Twenty reads at the same time need one connection and one handshake."""
    server = Second(*tls_files, together=20)
    for number in range(20):
        url = f"{server.url}/jobs/{number}?a=b"
        curl.send(Call("s", "GET", url, verify=str(tls_files[0])))
    server.open.set()
    replies = [reply for _, reply in wait_for_replies(curl, 20)]
    server.close()
    assert {(reply.status, reply.body, reply.fault) for reply in replies} == {
        (200, b"second", None)
    }
    assert replies[0].headers == {"x-thing": "one, two"}
    assert sorted(server.paths) == sorted(f"/jobs/{number}?a=b" for number in range(20))
    assert server.connections == 1


def test_writes_stay_with_http_1(curl: CurlTransport, tls_files: tuple[Path, Path]) -> None:
    """Of HTTP/2, nobody could tell whether a write that crossed a farewell was carried out."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls_files)
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = Misbehaving(context)
    url, trusted = f"{server.url}/echo", str(tls_files[0])
    reply = replied(curl, Call("s", "POST", url, body=b"x", verify=trusted))
    server.close()
    assert echoed(reply)["body"] == "x"


# Time and connections


def test_a_reply_that_was_there_in_time_counts(curl: CurlTransport, server: Misbehaving) -> None:
    """A loop that was busy elsewhere until after the deadline does not lose what had come."""
    curl.send(Call("s", "GET", f"{server.url}/ok"))
    wait_for_replies(curl, 1)
    curl.send(Call("s", "POST", f"{server.url}/ok", timeout=0.3))
    server.wait_for(lambda: len(server.requests) == 2)
    threading.Event().wait(0.5)  # longer than the call's time
    [(_, reply)] = wait_for_replies(curl, 1)
    assert (reply.status, reply.fault) == (200, None)


def test_a_write_trusts_a_connection_for_seconds_only(
    curl: CurlTransport, server: Misbehaving
) -> None:
    """libcurl is told for how long, and keeps to it."""
    for method in ("POST", "POST"):
        replied(curl, Call("s", method, f"{server.url}/echo"))
    threading.Event().wait(MAX_IDLE + 0.1)
    replied(curl, Call("s", "POST", f"{server.url}/echo"))
    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_a_read_is_repeated_once_and_no_more(curl: CurlTransport, server: Misbehaving) -> None:
    """libcurl does not tell half a status line from silence: such a read goes out twice, not six
    times as it would by itself, and fails."""
    replied(curl, Call("s", "GET", f"{server.url}/ok"))
    assert replied(curl, Call("s", "GET", f"{server.url}/half-status")).fault is Fault.RESET
    assert server.paths() == ["/ok", "/half-status", "/half-status"]


def test_what_waits_for_its_turn_has_all_its_time(server: Misbehaving) -> None:
    """A call's time begins when it does: not while others occupy the transport."""
    curl = CurlTransport(1)
    for path in ("/never", "/ok"):
        curl.send(Call("s", "GET", server.url + path, timeout=0.3))
    first, second = (reply for _, reply in wait_for_replies(curl, 2))
    curl.close()
    assert (first.fault, second.fault) == (Fault.TIMEOUT, None)
    assert second.elapsed < 0.3


def test_a_large_file_holds_up_nobody_while_it_is_made_durable(
    curl: CurlTransport, server: Misbehaving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a disk is done beside the loop."""
    gate = threading.Event()
    monkeypatch.setattr("tracker.transports.incoming.os.fsync", lambda _: gate.wait(PATIENCE))
    curl.send(Call("s", "GET", f"{server.url}/big", sink=tmp_path / "out", tag="file"))
    server.wait_for(lambda: server.paths() == ["/big"])
    curl.send(Call("s", "GET", f"{server.url}/ok", tag="quick"))
    [(call, _)] = wait_for_replies(curl, 1)
    assert call.tag == "quick"
    gate.set()
    [(call, reply)] = wait_for_replies(curl, 1)
    assert (call.tag, reply.size, reply.fault) == ("file", 10**6, None)


def test_close_ends_what_is_under_way(server: Misbehaving, tmp_path: Path) -> None:
    """What had left is in doubt, and no partial file stays."""
    curl = CurlTransport()
    sink = tmp_path / "out"
    curl.send(Call("s", "GET", f"{server.url}/drip-body", sink=sink, timeout=PATIENCE))
    curl.send(Call("s", "POST", f"{server.url}/never", timeout=PATIENCE))
    while not sink.exists() or len(server.requests) < 2:
        assert curl.receive(0.01) == []
    curl.close()
    assert {(reply.fault, reply.sent) for _, reply in curl.receive(PATIENCE)} == {
        (Fault.RESET, True)
    }
    assert not sink.exists() and curl.in_flight == 0
