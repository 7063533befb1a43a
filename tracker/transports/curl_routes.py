"""The ways to hosts, as libcurl is told of them; it keeps the connections itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pycurl

from tracker.transports.address import Address, Directory, Route
from tracker.transports.environment import authorities, proxy_for


@dataclass(slots=True, frozen=True)
class CurlRoute(Route):
    """The way to one host: through ``proxy`` (``""``: none), trusting ``authorities`` (a file or a
    folder; None: whoever answers).
    """

    proxy: str
    authorities: str | None

    def set(self, curl: pycurl.Curl) -> None:
        """Have `curl` go this way."""
        curl.setopt(pycurl.PROXY, self.proxy)  # set also to "", or libcurl asks the environment
        curl.setopt(pycurl.NOPROXY, "")
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        place = self.authorities
        if place is None:
            curl.setopt(pycurl.SSL_VERIFYPEER, 0)
            curl.setopt(pycurl.SSL_VERIFYHOST, 0)
            return
        folder = Path(place).is_dir()
        for file in (pycurl.CAINFO, pycurl.PROXY_CAINFO):
            curl.setopt(file, None if folder else place)
        for path in (pycurl.CAPATH, pycurl.PROXY_CAPATH):
            curl.setopt(path, place if folder else None)


class CurlRoutes(Directory[CurlRoute]):
    """Routes by (service, host, TLS setting)."""

    def opened(self, service: str, address: Address, verify: bool | str) -> CurlRoute:
        """A new route."""
        proxy = proxy_for(address) or ""
        secure = "https" in (address.scheme, proxy[:5].lower())
        return CurlRoute(
            address.scheme,
            address.host,
            address.port,
            address.authorization,
            address.origin,
            proxy,
            authorities(verify) if secure else None,
        )
