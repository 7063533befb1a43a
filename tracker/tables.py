"""Typed reading of TOML tables: every complaint names the key's full path.

Also the small notations that configuration and command line share: durations (``"20s"``), rates
(``"10/s"``) and sizes (``"8MB"``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from tracker.errors import ConfigError, did_you_mean

T = TypeVar("T")

LONGEST_DURATION = 36500 * 86400.0
"""100 years, in seconds: what is added to a time must still be a time."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_BYTES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)"
_DURATION = rf"(?:{_NUMBER}(?:w|d|h|ms|m|s)\s*)+"


def shown(value: object) -> str:
    """`value` as an error message quotes it: one line, at most 60 characters."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "an array"
    text = str(value) if not isinstance(value, str) else f'"{value}"'
    text = "".join(char if char.isprintable() else "?" for char in text[:200])
    return text if len(text) <= 60 else text[:57] + "…"


def parse_duration(value: object) -> float:
    """Seconds of ``"20s"``, ``"1h30m"``, ``"250ms"``, ``"7d"`` or a plain number of seconds.

    Units, each once and from large to small: w, d, h, m, s, ms. From 0 to 100 years.
    Raises ValueError with a message for people.
    """
    seconds = _duration(value)
    if seconds is None or not 0 <= seconds <= LONGEST_DURATION:
        raise ValueError(f'expected a duration such as "20s", got {shown(value)}')
    return seconds


def _duration(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # An int of hundreds of digits does not fit a float; it is too long in any case.
        return float(min(max(value, -1), 1e300)) if value == value else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    if not re.fullmatch(_DURATION, text):
        return None
    steps = re.findall(rf"{_NUMBER}(w|d|h|ms|m|s)", text)
    sizes = [_SECONDS[unit] for _, unit in steps]
    if sizes != sorted(set(sizes), reverse=True):
        return None
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in steps)


def parse_rate(value: object) -> float | None:
    """The least distance in seconds between two calls of ``"10/s"``, ``"600/m"``, ``"1/45s"``.

    None for ``"unlimited"``. Raises ValueError with a message for people.
    """
    if value == "unlimited":
        return None
    pattern = rf"{_NUMBER}\s*/\s*{_NUMBER}?([smhd])"
    match = re.fullmatch(pattern, value) if isinstance(value, str) else None
    if match and (count := float(match[1])) > 0:
        distance = float(match[2] or 1) * _SECONDS[match[3]] / count
        if 0 < distance <= LONGEST_DURATION:
            return distance
    raise ValueError(f'expected a rate such as "10/s" or "unlimited", got {shown(value)}')


def parse_size(value: object) -> int:
    """Bytes of ``"8MB"`` (decimal), ``"8MiB"`` (binary) or a whole number; 1 byte to 1 TB.

    Raises ValueError with a message for people.
    """
    size = 0
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := re.fullmatch(rf"{_NUMBER}\s*([A-Za-z]*)", value)):
        unit = _BYTES.get(match[2].upper())
        size = int(float(match[1]) * unit) if unit else 0
    if not 1 <= size <= 10**12:
        raise ValueError(f'expected a size such as "8MB", got {shown(value)}')
    return size


class Table:
    """One TOML table, read key by key; `finish` reports the keys that nobody asked for.

    ``path`` is the table's full dotted path. With ``record`` every key asked for is noted there:
    that is how the list of known keys is made.
    """

    __slots__ = ("_data", "_record", "_seen", "path")

    def __init__(self, path: str, data: Mapping[str, Any], record: set[str] | None = None) -> None:
        self.path = path
        self._data = data
        self._record = record
        self._seen: set[str] = set()

    def key(self, name: str) -> str:
        """The full dotted path of `name`."""
        shown_name = name if re.fullmatch(r"[A-Za-z0-9_*-]+", name) else f'"{name}"'
        return f"{self.path}.{shown_name}" if self.path else shown_name

    def fail(self, name: str, problem: str, hint: str = "") -> NoReturn:
        """Raise the ConfigError that says what is wrong with `name`."""
        raise ConfigError(f"{self.key(name)}: {problem}", hint)

    def raw(self, name: str) -> Any:
        """Whatever is there, or None."""
        if self._record is not None:
            self._record.add(self.key(name))
        self._seen.add(name)
        return self._data.get(name)

    def _wanted(self, name: str, expected: str, secret: bool = False) -> NoReturn:
        value = self._data[name]
        self.fail(name, f"expected {expected}" + ("" if secret else f", got {shown(value)}"))

    def _or(self, name: str, value: T | None, default: T | None) -> T:
        if value is not None:
            return value
        if default is None:
            self.fail(name, "is missing")
        return default

    def optional_string(
        self, name: str, *, secret: bool = False, empty: bool = False
    ) -> str | None:
        """A string; `secret` keeps a wrong value out of the message, `empty` allows ``""``."""
        value = self.raw(name)
        if value is not None and not isinstance(value, str):
            self._wanted(name, "a string", secret)
        if value == "" and not empty:
            self.fail(name, "must not be empty")
        return value

    def string(self, name: str, default: str | None = None) -> str:
        """A string that is not empty; required without a default."""
        return self._or(name, self.optional_string(name), default)

    def strings(self, name: str) -> tuple[str, ...]:
        """An array of strings; empty when there is none."""
        value = self.raw(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._wanted(name, "an array of strings")
        return tuple(value)

    def optional_number(
        self, name: str, *, low: float = -math.inf, high: float = math.inf
    ) -> float | None:
        """A finite number from `low` to `high`."""
        value = self.raw(name)
        if value is None:
            return None
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not plain or value - value != 0 or not low <= value <= high or abs(value) > 1e300:
            self._wanted(name, f"a number{_bounds(low, high)}")
        return float(value)

    def number(
        self, name: str, default: float, *, low: float = -math.inf, high: float = math.inf
    ) -> float:
        """A finite number from `low` to `high`."""
        value = self.optional_number(name, low=low, high=high)
        return default if value is None else value

    def optional_integer(self, name: str, *, low: int, high: int = 2**53) -> int | None:
        """A whole number from `low` to `high`."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self._wanted(name, f"a whole number{_bounds(low, high if high < 2**53 else math.inf)}")
        return value

    def integer(self, name: str, default: int, *, low: int, high: int = 2**53) -> int:
        """A whole number from `low` to `high`."""
        value = self.optional_integer(name, low=low, high=high)
        return default if value is None else value

    def optional_boolean(self, name: str) -> bool | None:
        """True or false."""
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            self._wanted(name, "true or false")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.optional_boolean(name)
        return default if value is None else value

    def optional_duration(self, name: str, *, positive: bool = False) -> float | None:
        """Seconds, see `parse_duration`; with `positive` 0 is an error."""
        value = self.raw(name)
        if value is None:
            return None
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(name, str(error))
        if positive and seconds == 0:
            self.fail(name, "must be longer than 0")
        return seconds

    def duration(self, name: str, default: float, *, positive: bool = False) -> float:
        """Seconds, see `parse_duration`."""
        value = self.optional_duration(name, positive=positive)
        return default if value is None else value

    def rate(self, name: str, default: float | None) -> float | None:
        """Seconds between calls, see `parse_rate`."""
        value = self.raw(name)
        if value is None:
            return default
        try:
            return parse_rate(value)
        except ValueError as error:
            self.fail(name, str(error))

    def size(self, name: str, default: int) -> int:
        """Bytes, see `parse_size`."""
        value = self.raw(name)
        if value is None:
            return default
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(name, str(error))

    def choice(self, name: str, options: tuple[str, ...], default: str | None = None) -> str:
        """One of `options`; required without a default."""
        value = self.raw(name)
        if value is not None and value not in options:
            expected = ", ".join(f'"{option}"' for option in options)
            near = did_you_mean(value, list(options)) if isinstance(value, str) else ""
            self.fail(name, f"expected one of {expected}, got {shown(value)}", near)
        return self._or(name, None if value is None else str(value), default)

    def optional_mapping(self, name: str, *, secret: bool = False) -> Mapping[str, Any] | None:
        """A table as it is, its keys unchecked."""
        value = self.raw(name)
        if value is not None and not isinstance(value, Mapping):
            self._wanted(name, "a table", secret)
        return value

    def optional_table(self, name: str, *, secret: bool = False) -> Table | None:
        """A table to be read key by key; the caller finishes it."""
        self._seen.add(name)
        value = self._data.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self._wanted(name, "a table", secret)
        return Table(self.key(name), value, self._record)

    def tables(self, name: str) -> list[Table]:
        """An array of tables to be read key by key, empty when there is none; the caller finishes
        them."""
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
            self._wanted(name, "an array of tables")
        return [Table(f"{self.key(name)}[{index}]", one) for index, one in enumerate(value)]

    def table(self, name: str) -> Table:
        """A table to be read key by key, empty when there is none; the caller finishes it."""
        return self.optional_table(name) or Table(self.key(name), {}, self._record)

    def names(self) -> list[str]:
        """The keys that are there, in their order."""
        return list(self._data)

    def finish(self) -> None:
        """Raise ConfigError for the first key that nothing has asked for."""
        for name in self._data:
            if name not in self._seen:
                known = sorted(self._seen)
                hint = did_you_mean(name, known) or f"known here: {', '.join(known)}"
                self.fail(name, "unknown key", hint)


def _bounds(low: float, high: float) -> str:
    if low == -math.inf and high == math.inf:
        return ""
    if high == math.inf:
        return f" of at least {low:g}"
    return f" from {low:g} to {high:g}"
