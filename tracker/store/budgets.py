"""How fast each service may be called, and whether at all: shared by all pollers (B3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tracker import clock
from tracker.model import Event
from tracker.store.ledger import Ledger, to_json

BUDGETS = "budgets"
"""What these transactions keep to themselves: pollers that call do not wait for those that write
what came back."""

BY_HAND = "by_hand"
"""What a pause is for that a person made: only a person ends it."""

HORIZON_SECONDS = 0.25
"""Tokens are taken at most this long before their calls go out."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What is known of a service and account. ``paused_for`` is in seconds, 0 when it is not
    paused; ``pause_count`` above 0 without a pause means that a single probe goes out first.
    ``fault`` is the one that the pause is for."""

    paused_for: float = 0.0
    paused_until: str | None = None
    why: str | None = None
    pause_count: int = 0
    failing_jobs: int = 0
    fault: str | None = None


class Budgets(Ledger):
    """Tokens and pauses, a row per service and account."""

    def budget(self, service: str, account: str) -> Budget:
        """The present budget of a service and account."""
        rows = self.database.read(self.sql["budget"], {"service": service, "account": account})
        return self._budget(rows[0][1:]) if rows else Budget()

    def budgets(self) -> dict[tuple[str, str], Budget]:
        """All budgets on record, by (service, account)."""
        rows = self.database.read(self.sql["budgets"])
        return {(row[0], row[1]): self._budget(row[3:]) for row in rows}

    def _budget(self, row: tuple[str | None, str | None, int, int, str | None]) -> Budget:
        paused_until, why, pause_count, failing_jobs, fault = row
        paused_for = max(clock.read(paused_until, 0.0) - self.now(), 0.0)
        return Budget(paused_for, paused_until, why, pause_count, failing_jobs, fault)

    def take_tokens(
        self, service: str, account: str, wanted: int, distance: float
    ) -> tuple[list[float], float]:
        """Up to `wanted` calls to a service that wants `distance` seconds between two.

        Returns when each may go out, in seconds from now (0 to 0.25), and in how many seconds it
        is worth asking for more.
        """
        with self.database.transaction(BUDGETS):
            now = self.now()
            rows = self.database.read(self.sql["budget"], {"service": service, "account": account})
            free_at = clock.read(rows[0][0], now) if rows else now
            start = max(free_at, now)
            last = now + HORIZON_SECONDS
            count = min(wanted, int((last - start) / distance) + 1) if start <= last else 0
            if count:
                self.database.write(
                    self.sql["take_tokens"],
                    {
                        "service": service,
                        "account": account,
                        # Rounded up to the stored millisecond, so that no rounding earns a call.
                        "next_call_at": clock.to_text(start + count * distance + 0.000999),
                    },
                )
        slots = [start + index * distance - now for index in range(count)]
        return slots, max(start + count * distance - last, 0.0)

    def pause_service(
        self,
        service: str,
        account: str,
        why: str,
        delays: Sequence[float],
        asked: float = 0.0,
        fault: str | None = None,
        *,
        probed: bool = False,
    ) -> Budget:
        """Leave a service alone for the `asked` seconds that it named, if it did (1 or more), else
        for the n-th time in a row for ``delays[n]``. Failures of calls that went out before a
        pause can lengthen it, but do not deepen the next one; that of the probe does (`probed`)."""
        with self.database.transaction(BUDGETS):
            now = self.now()
            before = self.budget(service, account)
            if before.fault == BY_HAND:
                return before  # a person decides
            if before.paused_for and not probed:
                count, pause = max(before.pause_count, 1), max(before.paused_for, asked)
            else:
                count = before.pause_count + 1
                pause = asked if asked >= 1.0 else delays[min(count, len(delays)) - 1]
            self._write_pause(service, account, now + pause, why, count, 0, fault)
        return self.budget(service, account)

    def hold_service(self, service: str, account: str) -> bool:
        """Leave a service alone until a person says otherwise; False when it was so already."""
        with self.database.transaction(BUDGETS):
            if self.budget(service, account).fault == BY_HAND:
                return False
            far = clock.LAST_SECOND
            self._write_pause(service, account, far, "paused by hand", 0, 0, BY_HAND)
            told = Event("service:paused", {"service": service})
            self._write_events("", "", [told], clock.to_text(self.now()))
        return True

    def let_go_service(self, service: str, account: str) -> bool:
        """Call a service again, whatever it was left alone for; False when it was not."""
        with self.database.transaction(BUDGETS):
            if not self.budget(service, account).paused_for:
                return False
            self._write_pause(service, account, None, None, 0, 0)
            told = Event("service:resumed", {"service": service})
            self._write_events("", "", [told], clock.to_text(self.now()))
        return True

    def take_probe(self, service: str, account: str, seconds: float) -> bool:
        """Whether the one call that may go out after a pause is this process's. For all others the
        pause goes on until its result is there, or for so many seconds."""
        with self.database.transaction(BUDGETS):
            before = self.budget(service, account)
            if before.paused_for:
                return False
            if before.pause_count:
                until = self.now() + seconds
                self._write_pause(
                    service, account, until, before.why, before.pause_count, 0, before.fault
                )
        return True

    def give_up_probe(self, service: str, account: str) -> None:
        """The probe did not go out after all: it is anybody's again."""
        with self.database.transaction(BUDGETS):
            before = self.budget(service, account)
            if before.pause_count:
                self._write_pause(
                    service, account, None, before.why, before.pause_count, 0, before.fault
                )

    def note_failing_jobs(self, service: str, account: str, jobs: int = 1) -> int:
        """Count `jobs` more distinct jobs whose calls failed with no success between; the sum."""
        with self.database.transaction(BUDGETS):
            before = self.budget(service, account)
            total = before.failing_jobs + jobs
            until = self.now() + before.paused_for if before.paused_for else None
            self._write_pause(
                service, account, until, before.why, before.pause_count, total, before.fault
            )
        return total

    def note_success(self, service: str, account: str, *, ends_pause: bool = False) -> None:
        """A call came through: pauses and failures in a row are over. Writes only a change; a call
        that went out before a pause does not end it, one that was sent in spite of it
        (`ends_pause`) does."""
        before = self.budget(service, account)
        if before != Budget() and (ends_pause or not before.paused_for):
            with self.database.transaction(BUDGETS):
                self._write_pause(service, account, None, None, 0, 0)

    def probe_now(self, faults: Collection[str], service: str | None = None) -> int:
        """Let the next probe go out now to `service`, or to all that are paused for one of these
        faults; to how many."""
        wanted = {"faults": to_json(list(faults)), "service": service}
        wanted["now"] = clock.to_text(self.now())
        if not self.database.read(self.sql["pauses_for"], wanted):
            return 0
        with self.database.transaction(BUDGETS):
            return len(self.database.write(self.sql["end_pauses"], wanted))

    def _write_pause(
        self,
        service: str,
        account: str,
        until: float | None,
        why: str | None,
        count: int,
        failing_jobs: int,
        fault: str | None = None,
    ) -> None:
        self.database.write(
            self.sql["pause_service"],
            {
                "service": service,
                "account": account,
                "paused_until": None if until is None else clock.to_text(until),
                "why": why,
                "pause_count": count,
                "failing_jobs": failing_jobs,
                "fault": fault,
            },
        )
