"""Who works on what: claims, their leases, and the pollers that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracker import clock
from tracker.databases.base import ROWS
from tracker.model import OUTLIVING, Event, Job, Operation
from tracker.objects import StoredObject
from tracker.outcomes import Claim
from tracker.store.ledger import Ledger, from_json, object_from, to_json

LOCKED_SECONDS = 1.0

OVERDUE_SECONDS = 60.0
SHARE_OF_THE_OVERDUE = 8
"""One in so many claims, for each of the two lower priorities, goes to what has been due for longer
than a minute, whatever else is waiting: nothing starves."""


@dataclass(slots=True)
class Unreadable:
    """A claimed row whose JSON cannot be read; it still has to be settled."""

    claimed: Job | Operation
    why: str


@dataclass(slots=True)
class Claimed:
    """What claims brought. It may still have to be ``read`` from its rows, which is nothing to
    hold the write lock for; ``count`` is how many there are, ``reached`` when the last of the jobs
    was due (None without any)."""

    jobs: list[Job] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    count: int = 0
    late: list[Callable[[], Claimed]] = field(default_factory=list)
    reached: str | None = None

    def read(self) -> Claimed:
        """The same, with all jobs and operations."""
        late, self.late = self.late, []
        for read in late:
            self._take(read())
        return self

    def add(self, other: Claimed) -> None:
        """Take in what another claim brought."""
        self._take(other)
        self.count += other.count
        self.late += other.late
        self.reached = other.reached or self.reached

    def _take(self, found: Claimed) -> None:
        self.jobs += found.jobs
        self.operations += found.operations
        self.unreadable += found.unreadable


@dataclass(frozen=True, slots=True)
class PollerRow:
    """A process that polls: one row of ``pollers``."""

    id: str
    kind: str
    host: str
    scope: str
    pid: int
    started_at: str
    seen_at: str


class Claims(Ledger):
    """A claim is a lease: it ends when it is settled, released, overdue, or its poller is dead."""

    def claim_due_jobs(
        self,
        service: str,
        limit: int,
        poller: str,
        lease_seconds: float,
        *,
        cutoff: float,
        only: Sequence[str] | None = None,
        reached: str | None = None,
    ) -> Claimed:
        """Lease up to `limit` running jobs of `service` that were due at `cutoff` (seconds since
        1970), oldest due first; with `only`, none but those local ids; else none that were due
        before another claim `reached`."""
        now = self.now()
        parameters = {
            "service": service,
            "cutoff": clock.to_text(min(cutoff, now)),
            "now": clock.to_text(now),
            "lease_until": clock.to_text(now + lease_seconds),
            "poller": poller,
            "limit": limit,
            "only": to_json(list(only)) if only is not None else None,
            "reached": reached,
        }
        with self.database.transaction(ROWS):
            if only is not None or not self.database.pauses_at_rows:
                name = "claim_jobs" if only is None else "claim_these_jobs"
                return _jobs(self.database.write(self.sql[name], parameters))
            [(ids, last)] = self.database.read(self.sql["due_jobs"], parameters)
            claim = {**parameters, "ids": ids}
            self.database.write(self.sql["claim_jobs"], claim)

        def read() -> Claimed:
            return _jobs(self.database.read(self.sql["claimed_jobs"], claim))

        found = Claimed(count=len(json.loads(ids)), late=[read], reached=last)
        return found if self.database.in_transaction else found.read()

    def claim_due_operations(
        self,
        service: str,
        limit: int,
        poller: str,
        lease_seconds: float,
        *,
        cutoff: float,
        kinds: Sequence[str],
        only: Sequence[str] | None = None,
    ) -> Claimed:
        """Lease up to `limit` operations of these `kinds` for `service` that are due: now, where
        they were never attempted, else at `cutoff`; with `only`, none but those of these jobs."""
        now = self.now()
        share = limit // SHARE_OF_THE_OVERDUE
        wanted = {
            "service": service,
            "cutoff": clock.to_text(cutoff),
            "kinds": to_json(list(kinds)),
            "now": clock.to_text(now),
            "lease_until": clock.to_text(now + lease_seconds),
            "poller": poller,
            "limit": limit,
            "only": to_json(list(only)) if only is not None else None,
            "overdue": clock.to_text(now - OVERDUE_SECONDS),
            "share": share,
        }
        with self.database.transaction(ROWS):
            rows = []
            if only is None and share:
                rows = self.database.write(self.sql["claim_overdue_operations"], wanted)
            name = "claim_operations" if only is None else "claim_these_operations"
            rows += self.database.write(self.sql[name], {**wanted, "limit": limit - len(rows)})
            jobs = self._jobs_of([row[1] for row in rows], now) if rows else {}
            objects = self._objects([row[9] for row in rows if row[9] is not None])
        rows.sort(key=lambda row: (row[10], row[11]))
        found = Claimed(count=len(rows), late=[lambda: _operations(rows, jobs, objects)])
        return found if self.database.in_transaction else found.read()

    def _jobs_of(self, local_ids: list[str], now: float) -> dict[str, tuple[Job, str]]:
        wanted = {"local_ids": to_json(local_ids), "now": clock.to_text(now)}
        rows = self.database.read(self.sql["jobs_of_operations"], wanted)
        jobs = {row[1]: job_from(row) for row in rows}
        for local_id, *columns in self.database.read(self.sql["inputs_of"], wanted):
            if local_id in jobs:
                jobs[local_id][0].describe_input(object_from(columns))
        return jobs

    def _objects(self, ids: list[int]) -> dict[int, StoredObject]:
        if not ids:
            return {}
        rows = self.database.read(self.sql["objects_by_id"], {"ids": to_json(ids)})
        return {row[0]: object_from(row) for row in rows}

    def record_intent(self, operations: Sequence[Operation], poller: str) -> set[int]:
        """Put on record that these creates are about to be sent and cannot be sent twice: if no
        settlement follows, they are in doubt (B6). Returns the ids of those that may be sent:
        `poller` has lost the claims of the others."""
        now = clock.to_text(self.now())
        with self.database.transaction(ROWS):
            fences = [
                {"now": now, "id": one.id, "lease": one.lease, "poller": poller}
                for one in operations
            ]
            rows = [self.database.write(self.sql["record_intent"], fence) for fence in fences]
        return {row[0] for found in rows for row in found}

    def extend_leases(
        self, jobs: Sequence[Job], operations: Sequence[Operation], lease_seconds: float
    ) -> None:
        """Lengthen living claims to `lease_seconds` from now."""
        until = clock.to_text(self.now() + lease_seconds)
        with self.database.transaction(ROWS):
            for name, rows in (("extend_jobs", jobs), ("extend_operations", operations)):
                self.database.write_many(
                    self.sql[name],
                    [{"lease_until": until, "id": one.id, "lease": one.lease} for one in rows],
                )

    def earliest_due(
        self,
        services: Sequence[str],
        only: Sequence[str] | None = None,
        *,
        polls: bool = True,
        kinds: Sequence[str] | None = None,
    ) -> float | None:
        """When the next job (unless without `polls`) or operation (of these `kinds`; None: any) of
        these services that nobody holds is due, in seconds from now (0 or less: it is); None when
        there is none."""
        now = self.now()
        parameters: dict[str, Any] = {
            "now": clock.to_text(now),
            "only": to_json(list(only)) if only is not None else None,
            "kinds": to_json(list(kinds)) if kinds is not None else None,
        }
        looks = ("earliest_poll", "earliest_attempt") if polls else ("earliest_attempt",)
        earliest = None
        for service in services:
            parameters["service"] = service
            of = "" if only is None else "_of"
            for name in looks:
                for (at,) in self.database.read(self.sql[name + of], parameters):
                    if isinstance(at, str) and (earliest is None or at < earliest):
                        earliest = at
        if earliest is None:
            return None
        # What is no time is due where claims, which compare texts, find it so; else never.
        due = earliest <= parameters["now"]
        return clock.read(earliest, now if due else clock.LAST_SECOND) - now

    def services_with_work(self) -> list[str]:
        """Names of the services that have a running job or a pending operation."""
        names = {row[0] for row in self.database.read(self.sql["services_with_running_jobs"])}
        names |= {row[0] for row in self.database.read(self.sql["services_with_operations"])}
        return sorted(names)

    def beat(self, poller: PollerRow) -> None:
        """Say that this poller lives, and how late it is on the ledger's clock."""
        now = clock.to_text(self.now())
        with self.database.transaction(ROWS):
            self.database.write(
                self.sql["beat"],
                {
                    "id": poller.id,
                    "kind": poller.kind,
                    "host": poller.host,
                    "scope": poller.scope,
                    "pid": poller.pid,
                    "now": now,
                },
            )
            self._set_meta("last_now", now)

    def pollers(self) -> list[PollerRow]:
        """All pollers on record, dead or alive."""
        return [PollerRow(*row) for row in self.database.read(self.sql["pollers"])]

    def release_dead(
        self, poller: str, services: Sequence[str], *, seen_at: str | None = None
    ) -> bool:
        """Give back everything that a poller held which is no more: its jobs are due again, its
        unrepeatable creates that were sent are in doubt.

        With `seen_at`, only if that is still its last beat, and if nobody kept the database locked
        meanwhile: then it may have been waiting to beat. Whether it was released.
        """
        asked = clock.monotonic()
        with self.database.transaction():
            now = clock.to_text(self.now())
            if seen_at is not None:
                beats = {row.id: row.seen_at for row in self.pollers()}
                if clock.monotonic() - asked > LOCKED_SECONDS or beats.get(poller) != seen_at:
                    return False
            doubtful = self.database.write(self.sql["doubt_operations_of"], {"poller": poller})
            self._write_doubts(doubtful, now)
            self.database.write(self.sql["release_operations_of"], {"poller": poller})
            for service in services:
                self.database.write(
                    self.sql["release_jobs_of"],
                    {"service": service, "now": now, "poller": poller},
                )
            self.database.write(self.sql["remove_poller"], {"id": poller})
        return True

    def say_goodbye(self, poller: str, held: Sequence[Claim]) -> None:
        """Give back what a poller that ends still holds: polls are due again, creates that were
        sent and cannot be repeated are in doubt."""
        now = clock.to_text(self.now())
        with self.database.transaction():
            doubtful = self.database.write(self.sql["doubt_operations_of"], {"poller": poller})
            self._write_doubts(doubtful, now)
            for claim in held:
                name = "release_job" if claim.of_job else "abandon_operation"
                self.database.write(self.sql[name], {"id": claim.id, "lease": claim.lease})
            self.database.write(self.sql["remove_poller"], {"id": poller})

    def doubt_overdue(self, services: Sequence[str]) -> None:
        """Creates that were sent, cannot be sent twice, and whose claim ran out without a
        settlement are in doubt from now on."""
        now = clock.to_text(self.now())
        for service in services:
            overdue = {"service": service, "now": now}
            if self.database.read(self.sql["overdue_doubts"], overdue):
                with self.database.transaction():
                    found = self.database.write(self.sql["doubt_overdue_operations"], overdue)
                    self._write_doubts(found, now)

    def _write_doubts(self, doubtful: list[tuple[Any, ...]], now: str) -> None:
        for local_id, kind, user_id in doubtful:
            told = Event("job:error-details", {"operation": kind, "in_doubt": True})
            self._write_events(local_id, user_id or "", [told], now)


