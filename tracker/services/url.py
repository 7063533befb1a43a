"""URLs from templates, which whatever a job or a service says never lead to another host."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from tracker.errors import ConfigError, UsageError
from tracker.model import Job
from tracker.services.template import Parts, Placeholder, fetch, text_of

UrlMaker = Callable[[Job, str | None], str]

RESERVED = ":/?[]@!$&'()*+,;=%"
_SAFE = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# A segment that servers, proxies or clients take for "here" or "one up", also in disguise.
_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?=[/;]|$)", re.IGNORECASE)
_HOST_PATTERN = re.compile(
    r"(?:(https?)://)?(\*\.)?([a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class AwsPlace:
    """A service of AWS: boto3's name for it (``transcribe``), and where it is."""

    client: str
    region: str | None = None
    endpoint_url: str | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """Where a service's calls may go: ``origin`` is base_url's, as `origin_of` writes it.

    ``suffixes`` are the ends of origins that a ``*.`` in allowed_hosts stands for. With ``aws``
    the calls are operations of an AWS service.
    """

    base_url: str
    origin: str
    origins: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    aws: AwsPlace | None = None

    def allows(self, origin: str | None) -> bool:
        """Whether calls may go to `origin`."""
        if origin is None:
            return False
        if origin == self.origin or origin in self.origins:
            return True
        return origin.startswith("https://") and origin.endswith(self.suffixes)


def origin_of(url: str) -> str | None:
    """``https://host:443`` in lower case for an http(s) URL; None for any other text.

    A URL with user, password or anything unusual around its host has none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if default is None or not _AUTHORITY.fullmatch(parts.netloc):
        return None
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{default if port is None else port}"


def read_site(base_url: str, allowed_hosts: tuple[str, ...], key: str) -> Site:
    """The site of a service. Raises ConfigError; `key` is the service's path."""
    base = f"{key}.base_url"
    parts = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)", base_url)
    if parts is None or parts[1].lower() not in ("http", "https") or not parts[2]:
        raise ConfigError(f"{base}: expected an http(s) URL with a host")
    if "@" in parts[2]:
        raise ConfigError(f"{base}: must not hold a user or password", f"use {key}.auth")
    origin = origin_of(base_url)
    if (
        origin is None
        or re.search(r"[^!-~]|[?#{}\\]", base_url)
        or _DOTS.search(base_url.partition("://")[2])
    ):
        raise ConfigError(f"{base}: expected a plain URL such as https://api.example.com/v1")
    origins, suffixes = set(), []
    for host in allowed_hosts:
        match = _HOST_PATTERN.fullmatch(host.lower())
        if match is None or (match[2] and (match[1] == "http" or "." not in match[3])):
            example = '"files.example.com" or "*.example.com"'
            raise ConfigError(f"{key}.allowed_hosts: expected a host such as {example}")
        scheme = match[1] or "https"
        port = int(match[4] or (443 if scheme == "https" else 80))
        if match[2]:
            suffixes.append(f".{match[3]}:{port}")
        else:
            origins.add(f"{scheme}://{match[3]}:{port}")
    return Site(base_url.rstrip("/"), origin, frozenset(origins), tuple(suffixes))


def compile_path(parts: Parts, key: str, site: Site) -> tuple[UrlMaker, bool]:
    """A maker of base_url plus path, and whether it always stays at base_url's origin.

    A path that begins with a raw placeholder may become a full URL; that one is checked.
    Raises ConfigError.
    """
    _check_literals(parts, key)
    first = parts[0] if parts else ""
    if isinstance(first, str) and _ABSOLUTE.match(first):
        raise ConfigError(f"{key}: expected a path such as /jobs/{{server_id}}", "use url instead")
    quick = _single(parts, key, site)
    if quick is not None:
        return quick, True
    handle = isinstance(first, Placeholder) and first.raw

    def make(job: Job, idempotency_key: str | None) -> str:
        text = "".join(_pieces(parts, key, job, idempotency_key))
        if handle and _ABSOLUTE.match(text):
            return checked(text, key, site)
        if _DOTS.search(text.partition("?")[0]):
            raise UsageError(f"{key}: the path would leave its folder by '..'")
        # The slash is what keeps a text such as ".evil.example" from growing the host name.
        slash = "" if not text or text.startswith("/") else "/"
        return site.base_url + slash + text

    return make, not handle


