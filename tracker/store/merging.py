"""Bringing the ledger in line with a complete listing (O4, O8, J7, J10)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tracker import clock
from tracker.ids import new_id
from tracker.listed import Merging
from tracker.model import FINISHED, Event, Json, Kind, Operation, Status
from tracker.store.cleaning import Cleaned, Cleaning
from tracker.store.ledger import readable, same, to_json

ERASE_BATCH = 250
MERGE_BATCH = 500
"""Of a large listing so much is merged in one transaction: nobody shall wait long for the lock."""

LAST_KEY = "~"
"""Behind all server keys, which are hex digits."""

GUARDED_FROM = 5
"""So few jobs may all be missing from a listing that has others: a share of them says nothing."""


@dataclass(slots=True)
class Merged:
    """What a complete listing has done so far. ``skipped`` jobs were told of a change while it was
    read, or may be those of a create on its way. ``deleting`` is whether jobs that it lacks are
    still looked for, behind the row ``after_id``; ``error`` is why none may be deleted."""

    listed: int = 0
    added: int = 0
    changed: int = 0
    deleted: int = 0
    conflicts: int = 0
    skipped: int = 0
    deleting: bool = False
    after_id: int = 0
    complete: bool = False
    error: str | None = None

    @property
    def counts(self) -> dict[str, Json]:
        """The figures that people are told."""
        return {
            "listed": self.listed,
            "added": self.added,
            "changed": self.changed,
            "deleted": self.deleted,
            "conflicts": self.conflicts,
        }


@dataclass(frozen=True, slots=True)
class Sent:
    """An update that the service was not told of yet (``unsent``), or may not have got."""

    id: int
    payload: dict[str, Json]
    claimed_by: str | None
    unsent: bool

    @property
    def changes(self) -> dict[str, Json]:
        """The fields that it tells of."""
        changes = self.payload.get("changes")
        return changes if isinstance(changes, dict) else {}


class Merger(Cleaning):
    """The service is right, but for what it was not told yet."""

    def _reads_again(self, operation: Operation, merging: Merging) -> bool:
        """Whether a listing of several pages is read a second time, because it lacks jobs: it may
        have changed while it was read, and then a job slips from one page to another unseen.
        Missing is what neither reading has."""
        payload = operation.payload
        if not merging.authoritative or "since" in payload or "merged" in payload:
            return False
        if "cursor" not in payload or "twice" in payload:
            return False
        wanted = self._wanted_by(operation)
        if not self.database.read(self.sql["count_missing"], wanted)[0][0]:
            return False
        operation.payload = {"began": wanted["began"], "twice": True}
        return True

    @staticmethod
    def _wanted_by(operation: Operation) -> dict[str, Any]:
        return {
            "operation_id": operation.id,
            "service": operation.service,
            "account": operation.account,
            "began": str(operation.payload.get("began") or clock.to_text(0.0)),
        }

    def _merge(self, operation: Operation, merging: Merging, now: float) -> Merged:
        """Do a bounded part of what a listing says that is staged as a whole. How far that is, is
        in the operation."""
        wanted = self._wanted_by(operation)
        before = operation.payload.get("merged")
        if isinstance(before, dict):
            merged = Merged(**before)
        else:
            merged = Merged(listed=self.database.read(self.sql["count_staged"], wanted)[0][0])
            if merging.authoritative and "since" not in operation.payload:
                self._judge(wanted, merging, merged)
        if merged.deleting:
            self._delete_missing(wanted, merged, now)
        if not merged.deleting:
            self._merge_staged(operation, wanted, merging, merged, now)
        operation.payload = {**operation.payload, "merged": asdict(merged)}
        return merged

    def _merge_staged(
        self,
        operation: Operation,
        wanted: dict[str, Any],
        merging: Merging,
        merged: Merged,
        now: float,
    ) -> None:
        last = self.database.read(self.sql["last_of_batch"], {**wanted, "skip": MERGE_BATCH - 1})
        batch = {**wanted, "last": last[0][0] if last else LAST_KEY}
        for row in self.database.read(self.sql["staged_changes"], batch):
            self._overwrite(row, merging, now, merged)
        if merging.add:
            unknown = self.database.read(self.sql["staged_unknown"], batch)
            nobodys = self._nobodys(unknown, wanted, now)
            merged.skipped += len(unknown) - len(nobodys)
            merged.added += self._track(operation, nobodys, now)
        self.database.write(self.sql["unstage_batch"], batch)
        merged.complete = not last

    def _nobodys(
        self, unknown: list[tuple[Any, ...]], wanted: dict[str, Any], now: float
    ) -> list[tuple[Any, ...]]:
        """Those that no create from here can have made which is on its way: there is none, or all
        of them are younger than the first listing with that job. The others are met again."""
        if not unknown:
            return []
        oldest = self.database.read(self.sql["oldest_create_on_its_way"], wanted)[0][0]
        if oldest is None:
            return unknown
        keys = [row[0] for row in unknown]
        at = clock.to_text(now)
        self.database.write_many(self.sql["meet"], [{"server_key": key, "now": at} for key in keys])
        met = self.database.read(self.sql["met_before"], {"before": oldest, "keys": to_json(keys)})
        known = {row[0] for row in met}
        return [row for row in unknown if row[0] in known]

    def _track(self, operation: Operation, rows: list[tuple[Any, ...]], now: float) -> int:
        """Put jobs on record that were made elsewhere: they are polled at once; how many."""
        at = clock.to_text(now)
        jobs = [
            {
                "local_id": new_id(),
                "server_id": server_id,
                "server_key": key,
                "service": operation.service,
                "account": operation.account,
                "payload": fields,
                "vars": variables,
                "version": version,
                "now": at,
            }
            for key, server_id, fields, variables, version in rows
        ]
        self.database.write_many(self.sql["insert_found_job"], jobs)
        told = []
        for job in jobs:
            known: dict[str, Json] = {
                "local_id": job["local_id"],
                "service": operation.service,
                "server_id": job["server_id"],
                "status": Status.PROCESSING,
            }
            created = Event("job:created", {"job": known, "by": "service"})
            told.append(self._event(job["local_id"], "", created, at))
        self.database.write_last(self.sql["insert_event"], told)
        return len(jobs)

    def _overwrite(
        self, row: tuple[Any, ...], merging: Merging, now: float, merged: Merged
    ) -> None:
        """Take over what the service has changed about one job."""
        (id_, local_id, user_id, status, word, version, payload, synced, owes, synced_later,
         there_word, there_version, there_updated_at, there_fields) = row  # fmt: skip
        if synced_later:
            # The page may have been read before that: what it says may be older than what is here.
            merged.skipped += 1
            return
        at = clock.to_text(now)
        if status == Status.PROCESSING and (
            there_word not in (None, word) or there_version not in (None, version)
        ):
            # What became of it, and its result, are for a status call to tell.
            self.database.write(self.sql["due_now"], {"id": id_, "next_poll_at": at})
        here, before, there = readable(payload), readable(synced), readable(there_fields)
        updates = self._open_updates(local_id) if owes else []
        pending = self._superseded(local_id) if owes else {}
        for one in updates:
            pending |= one.changes
        newer = _is_newer(there_updated_at, updates)
        kept, conflicts = reconciled(here, before, there, pending, merging.rule, newer)
        told = []
        late = there_word if status in FINISHED and there_word not in (None, word) else None
        if late is not None:
            # The first end stands; that the service says something else by now is on record.
            told.append(Event("job:metadata-updated", {"remote_state": late, "by": "service"}))
        if not same(kept, here):
            changes = {name: kept[name] for name in kept if not same(here.get(name), kept[name])}
            told.append(Event("job:metadata-updated", {"payload": changes, "by": "service"}))
            merged.changed += 1
            self.database.write(
                self.sql["change_payload"], {"id": id_, "payload": to_json(kept), "now": at}
            )
        if conflicts:
            merged.conflicts += len(conflicts)
            told.append(Event("job:conflict", {"rule": merging.rule, "fields": conflicts}))
        if updates:
            owed = {
                name for name in pending if name in kept and not same(kept[name], there.get(name))
            }
            # What lost is not told any more.
            ours = {name for name in pending if same(kept.get(name), pending[name])}
            owed |= ours & _undecided(updates, there)
            self._keep_updates(local_id, updates, owed, at)
        self.database.write(
            self.sql["note_listed"],
            {
                "id": id_,
                "last_synced": to_json({**before, **there}),
                "remote_version": there_version,
                "late_word": late,
            },
        )
        self._write_events(local_id, user_id, told, at)

    def _open_updates(self, local_id: str) -> list[Sent]:
        rows = self.database.read(self.sql["open_updates"], {"local_id": local_id})
        return [Sent(row[0], readable(row[1]), row[2], bool(row[3])) for row in rows]

    def _superseded(self, local_id: str) -> dict[str, Json]:
        """The fields of changes that are owed again if the job's deletion is called off."""
        found: dict[str, Json] = {}
        for _, text in self.database.read(self.sql["deletion_of"], {"local_id": local_id}):
            superseded = readable(text).get("superseded")
            for kind, payload in superseded if isinstance(superseded, list) else []:
                if kind == Kind.UPDATE:
                    found |= payload.get("changes") or {}
        return found

    def _keep_updates(self, local_id: str, updates: list[Sent], owed: set[str], at: str) -> None:
        """Leave in what waits only the fields that the service still has to hear of."""
        dropped = False
        for one in updates:
            left = {name: value for name, value in one.changes.items() if name in owed}
            if one.claimed_by is not None or left == one.changes:
                continue  # it is on its way, or stays as it was
            if left:
                written = {"id": one.id, "payload": to_json({**one.payload, "changes": left})}
                self.database.write(self.sql["set_operation_payload"], written)
            else:
                self.database.write(self.sql["drop_operation"], {"id": one.id})
                dropped = True
        if dropped:
            self.database.write(self.sql["promote"], {"local_id": local_id, "now": at})

    def _judge(self, wanted: dict[str, Any], merging: Merging, merged: Merged) -> None:
        """Whether jobs that a listing lacks may be deleted: not too many of them (J10)."""
        total = self.database.read(self.sql["count_synced"], wanted)[0][0]
        missing = self.database.read(self.sql["count_missing"], wanted)[0][0]
        guarded = total >= GUARDED_FROM or not merged.listed
        if guarded and missing > merging.most_deletions * total:
            merged.error = (
                f"the listing lacks {missing} of {total} jobs, more than "
                f"{merging.most_deletions:.0%}: none was deleted; if that is right, raise "
                f"services.{wanted['service']}.list.max_deletions"
            )
        merged.deleting = missing > 0 and merged.error is None

    def _delete_missing(self, wanted: dict[str, Any], merged: Merged, now: float) -> None:
        batch = {**wanted, "after_id": merged.after_id, "limit": ERASE_BATCH}
        missing = self.database.read(self.sql["missing_jobs"], batch)
        if missing:
            self._erase(missing, {}, "service", now, Cleaned(), bury=False)
            merged.after_id = missing[-1][0]
        merged.deleted += len(missing)
        merged.deleting = len(missing) == ERASE_BATCH


