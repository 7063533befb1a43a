"""``tracker.toml``: where it is, what it says. Services are read by `tracker.services.loading`.

Imports next to nothing: every command pays for this module, also `tracker poll` with nothing due.
"""

from __future__ import annotations

import re
import tomllib
from binascii import crc32
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracker import __version__, places
from tracker.errors import ConfigError
from tracker.tables import Table, shown

if TYPE_CHECKING:
    from pathlib import Path

LOG_LEVELS = ("debug", "info", "warning", "error")


FINISHED = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class CleanupPolicy:
    """Finished jobs go when older than ``older_than`` seconds (``ages`` has other ages by status),
    or beyond the newest ``keep``; every ``every`` seconds by themselves, if ``automatic``."""

    older_than: float = 7 * 86400.0
    ages: Mapping[str, float] = field(default_factory=dict)
    keep: int | None = None
    automatic: bool = True
    every: float = 3600.0


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where uploads go, and how S3 is reached.

    ``allowed_buckets`` None allows any; ``regions`` has the regions of buckets that are not in
    ``region``; ``presign`` is how long, in seconds, an ``{input.url}`` is good; files larger than
    ``part_size`` bytes go in parts; ``timeout`` is seconds without a byte.
    """

    bucket: str | None = None
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    regions: Mapping[str, str] = field(default_factory=dict)
    path_style: bool = False
    allowed_buckets: tuple[str, ...] | None = None
    presign: float = 3600.0
    part_size: int = 8 * 2**20
    concurrency: int = 4
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """Who is told: a ``command``, a ``url`` or both; ``timeout`` in seconds for each try.

    ``auth`` is raw; `tracker.services.credentials.read_auth` understands it.
    """

    command: tuple[str, ...] | None = None
    url: str | None = None
    auth: Mapping[str, Any] | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Config:
    """What ``tracker.toml`` says. ``database`` is an absolute path or a postgresql:// URL.

    ``fingerprint`` names this text as read by this version. ``file`` and ``folder_name`` are the
    texts behind `path` and `folder` (importing `pathlib` takes 3 ms, which only those who ask for
    a Path should pay).
    """

    database: str
    file: str | None = None
    folder_name: str | None = None
    user_id: str = ""
    concurrency: int = 32
    log_level: str = "warning"
    log_format: str = "text"
    cleanup: CleanupPolicy = CleanupPolicy()
    storage: StorageConfig = StorageConfig()
    notify: NotifyConfig | None = None
    legacy_zone: str = "UTC"
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    fingerprint: str = f"{__version__} none"

    @property
    def path(self) -> Path | None:
        """The file that was read, absolute; None when there is none."""
        return places.as_path(self.file)

    @property
    def folder(self) -> Path | None:
        """Where spooled inputs and kept results go; None is beside the database, or in the user's
        data folder where that is on a server."""
        return places.as_path(self.folder_name)


def load(path: str | None = None) -> Config:
    """The configuration in `path`, else in the file that ``TRACKER_CONFIG`` names, else in
    ``./tracker.toml``, else in the user's configuration folder, else the defaults.

    Raises ConfigError: a named file is missing, or a file cannot be read or says something wrong.
    """
    if found := places.find_config(path):
        return parse(found.text, found.file)
    return Config(database=places.default_database())


def parse(text: str, file: str) -> Config:
    """The configuration that `text`, the content of the absolute path `file`, holds.

    Raises ConfigError.
    """
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{file}: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{file}: {_syntax(str(error), text)}") from None
    return _read(Table("", data), file, f"{__version__} {crc32(text.encode()):08x} {len(text)}")


def known_keys() -> list[str]:
    """Every key outside of ``[services]``, as a dotted path."""
    record: set[str] = set()
    _read(Table("", {"notify": {"url": "https://example.com"}}, record), "/tracker.toml")
    return sorted(record)


def _read(table: Table, file: str, fingerprint: str = "") -> Config:
    log, services = table.table("log"), table.table("services")
    config = Config(
        database=_database(table, file),
        file=file,
        folder_name=_placed(table, "folder", table.optional_string("folder"), file) or None,
        user_id=table.optional_string("user_id", empty=True) or "",
        concurrency=table.integer("concurrency", 32, low=1, high=1000),
        log_level=log.choice("level", LOG_LEVELS, "warning"),
        log_format=log.choice("format", ("text", "json"), "text"),
        cleanup=_cleanup(table.table("cleanup")),
        storage=_storage(table.table("storage")),
        notify=_notify(table.optional_table("notify")),
        legacy_zone=_zone(table),
        services={name: dict(services.optional_mapping(name) or {}) for name in services.names()},
        fingerprint=fingerprint,
    )
    for each in (log, table):
        each.finish()
    return config


def _database(table: Table, file: str) -> str:
    text = table.string("database", "tracker.db")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme is None:
        return _placed(table, "database", text, file)
    if scheme[1].lower() not in ("postgresql", "postgres"):
        table.fail("database", f'expected a path or a postgresql:// URL, got "{scheme[0]}…"')
    return text


def _placed(table: Table, name: str, text: str | None, file: str) -> str:
    if text and "\0" in text:
        table.fail(name, "a path cannot hold a NUL character")
    return places.beside(file, text) if text else ""


def _notify(table: Table | None) -> NotifyConfig | None:
    if table is None:
        return None
    notify = NotifyConfig(
        _command(table),
        table.optional_string("url"),
        table.optional_mapping("auth", secret=True),
        table.duration("timeout", 30.0, positive=True),
    )
    table.finish()
    if notify.url is None and notify.command is None:
        raise ConfigError(f"{table.path}: expected a command or a url")
    if notify.url is not None and not re.match(r"https?://[^\s/@]+(?:/|$|\?)", notify.url):
        table.fail("url", "expected an http(s) URL without user and password")
    return notify


def read_ages(table: Table) -> dict[str, float]:
    """The ages in seconds, by status, that a ``cleanup`` table has beside ``older_than``."""
    found = {status: table.optional_duration(status) for status in FINISHED}
    return {status: age for status, age in found.items() if age is not None}


def _cleanup(table: Table) -> CleanupPolicy:
    policy = CleanupPolicy(
        older_than=table.duration("older_than", 7 * 86400.0),
        ages=read_ages(table),
        keep=table.optional_integer("keep", low=0),
        automatic=table.boolean("automatic", True),
        every=table.duration("every", 3600.0, positive=True),
    )
    table.finish()
    return policy


def _storage(table: Table) -> StorageConfig:
    url = table.optional_string("endpoint_url")
    path_style = table.optional_boolean("path_style")
    allowed = table.strings("allowed_buckets")
    storage = StorageConfig(
        bucket=_bucket(table),
        prefix=table.optional_string("prefix", empty=True) or "",
        endpoint_url=url,
        region=table.optional_string("region"),
        regions=_texts(table, "regions"),
        # Servers of one's own rarely have a name for each bucket.
        path_style=url is not None if path_style is None else path_style,
        allowed_buckets=allowed if "allowed_buckets" in table.names() else None,
        presign=table.duration("presign", 3600.0, positive=True),
        part_size=table.size("part_size", 8 * 2**20),
        concurrency=table.integer("concurrency", 4, low=1, high=100),
        timeout=table.duration("timeout", 60.0, positive=True),
    )
    table.finish()
    if url is not None and not re.fullmatch(r"https?://[^\s/@?#]+/?", url):
        table.fail("endpoint_url", "expected an http(s) URL without user, path and query")
    if len(storage.prefix.encode(errors="replace")) > LONGEST_PREFIX:
        table.fail("prefix", f"is longer than {LONGEST_PREFIX} bytes")
    if not 1 <= storage.presign <= LONGEST_PRESIGN:
        table.fail("presign", 'expected from 1 s to 7 days, such as "1h"')
    if not 5 * 2**20 <= storage.part_size <= 5 * 2**30:
        table.fail("part_size", "S3 takes parts from 5 MiB to 5 GiB")
    if storage.bucket and allowed and storage.bucket not in allowed:
        table.fail("bucket", f"{shown(storage.bucket)} is not in {table.key('allowed_buckets')}")
    return storage


LONGEST_PREFIX = 512
LONGEST_PRESIGN = 7 * 86400.0
"""S3's own limit."""


