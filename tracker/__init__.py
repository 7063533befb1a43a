"""Tracker: a local-first ledger and poller for jobs that run on somebody else's API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.errors import TrackerError
    from tracker.model import ProcessingJob
    from tracker.tracker import Tracker

__version__ = "0.1.0"
__all__ = ["ProcessingJob", "Tracker", "TrackerError", "__version__"]

# Each name is imported when it is first used: `tracker poll` with nothing due pays for none.
_HOMES = {
    "ProcessingJob": "tracker.model",
    "Tracker": "tracker.tracker",
    "TrackerError": "tracker.errors",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tracker' has no attribute {name!r}")
