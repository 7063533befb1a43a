"""Ids that are made here."""

from __future__ import annotations

import os
import threading
from uuid import UUID

from tracker import clock

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A UUIDv7 (RFC 9562) as text. Ids of one process sort in the order in which they were made,
    those of several by the millisecond; the end, which people type, is random."""
    global _last
    random = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    with _lock:
        # 48 bits of milliseconds and 12 that count within one; a clock that stands still or goes
        # back borrows from the next millisecond.
        _last = max(int(clock.now() * 1000) << 12 & (1 << 60) - 1, _last + 1)
        stamp = _last
    high, low = stamp >> 12, stamp & 0xFFF
    return str(UUID(int=high << 80 | 0x7 << 76 | low << 64 | 0x2 << 62 | random))
