"""People, pollers, a service and time at random, against a model of both sides.

`TRACKER_CAMPAIGN=full` makes ten times as many steps."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from freezegun import freeze_time
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from ledgers import NOON, claim, claim_operations, clean_up, planned, poller_row, spooled, submitted
from postgres import Postgres
from sync_model import Fields, Listing, Mine, Model, Owed, Refused, Remote, Service

from tracker import clock, lifecycle
from tracker.databases import postgres
from tracker.errors import Impossible
from tracker.executors.cancel import Cancel
from tracker.executors.create import Create
from tracker.executors.delete import Delete
from tracker.executors.refresh import Refresh
from tracker.executors.update import Update
from tracker.lifecycle import Rules
from tracker.listed import RULES as CONFLICTS
from tracker.listed import Listed, Merging, Page
from tracker.model import UPLOADS, Failure, Fault, Job, Operation, Reading, State, Status
from tracker.objects import ObjectChange, ObjectState
from tracker.outcomes import Attempted, Claim, Released
from tracker.store import Store, open_store, server_key
from tracker.store.lines import FAR
from tracker.store.refreshing import Wanted

FULL = os.environ.get("TRACKER_CAMPAIGN") == "full"
RULES = Rules(repeatable=True)
POLLERS = ("p1", "p2")
LANES = {"docs": ("create", "update", "cancel", "delete", "refresh"), UPLOADS: ("upload_input",)}
PAGE = 2

FAILURES = {
    "unreachable": (Failure(Fault.UNREACHABLE, "no route", sent=False), "unburnt"),
    "throttled": (Failure(Fault.THROTTLED, "HTTP 429", http_status=429), "unburnt"),
    "error": (Failure(Fault.SERVER, "HTTP 500", http_status=500), "again"),
    "refused": (Failure(Fault.REFUSED, "HTTP 400", http_status=400), "dead"),
    "cut off": (Failure(Fault.RESET, "the connection broke"), "again"),
    "no route back": (Failure(Fault.UNREACHABLE, "no reply"), "again"),
}
"""What a call may meet, and what that means for what it was about."""

LOST_REPLIES = ("error", "cut off", "no route back")
"""What a call may meet that the service has carried out."""

GONE = Failure(Fault.REFUSED, "HTTP 404", http_status=404)
STATES = {"done": State.COMPLETED, "error": State.FAILED, "cancelled": State.CANCELLED,
          "running": State.PROCESSING}  # fmt: skip

FIELDS = st.dictionaries(st.sampled_from("ab"), st.integers(0, 2), min_size=1)
PICK = st.integers(0, 30)


class Definition:
    """A service's definition: calls are tuples, and a reply is what it means."""

    name, retry, create, list, cancel = "docs", RULES.retry, None, None, None
    update = delete = True

    def __init__(self, merging: Merging) -> None:
        self.list = SimpleNamespace(merging=merging)

    def build_create(self, job: Job, key: str | None) -> Any:
        return "create", key, dict(job.payload)

    def build_update(self, job: Job) -> Any:
        assert job.server_id is not None
        return "update", job.server_id, dict(job.changes)

    def build_cancel(self, job: Job) -> Any:
        return "cancel", job.server_id

    def build_delete(self, job: Job) -> Any:
        return "delete", job.server_id

    def build_list(self, cursor: str | None, since: str | None) -> Any:
        return "list", cursor, since

    def read_create(self, job: Job, reply: Any) -> Any:
        return reply

    def read_update(self, job: Job, reply: Any) -> Any:
        return reply

    def read_cancel(self, reply: Any) -> Any:
        return reply

    read_delete = read_list = read_cancel

    def server_key(self, job: Job, reading: Reading) -> str:
        return server_key("docs", str(reading.server_id))


@dataclass(eq=False)
class Flight:
    """A claim of an operation, and its call; ``reply`` is what came of it."""

    operation: Operation
    owed: Owed
    poller: str
    call: tuple[Any, ...]
    arrived: bool = False
    reply: Any = None


