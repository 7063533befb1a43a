"""What every transport for HTTP promises: redirects, credentials and TLS."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from asking import Ask, echoed, wait_for_replies
from misbehaving import PATIENCE, Misbehaving

from tracker.errors import ConfigError
from tracker.model import Fault
from tracker.transports.base import Call, Transport

Tls = tuple[Path, ssl.SSLContext]


class Token:
    """A credential that has one more token in reserve."""

    def __init__(self, *tokens: str, broken: str = "") -> None:
        self.tokens = list(tokens)
        self.broken = broken
        self.renewals: list[Mapping[str, str]] = []

    def headers(self) -> Mapping[str, str]:
        if self.broken:
            raise ConfigError(self.broken, "set it")
        return {"Authorization": f"Bearer {self.tokens[0]}"}

    def at_hand(self) -> Mapping[str, str] | None:
        return None

    def renew(self, used: Mapping[str, str]) -> bool:
        self.renewals.append(used)
        if len(self.tokens) > 1:
            del self.tokens[0]
            return True
        return False


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reads_follow_redirects_on_the_same_host(
    ask: Ask, server: Misbehaving, status: int, method: str
) -> None:
    """A moved status page is found, with the same credentials, and the reply says where."""
    reply = ask(f"/redirect/{status}", method, credential=Token("t"))
    assert (reply.status, reply.fault) == (200, None)
    assert reply.url == f"{server.url}/echo/there?x=1"
    last = server.requests[-1]
    assert (last.method, last.target) == (method, "/echo/there?x=1")
    assert last.headers["authorization"] == "Bearer t"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writes_hand_redirects_back(
    ask: Ask, server: Misbehaving, status: int, method: str
) -> None:
    """A create answered with 303 and a Location is an answer; nothing is sent twice."""
    reply = ask(f"/redirect/{status}", method, body=b"x")
    assert (reply.status, reply.fault) == (status, None)
    assert reply.headers["location"] == "/echo/there?x=1"
    assert len(server.requests) == 1


def test_no_redirect_leads_to_another_host(
    ask: Ask, server: Misbehaving, other: Misbehaving
) -> None:
    """Credentials stay with the host that they are for; another port is another host."""
    server.elsewhere = other.url
    reply = ask("/elsewhere", credential=Token("t"))
    assert (reply.fault, reply.sent) == (Fault.REDIRECT, True)
    assert "127.0.0.1" in reply.message
    assert "s3cret" not in reply.message
    assert other.requests == []


def test_no_redirect_changes_the_scheme(
    ask: Ask, server: Misbehaving, tls_server: Misbehaving
) -> None:
    """From http to https is another port here, and so another host."""
    server.elsewhere = tls_server.url
    assert ask("/elsewhere", verify=False).fault is Fault.REDIRECT
    assert tls_server.requests == []


def test_the_body_of_a_redirect_is_not_read_to_its_end(ask: Ask, server: Misbehaving) -> None:
    """Nobody wants it, however long it is."""
    reply = ask("/endless-redirect")
    assert (reply.fault, reply.url) == (None, f"{server.url}/echo/there")


@pytest.mark.parametrize("path", ["/file-scheme", "/nowhere"])
def test_a_redirect_needs_a_target_that_can_be_called(ask: Ask, path: str) -> None:
    """No Location, or one that is not HTTP, leads nowhere."""
    reply = ask(path)
    assert (reply.fault, reply.sent) == (Fault.REDIRECT, True)


def test_redirects_end_after_five(ask: Ask, server: Misbehaving) -> None:
    """A loop costs six requests."""
    reply = ask("/loop")
    assert (reply.fault, reply.sent, reply.status) == (Fault.REDIRECT, True, 0)
    assert len(server.requests) == 6


# Credentials


def test_a_401_asks_the_provider_once_more(ask: Ask, server: Misbehaving) -> None:
    """An expired token costs one more request, not a failed call."""
    token = Token("old", "new")
    reply = ask("/login", "POST", body=b"x", credential=token)
    assert (reply.status, reply.fault) == (200, None)
    assert json.loads(reply.body)["body"] == "x"
    assert token.renewals == [{"Authorization": "Bearer old"}]
    assert len(server.requests) == 2


@pytest.mark.parametrize(("tokens", "sent"), [(["old"], 1), (["old", "older", "oldest"], 2)])
def test_a_401_that_stays_is_a_plain_reply(
    ask: Ask, server: Misbehaving, tokens: list[str], sent: int
) -> None:
    """The provider is asked once, whether or not it has something new."""
    token = Token(*tokens)
    reply = ask("/login", credential=token)
    assert (reply.status, reply.fault, reply.body) == (401, None, b"who are you")
    assert len(token.renewals) == 1
    assert len(server.requests) == sent


def test_a_401_without_credentials_is_a_plain_reply(ask: Ask, server: Misbehaving) -> None:
    """Nobody can be asked."""
    assert ask("/login").status == 401
    assert len(server.requests) == 1


def test_no_credentials_is_unauthorised_and_unsent(ask: Ask, server: Misbehaving) -> None:
    """A missing token is told in the provider's words, and the service is not called."""
    reply = ask("/echo", "POST", credential=Token(broken="DOCS_TOKEN is not set"))
    assert (reply.fault, reply.sent) == (Fault.SIGNED_OUT, False)
    assert "DOCS_TOKEN is not set (set it)" in reply.message
    assert server.requests == []