def reconciled(
    here: dict[str, Json],
    before: dict[str, Json],
    there: dict[str, Json],
    pending: dict[str, Json],
    rule: str,
    newer_there: bool,
) -> tuple[dict[str, Json], dict[str, Json]]:
    """The payload after both sides were compared, and the fields that both had changed.

    `before` is what both had when they last agreed, `pending` what was changed here and not told
    yet, `newer_there` whether the service's side is the later one.
    """
    kept, conflicts = dict(here), {}
    for name, value in there.items():
        mine = here.get(name)
        if same(mine, value):
            continue
        changed_here = name in pending
        changed_there = not same(before.get(name), value)
        if changed_here and changed_there:
            wins = rule in ("service", "local") or (rule == "latest" and not newer_there)
            # "service" keeps what it was not told yet (J7); "merge" leaves a tie to the service.
            conflicts[name] = {
                "here": mine,
                "there": value,
                "before": before.get(name),
                "kept": "here" if wins else "there",
            }
            if not wins:
                kept[name] = value
        elif not changed_here and rule != "local":
            kept[name] = value
    return kept, conflicts


def _undecided(updates: list[Sent], there: dict[str, Json]) -> set[str]:
    """Fields of which an update that may have left says something else than the service does now:
    what was changed behind it still has to be told."""
    return {
        name
        for one in updates
        if not one.unsent
        for name, value in one.changes.items()
        if not same(value, there.get(name))
    }


def _is_newer(there: str | None, updates: list[Sent]) -> bool:
    """Whether the service's side changed after the last change here that it was not told of."""
    changed_there = clock.to_moment(there)
    here = max((str(one.payload.get("at") or "") for one in updates), default="")
    if changed_there is None:
        return False
    return changed_there > clock.read(here, 0.0)
