"""What keeps the ledger healthy: the switch, the clock, pruning."""

from __future__ import annotations

from tracker import clock
from tracker.model import Event
from tracker.store.ledger import Ledger

CLOCK_JUMP_SECONDS = 60.0
EVENT_RETENTION = 7 * 86400.0
RUN_RETENTION = 30 * 86400.0
STRANGER_RETENTION = 7 * 86400.0
TOMBSTONE_RETENTION = 365 * 86400.0
PRUNE_BATCH = 1000


class Upkeep(Ledger):
    """None of it delays a poll: every batch is bounded."""

    def set_paused(self, paused: bool) -> bool:
        """Turn all polling and syncing off or on; False when it was so already."""
        with self.database.transaction():
            if self.is_paused() == paused:
                return False
            self._set_meta("paused", clock.to_text(self.now()) if paused else "")
            self._write_events(
                "",
                "",
                [Event("ledger:paused" if paused else "ledger:resumed", {})],
                clock.to_text(self.now()),
            )
        return True

    def is_paused(self) -> bool:
        """Whether all polling and syncing is turned off."""
        return bool(self.get_meta("paused"))

    def events_pruned_to(self) -> int:
        """The highest ``seq`` that has been pruned; 0 when none was."""
        return int(self.get_meta("events_pruned_to") or 0)

    def note_checked(self, configuration: str) -> None:
        """Put on record that the configuration with this fingerprint has been checked."""
        if self.get_meta("checked") != configuration:
            with self.database.transaction():
                self._set_meta("checked", configuration)

    def next_cleanup_in(self) -> float:
        """In how many seconds the next cleanup by itself is due; 0 or less: it is."""
        at = self.get_meta("next_cleanup_at")
        return clock.read(at, self.now()) - self.now()

    def set_next_cleanup(self, delay: float | None) -> None:
        """Put on record when the next cleanup by itself is due, in seconds from now; None for
        never."""
        at = "" if delay is None else clock.to_text(self.now() + delay)
        if self.get_meta("next_cleanup_at") != at:
            with self.database.transaction():
                self._set_meta("next_cleanup_at", at)

    def check_clock(self) -> float:
        """Notice a clock that went back by more than a minute and shift every due time by as
        much, once; the seconds that it went back, 0 when it did not."""
        if self._gone_back() < CLOCK_JUMP_SECONDS:
            return 0.0
        with self.database.transaction():
            back = self._gone_back()
            if back < CLOCK_JUMP_SECONDS:
                return 0.0
            shift = {"shift": f"-{back:.3f} seconds"}
            for name in ("shift_jobs", "shift_operations", "shift_budgets"):
                self.database.write(self.sql[name], shift)
            now = clock.to_text(self.now())
            self._set_meta("last_now", now)
            self._set_meta("next_cleanup_at", now)
            self._write_events("", "", [Event("ledger:clock-shifted", {"seconds": -back})], now)
        return back

    def _gone_back(self) -> float:
        last = self.get_meta("last_now")
        return clock.read(last, 0.0) - self.now()

    def record_run(
        self,
        poller: str,
        kind: str,
        started_at: float,
        duration: float,
        *,
        polled: int,
        completed: int,
        failed: int,
        errors: int,
    ) -> None:
        """Put one pass on record, with its `duration` in seconds; those older than 30 days go, and
        tombstones older than a year and strangers older than a week."""
        with self.database.transaction():
            self.database.write(
                self.sql["insert_run"],
                {
                    "poller_id": poller,
                    "kind": kind,
                    "started_at": clock.to_text(started_at),
                    "duration": round(duration, 3),
                    "polled": polled,
                    "completed": completed,
                    "failed": failed,
                    "errors": errors,
                },
            )
            for name, retention in (
                ("prune_runs", RUN_RETENTION),
                ("prune_tombstones", TOMBSTONE_RETENTION),
                ("prune_strangers", STRANGER_RETENTION),
            ):
                before = clock.to_text(self.now() - retention)
                self.database.write(self.sql[name], {"before": before})

    def prune_events(self) -> int:
        """Delete a batch of events older than 7 days; ``meta.events_pruned_to`` tells a late
        reader where what is left begins."""
        now = self.now()
        before, at_most = clock.to_text(now - EVENT_RETENTION), clock.to_text(now)
        old = []
        # Events are in the order of time: looking stops at the first one that is young. One that
        # is dated after now was written by a clock that was wrong.
        for seq, at in self.database.read(self.sql["first_events"], {"limit": PRUNE_BATCH}):
            if before <= at <= at_most:
                break
            old.append(seq)
        if old:
            with self.database.transaction():
                self.database.write(self.sql["prune_events"], {"last": old[-1]})
                known = int(self.get_meta("events_pruned_to") or 0)
                self._set_meta("events_pruned_to", str(max(old[-1], known)))
        return len(old)