def compile_full_url(parts: Parts, key: str, site: Site) -> UrlMaker:
    """A maker of full URLs, each checked against `site`. Raises ConfigError."""
    _check_literals(parts, key)
    first = parts[0] if parts else ""
    if isinstance(first, str):
        whole = re.match(r"https?://[^/?]+(?=[/?])", first) or (
            len(parts) == 1 and re.match(r"https?://[^/?]+", first)
        )
        if not re.match(r"https?://", first):
            raise ConfigError(f"{key}: expected a URL that begins with https:// or {{+…}}")
        if whole and not site.allows(origin_of(whole[0])):
            hint = "add its host to allowed_hosts"
            raise ConfigError(f"{key}: {whole[0]} is not the origin of base_url", hint)

    def make(job: Job, idempotency_key: str | None) -> str:
        return checked("".join(_pieces(parts, key, job, idempotency_key)), key, site)

    return make


def checked(url: str, key: str, site: Site) -> str:
    """`url` itself, when it leads to where `site` allows. Raises UsageError."""
    origin = origin_of(url)
    if not site.allows(origin):
        where = origin or "something that is no plain http(s) URL"
        raise UsageError(
            f"{key}: leads to {where}, which is neither base_url's origin nor in allowed_hosts"
        )
    if _DOTS.search(url.partition("?")[0].partition("://")[2]):
        raise UsageError(f"{key}: the URL has '..' in its path")
    return url


def _check_literals(parts: Parts, key: str) -> None:
    for part in parts:
        if isinstance(part, Placeholder):
            if part.optional:
                raise ConfigError(f"{key}: {{{part.name}?}} cannot be left out of a URL")
        elif re.search(r"[^!-~]|[#\\]", part):
            raise ConfigError(f"{key}: write spaces, '#', '\\' and non-ASCII letters as %XX")
        elif _DOTS.search(part.partition("?")[0]):
            raise ConfigError(f"{key}: '.' and '..' have no place in a path")


def _single(parts: Parts, key: str, site: Site) -> UrlMaker | None:
    """The quick way, for a path with one encoded placeholder between slashes."""
    if len(parts) not in (2, 3):
        return None
    before, part, after = (*parts, "")[:3]
    if not isinstance(before, str) or isinstance(part, str) or not isinstance(after, str):
        return None
    if part.raw or not before.startswith("/") or not before.endswith("/") or "?" in before:
        return None
    if after and after[0] not in "/?":
        return None
    prefix, get = site.base_url + before, part.get

    def make(job: Job, idempotency_key: str | None) -> str:
        value = get(job, idempotency_key)
        if type(value) is str and _SAFE.fullmatch(value):
            return prefix + value + after
        return prefix + _encoded(part, key, job, idempotency_key) + after

    return make


def _pieces(parts: Parts, key: str, job: Job, idempotency_key: str | None) -> list[str]:
    return [
        part if isinstance(part, str) else _encoded(part, key, job, idempotency_key)
        for part in parts
    ]


def _encoded(part: Placeholder, key: str, job: Job, idempotency_key: str | None) -> str:
    value: Any = fetch(part, key, job, idempotency_key)
    text = text_of(value, key, part.name)
    if text in ("", ".", ".."):
        raise UsageError(f"{key}: {part.name} is '{text}', which a URL cannot carry")
    return quote_raw(text, key, part.name) if part.raw else quote_all(text, key, part.name)


def quote_all(text: str, key: str, name: str) -> str:
    """`text` percent-encoded as one piece. Raises UsageError for text that is not Unicode."""
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise UsageError(f"{key}: {name} is not valid Unicode") from None


def quote_raw(text: str, key: str, name: str) -> str:
    """`text` with reserved characters and %XX kept, all else percent-encoded (RFC 6570's ``+``).

    ``#`` is encoded too: clients cut a URL there.
    """
    try:
        return quote(_STRAY_PERCENT.sub("%25", text), safe=RESERVED)
    except UnicodeEncodeError:
        raise UsageError(f"{key}: {name} is not valid Unicode") from None
