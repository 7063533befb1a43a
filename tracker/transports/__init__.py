"""How calls leave this machine: `base` is the seam, every other module is one way out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from tracker.errors import ConfigError
from tracker.transports.base import Transport

HTTP = "http"
"""The transport of whoever names none: curl where pycurl is installed, else requests."""

log = logging.getLogger("tracker.transport")

NEEDS_PYCURL = (
    "curl needs pycurl, which cannot be imported",
    "pip install 'tracker-jobs[fast]', or leave the setting away",
)
"""What is wrong, and what to do about it, where curl was asked for."""


def _requests(threads: int) -> Transport:
    from tracker.transports.requests import RequestsTransport

    transport = RequestsTransport(threads)
    transport.open()
    return transport


def _curl(calls: int) -> Transport:
    if not pycurl_is_there():
        raise ConfigError(f'transport = "curl": {NEEDS_PYCURL[0]}', NEEDS_PYCURL[1])
    from tracker.transports.curl import CurlTransport

    return CurlTransport(calls)


def _http(calls: int) -> Transport:
    if pycurl_is_there():
        try:
            return _curl(calls)
        except (ImportError, AttributeError) as error:
            # A pycurl whose libcurl is gone, or one too old to have all that is needed.
            log.warning("pycurl is installed and of no use (%s); calls go over requests", error)
    return _requests(calls)


def _command(threads: int) -> Transport:
    from tracker.transports.command import CommandTransport

    return CommandTransport(threads)


def _s3(threads: int) -> Transport:
    from tracker.transports.s3 import S3Transport

    return S3Transport(threads)


def _aws(threads: int) -> Transport:
    from tracker.transports.aws_operations import AwsTransport

    return AwsTransport(threads)


TRANSPORTS: Mapping[str, Callable[[int], Transport]] = {
    HTTP: _http,
    "requests": _requests,
    "curl": _curl,
    "command": _command,
    "s3": _s3,
    "aws": _aws,
}
"""Makers of transports by name; each takes the number of calls that may be in flight at once. A
transport is made, and its libraries are imported, when the first call needs it."""


def pycurl_is_there() -> bool:
    """Whether pycurl is installed; does not import it."""
    from importlib.util import find_spec

    return find_spec("pycurl") is not None
