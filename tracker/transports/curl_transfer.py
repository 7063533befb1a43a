"""One easy handle of libcurl, and the call that it carries at the moment."""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import lru_cache
from typing import Any

import pycurl

from tracker.model import Fault
from tracker.transports.base import Call
from tracker.transports.curl_errors import ANSWERED, NOT_HTTP, hung_up, in_doubt, not_sent
from tracker.transports.curl_routes import CurlRoute, CurlRoutes
from tracker.transports.dialogue import (
    MAX_HEADERS,
    MAX_IDLE,
    Dialogue,
    Exchange,
    Request,
    converse,
)
from tracker.transports.faults import Problem
from tracker.transports.headers import joined, request_headers
from tracker.transports.incoming import PIECE, Body
from tracker.transports.multipart import NOTHING, Stream, Upload, open_upload

# Options that pycurl has no names for.
SUPPRESS_CONNECT_HEADERS = 265
QUICK_EXIT = 322

SHORT_HEAD = 1024
"""Bytes of a head that is worth remembering."""

_LONGEST = 2**31 - 1
_MAY_LACK_A_BODY = frozenset({"GET", "HEAD", "DELETE", "TRACE", "OPTIONS", "CONNECT"})
_HAVE_NO_BODY = frozenset({204, 304})


class Transfer(Exchange):
    """One exchange after the other over one easy handle; ``left`` says whether the latest request
    is on its way. It adds its route to `pioneers` when that goes out over a new TLS connection.

    libcurl would by itself send a request again when a kept-alive connection turns out to be dead,
    whatever its method. `_opening` and `_leaving` stop it: whether a request may be repeated is
    for the call to say.
    """

    def __init__(self, pioneers: list[CurlRoute]) -> None:
        super().__init__()
        self.curl = pycurl.Curl()
        self._pioneers = pioneers
        self.call = NO_CALL
        self.dialogue: Dialogue[CurlRoute]
        self.request: Request[CurlRoute]
        self.body: Body | None = None
        self._upload = NOTHING
        self._lines: list[bytes] = []
        self._shape: tuple[CurlRoute, str] | None = None
        self._headers: tuple[Mapping[str, str], Mapping[str, str]] | None = None
        self.left = False
        self._opened = False
        self._location: str | None = None
        self._taken = 0
        self._problem: BaseException | None = None

    def begin(self, call: Call, routes: CurlRoutes) -> None:
        """Be the one that carries `call`."""
        self.start(call.method, call.timeout)
        self.call = call
        self.dialogue = converse(call, self, routes)

    def prepare(self, request: Request[CurlRoute]) -> None:
        """Have the handle ask for `request` when it is added. Raises `Problem`, TimeoutError."""
        call, curl = self.call, self.curl
        self._forget()
        self._upload = upload = open_upload(call)
        self.remaining()
        shape = (request.route, call.method)
        plain = upload.content is None and not self.fresh
        if not plain or shape != self._shape:
            curl.reset()
            self._set_always()
            request.route.set(curl)
            self._set_method(call.method, upload)
            self._shape = shape if plain else None
            self._headers = None
        self.request = request
        curl.setopt(pycurl.URL, request.target)
        given = (call.headers, request.login)
        if given != self._headers:  # one poll's are those of the poll before it
            lines = _lines(request_headers(call, upload, request.login))
            curl.setopt(pycurl.HTTPHEADER, lines)
            self._headers = (dict(call.headers), dict(request.login))
        if self._may_share:
            # Rather one TLS handshake, and a wait for what it agrees on, than many at once.
            curl.setopt(pycurl.PIPEWAIT, 1)

    @property
    def _may_share(self) -> bool:
        """Whether its connection may turn out to carry other requests at the same time."""
        return self.repeatable and self.request.route.scheme == "https"

    def stops_waiting(self, routes: Container[CurlRoute]) -> bool:
        """Whether it waits for a connection on one of `routes` that somebody else opens. It does
        so no longer when it is added again: libcurl itself would not look before that connection is
        idle, however long its first reply takes."""
        waits = self._may_share and not self._opened and not self.left
        if waits and self.request.route in routes:
            self.curl.setopt(pycurl.PIPEWAIT, 0)
            return True
        return False

    def ended(self, code: int, text: str) -> str | None:
        """The answer to the request, as `Request` has it. Raises what went wrong.

        `code` and `text` are libcurl's result, 0 for success.
        """
        self.cut()
        self.reused = self.left and not self._opened
        self.received = bool(self._lines) or code in ANSWERED
        if self._problem is not None:
            raise self._problem
        if code and not self._finished(code, text):
            errno: int = self.curl.getinfo(pycurl.OS_ERRNO)
            if self.left:
                raise in_doubt(code, text, errno, self.received)
            raise not_sent(code, text, errno, self.request.route.authorities)
        if self._location is not None:
            return self._location
        if self.body is None:
            self.body = self._new_body()
        return None

    def _finished(self, code: int, text: str) -> bool:
        """Whether all that is wanted is there although libcurl says that something failed."""
        if self._location is not None and code == pycurl.E_WRITE_ERROR:
            return True
        # Not every server ends TLS before it closes; requests takes that for the end as well.
        headers = self.reply.headers
        endless = not headers.keys() & {"content-length", "transfer-encoding"}
        return bool(self.reply.status) and endless and hung_up(code, text)

    def cut(self) -> None:
        """The handle has left, done or not: keep what it brought."""
        self._upload.close()
        if self._taken == 0 and self._problem is None:
            try:
                self._read_head()
            except Exception as error:
                self._problem = error

    def rest(self) -> None:
        """Let go of the call: an idle handle must not keep a large body alive."""
        self._forget()
        self._upload.close()
        self._upload = NOTHING
        if self._shape is None:
            self.curl.reset()
        self.call = NO_CALL
        self.dialogue.close()

    def _forget(self) -> None:
        if self.body is not None:
            self.body.close()
            self.body = None
        self._lines.clear()
        self._problem = None
        self._opened = self.left = self.reused = self.received = False
        self._location = None
        self._taken = 0

    # What libcurl is told.

    def _set_always(self) -> None:
        setopt = self.curl.setopt
        setopt(pycurl.NOSIGNAL, 1)
        setopt(QUICK_EXIT, 1)
        setopt(pycurl.DNS_CACHE_TIMEOUT, 1)  # s; a name that is known again is not unknown
        setopt(pycurl.PATH_AS_IS, 1)
        setopt(SUPPRESS_CONNECT_HEADERS, 1)
        # The call's deadline is the transport's business: a reply that was there in time counts,
        # also when nobody looked until later.
        setopt(pycurl.CONNECTTIMEOUT_MS, _LONGEST)
        setopt(pycurl.HEADERFUNCTION, self._lines.append)
        setopt(pycurl.WRITEFUNCTION, self._take)
        setopt(pycurl.PREREQFUNCTION, self._leaving)
        setopt(pycurl.SOCKOPTFUNCTION, self._opening)
        if self.repeatable:
            setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        else:
            # A server that says farewell on HTTP/2 drops what crosses it; libcurl knows that this
            # was not carried out, and has no way to tell.
            setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
            setopt(pycurl.MAXAGE_CONN, int(MAX_IDLE))
        if not self.trusts(0.0):
            setopt(pycurl.FRESH_CONNECT, 1)

    def _set_method(self, method: str, upload: Upload) -> None:
        setopt, content = self.curl.setopt, upload.content
        if isinstance(content, Stream):
            setopt(pycurl.UPLOAD, 1)
            setopt(pycurl.INFILESIZE_LARGE, content.length)
            setopt(pycurl.READFUNCTION, self._give)
        elif content is not None or method not in _MAY_LACK_A_BODY:
            setopt(pycurl.POSTFIELDS, content or b"")
        if method == "HEAD":
            setopt(pycurl.NOBODY, 1)
        else:
            setopt(pycurl.CUSTOMREQUEST, method)

    # What libcurl calls. An exception must not pass through it.

    def _opening(self, descriptor: int, purpose: int) -> int:
        """A new connection is to be opened."""
        if self.left:
            return pycurl.SOCKOPT_ERROR
        self._opened = True
        return pycurl.SOCKOPT_OK

    def _leaving(self, *between: Any) -> int:
        """A connection is there, and the request is about to leave over it."""
        if self.left:
            return pycurl.PREREQFUNC_ABORT
        self.left = self.sent = True
        if self._opened and self._may_share:
            self._pioneers.append(self.request.route)
        return pycurl.PREREQFUNC_OK

    def _give(self, amount: int) -> bytes | int:
        try:
            assert isinstance(self._upload.content, Stream)
            return self._upload.content.read(amount)
        except BaseException as error:
            self._problem = error
            return pycurl.READFUNC_ABORT

    def _take(self, data: bytes) -> int | None:
        try:
            if self._taken == 0:
                self._read_head()
                if self._location is None:
                    self.body = self._new_body()
            self._taken += len(data)
            if self.body is not None:
                self.body.feed(data)
            elif self._taken > PIECE:
                return 0  # a redirect with a long body: the connection is not worth reading it
        except BaseException as error:
            self._problem = error
            return 0
        return None

    # Reading.

    def _read_head(self) -> None:
        """Bring status and headers into the reply, or see where it redirects to, if they have
        come in full."""
        head = b"".join(self._lines)
        found = _quickly_parsed(head) if len(head) <= SHORT_HEAD else _parsed(head)
        if found is None:
            return
        status, headers = found
        if self.redirected(status):
            self._location = headers.get("location", "")
        else:
            self.reply.status, self.reply.headers = status, headers

    def _new_body(self) -> Body:
        length = None
        if self.call.method != "HEAD" and self.reply.status not in _HAVE_NO_BODY:
            said = self.reply.headers.get("content-length", "")
            length = int(said) if said.isascii() and said.isdigit() else None
        return Body(self.call, self.reply, length)


