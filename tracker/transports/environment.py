"""What the environment says about the network: proxies, and whom to trust."""

from __future__ import annotations

import os
import sys

from tracker.transports.address import Address

_ASKED_FOR = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def proxy_for(address: Address) -> str | None:
    """The URL of the proxy to `address`, as requests finds it; the host alone is asked about."""
    named = any(name.lower().endswith("_proxy") for name in os.environ)
    if not named and sys.platform != "darwin":
        return None
    from requests.utils import get_environ_proxies, select_proxy

    bare = f"{address.scheme}://{address.host}:{address.port}"
    proxy: str | None = select_proxy(bare, get_environ_proxies(bare))
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy or None


def authorities(verify: bool | str) -> str | None:
    """The file or folder of those to trust; None: nobody is checked."""
    if verify is False:
        return None
    if isinstance(verify, str):
        return verify
    asked = next((os.environ[name] for name in _ASKED_FOR if os.environ.get(name)), None)
    if asked is not None:
        return asked
    import certifi

    return certifi.where()
