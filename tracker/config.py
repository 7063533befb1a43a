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


@dataclass(frozen=True, slots=True)
class CleanupPolicy:
    """Finished jobs go when older than ``older_than`` seconds, or beyond the newest ``keep``."""

    older_than: float = 7 * 86400.0
    keep: int | None = None


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
        """Where spooled inputs and kept results go; None is beside the database."""
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
    log, cleanup, services = (table.table(name) for name in ("log", "cleanup", "services"))
    config = Config(
        database=_database(table, file),
        file=file,
        folder_name=_placed(table, "folder", table.optional_string("folder"), file) or None,
        user_id=table.optional_string("user_id", empty=True) or "",
        concurrency=table.integer("concurrency", 32, low=1, high=1000),
        log_level=log.choice("level", LOG_LEVELS, "warning"),
        log_format=log.choice("format", ("text", "json"), "text"),
        cleanup=CleanupPolicy(
            cleanup.duration("older_than", 7 * 86400.0), cleanup.optional_integer("keep", low=0)
        ),
        notify=_notify(table.optional_table("notify")),
        legacy_zone=_zone(table),
        services={name: dict(services.optional_mapping(name) or {}) for name in services.names()},
        fingerprint=fingerprint,
    )
    for each in (log, cleanup, table):
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
