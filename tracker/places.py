"""Where ``tracker.toml`` and the database are looked for.

Without `pathlib`: every command pays for this module, and that import takes 3 ms.
"""
# ruff: noqa: PTH100, PTH111, PTH117, PTH118, PTH120, PTH123

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from tracker.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


class Found(NamedTuple):
    """A configuration file: its absolute name and its text."""

    file: str
    text: str


def find_config(path: str | None) -> Found | None:
    """The configuration file; None when there is none.

    It is `path`, else what ``TRACKER_CONFIG`` names, else ``./tracker.toml``, else
    ``tracker/tracker.toml`` in the user's configuration folder. Raises ConfigError when a named
    file is missing, or when one that is there cannot be read.
    """
    explicit = path or os.environ.get("TRACKER_CONFIG")
    if explicit:
        name = os.path.expanduser(explicit)
        text = _text(name)
        if text is None:
            raise ConfigError(f"{name}: no such file", "named by --config or TRACKER_CONFIG")
        return Found(os.path.abspath(name), text)
    for name in ("tracker.toml", os.path.join(user_folder("CONFIG", ".config"), "tracker.toml")):
        if (text := _text(name)) is not None:
            return Found(os.path.abspath(name), text)
    return None


def default_database() -> str:
    """The ledger of a user without any configuration file."""
    return os.path.join(user_folder("DATA", ".local/share"), "tracker.db")


def default_folder() -> str:
    """Where inputs and kept results go whose ledger is on a server."""
    return os.path.join(user_folder("DATA", ".local/share"), "files")


def user_folder(kind: str, default: str) -> str:
    """Tracker's part of the user's XDG folder of `kind` CONFIG or DATA.

    A relative setting does not count, as the XDG specification wants it.
    """
    base = os.environ.get(f"XDG_{kind}_HOME", "")
    if not os.path.isabs(base):
        mac = sys.platform == "darwin"
        base = os.path.expanduser("~/Library/Application Support" if mac else f"~/{default}")
    return os.path.join(base, "tracker")


def beside(file: str, text: str) -> str:
    """`text` as an absolute path: ``~`` is the user's home, a relative one starts beside `file`."""
    return os.path.normpath(os.path.join(os.path.dirname(file), os.path.expanduser(text)))


def as_path(text: str | None) -> Path | None:
    """`text` as a Path; None for nothing."""
    if not text:
        return None
    from pathlib import Path

    return Path(text)


def _text(name: str) -> str | None:
    try:
        # The BOM that some editors write is no part of the text.
        with open(name, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        raise ConfigError(f"{name}: is a folder, expected a file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 (byte {error.start})") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{name}: cannot be read: {reason}") from None
