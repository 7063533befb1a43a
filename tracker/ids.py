"""Ids that are made here."""

from __future__ import annotations

import os
from uuid import UUID

from tracker import clock


def new_id() -> str:
    """A UUIDv7 (RFC 9562) as text: ids sort by the millisecond they were made in."""
    milliseconds = int(clock.now() * 1000) & (2**48 - 1)
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))
