"""What all parts of the store share: the database, its statements, its now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tracker import clock
from tracker.databases.base import Database
from tracker.errors import Impossible
from tracker.model import PRIORITIES, Event, Json, NewOperation
from tracker.objects import ObjectState, StoredObject
from tracker.schema import queries

PARTS = ("_assignments", "_columns", "_condition")
"""Ends of names of what is no statement but a part of others, where ``{name}`` stands."""


class Ledger:
    """Base of the store's parts."""

    def __init__(self, database: Database, *, origin: str = "") -> None:
        self.database = database
        self.origin = origin
        self.sql = dict(queries(database.dialect))
        for name in [name for name in self.sql if name.endswith(PARTS)]:
            marker = "{" + name + "}"
            for key, text in self.sql.items():
                if marker in text:
                    self.sql[key] = text.replace(marker, self.sql[name])

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def now(self) -> float:
        """The ledger's clock, in seconds since 1970."""
        return self.database.now()

    def change_count(self) -> int:
        """A number that differs after something was committed, by whomever."""
        return self.database.change_count()

    def foreign_change_count(self) -> int:
        """The same, but for what this process committed."""
        return self.database.foreign_change_count()

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
        rows = [self._event(local_id, user_id, event, now) for event in events]
        self.database.write_last(self.sql["insert_event"], rows)

    def _event(self, local_id: str, user_id: str, event: Event, now: str) -> dict[str, Any]:
        return {
            "now": now,
            "local_id": local_id,
            "user_id": user_id,
            "origin": self.origin,
            "type": event.type,
            "data": to_json(event.data),
        }

    def _write_operation(self, local_id: str, operation: NewOperation, now: float) -> int:
        """Owe something, with the object that it is about; the operation's id. What is on record
        is not removed by this way: its last job's end decides (0 then)."""
        stored = operation.object
        object_id = None
        leaves = stored is not None and stored.state == ObjectState.REMOVAL_REQUESTED
        if stored is not None and leaves and not stored.id and self.knows(stored):
            return 0  # somebody uses it, or its removal is owed already
        if stored is not None:
            # Not noted in `stored`: this transaction may be undone, and the outcome settled again.
            object_id = stored.id or self._write_object(local_id, stored, clock.to_text(now))
        values = self._owed_row(local_id, operation, now, object_id)
        return self.database.insert(self.sql["insert_operation"], values)

    @staticmethod
    def _owed_row(
        local_id: str, operation: NewOperation, now: float, object_id: int | None = None
    ) -> dict[str, Any]:
        return {
            "local_id": local_id,
            "kind": operation.kind,
            "service": operation.service,
            "account": operation.account,
            "priority": PRIORITIES.index(operation.priority),
            "idempotency_key": operation.idempotency_key,
            "payload": to_json(operation.payload),
            "next_attempt_at": clock.to_text(now + operation.delay),
            "now": clock.to_text(now),
            "object_id": object_id,
        }

    def _write_object(self, local_id: str, stored: StoredObject, now: str) -> int:
        """Put an object on record, as one that the job uses if it has a role; its row's id. One
        that is there already gains a user. Raises Impossible when it is being removed."""
        values = {
            "scheme": stored.scheme,
            "bucket": stored.bucket,
            "key": stored.key,
            "version_id": stored.version_id,
            "size": stored.size,
            "etag": stored.etag,
            "sha256": stored.sha256,
            "name": stored.name,
            "media_type": stored.media_type,
            "owned": stored.owned,
            "state": stored.state,
            "now": now,
        }
        known = self.database.read(self.sql["object_at"], values)
        if known:
            [(object_id, state)] = known
            if state == ObjectState.REMOVAL_REQUESTED:
                self._take_back(object_id, stored)
            else:
                values["state"] = state
            self.database.write(self.sql["reuse_object"], {**values, "id": object_id})
        else:
            object_id = self.database.insert(self.sql["insert_object"], values)
        self._link(local_id, object_id, stored.role)
        return int(object_id)

    def knows(self, stored: StoredObject) -> bool:
        """Whether an object at this place is on record."""
        place = {
            "scheme": stored.scheme,
            "bucket": stored.bucket,
            "key": stored.key,
            "version_id": stored.version_id,
        }
        return bool(self.database.read(self.sql["object_at"], place))

    def _take_back(self, object_id: int, stored: StoredObject) -> None:
        if not self.database.write(self.sql["take_back_removal"], {"id": object_id}):
            raise Impossible(f"{stored.uri} is being removed", "put it there again first")

    def _link(self, local_id: str, object_id: int, role: str | None) -> None:
        if role is not None:
            link = {"local_id": local_id, "object_id": object_id, "role": role}
            self.database.write(self.sql["insert_job_object"], link)


def to_json(value: Json) -> str:
    """Compact JSON text; characters stay as they are, but for lone surrogates, which no database
    takes."""
    return storable(_compact(value))


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def same(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON; for Python also 1 and true are equal."""
    return one is other or json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


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


def readable(text: Any) -> dict[str, Json]:
    """The JSON object in a column; an empty one where somebody wrote something else there."""
    try:
        return from_json(text)
    except ValueError:
        return {}


def object_from(row: Sequence[Any]) -> StoredObject:
    """The object in a row of ``object_columns``."""
    id_, scheme, bucket, key, version_id, upload_id, size, etag, sha256, name, kind, *rest = row
    return StoredObject(
        scheme,
        key,
        bucket,
        id_,
        version_id=version_id,
        upload_id=upload_id,
        size=size,
        etag=etag,
        sha256=sha256,
        name=name,
        media_type=kind,
        owned=bool(rest[0]),
        state=rest[1],
    )