@cache
def template() -> tempfile.TemporaryDirectory[str]:
    """An empty ledger, made once, in a folder that goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="sync-machine-")
    open_store(Path(folder.name) / "tracker.db").close()
    return folder


class Sync(RuleBasedStateMachine):
    """Rules are acts of people, of pollers, of the service, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = freeze_time(NOON, ignore=["psycopg_pool"])
        self.clock = self.frozen.start()
        self.store = self.begin()
        self.service = Service()
        self.flights: list[Flight] = []
        self.polls: list[tuple[Job, Reading]] = []
        self.configure("service", False, False, True, 6)

    @initialize(
        rule=st.sampled_from(CONFLICTS),
        authoritative=st.booleans(),
        since=st.booleans(),
        versions=st.booleans(),
        most=st.sampled_from([1, 2, 6]),
    )
    def configure(
        self, rule: str, authoritative: bool, since: bool, versions: bool, most: int
    ) -> None:
        """What the service's definition says, and how many jobs there are about."""
        self.most = most
        self.model = Model(rule, authoritative=authoritative, since=since, versions=versions)
        self.merging = Merging(rule=rule, authoritative=authoritative)
        definition: Any = Definition(self.merging)
        signer: Any = None
        self.executors: dict[str, Any] = {
            "create": Create(definition, RULES, signer),
            "update": Update(definition),
            "cancel": Cancel(definition, RULES),
            "delete": Delete(definition),
            "refresh": Refresh(definition),
        }

    def teardown(self) -> None:
        """Everything goes out, and both sides are the same."""
        try:
            self.drain()
        finally:
            self.store.close()
            self.end()
            self.frozen.stop()

    def begin(self) -> Store:
        """An empty ledger."""
        self.folder = tempfile.mkdtemp(prefix="sync-machine-")
        shutil.copy(Path(template().name) / "tracker.db", self.folder)
        return open_store(Path(self.folder) / "tracker.db")

    def end(self) -> None:
        """Remove it."""
        shutil.rmtree(self.folder)

    # People.

    def narrowed(self, fields: Fields) -> Fields:
        """With one job about, one field with two values: so that more is said of the same."""
        return fields if self.most > 1 else {"a": sum(fields.values()) % 2}

    @rule(payload=FIELDS, upload=st.booleans())
    def submit(self, payload: Fields, upload: bool) -> None:
        """A new job, recorded only."""
        payload = self.narrowed(payload)
        if len(self.model.jobs) < self.most:
            number = len(self.model.jobs) + len(self.model.gone)
            file = {"file": spooled(f"{number}"), "target": planned(f"{number}")} if upload else {}
            local_id = submitted(self.store, payload=payload, **file)
            self.model.submit(local_id, payload, upload=upload)

    def alike(self, mine: Any, real: Any) -> Any:
        """An act means the same to the model and to the ledger, or is refused by both."""
        try:
            expected = mine()
        except Refused:
            with pytest.raises(Impossible):
                real()
            return None
        found = real()
        assert expected is None or found == expected
        return found

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK, changes=FIELDS)
    def change(self, pick: int, changes: Fields) -> None:
        """A person changes fields."""
        job, changes = self.pick(pick), self.narrowed(changes)
        self.alike(
            lambda: self.model.change(job, changes),
            lambda: self.store.change(job.local_id, changes, tells=True),
        )

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """A person wants a job to stop."""
        job = self.pick(pick)
        self.alike(
            lambda: self.model.cancel(job),
            lambda: self.store.wish_to_cancel(job.local_id, tells=True),
        )

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        """A person wants a job to go."""
        job = self.pick(pick)
        self.alike(
            lambda: self.model.delete(job), lambda: self.store.delete(job.local_id, tells=True)
        )

    @precondition(lambda self: any(one.dead for one in self.model.owed()))
    @rule(pick=PICK)
    def reset(self, pick: int) -> None:
        """A person has a failed sync tried again."""
        job = self.pick(pick)
        self.alike(lambda: self.model.reset(job), lambda: self.store.reset(job.local_id))

    @precondition(lambda self: any(job.line for job in self.model.jobs.values()))
    @rule(pick=PICK, retry=st.booleans())
    def outbox(self, pick: int, retry: bool) -> None:
        """A person has one operation tried again, or lets it go."""
        owed = [(job, one) for job in self.model.jobs.values() for one in job.line]
        job, one = owed[pick % len(owed)]
        mine = self.model.retry if retry else self.model.discard
        real = self.store.retry_operation if retry else self.store.discard_operation
        self.alike(lambda: mine(job, one), lambda: real(one.id))
        if one.kind == "delete" and one not in job.line:
            self.service.pardon(job.local_id)

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK, status=st.sampled_from([Status.COMPLETED, Status.FAILED]))
    def end_by_hand(self, pick: int, status: Status) -> None:
        """A person calls a job completed, or failed."""
        job = self.pick(pick)
        change = lifecycle.by_hand(self.store.job_in_hand(job.local_id), status, RULES)
        try:
            self.model.end(job, status)
        except Refused:
            assert not self.store.act(job.local_id, change)
        else:
            assert self.store.act(job.local_id, change)

    @precondition(lambda self: any(job.ended for job in self.model.jobs.values()))
    @rule()
    def clean_up(self) -> None:
        """Finished jobs go."""
        self.model.clean_up()
        clean_up(self.store)

    # Pollers.

    @precondition(lambda self: self.model.owed())
    @rule(
        poller=st.sampled_from(POLLERS),
        limit=st.integers(1, 4),
        lane=st.sampled_from(["docs", "docs", "docs", UPLOADS]),
        seconds=st.sampled_from([60.0, 600.0]),
    )
    def claim(self, poller: str, limit: int, lane: str, seconds: float) -> None:
        """A poller takes what is due: never two of one job, never what another has."""
        self.store.beat(poller_row(poller))
        kinds = LANES[lane]
        surely = [
            one
            for one in self.model.owed()
            if one.kind in kinds and self.model.claimable(one, surely=True)
        ]
        found = self.store.claim_due_operations(
            lane, limit, poller, seconds, cutoff=clock.now(), kinds=kinds
        )
        assert not found.unreadable
        claimed = [self.owed(operation) for operation in found.operations]
        assert len(claimed) == limit or set(surely) <= set(claimed), "nobody took what is due"
        for operation, owed in zip(found.operations, claimed, strict=True):
            self.model.claim(owed, poller, seconds)
            self.prepare(operation, owed, poller)

    def owed(self, operation: Operation) -> Owed:
        """What the model has of it."""
        if operation.kind == "refresh":
            assert self.model.listing is not None
            return self.model.listing
        return next(one for one in self.model.owed() if one.id == operation.id)

    def prepare(self, operation: Operation, owed: Owed, poller: str) -> None:
        """The call; or none is needed any more."""
        job = self.model.job_of(owed)
        if operation.kind == "upload_input":
            prepared: Any = ("upload",)
            if operation.job.status != Status.PENDING:
                prepared = [Attempted(operation, None)]
        else:
            prepared = self.executors[operation.kind].prepare([operation])
        if isinstance(prepared, tuple):
            self.flights.append(Flight(operation, owed, poller, prepared))
            return
        assert job is not None
        if owed.kind == "delete":
            assert job.server_id is None, "a job is deleted here that the service has"
            self.model.deleted(owed)
        else:
            assert job.ended and (owed.kind != "update" or job.server_id is None)
            self.model.done(owed)
        assert self.store.settle(prepared).void == 0

    def held(self, flight: Flight) -> bool:
        """Whether the claim still holds: then its call may reach the service."""
        owed = flight.owed
        return (
            self.model.holds(owed, flight.operation.lease)
            and owed.holder == flight.poller
            and owed.until is not None
            and owed.until > clock.now()
        )

    @precondition(lambda self: self.model.owed())
    @rule(limit=st.integers(1, 4))
    def attempt(self, limit: int) -> None:
        """A pass in which all goes well."""
        for lane in LANES:
            before = list(self.flights)
            self.claim("p1", limit, lane, 60.0)
            for flight in [one for one in self.flights if one not in before]:
                self.flights.remove(flight)
                self.conclude(flight, "good")
                self.the_ledger_is_as_the_model_says()

    @precondition(lambda self: any(not one.arrived for one in self.flights))
    @rule(pick=PICK)
    def arrive(self, pick: int) -> None:
        """The service does what a call asks for; its reply is on its way."""
        waiting = [one for one in self.flights if not one.arrived]
        self.reach(waiting[pick % len(waiting)])

    def reach(self, flight: Flight) -> None:
        if not flight.arrived and self.held(flight):
            flight.arrived = True
            flight.reply = self.reply_to(flight)

    def reply_to(self, flight: Flight) -> Any:
        kind, operation = flight.operation.kind, flight.operation
        if kind == "upload_input":
            return ObjectChange(ObjectState.PRESENT, upload_id="", etag="e")
        if kind == "refresh":
            _, cursor, since = flight.call
            since = clock.to_seconds(since) if since else None
            assert (cursor, since) == (self.model.listing.cursor, self.model.listing.since)
            return self.service.page(cursor, since, PAGE)
        reply = self.service.hear(operation.job.local_id, operation.id, flight.call)
        if kind == "create":
            return Reading(State.PROCESSING, server_id=reply)
        return None if reply else GONE

    @precondition(lambda self: self.flights)
    @rule(pick=PICK, how=st.sampled_from(["good", "good", "good", "given back", *FAILURES]))
    def answer(self, pick: int, how: str) -> None:
        """What came of a call is on record, if its claim is still the last one."""
        self.conclude(self.flights.pop(pick % len(self.flights)), how)

    def conclude(self, flight: Flight, how: str) -> None:
        if how == "good":
            self.reach(flight)
        if flight.arrived and how not in LOST_REPLIES:
            how = "good"
        elif not flight.arrived and how == "good":
            how = "unreachable"
        elif flight.operation.kind == "upload_input" and how == "refused":
            how = "error"
        counts = self.model.holds(flight.owed, flight.operation.lease)
        if how == "given back":
            self.store.settle([Released(flight.operation)])
            if counts:
                self.model.give_back(flight.owed)
            return
        reply, means = FAILURES[how] if how != "good" else (flight.reply, "good")
        if reply is GONE:
            means = "dead"
        settled = self.store.settle([self.outcome(flight, reply)])
        assert settled.void == (not counts)
        if counts and means == "good":
            self.went_well(flight)
        elif counts:
            if flight.operation.kind in ("upload_input", "refresh") and how == "no route back":
                means = "unburnt"
            self.model.failed(flight.owed, means)

    def outcome(self, flight: Flight, reply: Any) -> Any:
        operation = flight.operation
        if operation.kind == "upload_input":
            return lifecycle.after_upload(operation, reply, RULES.retry)
        if operation.kind == "refresh" and not isinstance(reply, Failure):
            reply = Page(tuple(self.listed(one) for one in reply[0]), reply[1])
        [outcome] = self.executors[operation.kind].settle([operation], reply).outcomes
        return outcome

    def listed(self, one: Remote) -> Listed:
        version = str(one.version) if self.model.versions else None
        changed = clock.to_text(one.changed)
        key = server_key("docs", one.id)
        return Listed(one.id, key, version=version, updated_at=changed, fields=one.fields)

    def went_well(self, flight: Flight) -> None:
        owed, kind = flight.owed, flight.operation.kind
        match kind:
            case "upload_input":
                self.model.uploaded(owed)
            case "create":
                self.model.created(owed, flight.call[2], flight.reply.server_id)
            case "update":
                self.model.updated(owed, flight.call[2])
            case "cancel":
                self.model.done(owed)
            case "delete":
                self.model.deleted(owed)
            case "refresh":
                self.model.page(*flight.reply)
                self.match_found()

    def match_found(self) -> None:
        """Jobs that a listing brought, once each."""
        for one in self.model.to_find:
            rows = self.rows("SELECT local_id FROM jobs WHERE server_id = ?", one.id)
            assert len(rows) == 1, f"{one.id} is here {len(rows)} times"
            self.model.find(rows[0][0], one)
        self.model.to_find.clear()

    @precondition(lambda self: any(one.holder for one in self.model.owed()))
    @rule(poller=st.sampled_from(POLLERS), farewell=st.booleans())
    def die(self, poller: str, farewell: bool) -> None:
        """A poller is no more, with all that it held: what did not reach the service never does."""
        self.store.beat(poller_row(poller))
        if farewell:
            held = [
                Claim(False, one.operation.id, one.operation.lease)
                for one in self.flights
                if one.poller == poller and self.model.holds(one.owed, one.operation.lease)
            ]
            self.store.say_goodbye(poller, held)
            held_ids = {one.id for one in held}
            for one in self.model.owed():
                if one.holder == poller and (one.id in held_ids or isinstance(one, Listing)):
                    one.holder = one.until = None
        else:
            self.store.release_dead(poller, ["docs", UPLOADS])
            self.model.release(poller)

    @precondition(lambda self: any(j.status == "processing" for j in self.model.jobs.values()))
    @rule(limit=st.integers(1, 3))
    def ask(self, limit: int) -> None:
        """A poller asks for the state of jobs."""
        for job in claim(self.store, limit):
            there = self.service.jobs.get(str(job.server_id))
            state = State.UNKNOWN_JOB if there is None else STATES[there.state]
            self.polls.append((job, Reading(state, result={} if there else None)))

    @precondition(lambda self: self.polls)
    @rule(pick=PICK)
    def hear(self, pick: int) -> None:
        """A job's state is on record: it ends as it did at the service, or when that does not know
        it any more."""
        job, reading = self.polls.pop(pick % len(self.polls))
        settled = self.store.settle([lifecycle.after_poll(job, reading, RULES)])
        for local_id, status in settled.finished:
            mine = self.model.jobs[local_id]
            assert mine.status == "processing"
            if reading.state is State.UNKNOWN_JOB:
                assert status == Status.FAILED and mine.server_id not in self.service.jobs
            else:
                assert status == str(reading.state)
            mine.status = str(status)

    # The service.

    @rule(fields=FIELDS)
    def is_used_by_another(self, fields: Fields) -> None:
        """Somebody else creates a job there."""
        if len(self.service.jobs) < self.most:
            self.service.own(self.narrowed(fields))

    @precondition(lambda self: self.service.jobs)
    @rule(pick=PICK, changes=FIELDS)
    def is_edited(self, pick: int, changes: Fields) -> None:
        """Somebody else changes a job there."""
        self.service.edit(self.there(pick), self.narrowed(changes))

    @precondition(lambda self: self.service.jobs)
    @rule(pick=PICK, state=st.sampled_from(["done", "error"]))
    def ends_a_job(self, pick: int, state: str) -> None:
        """A job ends there."""
        self.service.end(self.there(pick), state)

    @precondition(lambda self: self.service.jobs)
    @rule(pick=PICK)
    def loses_a_job(self, pick: int) -> None:
        """A job is deleted there."""
        del self.service.jobs[self.there(pick)]

    @precondition(lambda self: self.model.listing is None or not self.model.listing.holder)
    @rule()
    def refresh(self) -> None:
        """The service is to be listed."""
        self.model.refresh()
        wanted = Wanted("docs", "", 900.0, self.model.since, 60.0)
        self.store.owe_refreshes([wanted], force=True)

    # Time.

    @rule(seconds=st.sampled_from([1, 61, 150, 700, 4000]))
    def wait(self, seconds: int) -> None:
        """Time passes; claims run out."""
        self.clock.tick(seconds)

    # What always holds.

    @invariant()
    def the_ledger_is_as_the_model_says(self) -> None:
        """Every job is on record with its payload and sync status, no other is; each owes what it
        has to, in order, and only the first of a line has a due time."""
        lines: dict[str, list[Any]] = {}
        for row in self.rows(
            "SELECT local_id, id, kind, state, attempts, next_attempt_at, payload FROM operations"
            " WHERE kind IN ('upload_input', 'create', 'update', 'cancel', 'delete') ORDER BY id"
        ):
            lines.setdefault(row[0], []).append(row[1:])
        rows = self.rows("SELECT local_id, status, server_id, payload, sync_status FROM jobs")
        assert {row[0] for row in rows} == set(self.model.jobs)
        assert set(lines) <= set(self.model.jobs), "something is owed for a job that is no more"
        for local_id, status, server_id, payload, sync_status in rows:
            job = self.model.jobs[local_id]
            line = lines.get(local_id, [])
            found = [(kind, state == "dead", attempts) for _, kind, state, attempts, *_ in line]
            assert found == [(one.kind, one.dead, one.attempts) for one in job.line]
            assert (status, server_id) == (job.status, job.server_id)
            assert sync_status == job.sync_status
            assert json.loads(payload) == job.payload
            for number, (one, row) in enumerate(zip(job.line, line, strict=True)):
                self.compare(one, row, first=number == 0)

    def compare(self, one: Owed, row: Any, *, first: bool) -> None:
        id_, _, _, _, due, payload = row
        assert one.id in (0, id_)
        one.id = id_
        assert first or due == FAR, "due before its turn"
        assert not first or one.dead or due != FAR, "nobody is due: the line is stuck"
        if one.kind == "update":
            assert json.loads(payload)["changes"] == one.changes

    # The end.

    def drain(self) -> None:
        """Dead letters are reset, everything goes out, and comes in."""
        self.the_ledger_is_as_the_model_says()
        self.flights.clear()
        self.polls.clear()
        for _ in range(30):
            self.clock.tick(4000)
            if self.turn():
                break
        else:
            raise AssertionError(f"never quiet: {self.model.owed()}")
        self.clock.tick(4000)
        for _ in range(2):
            self.refresh()
            while not self.turn():
                self.clock.tick(4000)
        self.both_sides_are_the_same()

    def turn(self) -> bool:
        """One pass in which all goes well; whether there was nothing to do."""
        for job in list(self.model.jobs.values()):
            if not any(one.dead for one in job.line):
                continue
            if job.ended and job.server_id not in self.service.jobs and not job.has("delete"):
                self.model.delete(job)  # nobody can be told any more
                self.store.delete(job.local_id, tells=True)
            else:
                self.model.reset(job)
                self.store.reset(job.local_id)
        self.the_ledger_is_as_the_model_says()
        for lane in LANES:
            self.claim("p1", 50, lane, 60.0)
            while self.flights:
                self.conclude(self.flights.pop(), "good")
                self.the_ledger_is_as_the_model_says()
        self.ask(50)
        running = [job for job, reading in self.polls if reading.state is not State.PROCESSING]
        while self.polls:
            self.hear(0)
        return not running and not self.model.owed()

    def both_sides_are_the_same(self) -> None:
        model, there = self.model, self.service.jobs
        left = self.rows("SELECT kind FROM operations WHERE kind <> 'remove_object'")
        assert left == [], "something is still owed"
        here = [job.server_id for job in model.jobs.values() if job.server_id]
        assert len(here) == len(set(here)), "a job is here twice"
        assert set(there) <= {*here, *model.buried}, "a job of the service is not here"
        for job in model.jobs.values():
            if job.ended:
                continue
            assert job.server_id in there and there[job.server_id].state == "running"
            remote = there[job.server_id]
            for name in job.payload.keys() | remote.fields.keys():
                if model.rule != "local" or name not in remote.foreign:
                    assert job.payload.get(name) == remote.fields.get(name), f"{name} differs"
        created = [id_ for id_, _ in self.service.keys.values()]
        assert len(created) == len(set(created)), "two creates made one job"
        told = {
            one.local_id: one.data["by"]
            for one in self.store.events(limit=10**6)
            if one.type == "job:deleted"
        }
        assert told == model.gone

    # Looking.

    def pick(self, number: int) -> Mine:
        """One of the jobs here."""
        return list(self.model.jobs.values())[number % len(self.model.jobs)]

    def there(self, number: int) -> str:
        """One of the jobs there."""
        return list(self.service.jobs)[number % len(self.service.jobs)]

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        return self.store.database.read(sql, list(parameters))


