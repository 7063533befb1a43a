"""What all parts of the store share: the database, its statements, its now."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tracker import clock
from tracker.databases.sqlite import Database
from tracker.model import PRIORITIES, Event, Json, NewOperation
from tracker.schema import queries


class Ledger:
    """Base of the store's parts."""

    def __init__(self, database: Database, *, origin: str = "") -> None:
        self.database = database
        self.origin = origin
        self.sql = dict(queries(database.dialect))
        for name in ("job_columns", "operation_columns", "view_columns"):
            marker = "{" + name + "}"
            for key, text in self.sql.items():
                if marker in text:
                    self.sql[key] = text.replace(marker, self.sql[name])

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def now(self) -> float:
        """The ledger's clock, in seconds since 1970."""
        return clock.now()

    def change_count(self) -> int:
        """A number that differs after something was committed, by whomever."""
        return self.database.change_count()

    def fold(self) -> None:
        """Tidy up after many commits, where nobody waits for it."""
        self.database.fold()

    def get_meta(self, key: str) -> str | None:
        """A value of the table ``meta``."""
        rows = self.database.read(self.sql["get_meta"], {"key": key})
        return rows[0][0] if rows else None

    def _set_meta(self, key: str, value: str) -> None:
        self.database.write(self.sql["set_meta"], {"key": key, "value": value})

    def _write_events(self, local_id: str, user_id: str, events: Iterable[Event], now: str) -> None:
        self.database.write_many(
            self.sql["insert_event"],
            [
                {
                    "now": now,
                    "local_id": local_id,
                    "user_id": user_id,
                    "origin": self.origin,
                    "type": event.type,
                    "data": to_json(event.data),
                }
                for event in events
            ],
        )

    def _write_operation(self, local_id: str, operation: NewOperation, now: float) -> int:
        return self.database.insert(
            self.sql["insert_operation"],
            {
                "local_id": local_id,
                "kind": operation.kind,
                "service": operation.service,
                "account": operation.account,
                "priority": PRIORITIES.index(operation.priority),
                "idempotency_key": operation.idempotency_key,
                "payload": to_json(operation.payload),
                "next_attempt_at": clock.to_text(now + operation.delay),
                "now": clock.to_text(now),
            },
        )


def to_json(value: Json) -> str:
    """Compact JSON text; characters stay as they are, but for lone surrogates, which no database
    takes."""
    return storable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def storable(text: str) -> str:
    """`text` as UTF-8 can hold it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def from_json(text: Any) -> dict[str, Json]:
    """The JSON object in a column. Raises ValueError when there is none."""
    if text in ("{}", None):
        return {}
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value