def test_what_breaks_after_a_renewal_was_sent(ask: Ask) -> None:
    """The first attempt was refused, the second is in doubt."""
    reply = ask("/login-close", "POST", credential=Token("old", "new"))
    assert (reply.fault, reply.sent) == (Fault.RESET, True)


def test_what_cannot_be_sent_after_a_renewal_is_in_nobody_s_doubt(ask: Ask) -> None:
    """The first attempt was refused and the second never left: the job does not exist there."""
    reply = ask("/login-gone", "POST", credential=Token("old", "new"))
    assert (reply.fault, reply.sent) == (Fault.UNREACHABLE, False)


def test_the_provider_s_time_is_not_the_call_s(ask: Ask) -> None:
    """A slow sign-in does not use up the timeout, neither before the call nor between."""

    class Slow(Token):
        def headers(self) -> Mapping[str, str]:
            threading.Event().wait(0.3)
            return super().headers()

    reply = ask("/login", credential=Slow("old", "new"), timeout=0.25)
    assert (reply.status, reply.fault) == (200, None)
    assert reply.elapsed < 0.25


def test_a_provider_that_takes_its_time_holds_up_nobody(
    transport: Transport, server: Misbehaving
) -> None:
    """Asking for a token is not waited for by the calls that need none."""
    asked, answered = threading.Event(), threading.Event()

    class Waiting(Token):
        def headers(self) -> Mapping[str, str]:
            asked.set()
            assert answered.wait(PATIENCE)
            return super().headers()

    transport.send(Call("s", "GET", f"{server.url}/echo", credential=Waiting("t"), tag="slow"))
    transport.send(Call("s", "GET", f"{server.url}/echo", tag="quick"))
    assert asked.wait(PATIENCE)
    [(call, _)] = wait_for_replies(transport, 1)
    assert call.tag == "quick"
    answered.set()
    [(call, reply)] = wait_for_replies(transport, 1)
    assert call.tag == "slow" and echoed(reply)["headers"]["authorization"] == "Bearer t"


def test_what_is_at_hand_is_not_asked_for(ask: Ask) -> None:
    """A provider that has its headers ready is taken at its word, until there is a 401."""

    class Ready(Token):
        def at_hand(self) -> Mapping[str, str]:
            return {"Authorization": "Bearer ready"}

    assert echoed(ask("/echo", credential=Ready("t")))["headers"]["authorization"] == "Bearer ready"
    token = Ready("old", "new")
    assert ask("/login", credential=token).status == 200
    assert token.renewals == [{"Authorization": "Bearer ready"}]


