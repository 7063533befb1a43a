"""Listings of services: owed on their interval, gathered page by page, merged as a whole (O4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracker import clock
from tracker.listed import Listed
from tracker.model import Event, Json, Kind, NewOperation, Operation
from tracker.outcomes import Attempted
from tracker.store.ledger import readable, to_json
from tracker.store.merging import Merged, Merger


@dataclass(frozen=True, slots=True)
class Wanted:
    """A service that is to be listed every so many seconds; ``since`` is whether it can tell what
    changed, asked for from ``overlap`` seconds before the last listing on."""

    service: str
    account: str
    every: float
    since: bool = False
    overlap: float = 60.0


class Refreshing(Merger):
    """Nothing of a listing counts before all of it is there."""

    def owe_refreshes(self, wanted: Sequence[Wanted], *, force: bool = False) -> list[str]:
        """Have those services listed whose time has come, or all of them with `force`: one that
        failed is then begun anew. Never is one listed twice at once. The names of those for whom
        there is something to do now."""
        owed = []
        for one in wanted:
            now = self.now()
            place = {"service": one.service, "account": one.account, "now": clock.to_text(now)}
            if self.database.read(self.sql["is_refreshing"], place):
                due = self._take_up(one, place, force)
            else:
                due = (force or self._refresh_is_due(one, now)) and self._owe_refresh(one, place)
            if due:
                owed.append(one.service)
        return owed

    def _take_up(self, wanted: Wanted, place: dict[str, Any], force: bool) -> bool:
        """Whether a listing that was begun can be gone on with now: nobody holds it."""
        with self.database.transaction():
            for id_, due, attempts, payload in self.database.read(self.sql["open_refresh"], place):
                if force and attempts and "merged" not in readable(payload):
                    self.database.write(self.sql["unstage"], {"operation_id": id_})
                    anew = self._beginning(wanted, place)
                    written = {"id": id_, "payload": to_json(anew)}
                    self.database.write(self.sql["go_on_refreshing"], written)
                if force:
                    self.database.write(self.sql["hurry_operation"], {**place, "id": id_})
                return bool(force or due)
        return False

    def _beginning(self, wanted: Wanted, place: dict[str, Any]) -> dict[str, Json]:
        payload: dict[str, Json] = {"began": place["now"]}
        last = self.database.read(self.sql["service_state"], place)
        if wanted.since and last and last[0][0]:
            payload["since"] = clock.to_text(clock.read(last[0][0], 0.0) - wanted.overlap)
        return payload

    def _owe_refresh(self, wanted: Wanted, place: dict[str, Any]) -> bool:
        with self.database.transaction():
            if self.database.read(self.sql["is_refreshing"], place):
                return False  # somebody was faster
            now = self.now()
            payload = self._beginning(wanted, place)
            refresh = NewOperation(Kind.REFRESH, wanted.service, wanted.account, payload=payload)
            self._write_operation("", refresh, now)
            self.database.write(
                self.sql["note_refresh_owed"],
                {**place, "next_refresh_at": clock.to_text(now + wanted.every)},
            )
        return True

    def _refresh_is_due(self, wanted: Wanted, now: float) -> bool:
        place = {"service": wanted.service, "account": wanted.account}
        rows = self.database.read(self.sql["service_state"], place)
        return not rows or clock.read(rows[0][1], now) <= now

    def is_refreshing(self, services: Sequence[str]) -> bool:
        """Whether one of these services is being listed."""
        names = {"services": to_json(list(services))}
        return bool(self.database.read(self.sql["any_refresh"], names))

    def forget_refreshes(self, services: Sequence[str]) -> None:
        """No others than these are to be listed any more."""
        names = {"services": to_json(list(services))}
        if self.database.read(self.sql["other_refreshes"], names):
            with self.database.transaction():
                self.database.write(self.sql["forget_refreshes"], names)

    def listings(self) -> list[dict[str, Json]]:
        """The last and the next listing of each service, as dicts of the columns."""
        return self.database.read_dicts(self.sql["listings"])

    def _after_refresh(self, attempted: Attempted, now: float) -> Merged | None:
        """Keep a page; when all are there, merge. What that did, once it is all done."""
        operation, error = attempted.operation, attempted.error
        if attempted.page is not None:
            self.database.write_many(
                self.sql["stage"], [_staged(operation.id, one) for one in attempted.page.items]
            )
        merged = None
        if attempted.merging is not None and not self._reads_again(operation, attempted.merging):
            merged = self._merge(operation, attempted.merging, now)
            error = merged.error
        done = merged is not None and merged.complete
        if done or attempted.state is None:
            self.database.write(self.sql["unstage"], {"operation_id": operation.id})
            self.database.write(
                self.sql["finish_operation"], {"id": operation.id, "lease": operation.lease}
            )
        elif attempted.merging is not None or attempted.page is not None:
            written = {"id": operation.id, "payload": to_json(operation.payload)}
            self.database.write(self.sql["go_on_refreshing"], written)
        if done or attempted.state is None or error is not None:
            self._note_refreshed(operation, merged if done else None, error, now)
        return merged if done else None

    def _note_refreshed(
        self, operation: Operation, merged: Merged | None, error: str | None, now: float
    ) -> None:
        began = None
        if merged is not None:
            told = Event("service:refreshed", {"service": operation.service, **merged.counts})
            self._write_events("", "", [told], clock.to_text(now))
            began = _seen_until(operation, merged) if error is None else None
        place = {"service": operation.service, "account": operation.account}
        self.database.write(self.sql["note_refreshed"], {**place, "error": error, "began": began})


def _seen_until(operation: Operation, merged: Merged) -> str | None:
    """From when on the next listing has to tell of changes: where this one was not taken over as a
    whole, from the same time as this one (None: from the time on record, if there is any)."""
    found = operation.payload.get("since" if merged.skipped else "began")
    return str(found) if found else None


def _staged(operation_id: int, one: Listed) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "server_key": one.server_key,
        "server_id": one.server_id,
        "state": one.state,
        "word": one.word,
        "version": one.version,
        "updated_at": one.updated_at,
        "fields": to_json(one.fields),
        "vars": to_json(one.vars),
    }
