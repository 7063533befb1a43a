"""From a URL to the connections it travels over; everything that is alike for a host, once."""

from __future__ import annotations

import re
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests.utils
from requests.auth import _basic_auth_str
from requests.utils import get_auth_from_url, select_proxy
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util import parse_url

from tracker.model import Fault
from tracker.transports.connections import Adapter, DeadlineTLSSocket
from tracker.transports.faults import Problem, invalid

MAX_ROUTES = 256
"""Routes kept; beyond that a service evidently names a new host with every call."""

_URL = re.compile(
    r"(https?://[^/?#\\\s\x00-\x20\x7f]+)((?:[/?][^#\x00-\x1f\x7f]*)?)(?:#.*)?", re.IGNORECASE
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(slots=True, frozen=True)
class Route:
    """The way to one host: ``prefix`` precedes the target when a proxy forwards the request;
    ``authorization`` comes from a ``user:password@`` in the URL.
    """

    scheme: str
    host: str
    port: int
    pool: HTTPConnectionPool
    prefix: str = ""
    authorization: str = ""

    def allows(self, other: Route) -> bool:
        """Whether a redirect from here to `other` stays on the same host.

        From http to https counts as staying where both use their default ports.
        """
        if (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port):
            return True
        upgrade = (self.scheme, self.port, other.scheme, other.port) == ("http", 80, "https", 443)
        return upgrade and self.host == other.host


class Routes:
    """Sessions by service, and routes by (service, host, TLS setting). Safe to use from threads."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._sessions: dict[str, requests.Session] = {}
        self._contexts: dict[bool | str, ssl.SSLContext] = {}
        self._routes: dict[tuple[str, str, bool | str], Route] = {}

    def find(self, service: str, url: str, verify: bool | str) -> tuple[Route, str]:
        """The route to `url`'s host, and the target to ask for there.

        Raises `Problem`: INVALID when `url` cannot be called, UNREACHABLE for a missing CA file.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise invalid("the URL is not one that can be called")
        key = (service, match[1], verify)
        route = self._routes.get(key)
        if route is None:
            with self._lock:
                route = self._routes.get(key) or self._open(key)
        target = match[2] if match[2].startswith("/") else "/" + match[2]
        return route, route.prefix + target

    def close(self) -> None:
        """Drop the connections that are idle."""
        with self._lock:
            for route in self._routes.values():
                route.pool.close()
            for session in self._sessions.values():
                session.close()
            self._routes.clear()
            self._sessions.clear()

    def _open(self, key: tuple[str, str, bool | str]) -> Route:
        service, origin, verify = key
        scheme, host, port = _parse(origin)
        session = self._session(service)
        bare = f"{scheme}://{host}:{port}"  # the environment is asked about the host only
        settings = session.merge_environment_settings(bare, {}, None, verify, None)
        proxy: str | None = select_proxy(bare, settings["proxies"])
        adapter = session.get_adapter(bare)
        assert isinstance(adapter, Adapter)
        options = self._tls(settings["verify"]) if scheme == "https" else {}
        manager = adapter.poolmanager
        if proxy:
            proxy = proxy if "://" in proxy else f"http://{proxy}"
            manager = adapter.proxy_manager_for(proxy)
        pool = manager.connection_from_host(host, port, scheme, pool_kwargs=options)
        forwards = proxy and scheme == "http" and not proxy.lower().startswith("socks")
        prefix = _authority(scheme, host, port) if forwards else ""
        user, password = get_auth_from_url(origin)
        authorization = _basic_auth_str(user, password) if user else ""
        route = Route(scheme, host, port, pool, prefix, authorization)
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[key] = route
        return route

    def _session(self, service: str) -> requests.Session:
        session = self._sessions.get(service)
        if session is None:
            session = self._sessions[service] = requests.Session()
            adapter = Adapter(pool_maxsize=self._connections, max_retries=0)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
        return session

    def _tls(self, verify: bool | str | None) -> dict[str, Any]:
        verify = True if verify is None else verify
        context = self._contexts.get(verify)
        if context is None:
            context = self._contexts[verify] = tls_context(verify)
        return {"ssl_context": context, "cert_reqs": context.verify_mode}


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """How to trust: the CAs that requests brings (True), none at all (False), or a file or folder.

    Loading the CAs takes milliseconds, so a context is made once. Raises `Problem` (UNREACHABLE).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = DeadlineTLSSocket
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    place = requests.utils.DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify)
    try:
        folder = Path(place).is_dir()
        context.load_verify_locations(*((None, place) if folder else (place,)))
    except OSError as error:
        name = Path(place).name
        reason = f"TLS certificate authorities cannot be read from {name}"
        raise Problem(Fault.UNREACHABLE, reason) from error
    return context


def _parse(origin: str) -> tuple[str, str, int]:
    try:
        parsed = parse_url(origin)
    except ValueError as error:
        raise invalid("the URL is not one that can be called") from error
    if not parsed.host or not parsed.scheme or parsed.port == 0:
        raise invalid("the URL names no host")
    return parsed.scheme, parsed.host, parsed.port or _DEFAULT_PORTS[parsed.scheme]


def _authority(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://{host}" + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")