def test_a_provider_that_crashes_costs_one_call(ask: Ask, server: Misbehaving) -> None:
    """An unexpected exception is a fault that quotes nothing, and the next call works."""

    class Broken(Token):
        def headers(self) -> Mapping[str, str]:
            raise KeyError("s3cret")

    class Quitting(Token):
        def headers(self) -> Mapping[str, str]:
            raise SystemExit("s3cret")

    for credential in [Broken("t"), Quitting("t")] * 40:  # more than there are threads
        reply = ask("/echo", credential=credential)
        assert reply.fault is Fault.INVALID
        assert "s3cret" not in reply.message
    assert ask("/echo").fault is None
    assert len(server.requests) == 1


# TLS


def test_an_untrusted_certificate_is_unreachable(ask: Ask, tls_server: Misbehaving) -> None:
    """Without trust nothing is sent, and the message says why."""
    reply = ask(f"{tls_server.url}/echo", "POST", credential=Token("t"))
    assert (reply.fault, reply.sent) == (Fault.UNREACHABLE, False)
    assert "certificate" in reply.message
    assert tls_server.requests == []


def test_a_certificate_authority_may_be_named(ask: Ask, tls_server: Misbehaving, tls: Tls) -> None:
    """``verify`` is the path of whom to trust; the name in the certificate still has to fit."""
    assert ask(f"{tls_server.url}/big", verify=str(tls[0])).status == 200
    wrong = ask(f"{tls_server.url}/ok".replace("127.0.0.1", "localhost"), verify=str(tls[0]))
    assert (wrong.fault, wrong.sent) == (Fault.UNREACHABLE, False)


def test_checks_can_be_turned_off_for_one_service_only(
    ask: Ask, tls_server: Misbehaving, recwarn: pytest.WarningsRecorder
) -> None:
    """An unverified connection is never reused by a call that verifies."""
    elsewhere = tls_server.url.replace("127.0.0.1", "localhost")
    assert ask(f"{elsewhere}/ok", verify=False).status == 200
    assert ask(f"{tls_server.url}/ok", verify=False).status == 200
    assert ask(f"{tls_server.url}/ok").fault is Fault.UNREACHABLE
    assert not recwarn.list


def test_a_missing_certificate_file_is_unreachable(ask: Ask, tls_server: Misbehaving) -> None:
    """It is the service's trouble, not that of a job."""
    reply = ask(f"{tls_server.url}/ok", verify="/no/such/ca.pem")
    assert (reply.fault, reply.sent) == (Fault.UNREACHABLE, False)
    assert "ca.pem" in reply.message


def test_tls_to_a_plain_server_is_unreachable(ask: Ask, server: Misbehaving) -> None:
    """A handshake that fails has sent nothing of the request."""
    reply = ask(server.url.replace("http:", "https:") + "/ok", "POST", timeout=0.5)
    assert (reply.fault, reply.sent) == (Fault.UNREACHABLE, False)


@pytest.mark.parametrize("path", ["/drip-body", "/drip-head", "/never"])
def test_the_timeout_holds_over_tls(ask: Ask, tls_server: Misbehaving, path: str) -> None:
    """Encryption does not change what a timeout is."""
    reply = ask(tls_server.url + path, timeout=0.5, verify=False)
    assert (reply.fault, reply.sent) == (Fault.TIMEOUT, True)
    assert reply.elapsed < 1.5


def test_a_body_may_end_with_the_connection_over_tls(ask: Ask, tls_server: Misbehaving) -> None:
    """Servers that close without a word of TLS are common enough; a length that was announced is
    still waited for."""
    assert ask(f"{tls_server.url}/until-close", verify=False).body == b"all of it"
    assert ask(f"{tls_server.url}/short", verify=False).fault is Fault.RESET


def test_the_environment_names_whom_to_trust(
    ask: Ask, tls_server: Misbehaving, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``REQUESTS_CA_BUNDLE`` is honoured."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[0]))
    assert ask(f"{tls_server.url}/ok").status == 200
