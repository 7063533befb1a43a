"""What libcurl says went wrong, in the words of `faults`."""

from __future__ import annotations

import errno as errno_of
import os
import re

import pycurl

from tracker.model import Fault
from tracker.transports.faults import Problem, one_line, untrusting

TOO_LARGE = 100  # a header; pycurl has no name for it

ANSWERED = frozenset({pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_FTP_WEIRD_SERVER_REPLY, TOO_LARGE})
"""Errors that are about bytes of a reply, although no header of it was handed out."""

NOT_HTTP = "what came back is not HTTP"

_CLOSED = "the connection was closed without a reply"
_CUT = "the reply broke off before its end"

_BROKEN = (errno_of.ECONNRESET, errno_of.EPIPE)
_BALKED = (pycurl.E_ABORTED_BY_CALLBACK, pycurl.E_COULDNT_CONNECT)
_CERTIFICATE = re.compile(
    r"SSL(?: certificate problem| certificate OpenSSL verify result)?: *| \(\d+\)$"
)
_WORDS = {
    pycurl.E_COULDNT_RESOLVE_HOST: "the host name is not known (DNS)",
    pycurl.E_COULDNT_RESOLVE_PROXY: "the proxy's name is not known (DNS)",
    pycurl.E_GOT_NOTHING: _CLOSED,
    pycurl.E_PARTIAL_FILE: _CUT,
    **dict.fromkeys(ANSWERED, NOT_HTTP),
}


def hung_up(code: int, text: str) -> bool:
    """Whether the other end closed a TLS connection without saying so before."""
    return code == pycurl.E_RECV_ERROR and "unexpected eof" in text


def not_sent(code: int, text: str, errno: int, authorities: str | None) -> Problem:
    """The problem that the error `code` is where no byte of the request has left.

    `text` is libcurl's, `errno` that of the socket operation that failed last, or 0.
    """
    reason = _in_words(code, text, errno, authorities)
    return Problem(Fault.INVALID if code == pycurl.E_URL_MALFORMAT else Fault.UNREACHABLE, reason)


def in_doubt(code: int, text: str, errno: int, received: bool) -> Problem:
    """The problem that the error `code` is where the request may have arrived; `received` says
    whether a reply had begun."""
    if code in _BALKED:
        return Problem(Fault.RESET, os.strerror(errno).lower() if errno in _BROKEN else _CLOSED)
    if code == pycurl.E_RECV_ERROR and errno not in _BROKEN:
        return Problem(Fault.RESET, _CUT if received else _CLOSED)
    return Problem(Fault.RESET, _in_words(code, text, errno, None))


def _in_words(code: int, text: str, errno: int, authorities: str | None) -> str:
    if code in _WORDS:
        return _WORDS[code]
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        return f"TLS certificate refused: {one_line(_CERTIFICATE.sub('', text), 120)}"
    if code == pycurl.E_SSL_CONNECT_ERROR:
        reason = text.rpartition("::")[2].rpartition("error: ")[2]
        return f"TLS failed: {one_line(reason, 80) or 'connection closed'}"
    if code == pycurl.E_SSL_CACERT_BADFILE:
        return untrusting(authorities or "")
    if "tunnel failed" in text:
        return f"the proxy refused: {one_line(text, 80)}"
    if errno and code in (pycurl.E_COULDNT_CONNECT, pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR):
        return os.strerror(errno).lower()
    if code == pycurl.E_URL_MALFORMAT:
        return "the URL is not one that can be called"
    return f"the connection failed (curl error {code})"
