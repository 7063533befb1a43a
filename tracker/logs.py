"""Logs through standard `logging`, on standard error: text for people, JSON for machines."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from tracker import clock

if TYPE_CHECKING:
    from tracker.config import Config

FIELDS = ("job", "service", "operation", "http_status", "duration_seconds", "trigger")
"""What a record may carry besides its message."""


class TextFormatter(logging.Formatter):
    """``2026-01-31T08:15:00.250Z WARNING docs poll: HTTP 503 job=… service=docs``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        extra = "".join(f" {name}={value}" for name, value in _extra(record).items())
        line = f"{clock.to_text(record.created)} {record.levelname} {record.getMessage()}{extra}"
        if record.exc_info and record.levelno >= logging.ERROR:
            line += f" ({_cause(record)})"
        return " ".join(line.split())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at``, ``level``, ``logger``, ``message`` and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        found = {
            "at": clock.to_text(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            found["error"] = _cause(record)
        return json.dumps(found, ensure_ascii=False, default=str)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    found = {name: getattr(record, name, None) for name in FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def _cause(record: logging.LogRecord) -> str:
    """The error and where it was raised; the traceback itself is for `-vv`."""
    assert record.exc_info
    kind, error, trace = record.exc_info
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{kind.__name__ if kind else ''}: {error} at {place}"


def set_up(config: Config, *, verbose: int = 0, quiet: bool = False) -> None:
    """Have the package log to standard error: at the configuration's level, errors only when
    `quiet`, more when `verbose` (1: each attempt, 2: each call)."""
    level = getattr(logging, config.log_level.upper())
    if verbose:
        level = logging.INFO if verbose == 1 else logging.DEBUG
    elif quiet:
        level = logging.ERROR
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if config.log_format == "json" else TextFormatter())
    logger = logging.getLogger("tracker")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