class SyncOnServer(Sync):
    """The same on PostgreSQL."""

    server: ClassVar[Postgres]
    empty: ClassVar[str]

    def begin(self) -> Store:
        """An empty ledger."""
        self.url = self.server.create(self.empty)
        return Store(postgres.Database(self.url, now=clock.now))

    def end(self) -> None:
        """Remove it."""
        self.server.drop(self.url)


MUCH = settings(
    max_examples=800 if FULL else 50,
    stateful_step_count=60,
    deadline=None,
    derandomize=not FULL,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
Sync.TestCase.settings = MUCH
SyncOnServer.TestCase.settings = settings(MUCH, max_examples=800 if FULL else 12)


class TestSync(Sync.TestCase):
    """Whatever happens: no job is lost or there twice, the sync status is true, calls come in the
    order of the acts, nothing goes that may not, and in the end both sides are the same."""


class TestSyncOnServer(SyncOnServer.TestCase):
    """The same on PostgreSQL, where a sample is smaller: its statements are the same."""

    @pytest.fixture(autouse=True)
    def has_a_server(self, postgres: Postgres, template: str) -> None:
        """Machines are made without fixtures."""
        SyncOnServer.server, SyncOnServer.empty = postgres, template


# What it found, in a few steps each.

OFFLINE, BROKEN, NO = (FAILURES[name][0] for name in ("unreachable", "error", "refused"))


def take(store: Store, kind: str) -> Operation:
    """The one operation that is due."""
    [operation] = claim_operations(store, kinds=LANES["docs"])
    assert operation.kind == kind
    return operation


def accepted(store: Store, **fields: Any) -> str:
    """A job that the service has with these fields, as r1."""
    job = submitted(store, payload=fields)
    reading = Reading(State.PROCESSING, server_id="r1")
    key = server_key("docs", "r1")
    store.settle([lifecycle.after_create(take(store, "create"), reading, RULES, server_key=key)])
    return job


def updated(store: Store, operation: Operation, result: Failure | None = None) -> None:
    """What an update came to."""
    store.settle([lifecycle.after_update(operation, result, RULES.retry)])


def list_all(store: Store, merging: Merging, *items: Listed) -> None:
    """A whole listing."""
    store.owe_refreshes([Wanted("docs", "", 900.0)], force=True)
    [refresh] = claim_operations(store, kinds=["refresh"])
    store.settle([lifecycle.after_page(refresh, Page(items), merging, RULES.retry)])


def as_listed(version: str | None, **fields: Any) -> Listed:
    """Job r1, as the service lists it."""
    return Listed("r1", server_key("docs", "r1"), version=version, fields=fields)


def both(store: Store, job: str) -> tuple[Fields, list[Fields]]:
    """What a job says here, and the changes that its service will still be told."""
    owed = store.database.read(
        "SELECT payload FROM operations WHERE kind = 'update' AND local_id = ? ORDER BY id", [job]
    )
    return store.get(job).payload, [json.loads(row[0])["changes"] for row in owed]


def test_ended_after_a_failed_create(store, time):
    """A job that is ended by hand before the service has it owes nothing for ever."""
    job = submitted(store, payload={"a": 1})
    store.settle([lifecycle.after_create(take(store, "create"), BROKEN, RULES)])
    store.change(job, {"a": 2}, tells=True)
    store.act(job, lifecycle.by_hand(store.job_in_hand(job), Status.FAILED, RULES))
    assert all(one["next_attempt_at"] != FAR for one in store.operations_of(job))


def test_ended_with_its_create_in_flight(store, time):
    """What a job was changed to is not told when its create was dropped: nobody knows it."""
    job = submitted(store, payload={"a": 1})
    create = take(store, "create")
    store.change(job, {"a": 2}, tells=True)
    store.act(job, lifecycle.by_hand(store.job_in_hand(job), Status.FAILED, RULES))
    store.settle([Attempted(create, None)])
    definition: Any = Definition(Merging())
    for operation in claim_operations(store, kinds=["update"]):
        store.settle(Update(definition).prepare([operation]))
    assert store.operations_of(job) == []


def test_a_deletion_called_off(store, time):
    """A job whose deletion is discarded goes on: what the service was not told yet is owed."""
    job = accepted(store, a=1)
    store.change(job, {"a": 2}, tells=True)
    store.delete(job, tells=True)
    [delete] = store.operations_of(job)
    store.discard_operation(delete["id"])
    payload, owed = both(store, job)
    assert payload == {"a": 1} or owed == [{"a": 2}]


def test_a_deletion_called_off_too_late(store, time):
    """The same where the update was refused meanwhile: it is a dead letter again, or undone."""
    job = accepted(store, a=1)
    store.change(job, {"a": 2}, tells=True)
    flying = take(store, "update")
    store.delete(job, tells=True)
    updated(store, flying, NO)
    [delete] = store.operations_of(job)
    store.discard_operation(delete["id"])
    payload, owed = both(store, job)
    assert payload == {"a": 1} or owed == [{"a": 2}]


def test_a_deletion_called_off_restores_the_order(store, time):
    """What is owed again is so in the order of the acts: the newest value is told last."""
    job = accepted(store, a=1)
    store.change(job, {"a": 2}, tells=True)
    flying = take(store, "update")
    store.change(job, {"a": 3}, tells=True)
    store.delete(job, tells=True)
    updated(store, flying, NO)
    [delete] = store.operations_of(job)
    store.discard_operation(delete["id"])
    payload, owed = both(store, job)
    assert payload == owed[-1] == {"a": 3}


def test_changed_back_behind_one_in_flight(store, time):
    """A change back to what a listing says is told all the same while the change before it is on
    its way: that will undo it at the service."""
    job = accepted(store, a=1)
    store.change(job, {"a": 2}, tells=True)
    flying = take(store, "update")
    store.change(job, {"a": 1}, tells=True)
    list_all(store, Merging(), as_listed("2", a=1))
    updated(store, flying)
    payload, owed = both(store, job)
    assert payload == {"a": 2} or owed == [{"a": 1}]


def test_changed_back_behind_a_lost_reply(store, time):
    """The same where the change before it may have got through."""
    job = accepted(store, a=1)
    store.change(job, {"a": 2}, tells=True)
    updated(store, take(store, "update"), BROKEN)
    store.change(job, {"a": 1}, tells=True)
    list_all(store, Merging(), as_listed("2", a=1))
    _, owed = both(store, job)
    assert owed and owed[-1] == {"a": 1}


@pytest.mark.parametrize("rule", ["merge", "latest"])
def test_the_service_won_while_an_update_was_in_flight(store, time, rule):
    """What was on its way when the service's value was taken over is at the service afterwards: the
    next listing brings it here."""
    job = accepted(store, a=1)
    store.change(job, {"a": 2}, tells=True)
    flying = take(store, "update")
    time.tick(10)
    changed = clock.to_text(clock.now())
    there = Listed("r1", server_key("docs", "r1"), updated_at=changed, fields={"a": 3})
    list_all(store, Merging(rule=rule), there)
    updated(store, flying)
    time.tick(1000)
    list_all(store, Merging(rule=rule), as_listed(None, a=2))
    assert both(store, job) == ({"a": 2}, [])


def test_met_while_a_create_was_on_its_way(store, time):
    """A job that was not taken for somebody else's, because a create was on its way, is told of
    by the next listing, also where that asks only for what changed since."""
    wanted = Wanted("docs", "", 900.0, True, 60.0)
    submitted(store, payload={"a": 1})
    time.tick(100)
    store.settle([lifecycle.after_create(take(store, "create"), BROKEN, RULES)])
    store.owe_refreshes([wanted], force=True)
    page = Page((as_listed(None, a=1),))
    store.settle([lifecycle.after_page(take(store, "refresh"), page, Merging(), RULES.retry)])
    time.tick(1000)
    if len(store.list_jobs()) == 1:
        store.owe_refreshes([wanted], force=True)
        [refresh] = claim_operations(store, kinds=["refresh"])
        assert "since" not in refresh.payload
