"""How calls leave this machine: `base` is the seam, every other module is one way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tracker.transports.base import Transport


def _requests(threads: int) -> Transport:
    from tracker.transports.requests import RequestsTransport

    transport = RequestsTransport(threads)
    transport.open()
    return transport


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
    "requests": _requests,
    "command": _command,
    "s3": _s3,
    "aws": _aws,
}
"""Makers of transports by name; each takes the number of calls that may be in flight at once. A
transport is made, and its libraries are imported, when the first call needs it."""
