"""What the peers that work in threads call with."""

from __future__ import annotations

from collections.abc import Callable

import requests
from requests.adapters import HTTPAdapter


def session(concurrency: int) -> Callable[..., requests.Response]:
    """The `get` of a session that keeps as many connections."""
    made = requests.Session()
    made.mount("http://", HTTPAdapter(pool_maxsize=concurrency))
    return made.get