def _jobs(rows: list[tuple[Any, ...]]) -> Claimed:
    claimed = Claimed(count=len(rows))
    for row in rows:
        job, why = job_from(row)
        if why:
            claimed.unreadable.append(Unreadable(job, why))
        else:
            claimed.jobs.append(job)
    claimed.jobs.sort(key=lambda job: (job.due, job.initiated_at))
    claimed.reached = claimed.jobs[-1].due if claimed.jobs else None
    return claimed


def job_from(row: tuple[Any, ...]) -> tuple[Job, str]:
    """The job in a row of ``job_columns``, and why its JSON cannot be read ("" when it can)."""
    job, why = Job(*row[:23]), ""
    job.remote_version, job.expires_at = row[23], row[24]
    try:
        job.payload, job.vars = from_json(row[21]), from_json(row[22])
    except ValueError as error:
        job.payload, job.vars = {}, {}
        why = f"payload or vars of the row cannot be read: {error}"
    return job, why


def _operations(
    rows: list[tuple[Any, ...]],
    jobs: dict[str, tuple[Job, str]],
    objects: dict[int, StoredObject],
) -> Claimed:
    claimed = Claimed()
    for row in rows:
        id_, local_id, kind, lease, attempts, key, payload, service, account, object_id = row[:10]
        job, why = jobs.get(local_id) or (
            Job(0, local_id, service, account, None, ""),
            "" if kind in OUTLIVING else "its job has no row",
        )
        try:
            content = from_json(payload)
        except ValueError as error:
            content, why = {}, f"the operation's payload cannot be read: {error}"
        if object_id is not None and object_id not in objects:
            why = "its object has no row"
        operation = Operation(
            id_,
            kind,
            job,
            lease,
            attempts,
            key,
            content,
            service,
            account,
            objects.get(object_id),
            row[12],
        )
        if why:
            claimed.unreadable.append(Unreadable(operation, why))
        else:
            claimed.operations.append(operation)
    return claimed
