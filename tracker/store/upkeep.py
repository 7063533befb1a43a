"""What keeps the ledger healthy: the switch, the clock, pruning, cleanup."""

from __future__ import annotations

from collections.abc import Sequence

from tracker import clock
from tracker.model import Event
from tracker.store.ledger import Ledger, to_json

CLOCK_JUMP_SECONDS = 60.0
EVENT_RETENTION = 7 * 86400.0
RUN_RETENTION = 30 * 86400.0
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

    def note_checked(self, configuration: str) -> None:
        """Put on record that the configuration with this fingerprint has been checked."""
        if self.get_meta("checked") != configuration:
            with self.database.transaction():
                self._set_meta("checked", configuration)

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
            self._write_events("", "", [Event("ledger:clock-shifted", {"seconds": -back})], now)
        return back

    def _gone_back(self) -> float:
        last = self.get_meta("last_now")
        return clock.to_seconds(last) - self.now() if last else 0.0

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
        """Put one pass on record, with its `duration` in seconds; those older than 30 days go."""
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
            before = clock.to_text(self.now() - RUN_RETENTION)
            self.database.write(self.sql["prune_runs"], {"before": before})

    def prune_events(self) -> int:
        """Delete a batch of events older than 7 days; ``meta.events_pruned_to`` tells a late
        reader where what is left begins."""
        with self.database.transaction():
            rows = self.database.write(
                self.sql["prune_events"],
                {
                    "below": 2**63 - 1,
                    "before": clock.to_text(self.now() - EVENT_RETENTION),
                    "limit": PRUNE_BATCH,
                },
            )
            if rows:
                self._set_meta("events_pruned_to", str(max(row[0] for row in rows)))
        return len(rows)

    def cleanable(
        self, before: float, statuses: Sequence[str], *, limit: int = 500
    ) -> list[tuple[int, str, str]]:
        """Finished jobs (row id, local id, user id) that ended before a moment (seconds since 1970)
        and owe nothing, oldest first."""
        rows = self.database.read(
            self.sql["cleanable"],
            {
                "before": clock.to_text(before),
                "statuses": to_json(list(statuses)),
                "limit": limit,
            },
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def end_of_kept(self, keep: int) -> float | None:
        """When the newest finished job ended that is not among the `keep` newest ones, in seconds
        since 1970; None when there are no more than that."""
        rows = self.database.read(self.sql["end_of_kept"], {"keep": keep})
        return clock.to_seconds(rows[0][0]) if rows else None

    def clean_up(self, before: float, statuses: Sequence[str], *, limit: int = 500) -> int:
        """Delete a batch of `cleanable` jobs with all that belongs to them; how many. What they
        kept in files is owed as a removal from the same moment."""
        with self.database.transaction():
            found = self.cleanable(before, statuses, limit=limit)
            if not found:
                return 0
            now = clock.to_text(self.now())
            jobs = {"local_ids": to_json([local_id for _, local_id, _ in found]), "now": now}
            self.database.write(self.sql["request_removal_of_results"], jobs)
            freed = self.database.write(self.sql["release_objects"], jobs)
            objects = {"object_ids": to_json([row[0] for row in freed]), "now": now}
            self.database.write(self.sql["request_removal_of_objects"], objects)
            self.database.write(self.sql["delete_contents"], jobs)
            for _, local_id, user_id in found:
                self._write_events(
                    local_id, user_id, [Event("job:deleted", {"by": "cleanup"})], now
                )
            ids = to_json([id_ for id_, _, _ in found])
            self.database.write(self.sql["delete_jobs"], {"ids": ids})
        return len(found)

    def files_to_remove(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, str, int]]:
        """Files (object id, path, bytes) whose removal is owed, from object id `after` on."""
        rows = self.database.read(self.sql["files_to_remove"], {"after": after, "limit": limit})
        return [(row[0], row[1], row[2] or 0) for row in rows]

    def forget_objects(self, ids: Sequence[int]) -> None:
        """These objects are gone."""
        with self.database.transaction():
            self.database.write(self.sql["forget_objects"], {"ids": to_json(list(ids))})
