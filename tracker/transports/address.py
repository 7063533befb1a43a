"""URLs as they are called: taken apart strictly, targets written so that they can travel."""

from __future__ import annotations

import re
import threading
from base64 import b64encode
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote, unquote

from tracker.transports.faults import invalid

MAX_ROUTES = 256
"""Routes kept; beyond that a service evidently names a new host with every call."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(
    r"(https?://[^/?#\\\s\x00-\x20\x7f]+)((?:[/?][^#\x00-\x1f\x7f]*)?)(?:#.*)?", re.IGNORECASE
)
_ORIGIN = re.compile(
    r"(https?)://(?:(.*)@)?(\[[0-9a-f:.]+(?:%[\w.~-]+)?\]|[\w.·-]+)(?::(\d{0,5}))?",
    re.IGNORECASE,
)
_LETTERS = "!$&'()*+,;=:@/?"
_AS_IT_IS = rf"[A-Za-z0-9._~{_LETTERS}-]*"
_PLAIN = re.compile(_AS_IT_IS)
# One poll's URL is like that of the poll before it: nothing in it has to be encoded.
_ORDINARY = re.compile(rf"(https?://[a-z0-9.:-]+)(/{_AS_IT_IS})")
_PERCENT = re.compile("%[0-9A-Fa-f]{2}")


@dataclass(slots=True, frozen=True)
class Address:
    """A host that is called; ``authorization`` comes from a ``user:password@`` in the URL. An
    IPv6 ``host`` has its brackets.
    """

    scheme: str
    host: str
    port: int
    authorization: str

    def allows(self, other: Address) -> bool:
        """Whether a redirect from here to `other` stays on the same host.

        From http to https counts as staying where both use their default ports.
        """
        if (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port):
            return True
        upgrade = (self.scheme, self.port, other.scheme, other.port) == ("http", 80, "https", 443)
        return upgrade and self.host == other.host

    @property
    def origin(self) -> str:
        """``scheme://host``, and the port unless it is the scheme's own."""
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


@dataclass(slots=True, frozen=True)
class Route(Address):
    """The way to one host; ``prefix`` precedes the target in what is asked for."""

    prefix: str


R = TypeVar("R", bound=Route)


class Directory(Generic[R]):
    """Routes by (service, host, TLS setting). Safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._routes: dict[tuple[str, str, bool | str], R] = {}

    def find(self, service: str, url: str, verify: bool | str) -> tuple[R, str]:
        """The route to `url`'s host, and the target to ask for there.

        Raises `Problem`: INVALID when `url` cannot be called, UNREACHABLE for a missing CA file.
        """
        match = _ORDINARY.fullmatch(url)
        if match is not None:
            origin, target = match.groups()
        else:
            origin, target = taken_apart(url)
        key = (service, origin, verify)
        route = self._routes.get(key)
        if route is None:
            with self._lock:
                route = self._routes.get(key) or self._add(key)
        return route, route.prefix + target

    def opened(self, service: str, address: Address, verify: bool | str) -> R:
        """A new route. Raises `Problem`."""
        raise NotImplementedError

    def _add(self, key: tuple[str, str, bool | str]) -> R:
        service, origin, verify = key
        route = self.opened(service, parse(origin), verify)
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[key] = route
        return route


def taken_apart(url: str) -> tuple[str, str]:
    """The origin of `url`, and the target to ask for there. Raises `Problem` (INVALID)."""
    match = _URL.fullmatch(url)
    if match is None:
        raise invalid("the URL is not one that can be called")
    origin, target = match.groups()
    return origin, encoded(target if target.startswith("/") else "/" + target)


def parse(origin: str) -> Address:
    """The address in ``scheme://user:password@host:port``. Raises `Problem` (INVALID)."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise invalid("the URL is not one that can be called")
    scheme, host = match[1].lower(), _ascii(match[3].lower())
    port = int(match[4] or DEFAULT_PORTS[scheme])
    if not 0 < port < 2**16:
        raise invalid("the URL names no port that can be called")
    user, colon, password = (unquote(part) for part in (match[2] or "").partition(":"))
    authorization = ""
    if user and colon:
        try:
            login = f"{user}:{password}".encode("latin-1")
        except UnicodeEncodeError as error:
            raise invalid("the user or the password in the URL is not Latin-1") from error
        authorization = f"Basic {b64encode(login).decode('ascii')}"
    return Address(scheme, host, port, authorization)


def encoded(target: str) -> str:
    """`target` with everything percent-encoded that may not travel as it is. What already is
    percent-encoded stays so."""
    if _PLAIN.fullmatch(target):
        return target
    target, count = _PERCENT.subn(lambda found: found[0].upper(), target)
    safe = _LETTERS + ("%" if count == target.count("%") else "")
    return quote(target, safe, errors="surrogatepass")


def _ascii(host: str) -> str:
    """`host` as the name service knows it. Raises `Problem` (INVALID)."""
    if not host.isascii():
        import idna  # tables of 1 MB

        try:
            host = idna.encode(host, strict=True, std3_rules=True).decode("ascii")
        except idna.IDNAError as error:
            raise invalid("the host in the URL is not a name") from error
    labels = host.strip(".").split(".")
    if host[0] != "[" and not all(0 < len(label) < 64 for label in labels):
        raise invalid("the host in the URL is not a name")
    return host
