"""Which pollers live. A dead one's claims are free at once, not when their leases run out."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tracker import clock
from tracker.ids import new_id
from tracker.store import Store
from tracker.store.claims import PollerRow

BEAT_SECONDS = 1.0
SILENT_SECONDS = 4.0
EVERYTHING = ("poll", "run")
"""Kinds of poller that serve every job; ``part``, ``wait`` and ``submit`` serve some."""


class Presence:
    """This poller's row in ``pollers``, and its watch over the others."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store = store
        self._registered = False
        # By poller: the beat last seen, and since when (this process's own clock) it is the last.
        self._watched: dict[str, tuple[str, float]] = {}
        self._looked_at = 0.0
        self.me = PollerRow(new_id(), kind, socket.gethostname(), _scope(), os.getpid(), "", "")

    @property
    def id(self) -> str:
        """What claims are marked with."""
        return self.me.id

    def beat(self) -> None:
        """Say that this poller lives; before its first claim, and every second after it."""
        self._store.beat(self.me)
        self._registered = True

    @property
    def registered(self) -> bool:
        """Whether this poller has said so yet. One that never did can hold nothing."""
        return self._registered

    def dead(self) -> list[PollerRow]:
        """The others that are known to be dead: their process on this machine is gone, or they
        have been silent for 4 s under this process's own eyes (a suspended laptop's clock says
        nothing about who else was suspended)."""
        others = self._others()
        now = clock.monotonic()
        # What happened while this process itself was stopped, or waited for a lock, it did not see.
        watching = now - self._looked_at <= 2 * BEAT_SECONDS
        self._looked_at = now
        before, self._watched = self._watched if watching else {}, {}
        for row in others:
            beat, since = before.get(row.id, ("", now))
            self._watched[row.id] = (row.seen_at, since if beat == row.seen_at else now)
        return [
            row
            for row in others
            if _gone(row, self.me.scope) or now - self._watched[row.id][1] >= SILENT_SECONDS
        ]

    def is_gone(self, row: PollerRow) -> bool:
        """Whether its process is known not to be there any more: it will never beat again, however
        long others keep the database locked."""
        return _gone(row, self.me.scope)

    def alive(self) -> list[PollerRow]:
        """The others that serve every job and seem to live."""
        now = self._store.now()
        return [
            row
            for row in self._others()
            if row.kind in EVERYTHING
            and now - clock.read(row.seen_at, 0.0) < SILENT_SECONDS
            and not _gone(row, self.me.scope)
        ]

    def suspects(self) -> bool:
        """Whether another poller is silent, but has not been watched for long enough."""
        now = self._store.now()
        return any(now - clock.read(row.seen_at, 0.0) >= SILENT_SECONDS for row in self._others())

    def _others(self) -> list[PollerRow]:
        return [row for row in self._store.pollers() if row.id != self.me.id]


def _scope() -> str:
    """What a process id is unique in: this boot of this machine, this PID namespace; "" where the
    system does not tell, and then only silence counts."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _gone(row: PollerRow, scope: str) -> bool:
    if not scope or row.scope != scope:
        return False
    try:
        state = Path(f"/proc/{row.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    except (OSError, IndexError):
        return False
    return state in "ZX"  # killed, and not yet waited for by its parent
