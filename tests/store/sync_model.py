"""What both sides of a sync have to be like: a service, and a ledger as its rules say it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tracker import clock

Fields = dict[str, Any]

ATTEMPTS = 5
WAITS = {failures: min(60.0 * 2**failures, 3600.0) for failures in range(1, ATTEMPTS)}
OVERLAP = 60.0
SUBMISSION = ("upload_input", "create")
ENDED = ("completed", "failed", "cancelled")


class Refused(Exception):
    """The act is one that is not possible; nothing changed."""


# The other side.


@dataclass(eq=False)
class Remote:
    """A job at the service; ``foreign`` are the fields that it changed by itself."""

    id: str
    fields: Fields
    changed: float
    state: str = "running"
    version: int = 1
    foreign: set[str] = field(default_factory=set)


class Service:
    """It honours idempotency keys, and remembers what it was told about which job."""

    def __init__(self) -> None:
        self.jobs: dict[str, Remote] = {}
        self.ids: list[str] = []
        self.keys: dict[str, tuple[str, Fields]] = {}
        self.heard: dict[str, list[tuple[int, str]]] = {}

    def _new(self, fields: Fields) -> Remote:
        one = Remote(f"r{len(self.ids):03}", dict(fields), clock.now())
        self.ids.append(one.id)
        self.jobs[one.id] = one
        return one

    def _touch(self, one: Remote) -> None:
        one.version, one.changed = one.version + 1, clock.now()

    def hear(self, local_id: str, number: int, call: tuple[Any, ...]) -> Any:
        """Do what a call asks for; the id of a job for a create, else whether the job is there."""
        kind = call[0]
        heard = self.heard.setdefault(local_id, [])
        for before, what in heard:
            assert before <= number, f"{kind} {number} reached the service after {what} {before}"
            assert what != "delete" or before == number, f"{kind} after the job's deletion"
        heard.append((number, kind))
        return getattr(self, f"take_{kind}")(*call[1:])

    def pardon(self, local_id: str) -> None:
        """A deletion was called off, although the service may have heard of it."""
        heard = self.heard.get(local_id, [])
        self.heard[local_id] = [one for one in heard if one[1] != "delete"]

    def take_create(self, key: str, body: Fields) -> str:
        """At most one job for each key."""
        if key not in self.keys:
            self.keys[key] = (self._new(body).id, dict(body))
        id_, first = self.keys[key]
        assert first == body, "another body under the same key"
        return id_

    def take_update(self, id_: str, changes: Fields) -> bool:
        """The changed fields of one job."""
        one = self._known(id_)
        if one is not None:
            one.fields |= changes
            self._touch(one)
        return one is not None

    def take_cancel(self, id_: str) -> bool:
        """A running job stops."""
        one = self._known(id_)
        if one is not None and one.state == "running":
            one.state = "cancelled"
            self._touch(one)
        return True

    def take_delete(self, id_: str) -> bool:
        """A job that is gone counts as deleted."""
        self._known(id_)
        self.jobs.pop(id_, None)
        return True

    def _known(self, id_: str) -> Remote | None:
        assert id_ in self.ids, f"a call about {id_}, which is no job"
        return self.jobs.get(id_)

    # What it does by itself.

    def own(self, fields: Fields) -> None:
        """Somebody else creates a job."""
        self._new(fields)

    def end(self, id_: str, state: str) -> None:
        """A job ends."""
        if self.jobs[id_].state == "running":
            self.jobs[id_].state = state
            self._touch(self.jobs[id_])

    def edit(self, id_: str, changes: Fields) -> None:
        """Somebody else changes a job."""
        self.jobs[id_].fields |= changes
        self.jobs[id_].foreign |= set(changes)
        self._touch(self.jobs[id_])

    def page(self, cursor: str | None, since: float | None, size: int) -> tuple[list[Remote], Any]:
        """Copies of the jobs of one page, and where the next one begins."""
        found = [
            one
            for id_, one in sorted(self.jobs.items())
            if id_ > (cursor or "") and (since is None or one.changed >= since)
        ]
        items = [
            Remote(one.id, dict(one.fields), one.changed, one.state, one.version)
            for one in found[:size]
        ]
        return items, (items[-1].id if len(found) > size else None)


# This side.


@dataclass(eq=False)
class Owed:
    """Something owed to the service. It is ``due`` between two moments, or waits for the one before
    it; ``doubt`` counts the claims of it that may have got through. A deletion has ``superseded``
    what was owed before."""

    kind: str
    changes: Fields | None = None
    body: Fields | None = None
    at: float = 0.0
    due: tuple[float, float] | None = None
    id: int = 0
    attempts: int = 0
    doubt: int = 0
    lease: int = 0
    dead: bool = False
    holder: str | None = None
    until: float | None = None
    superseded: list[Owed] = field(default_factory=list)

    @property
    def unsent(self) -> bool:
        """Whether it is certain that nothing has left."""
        return not self.attempts and not self.doubt and self.holder is None

    @property
    def free(self) -> bool:
        """Whether nobody works on it."""
        return self.dead or self.holder is None


@dataclass(eq=False)
class Listing(Owed):
    """A listing on its way."""

    began: float = 0.0
    since: float | None = None
    cursor: str | None = None
    twice: bool = False
    staged: dict[str, Remote] = field(default_factory=dict)


@dataclass(eq=False)
class Mine:
    """A job on record; ``known`` is what the service is known to have, ``told`` when it was last
    told of a change."""

    local_id: str
    payload: Fields
    created: float
    status: str = "pending"
    server_id: str | None = None
    accepted: float | None = None
    known: Fields = field(default_factory=dict)
    version: str | None = None
    told: float | None = None
    found: bool = False
    line: list[Owed] = field(default_factory=list)

    def has(self, *kinds: str) -> bool:
        """Whether any of these is owed."""
        return any(one.kind in kinds for one in self.line)

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status in ENDED

    @property
    def never_left(self) -> bool:
        """Whether the service does not have it, for all that is known."""
        return self.server_id is None and all(
            one.unsent or one.dead for one in self.line if one.kind in SUBMISSION
        )

    @property
    def sync_status(self) -> str:
        """J3."""
        if not self.line:
            return "synced" if self.server_id or self.ended else "pending"
        if any(one.dead for one in self.line):
            return "failed"
        if self.has("delete"):
            return "pending_deletion"
        return "error" if any(one.attempts for one in self.line) else "pending"


class Model:
    """The ledger: every act and every answer, as the requirements tell what it does."""

    def __init__(
        self, rule: str, *, authoritative: bool = False, since: bool = False, versions: bool = True
    ) -> None:
        self.rule, self.authoritative, self.since = rule, authoritative, since
        self.versions = versions
        self.jobs: dict[str, Mine] = {}
        self.gone: dict[str, str] = {}
        self.buried: set[str] = set()
        self.listing: Listing | None = None
        self.last_listing: float | None = None
        self.to_find: list[Remote] = []
        self.strangers: dict[str, float] = {}

    # What is owed.

    @staticmethod
    def _append(job: Mine, owed: Owed) -> None:
        owed.at = clock.now()
        owed.due = None if job.line else (owed.at, owed.at)
        job.line.append(owed)

    @staticmethod
    def _promote(job: Mine) -> None:
        if job.line and not job.line[0].dead and job.line[0].due is None:
            job.line[0].due = (clock.now(), clock.now())

    def _drop(self, job: Mine, *which: Owed) -> None:
        job.line = [one for one in job.line if one not in which]
        self._promote(job)

    def _erase(self, job: Mine, by: str, *, bury: bool = True) -> None:
        del self.jobs[job.local_id]
        self.gone[job.local_id] = by
        if bury and job.server_id:
            self.buried.add(job.server_id)

    def owed(self) -> list[Owed]:
        """All that is owed."""
        found = [one for job in self.jobs.values() for one in job.line]
        return [*found, *([self.listing] if self.listing else [])]

    def job_of(self, owed: Owed) -> Mine | None:
        """Whose it is."""
        return next((job for job in self.jobs.values() if owed in job.line), None)

    # People.

    def submit(self, local_id: str, payload: Fields, *, upload: bool) -> None:
        """A new job."""
        job = self.jobs[local_id] = Mine(local_id, dict(payload), clock.now())
        self._append(job, Owed("upload_input" if upload else "create"))

    def change(self, job: Mine, changes: Fields) -> Fields:
        """J5: only what is different now; never attempted is merged, else it waits its turn."""
        if job.ended or job.has("delete"):
            raise Refused
        new = {k: v for k, v in changes.items() if k not in job.payload or job.payload[k] != v}
        creates = [one for one in job.line if one.kind == "create"]
        unsent = all(one.unsent and one.body is None for one in creates)
        if new and (job.server_id is not None or not unsent):
            for create in creates:
                if create.body is None:
                    create.body = dict(job.payload)
            self._owe(job, new)
        job.payload |= new
        return new

    def _owe(self, job: Mine, new: Fields) -> None:
        last = job.line[-1] if job.line else None
        if last is None or last.kind != "update" or not last.unsent or last.dead:
            self._append(job, Owed("update", changes=dict(new)))
            return
        last.changes = {**(last.changes or {}), **new}
        last.at = clock.now()
        if len(job.line) == 1:
            known = job.known
            last.changes = {
                k: v for k, v in last.changes.items() if k not in known or known[k] != v
            }
        if not last.changes:
            self._drop(job, last)

    def cancel(self, job: Mine) -> bool:
        """Whether it has ended by that."""
        if job.ended or job.has("delete", "cancel"):
            raise Refused
        if job.never_left:
            job.line.clear()
            job.status = "cancelled"
            return True
        self._append(job, Owed("cancel"))
        return False

    def delete(self, job: Mine) -> bool:
        """Whether it is gone (J6)."""
        if job.has("delete"):
            raise Refused
        if job.never_left:
            self._erase(job, "person")
            return True
        needless = [one for one in job.line if one.unsent or one.dead]
        job.line = [one for one in job.line if one not in needless]
        self._append(job, Owed("delete", superseded=needless))
        return False

    def reset(self, job: Mine) -> None:
        """J9."""
        dead = [one for one in job.line if one.dead]
        if not dead:
            raise Refused
        for one in dead:
            one.dead, one.attempts, one.due, one.holder, one.until = False, 0, None, None, None
        self._promote(job)

    def retry(self, job: Mine, one: Owed) -> None:
        """One operation from the beginning."""
        if not one.free:
            raise Refused
        one.dead, one.attempts, one.due, one.holder, one.until = False, 0, None, None, None
        self._promote(job)

    def discard(self, job: Mine, one: Owed) -> None:
        """One operation is let go, with what was to come of it."""
        if not one.free:
            raise Refused
        if one.kind in SUBMISSION:
            if job.has("delete"):
                self._erase(job, "person")
                return
            job.line = [other for other in job.line if not other.free]
            if job.status == "pending":
                job.status = "failed"
        elif one.kind == "update":
            self._undo(job, one)
        self._drop(job, one)
        for other in [other for other in one.superseded if other.kind in ("update", "cancel")]:
            self._append(job, Owed(other.kind, changes=other.changes))

    @staticmethod
    def _undo(job: Mine, update: Owed) -> None:
        at = job.line.index(update)
        for name in update.changes or {}:
            if any(name in (one.changes or {}) for one in job.line[at + 1 :]):
                continue
            known = dict(job.known)
            for one in job.line[:at]:
                known |= one.body or one.changes or {}
            if name in known:
                job.payload[name] = known[name]
            else:
                del job.payload[name]

    def end(self, job: Mine, status: str) -> None:
        """Somebody ends a job by hand: its submission is owed no more."""
        if job.ended:
            raise Refused
        job.status = status
        self._drop(job, *[one for one in job.line if one.kind in SUBMISSION and one.free])

    def clean_up(self) -> None:
        """Finished jobs go that owe nothing (P9)."""
        for job in [job for job in self.jobs.values() if job.ended and not job.line]:
            self._erase(job, "cleanup")

    # Pollers.

    def claimable(self, one: Owed, *, surely: bool = False) -> bool:
        """Whether it may be claimed, or `surely` is."""
        now = clock.now()
        if one.dead or one.due is None or (one.until is not None and one.until > now):
            return False
        return one.due[1 if surely else 0] <= now

    def claim(self, one: Owed, poller: str, seconds: float) -> None:
        """A poller has it."""
        assert self.claimable(one), f"{one} was not due"
        one.lease += 1
        one.doubt += 1
        one.holder, one.until = poller, clock.now() + seconds

    def release(self, poller: str) -> None:
        """A poller is no more."""
        for one in self.owed():
            if one.holder == poller and not one.dead:
                one.holder = one.until = None

    def give_back(self, one: Owed) -> None:
        """Nothing was called."""
        one.holder = one.until = None
        one.doubt -= 1

    def holds(self, one: Owed, lease: int) -> bool:
        """Whether what a claim brings counts."""
        there = one is self.listing or self.job_of(one) is not None
        return there and one.lease == lease and not one.dead

    def failed(self, one: Owed, how: str) -> None:
        """`how` is "unburnt", "again" or "dead" (J8, and the failure table)."""
        now = clock.now()
        one.holder = one.until = None
        if how == "unburnt":
            one.doubt -= 1
            one.due = (now, now)
            return
        one.attempts += 1
        if how == "again" and one.attempts < ATTEMPTS:
            wait = WAITS[one.attempts]
            one.due = (now + wait, now + wait * 1.1)
        elif one is self.listing:
            self.listing = None
        else:
            one.dead = True
            job = self.job_of(one)
            assert job is not None
            if job.has("delete"):
                dead = [o for o in job.line if o.dead and o.kind != "delete"]
                job.line[-1].superseded[:0] = dead
                self._drop(job, *dead)

    def uploaded(self, one: Owed) -> None:
        """The create is owed, in the place of the upload."""
        one.kind, one.holder, one.until = "create", None, None
        one.attempts, one.doubt, one.due = 0, 0, (clock.now(), clock.now())

    def created(self, one: Owed, body: Fields, server_id: str) -> None:
        """The service has it; what a listing brought meanwhile under that id is the same job."""
        job = self.job_of(one)
        assert job is not None
        twin = next((o for o in self.jobs.values() if o.server_id == server_id and o != job), None)
        if twin is not None:
            if not twin.found or twin.line or twin.created < one.at:
                self.failed(one, "dead")
                return
            self._erase(twin, "service", bury=False)
        if job.status == "pending":
            job.status, job.known, job.accepted = "processing", dict(body), clock.now()
        job.accepted = job.accepted or clock.now()
        job.server_id = job.server_id or server_id
        self._drop(job, one)

    def updated(self, one: Owed, changes: Fields) -> None:
        """The service has these fields."""
        job = self.job_of(one)
        assert job is not None
        job.told = clock.now()
        self._drop(job, one)
        to_come = {name for other in job.line for name in other.changes or {}}
        # Where the service won meanwhile, the next listing brings what it has now.
        job.known |= {k: v for k, v in changes.items() if k in to_come or job.payload.get(k) == v}

    def done(self, one: Owed) -> None:
        """A cancel was heard; or there was nothing to do any more."""
        job = self.job_of(one)
        assert job is not None
        self._drop(job, one)

    def deleted(self, one: Owed) -> None:
        """It is gone there, and goes here."""
        job = self.job_of(one)
        assert job is not None
        self._erase(job, "person")

    # Listings.

    def refresh(self) -> None:
        """A listing is owed, never two; one that waits is brought forward, and begins anew where it
        had failed."""
        now = clock.now()
        before = self.listing
        if before is None or (before.holder is None and before.attempts):
            since = self.last_listing - OVERLAP if self.since and self.last_listing else None
            self.listing = Listing("refresh", due=(now, now), began=now, since=since)
            if before is not None:
                self.listing.lease, self.listing.doubt = before.lease, before.doubt
        elif before.holder is None and before.due:
            before.due = (min(now, before.due[0]), min(now, before.due[1]))

    def page(self, items: list[Remote], cursor: str | None) -> None:
        """One page is there; with the last one all of it counts."""
        listing = self.listing
        assert listing is not None
        listing.staged |= {one.id: one for one in items}
        if cursor is not None:
            self.failed(listing, "unburnt")
            listing.cursor = cursor
            return
        if self._reads_again(listing):
            self.failed(listing, "unburnt")
            listing.cursor, listing.twice = None, True
            return
        self.listing = None
        self._merge(listing)

    def _reads_again(self, listing: Listing) -> bool:
        """What several pages lack is only missing when a second reading lacks it too: jobs slip
        from page to page."""
        deletes = self.authoritative and listing.since is None
        several = listing.cursor is not None
        return deletes and several and not listing.twice and bool(self._missing(listing))

    def _missing(self, listing: Listing) -> list[Mine]:
        return [
            job
            for job in self.jobs.values()
            if job.server_id
            and not job.line
            and (job.accepted or job.created) < listing.began
            and job.server_id not in listing.staged
        ]

    def _merge(self, listing: Listing) -> None:
        refused = self.authoritative and listing.since is None and self._delete_missing(listing)
        skipped = False
        for one in listing.staged.values():
            job = next((job for job in self.jobs.values() if job.server_id == one.id), None)
            if job is None:
                if one.id in self.buried:
                    continue
                if self._is_nobodys(one.id):
                    self.to_find.append(one)
                else:
                    skipped = True
            elif job.told is not None and job.told >= listing.began:
                skipped = skipped or self._is_news(job, one)
            else:
                self._reconcile(job, one)
        if not refused:
            self.last_listing = (listing.since or self.last_listing) if skipped else listing.began

    def _is_nobodys(self, id_: str) -> bool:
        """Whether no create that is on its way can have made it: it is older than all of them."""
        moving = self.creates_on_their_way
        if not moving:
            return True
        return self.strangers.setdefault(id_, clock.now()) < min(moving)

    @property
    def creates_on_their_way(self) -> list[float]:
        """Since when each create is owed that may have left."""
        creates = [one for job in self.jobs.values() for one in job.line if one.kind == "create"]
        return [one.at for one in creates if not (one.unsent or one.dead)]

    def _delete_missing(self, listing: Listing) -> bool:
        """J10; whether it was too much."""
        accepted = [job for job in self.jobs.values() if job.server_id]
        missing = self._missing(listing)
        guarded = len(accepted) >= 5 or not listing.staged
        if guarded and len(missing) > 0.2 * len(accepted):
            return True
        for job in missing:
            self._erase(job, "service", bury=False)
        return False

    def _reconcile(self, job: Mine, there: Remote) -> None:
        """J7, O8: the service is right but for what it was not told yet, or as the rule says."""
        updates = [one for one in job.line if one.kind == "update"]
        pending: Fields = {}
        # What a deletion superseded is owed again if that is called off.
        superseded = [one for owed in job.line for one in owed.superseded if one.kind == "update"]
        for one in [*superseded, *updates]:
            pending |= one.changes or {}
        newer = not updates or there.changed > max(one.at for one in updates)
        for name, value in there.fields.items():
            if name in pending:
                conflict = job.payload[name] != value and job.known.get(name) != value
                if conflict and (self.rule == "merge" or (self.rule == "latest" and newer)):
                    job.payload[name] = value
            elif self.rule != "local":
                job.payload[name] = value
        if self._is_news(job, there):
            self._trim(job, updates, there)
            job.version = str(there.version) if self.versions else None
        job.known |= there.fields

    def _is_news(self, job: Mine, there: Remote) -> bool:
        version = str(there.version) if self.versions else None
        return {**job.known, **there.fields} != job.known or version != job.version

    def _trim(self, job: Mine, updates: list[Owed], there: Remote) -> None:
        """What the service has already it need not be told, unless something may still undo it."""
        pending = {name: value for one in updates for name, value in (one.changes or {}).items()}
        undecided = {
            name
            for one in updates
            for name, value in (one.changes or {}).items()
            if not one.unsent and there.fields.get(name) != value
        }
        settled = {
            name
            for name, value in there.fields.items()
            if job.payload.get(name) == value
            and not (name in undecided and pending.get(name) == value)
        }
        for one in updates:
            if one.holder is not None:
                continue
            one.changes = {k: v for k, v in (one.changes or {}).items() if k not in settled}
            if not one.changes:
                self._drop(job, one)

    def find(self, local_id: str, one: Remote) -> None:
        """A job that the last listing brought is on record."""
        now = clock.now()
        self.jobs[local_id] = Mine(
            local_id,
            dict(one.fields),
            now,
            "processing",
            one.id,
            now,
            dict(one.fields),
            str(one.version) if self.versions else None,
            found=True,
        )
