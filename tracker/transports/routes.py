"""From a URL to the connections it travels over; everything that is alike for a host, once."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from urllib3.connectionpool import HTTPConnectionPool

from tracker.model import Fault
from tracker.transports.address import Address, Directory, Route
from tracker.transports.connections import Adapter, DeadlineTLSSocket
from tracker.transports.environment import authorities, proxy_for
from tracker.transports.faults import Problem, untrusting


@dataclass(slots=True, frozen=True)
class PooledRoute(Route):
    """The way to one host, and the connections there; ``prefix`` names the host where a proxy
    forwards the request.
    """

    pool: HTTPConnectionPool


class Routes(Directory[PooledRoute]):
    """Sessions by service, and routes by (service, host, TLS setting). Safe to use from threads."""

    def __init__(self, connections: int) -> None:
        super().__init__()
        self._connections = connections
        self._sessions: dict[str, requests.Session] = {}
        self._contexts: dict[str | None, ssl.SSLContext] = {}

    def close(self) -> None:
        """Drop the connections that are idle."""
        with self._lock:
            for route in self._routes.values():
                route.pool.close()
            for session in self._sessions.values():
                session.close()
            self._routes.clear()
            self._sessions.clear()

    def opened(self, service: str, address: Address, verify: bool | str) -> PooledRoute:
        """A new route. Raises `Problem`."""
        scheme, host, port = address.scheme, address.host, address.port
        proxy = proxy_for(address)
        adapter = self._session(service).get_adapter(address.origin)
        assert isinstance(adapter, Adapter)
        options = self._tls(authorities(verify)) if scheme == "https" else {}
        manager = adapter.proxy_manager_for(proxy) if proxy else adapter.poolmanager
        pool = manager.connection_from_host(host, port, scheme, pool_kwargs=options)
        forwards = proxy and scheme == "http" and not proxy.lower().startswith("socks")
        prefix = address.origin if forwards else ""
        return PooledRoute(scheme, host, port, address.authorization, prefix, pool)

    def _session(self, service: str) -> requests.Session:
        session = self._sessions.get(service)
        if session is None:
            session = self._sessions[service] = requests.Session()
            adapter = Adapter(pool_maxsize=self._connections, max_retries=0)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
        return session

    def _tls(self, place: str | None) -> dict[str, Any]:
        context = self._contexts.get(place)
        if context is None:
            context = self._contexts[place] = tls_context(place)
        return {"ssl_context": context, "cert_reqs": context.verify_mode}


def tls_context(place: str | None) -> ssl.SSLContext:
    """How to trust: those in a file or folder, or whoever answers (None).

    Loading authorities takes milliseconds, so a context is made once. Raises `Problem`
    (UNREACHABLE).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = DeadlineTLSSocket
    if place is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        folder = Path(place).is_dir()
        context.load_verify_locations(*((None, place) if folder else (place,)))
    except OSError as error:
        raise Problem(Fault.UNREACHABLE, untrusting(place)) from error
    return context
