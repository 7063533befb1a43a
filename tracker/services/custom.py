"""The rare rest: a Python class that a service's table names, ``class = "jenkins:Jenkins"``.

It is a `Service` that overrides some of the functions which build calls and read replies, and
leaves the rest to the table. What it raises is a failure of that call, never the poller's.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from typing import Any

from tracker.errors import ConfigError, TrackerError, UsageError
from tracker.model import Failure, Fault, Reading
from tracker.services.definition import Service

log = logging.getLogger("tracker.services")


def load_class(reference: str, key: str, folder: str) -> type[Service]:
    """The class ``module:Class``, from `folder` or wherever Python finds modules. Raises
    ConfigError naming `key`."""
    match = re.fullmatch(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", reference)
    if match is None:
        raise ConfigError(f'{key}: expected "module:Class", such as "jenkins:Jenkins"')
    try:
        with _findable(folder):
            found = getattr(import_module(match[1]), match[2], None)
    except Exception as error:
        raise ConfigError(f"{key}: {type(error).__name__}: {error}") from None
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


def _guarded(kind: type[Service], key: str) -> type[Service]:
    own: dict[str, Any] = {"__slots__": (), "__doc__": kind.__doc__}
    for name in dir(Service):
        function = getattr(kind, name)
        if function is getattr(Service, name, None):
            continue
        if name.startswith("build_"):
            own[name] = _building(function, f"{key}: {kind.__name__}.{name}")
        elif name.startswith("read_"):
            own[name] = _reading(function, f"{kind.__name__}.{name}")
    return type(kind.__name__, (kind,), own)


def _building(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    @wraps(function)
    def build(*given: Any, **named: Any) -> Any:
        try:
            return function(*given, **named)
        except TrackerError:
            raise
        except Exception as error:
            log.exception("%s failed", where)
            raise UsageError(f"{where}: {type(error).__name__}: {error}") from None

    return build


def _reading(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    @wraps(function)
    def read(self: Service, *given: Any, **named: Any) -> Any:
        try:
            found = function(self, *given, **named)
        except Exception as error:
            log.exception("%s failed", where)
            why = self.redacted(f"{where}: {type(error).__name__}: {error}")
            return Failure(Fault.UNREADABLE, why)
        wanted = where.endswith((".read_status", ".read_create"))
        if wanted and not isinstance(found, (Reading, Failure)):
            return Failure(Fault.UNREADABLE, f"{where} returned no Reading and no Failure")
        return found

    return read