NO_CALL = Call("", "GET", "")


def _parsed(head: bytes) -> tuple[int, dict[str, str]] | None:
    """Status and headers of a reply; None when they have not come in full. Raises `Problem`."""
    status = 0
    pairs: list[tuple[str, str]] = []
    for line in head.decode("latin-1").split("\n")[:-1]:
        name, colon, value = line.partition(":")
        if line.startswith("HTTP/"):
            status, pairs = int(line.split()[1]), []
        elif colon:
            pairs.append((name, value.strip()))
        elif status >= 200 and line in ("\r", ""):
            break
    else:
        return None
    if len(pairs) > MAX_HEADERS:
        raise Problem(Fault.RESET, NOT_HTTP)
    return status, joined(pairs)


_quickly_parsed = lru_cache(maxsize=64)(_parsed)
"""One poll's head is that of the poll before it, within the same second."""


def _lines(headers: dict[str, str]) -> list[bytes]:
    """Headers as libcurl wants them: a header without a value has to be written in its own way,
    and what it would add by itself is declined by name."""
    lines, names = [], set()
    for name, value in headers.items():
        names.add(name.lower())
        if name.lower() != "content-length":
            text = f"{name}: {value}" if value.strip() else f"{name};"
            lines.append(text.encode("latin-1"))
    lines += [f"{name}:".encode() for name in ("expect", "content-type") if name not in names]
    return lines
