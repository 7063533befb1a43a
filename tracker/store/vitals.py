"""How the ledger is: counts, ages, sizes, and who is stuck."""

from __future__ import annotations

from typing import Any

from tracker import clock
from tracker.model import Event, Json
from tracker.store.ledger import Ledger, to_json

STUCK_SECONDS = 1800.0
"""A job that is processing, or an operation that is due, for longer than this is stuck (P12)."""

DAY = 86400.0

LATE_SECONDS = 60.0
"""What has been due for longer than this should have been fetched."""

SHOWN = 20
TABLES = (
    "processing_jobs",
    "operations",
    "objects",
    "contents",
    "job_events",
    "poll_runs",
)
RIGHT_REASONS = ("service", "timeout", "person")
"""Failures that are a job's right end: the service said so, or a person."""


class Vitals(Ledger):
    """Looking at the whole; nothing here is needed for a poll."""

    def vitals(self) -> dict[str, Json]:
        """Figures for `tracker.health`: see there."""
        now = self.now()
        at = {
            "stuck": clock.to_text(now - STUCK_SECONDS),
            "day": clock.to_text(now - DAY),
            "right": to_json(list(RIGHT_REASONS)),
            "soon": clock.to_text(now + DAY),
            "late": clock.to_text(now - LATE_SECONDS),
            "limit": SHOWN,
        }
        oldest = self.database.read(self.sql["oldest_operation"])[0][0]
        ended, right = self.database.read(self.sql["ends_since"], at)[0]
        return {
            "oldest_operation_seconds": None
            if oldest is None
            else round(now - clock.read(oldest, now), 1),
            "stuck_jobs": [row[0] for row in self.database.read(self.sql["stuck_jobs"], at)],
            "expiring": [
                {"local_id": row[0], "expires_at": row[1]}
                for row in self.database.read(self.sql["expiring"], at)
            ],
            "stuck_operations": self.database.read(self.sql["stuck_operations"], at)[0][0],
            "ended_last_day": ended,
            "success_rate": None if not ended else right / ended,
            "tables": {
                name: self.database.read(self.sql[f"size_of_{name}"])[0][0] for name in TABLES
            },
            "database_bytes": self.database.read(self.sql["database_bytes"])[0][0],
        }

    def alert_stuck(self) -> list[str]:
        """Jobs that have been processing for more than 30 minutes and were not told of yet; each
        is told of once, by an event."""
        now = self.now()
        before = {"before": clock.to_text(now - STUCK_SECONDS), "now": clock.to_text(now)}
        if not self.database.read(self.sql["unalerted"], before):
            return []
        with self.database.transaction():
            rows: list[tuple[Any, ...]] = self.database.write(self.sql["alert_stuck"], before)
            for local_id, user_id, accepted_at in rows:
                told = [Event("job:stuck", {"processing_since": accepted_at})]
                self._write_events(local_id, user_id, told, clock.to_text(now))
        return [row[0] for row in rows]
