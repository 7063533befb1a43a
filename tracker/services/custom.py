"""The rare rest: a Python class that a service's table names, ``class = "jenkins:Jenkins"``.

It is a `Service` that overrides some of the functions which build calls and read replies, and
leaves the rest to the table. What it raises, and what it returns that makes no sense, is a failure
of that call, never the poller's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

import msgspec

from tracker import clock
from tracker.errors import ConfigError, TrackerError, UsageError
from tracker.listed import Page
from tracker.model import Content, Failure, Fault, Reading
from tracker.services import values
from tracker.services.definition import Service
from tracker.services.results import Piece, Step
from tracker.transports.base import Call

LONGEST_WORDS = 300

NOTHING = type(None)
RETURNED: dict[str, tuple[type, ...]] = {
    "read_create": (Reading, Failure),
    "read_status": (Reading, Failure),
    "read_lookup": (Reading, Failure, NOTHING),
    "read_plain": (Failure, NOTHING),
    "read_cancel": (Failure, NOTHING),
    "read_delete": (Failure, NOTHING),
    "read_update": (str, Failure, NOTHING),
    "read_result": (Content, Step, Piece, Failure),
    "read_list": (Page, Failure),
    "read_bulk": (tuple, Failure),
    "server_key": (str,),
}
"""What each function may return; those that build have a `Call`."""


def load_class(reference: str, key: str, folder: str) -> type[Service]:
    """The class ``module:Class``, from `folder` or wherever Python finds modules. Raises
    ConfigError naming `key`."""
    match = re.fullmatch(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", reference)
    if match is None:
        raise ConfigError(f'{key}: expected "module:Class", such as "jenkins:Jenkins"')
    try:
        with _findable(folder):
            found = getattr(_module(match[1], folder), match[2], None)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{key}: {_words(error)}") from None
    if not isinstance(found, type) or not issubclass(found, Service):
        raise ConfigError(f"{key}: {reference} is no class made of tracker.services.Service")
    return _guarded(found, key)


@contextmanager
def _findable(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _module(name: str, folder: str) -> ModuleType:
    """The module of that name in `folder`, under a name of its own: two trackers of one process may
    each have a ``jenkins.py``; or an installed one."""
    file = Path(folder, *name.split(".")).with_suffix(".py")
    if not file.is_file():
        return import_module(name)
    spec = spec_from_file_location(f"tracker_class:{file}", file)
    assert spec is not None and spec.loader is not None  # it is a file of Python
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _guarded(kind: type[Service], key: str) -> type[Service]:
    own: dict[str, Any] = {"__slots__": (), "__doc__": kind.__doc__}
    for name in dir(Service):
        function = getattr(kind, name)
        if function is getattr(Service, name, None):
            continue
        if name.startswith("build_") or name == "server_key":
            own[name] = _building(function, f"{key}: {kind.__name__}.{name}")
        elif name.startswith("read_"):
            own[name] = _reading(function, f"{kind.__name__}.{name}")
    return type(kind.__name__, (kind,), own)


def _building(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    wanted = RETURNED.get(function.__name__, (Call,))

    @wraps(function)
    def build(self: Service, *given: Any, **named: Any) -> Any:
        try:
            found = function(self, *given, **named)
        except TrackerError:
            raise
        except (Exception, SystemExit) as error:
            raise UsageError(self.redacted(f"{where}: {_words(error)}")) from None
        if not isinstance(found, wanted):
            raise UsageError(f"{where} returned {_expected(found, wanted)}")
        return found

    return build


def _reading(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    name = where.rpartition(".")[2]
    wanted = RETURNED[name]

    @wraps(function)
    def read(self: Service, *given: Any, **named: Any) -> Any:
        try:
            found = function(self, *given, **named)
        except (Exception, SystemExit) as error:
            return _unreadable(self, f"{where}: {_words(error)}")
        if not isinstance(found, wanted):
            return _unreadable(self, f"{where} returned {_expected(found, wanted)}")
        try:
            if name == "read_bulk" and isinstance(found, tuple):
                return tuple(_sound(self, one) for one in _as_many(found, given[0]))
            return _sound(self, found, with_id=name in ("read_create", "read_lookup"))
        except (ValueError, TypeError, OverflowError) as error:
            return _unreadable(self, f"{where} returned nonsense: {error}")

    return read


def _unreadable(service: Service, why: str) -> Failure:
    return Failure(Fault.UNREADABLE, service.redacted(values.line(why, LONGEST_WORDS)))


def _expected(found: object, wanted: tuple[type, ...]) -> str:
    names = ["None" if one is NOTHING else one.__name__ for one in wanted]
    got = "None" if found is None else type(found).__name__
    return f"{got}, expected {' or '.join(names)}"


def _words(error: BaseException) -> str:
    """An exception in one line, with where it was raised, where that is in a file of others."""
    own = (__file__, "<")
    frames = [one for one in extract_tb(error.__traceback__) if not one.filename.startswith(own)]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return values.line(f"{type(error).__name__}: {error}", LONGEST_WORDS) + place


def _as_many(found: tuple[Any, ...], jobs: Any) -> tuple[Any, ...]:
    if len(found) != len(jobs):
        raise ValueError(f"{len(found)} readings for {len(jobs)} jobs")
    return found


def _sound(service: Service, found: Any, *, with_id: bool = False) -> Any:
    """`found` with fields of the right types, or ValueError."""
    if not isinstance(found, (Reading, Failure)):
        return found
    kind = Reading if isinstance(found, Reading) else Failure
    # There and back: what the ledger could not keep does not come through.
    found = msgspec.json.decode(msgspec.json.encode(found), type=kind)
    if found.retry_after is not None:
        wait = min(max(found.retry_after, 0.0), service.retry_after_cap)
        found = replace(found, retry_after=wait)
    if isinstance(found, Reading):
        _check(found, with_id)
    return found


def _check(reading: Reading, with_id: bool) -> None:
    if reading.progress is not None and not 0 <= reading.progress <= 1:
        raise ValueError(f"progress {reading.progress:g} is not from 0 to 1")
    if reading.estimated_seconds is not None and reading.estimated_seconds < 0:
        raise ValueError("estimated_seconds is less than 0")
    if reading.expires_at is not None and clock.to_moment(reading.expires_at) is None:
        raise ValueError(f"expires_at {values.line(reading.expires_at, 40)!r} is no time")
    if with_id and values.identifier(reading.server_id) is None:
        raise ValueError("a reading without a usable server_id")
