"""How fast each service may be called, and whether at all: shared by all pollers (B3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tracker import clock
from tracker.model import Event
from tracker.store.ledger import Ledger, to_json

BUDGETS = "budgets"
"""What these transactions keep to themselves: pollers that call do not wait for those that write
what came back."""

BY_HAND = "by_hand"
"""What a pause is for that a person made: only a person ends it, and it holds for all calls."""

EXHAUSTED = "exhausted"
"""What a pause is for after a reply that said that no calls are left."""

Place = tuple[str, str, str]
"""Whose budget: the service, the account, and the kind of call ("": those that share one)."""

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


def budget_of(budgets: Mapping[Place, Budget], place: Place) -> Budget:
    """The one of these budgets that counts for a place."""
    general = budgets.get((*place[:2], ""), Budget())
    return general if general.fault == BY_HAND else budgets.get(place, Budget())


class Budgets(Ledger):
    """Tokens and pauses, a row per service, account and kind of call."""

    def budget(self, service: str, account: str, calls: str = "") -> Budget:
        """The present budget of a service, account and kind of call."""
        place = (service, account, calls)
        rows = self.database.read(self.sql["budget"], _at(place))
        return budget_of({(service, account, row[0]): self._budget(row[2:]) for row in rows}, place)

    def budgets(self) -> dict[Place, Budget]:
        """All budgets on record."""
        rows = self.database.read(self.sql["budgets"])
        return {row[:3]: self._budget(row[4:]) for row in rows}

    def free_in(self, place: Place) -> float:
        """In how many seconds a budget's next call may go out, but for pauses."""
        now = self.now()
        return self._free_at(place, now) - now

    def _free_at(self, place: Place, now: float) -> float:
        rows = self.database.read(self.sql["budget"], _at(place))
        return max([now, *(clock.read(row[1], now) for row in rows if row[0] == place[2])])

    def _budget(self, row: tuple[str | None, str | None, int, int, str | None]) -> Budget:
        paused_until, why, pause_count, failing_jobs, fault = row
        paused_for = max(clock.read(paused_until, 0.0) - self.now(), 0.0)
        return Budget(paused_for, paused_until, why, pause_count, failing_jobs, fault)

    def take_tokens(self, place: Place, wanted: int, distance: float) -> tuple[list[float], float]:
        """Up to `wanted` calls out of a budget that has one every `distance` seconds.

        Returns when each may go out, in seconds from now (0 to 0.25), and in how many seconds it
        is worth asking for more.
        """
        with self.database.transaction(BUDGETS):
            now = self.now()
            start = self._free_at(place, now)
            last = now + HORIZON_SECONDS
            count = min(wanted, int((last - start) / distance) + 1) if start <= last else 0
            if count:
                self.database.write(
                    self.sql["take_tokens"],
                    {
                        **_at(place),
                        # Rounded up to the stored millisecond, so that no rounding earns a call.
                        "next_call_at": clock.to_text(start + count * distance + 0.000999),
                    },
                )
        slots = [start + index * distance - now for index in range(count)]
        return slots, max(start + count * distance - last, 0.0)

    def pause_service(
        self,
        place: Place,
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
            before = self.budget(*place)
            if before.fault == BY_HAND:
                return before  # a person decides
            if before.paused_for and not probed:
                count, pause = max(before.pause_count, 1), max(before.paused_for, asked)
            else:
                count = before.pause_count + 1
                pause = asked if asked >= 1.0 else delays[min(count, len(delays)) - 1]
            self._write_pause(place, now + pause, why, count, 0, fault)
        return self.budget(*place)

    def rest_service(self, place: Place, seconds: float, why: str) -> bool:
        """Make no calls for so many seconds, as the service said that none are left; nothing is
        wrong with it, so no probe goes first. False when it is left alone longer already."""
        with self.database.transaction(BUDGETS):
            before = self.budget(*place)
            if before.paused_for >= seconds:
                return False
            until = self.now() + seconds
            count, failing = before.pause_count, before.failing_jobs
            self._write_pause(place, until, why, count, failing, EXHAUSTED)
        return True

    def hold_service(self, service: str, account: str) -> bool:
        """Leave a service alone until a person says otherwise; False when it was so already."""
        with self.database.transaction(BUDGETS):
            if self.budget(service, account).fault == BY_HAND:
                return False
            far = clock.LAST_SECOND
            self._write_pause((service, account, ""), far, "paused by hand", 0, 0, BY_HAND)
            told = Event("service:paused", {"service": service})
            self._write_events("", "", [told], clock.to_text(self.now()))
        return True

    def let_go_service(self, service: str, account: str) -> bool:
        """Call a service again, whatever it was left alone for; False when it was not."""
        with self.database.transaction(BUDGETS):
            paused = [
                place
                for place, budget in self.budgets().items()
                if place[:2] == (service, account) and budget.paused_for
            ]
            for place in paused:
                self._write_pause(place, None, None, 0, 0)
            if paused:
                told = Event("service:resumed", {"service": service})
                self._write_events("", "", [told], clock.to_text(self.now()))
        return bool(paused)

    def take_probe(self, place: Place, seconds: float) -> bool:
        """Whether the one call that may go out after a pause is this process's. For all others the
        pause goes on until its result is there, or for so many seconds."""
        with self.database.transaction(BUDGETS):
            before = self.budget(*place)
            if before.paused_for:
                return False
            if before.pause_count:
                until = self.now() + seconds
                self._write_pause(place, until, before.why, before.pause_count, 0, before.fault)
        return True

    def give_up_probe(self, place: Place) -> None:
        """The probe did not go out after all: it is anybody's again."""
        with self.database.transaction(BUDGETS):
            before = self.budget(*place)
            if before.pause_count:
                self._write_pause(place, None, before.why, before.pause_count, 0, before.fault)

    def note_failing_jobs(self, place: Place, jobs: int = 1) -> int:
        """Count `jobs` more distinct jobs whose calls failed with no success between; the sum."""
        with self.database.transaction(BUDGETS):
            before = self.budget(*place)
            total = before.failing_jobs + jobs
            until = self.now() + before.paused_for if before.paused_for else None
            self._write_pause(place, until, before.why, before.pause_count, total, before.fault)
        return total

    def note_success(self, place: Place, *, ends_pause: bool = False) -> None:
        """A call came through: pauses and failures in a row are over. Writes only a change; a call
        that went out before a pause does not end it, one that was sent in spite of it
        (`ends_pause`) does."""
        before = self.budget(*place)
        if before != Budget() and (ends_pause or not before.paused_for):
            with self.database.transaction(BUDGETS):
                self._write_pause(place, None, None, 0, 0)

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
        place: Place,
        until: float | None,
        why: str | None,
        count: int,
        failing_jobs: int,
        fault: str | None = None,
    ) -> None:
        self.database.write(
            self.sql["pause_service"],
            {
                **_at(place),
                "paused_until": None if until is None else clock.to_text(until),
                "why": why,
                "pause_count": count,
                "failing_jobs": failing_jobs,
                "fault": fault,
            },
        )


def _at(place: Place) -> dict[str, str]:
    return dict(zip(("service", "account", "calls"), place, strict=True))
