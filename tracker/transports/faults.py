"""What went wrong with a call, in the words of the failure table and of a person."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
from pathlib import Path

from tracker.model import Fault
from tracker.transports.base import Reply

MAX_MESSAGE = 200

_ADDRESS = re.compile(
    r"(https?)://(?:[^/?#]*@)?((?:\[[^/?#@\]]*\]|[^/?#@:]+)(?::\d*)?)(?=[/?#]|$)([^?#]*)",
    re.IGNORECASE,
)


class Problem(Exception):
    """A call that cannot be made or finished; ``reason`` holds no credential and no query."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


def invalid(reason: str) -> Problem:
    """The call cannot be sent as it is."""
    return Problem(Fault.INVALID, reason)


def unreachable(error: BaseException) -> Problem:
    """No connection came about, because of `error`."""
    if isinstance(error, TimeoutError):
        return Problem(Fault.UNREACHABLE, "no connection in time")
    return Problem(Fault.UNREACHABLE, in_words(error))


def untrusting(place: str) -> str:
    """Why nobody can be trusted: the authorities at `place` cannot be read."""
    return f"TLS certificate authorities cannot be read from {Path(place).name}"


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """`text` as one printable line of at most `limit` characters."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def message(url: str, reason: str) -> str:
    """``scheme://host/path: reason``: never a query or userinfo, which may hold secrets.

    Of what is not an HTTP URL nothing is shown, because its parts cannot be told apart. A long
    path gives way to the reason.
    """
    reason = one_line(reason)
    match = _ADDRESS.match(url)
    if match is None:
        return reason
    room = MAX_MESSAGE - len(reason) - 2
    address = f"{match[1].lower()}://{match[2]}{match[3]}"
    return f"{one_line(address, room)}: {reason}" if room >= 20 else reason


def in_words(error: BaseException) -> str:
    """`error` in plain words. Texts of unknown exceptions may quote headers: only their type."""
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return "the name service (DNS) does not answer"
        return "the host name is not known (DNS)"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'connection closed').replace('_', ' ').lower()}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without a reply"
    if isinstance(error, http.client.IncompleteRead):
        return "the reply broke off before its end"
    if isinstance(error, http.client.HTTPException):
        return "what came back is not HTTP"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and "Tunnel connection failed" in str(error):
        return f"the proxy refused: {one_line(str(error), 80)}"
    return f"the connection failed ({type(error).__name__})"


def innermost(error: BaseException) -> BaseException:
    """What `error` wraps: urllib3 and requests put the cause last among the arguments."""
    for _ in range(8):
        inner = error.args[-1] if error.args else None
        if not isinstance(inner, BaseException):
            inner = error.__cause__
        if inner is None:
            break
        error = inner
    return error


def classify(error: BaseException, sent: bool, timeout: float) -> tuple[Fault, str]:
    """The fault that `error` is, and why in words.

    `sent` says whether a byte of the request may have left; `timeout` is the call's, in seconds.
    """
    if isinstance(error, Problem):
        return error.fault, error.reason
    cause = innermost(error)
    if isinstance(cause, Problem):
        return cause.fault, cause.reason
    if isinstance(cause, TimeoutError):
        if sent:
            return Fault.TIMEOUT, f"not finished within {timeout:g} s"
        return Fault.UNREACHABLE, f"no connection within {timeout:g} s"
    # A certificate error is a ValueError as well, hence the order.
    if isinstance(cause, OSError):
        return Fault.RESET if sent else Fault.UNREACHABLE, in_words(cause)
    if sent:
        return Fault.RESET, in_words(cause)
    return Fault.INVALID, f"the request cannot be written ({type(cause).__name__})"


def as_fault(reply: Reply, url: str, error: BaseException, sent: bool, timeout: float) -> Reply:
    """`reply`, turned into the one for a call that ended in `error`."""
    reply.fault, reason = classify(error, sent, timeout)
    reply.message = message(url, reason)
    reply.sent = sent
    reply.body = b""
    reply.path, reply.size, reply.sha256 = None, 0, ""
    return reply
