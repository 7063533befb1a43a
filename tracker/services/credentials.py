"""Credentials by reference: ``env:NAME``, ``file:PATH``, ``command:CMD``; never the secret itself.

Values are kept in memory only, asked for again after a 401 or when they expire, and never written
into a message.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tracker import clock
from tracker.errors import CallFailed, ConfigError, TrackerError
from tracker.services import headers as header_rules
from tracker.services.secret import Secret, is_reference, read_reference
from tracker.services.values import line
from tracker.tables import Table

ASK_AGAIN_AFTER = 5.0
"""Seconds for which a provider that just failed, or just said the same again, is left alone."""

Render = Callable[[list[str]], str]


@dataclass(frozen=True, slots=True)
class Part:
    """One header: its name, where its secrets come from and how they make its value. ``who`` is
    the user that the configuration names."""

    name: str
    secrets: tuple[Secret, ...]
    render: Render
    who: str | None = None


class HeaderCredential:
    """Headers made from secrets; see `tracker.transports.base.Credential`. Thread-safe."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._headers: dict[str, str] | None = None
        self._values: tuple[str, ...] = ()
        self._expires_at: float | None = None
        self._last: dict[str, str] | None = None
        self._who: str | None = None
        self._slow = any(secret.slow for part in parts for secret in part.secrets)
        self._patience = ASK_AGAIN_AFTER if self._slow else 0.0
        self._error: TrackerError | None = None
        self._error_until = 0.0
        self._same_until = 0.0

    def headers(self) -> Mapping[str, str]:
        """The headers. Raises CallFailed, naming the reference that brought nothing."""
        with self._lock:
            if self._headers is None or self._expired():
                self._ask()
            return self._headers or {}

    def at_hand(self) -> Mapping[str, str] | None:
        """The headers if they are known and good."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return None if self._expired() else self._headers
        finally:
            self._lock.release()

    @property
    def slow(self) -> bool:
        """Whether asking means running a command."""
        return self._slow

    def look(self) -> bool:
        """Ask again; whether the headers are others than those that were known before. Raises
        CallFailed."""
        with self._lock:
            before = self._last
            self._error = None
            self._ask()
            return before is not None and self._last != before

    @property
    def who(self) -> str | None:
        """Who is signed in: whom the configuration or the provider named, None when neither did."""
        return self._who or next((part.who for part in self._parts if part.who), None)

    @property
    def sources(self) -> list[str]:
        """The references, as they stand in the configuration."""
        return [secret.reference for part in self._parts for secret in part.secrets]

    @property
    def lives(self) -> float | None:
        """For how many more seconds the headers are good, None when nobody said."""
        if self._expires_at is None:
            return None
        return max(self._expires_at - clock.monotonic(), 0.0)

    def renew(self, used: Mapping[str, str]) -> bool:
        """Ask again after a 401 to `used`; whether the headers are others now.

        Many calls may meet a 401 at once: only the first asks, the others see its answer.
        """
        with self._lock:
            before = self._headers
            if before is not None and any(used.get(name) != before[name] for name in before):
                return True
            if clock.monotonic() < self._same_until:
                return False
            try:
                self._ask()
            except TrackerError:
                return False
            if self._headers == before:
                self._same_until = clock.monotonic() + self._patience
            return self._headers != before

    def redact(self, text: str) -> str:
        """`text` with every secret that was read here lately replaced by ``***``."""
        for value in self._values:
            if len(value) >= 6:
                text = text.replace(value, "***")
        return text

    def _expired(self) -> bool:
        return self._expires_at is not None and clock.monotonic() >= self._expires_at

    def _ask(self) -> None:
        if self._error is not None and clock.monotonic() < self._error_until:
            raise CallFailed(self._error.message, self._error.hint)
        self._headers, self._error = None, None
        headers: dict[str, str] = {}
        values: list[str] = []
        lives: list[float] = []
        try:
            for part in self._parts:
                read = [secret.read() for secret in part.secrets]
                headers[part.name] = part.render([one.value for one in read])
                values += [one.value for one in read]
                lives += [one.lives for one in read if one.lives is not None]
                self._who = next((line(one.who, 100) for one in read if one.who), self._who)
        except TrackerError as error:
            self._error, self._error_until = error, clock.monotonic() + self._patience
            raise
        # A tenth early, at most 30 s: the token must outlive the call that carries it.
        life = min(lives, default=None)
        early = None if life is None else max(life * 0.9, life - 30)
        self._expires_at = None if early is None else clock.monotonic() + early
        # A service may repeat a header without its scheme.
        bare = [value.rpartition(" ")[2] for value in headers.values()]
        known = (*headers.values(), *values, *bare, *self._values)
        self._values = tuple(dict.fromkeys(known))[:24]
        self._headers = self._last = headers


def read_auth(table: Table, folder: str) -> Part:
    """What an ``auth`` table says; relative files start at `folder`. Raises ConfigError."""
    bearer = table.optional_string("bearer", secret=True)
    basic = table.optional_table("basic", secret=True)
    header = table.optional_string("header")
    value = table.optional_string("value", secret=True)
    prefix = table.optional_string("prefix", empty=True)
    table.finish()
    if sum(kind is not None for kind in (bearer, basic, header)) != 1:
        raise ConfigError(f"{table.path}: expected one of bearer, basic, header")
    if header is None and (value is not None or prefix is not None):
        raise ConfigError(f"{table.path}: value and prefix go with header")
    if bearer is not None:
        secret = read_reference(bearer, table.key("bearer"), folder)
        return Part("Authorization", (secret,), lambda values: f"Bearer {values[0]}")
    if basic is not None:
        return _basic(basic, folder)
    if header is None or value is None:
        raise ConfigError(f"{table.path}: header needs a value", 'such as "env:API_KEY"')
    header_rules.check_name(header, table.key("header"))
    secret = read_reference(value, table.key("value"), folder)
    start = prefix or ""
    if not start.isascii() or not start.isprintable():
        table.fail("prefix", "expected plain ASCII text")
    return Part(header, (secret,), lambda values: start + values[0])


def secret_header(name: str, reference: str, key: str, folder: str) -> Part:
    """A header of its own whose value is a reference. Raises ConfigError."""
    secret = read_reference(reference, key, folder)
    return Part(name, (secret,), lambda values: values[0])


def _basic(table: Table, folder: str) -> Part:
    user = table.optional_string("user", empty=True) or ""
    password = table.optional_string("password", secret=True)
    table.finish()
    found = [] if password is None else [table.key("password")]
    if ":" in user and not is_reference(user):
        table.fail("user", "a user name cannot hold a colon")
    sources = []
    if is_reference(user):
        sources.append(read_reference(user, table.key("user"), folder))
    if password is not None:
        sources.append(read_reference(password, found[0], folder))

    def render(values: list[str]) -> str:
        name = values[0] if is_reference(user) else user
        word = values[-1] if password is not None else ""
        return "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode()

    return Part(
        "Authorization", tuple(sources), render, None if is_reference(user) else user or None
    )