def _bucket(table: Table) -> str | None:
    name = table.optional_string("bucket")
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", name):
        table.fail("bucket", f"expected the name of a bucket, got {shown(name)}")
    return name


def _texts(table: Table, name: str) -> Mapping[str, str]:
    found = table.optional_mapping(name) or {}
    for key, value in found.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{table.key(name)}.{key}: expected a string, got {shown(value)}")
    return found


def _command(table: Table) -> tuple[str, ...] | None:
    value = table.raw("command")
    if value is None:
        return None
    if isinstance(value, str):
        import shlex

        try:
            value = shlex.split(value)
        except ValueError as error:
            table.fail("command", f"cannot be split into words: {error}")
    if not isinstance(value, list) or not value or not all(isinstance(i, str) for i in value):
        table.fail("command", f"expected a command, got {shown(table.raw('command'))}")
    return tuple(value)


def _zone(table: Table) -> str:
    name = table.optional_string("legacy_zone")
    if name is None:
        return "UTC"
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        table.fail("legacy_zone", f'expected a zone such as "Europe/Paris", got {shown(name)}')
    return name


def _syntax(message: str, text: str) -> str:
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.S)
    if match is None:
        return " ".join(message.split())
    line, column = match[2], match[3]
    if line is None:
        line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
    what = " ".join(match[1].split())
    return f"line {line}, column {column}: {what[:1].lower()}{what[1:]}"
