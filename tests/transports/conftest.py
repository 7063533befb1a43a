"""Servers and transports for the tests of this folder."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import Ask, wait_for_replies
from misbehaving import Misbehaving, certificate

from tracker.transports.base import Call, Reply, Transport
from tracker.transports.curl import CurlTransport
from tracker.transports.requests import RequestsTransport

TRANSPORTS: dict[str, Callable[[], Transport]] = {
    "requests": RequestsTransport,
    "curl": CurlTransport,
}
"""Every transport for HTTP; each has to pass the whole conformance suite."""


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy this machine uses, loopback is not behind it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    one = Misbehaving()
    yield one
    one.close()


@pytest.fixture
def other() -> Iterator[Misbehaving]:
    one = Misbehaving()
    yield one
    one.close()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_files(tls: tuple[Path, ssl.SSLContext]) -> tuple[Path, Path]:
    """The certificate and its key."""
    return tls[0], tls[0].with_name("key.pem")


@pytest.fixture
def tls_server(tls: tuple[Path, ssl.SSLContext]) -> Iterator[Misbehaving]:
    one = Misbehaving(tls[1])
    yield one
    one.close()


@pytest.fixture(params=sorted(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    one = TRANSPORTS[request.param]()
    yield one
    one.close()


@pytest.fixture
def ask(transport: Transport, server: Misbehaving) -> Ask:
    """Make one call and wait for its reply; a path is one of `server`."""

    def one(url: str, method: str = "GET", **options: Any) -> Reply:
        options.setdefault("timeout", 10.0)
        url = server.url + url if url.startswith("/") else url
        transport.send(Call("service", method, url, **options))
        [(_, reply)] = wait_for_replies(transport, 1)
        return reply

    return one
