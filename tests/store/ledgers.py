"""Jobs, claims and settlements for the tests of the ledger, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from tracker import clock, lifecycle
from tracker.ids import new_id
from tracker.lifecycle import Rules
from tracker.model import (
    FILES,
    REMOVALS,
    UPLOADS,
    Content,
    Failure,
    Fault,
    Job,
    Kind,
    NewOperation,
    Operation,
    ProcessingJob,
    Reading,
    State,
    Status,
)
from tracker.objects import ObjectChange, ObjectState, Role, Scheme, StoredObject
from tracker.store import Store, server_key
from tracker.store.claims import PollerRow
from tracker.store.cleaning import Cleaned, Farewell

NOON = "2026-01-31T12:00:00Z"
LEASE = 60.0
RULES = Rules(sinks=("ops",))
FETCHING = Rules(sinks=("ops",), fetches=True)
RUNNING = Reading(State.PROCESSING)
DONE = Reading(State.COMPLETED, result={"pages": 3})
BROKEN = Failure(Fault.SERVER, "HTTP 500", http_status=500)
_numbers = count(1)


def at(seconds: float) -> str:
    """The text of a time that many seconds from now."""
    return clock.to_text(clock.now() + seconds)


def sql(store: Store, text: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement behind the store's back."""
    with store.database.transaction():
        return store.database.write(text, parameters)


EPOCH = "1970-01-01T00:00:00.000Z"


def refuse(store: Store, what: str, table: str) -> None:
    """From now on the database refuses to do `what` (INSERT, …) to a table's rows."""
    trigger = f"CREATE TRIGGER no BEFORE {what} ON {table}"
    if store.database.dialect == "sqlite":
        sql(store, f"{trigger} BEGIN SELECT RAISE(ABORT, 'no'); END")
        return
    sql(store, "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE integrity_constraint_violation; END $$")  # fmt: skip
    sql(store, f"{trigger} FOR EACH ROW EXECUTE FUNCTION no()")


def relent(store: Store) -> None:
    """The database does again what it refused."""
    if store.database.dialect == "sqlite":
        sql(store, "DROP TRIGGER no")
    else:
        sql(store, "DROP FUNCTION no CASCADE")


def loose(store: Store, text: str, otherwise: str) -> str:
    """`text`, which a column of JSON holds on SQLite only, or else `otherwise`."""
    return text if store.database.dialect == "sqlite" else otherwise


TABLES = ("processing_jobs", "operations", "objects", "job_objects", "contents", "job_events")


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that are about jobs, by table, to see whether anything changed."""
    return {table: store.database.read(f"SELECT * FROM {table}") for table in TABLES}


def cell(store: Store, column: str, local_id: str, table: str = "processing_jobs") -> Any:
    """One column of a job's row."""
    rows = store.database.read(f"SELECT {column} FROM {table} WHERE local_id = ?", [local_id])
    return rows[0][0] if rows else None


def count(store: Store, table: str) -> int:
    """How many rows a table has."""
    return int(store.database.read(f"SELECT count(*) FROM {table}")[0][0])


def spooled(name: str, size: int = 5, **values: Any) -> StoredObject:
    """An input in the spool."""
    return StoredObject(
        Scheme.FILE, f"/spool/{name}", role=Role.INPUT, size=size, name=name, **values
    )


def in_s3(key: str, role: str = Role.INPUT, **values: Any) -> StoredObject:
    """An S3 object."""
    return StoredObject(Scheme.S3, key, "bucket", role=role, **values)


def submitted(store: Store, service: str = "docs", **values: Any) -> str:
    """The local id of a new job that owes its create; with a `target`, its upload before it."""
    file, target = values.pop("file", None), values.pop("target", None)
    job = ProcessingJob(values.pop("local_id", None) or new_id(), service, "pending", **values)
    owed = NewOperation(Kind.CREATE, service, idempotency_key=f"key-{job.local_id}")
    if target is not None:
        owed = lifecycle.owed_upload(owed, target, file.key)
    store.submit(job, owed, spooled=file)
    return job.local_id


def running(
    store: Store,
    service: str = "docs",
    *objects: StoredObject,
    due: float = 0.0,
    **values: Any,
) -> str:
    """The local id of a job that runs at its service, uses `objects`, and is due in `due`
    seconds."""
    server_id = values.pop("server_id", None) or f"r-{next(_numbers)}"
    job = ProcessingJob(
        values.pop("local_id", None) or new_id(),
        service,
        "processing",
        server_id=server_id,
        **values,
    )
    store.adopt(job, server_key(service, server_id), due, objects)
    return job.local_id


def end(store: Store, *local_ids: str, status: Status = Status.FAILED) -> None:
    """Somebody ends these jobs by hand; nobody is told."""
    for local_id in local_ids:
        change = lifecycle.by_hand(store.job_in_hand(local_id), status, Rules())
        assert store.act(local_id, change)


def finished(
    store: Store, status: Status = Status.COMPLETED, *objects: StoredObject, **values: Any
) -> str:
    """The local id of a job that somebody ended by hand, and that owes nothing."""
    local_id = running(store, values.pop("service", "docs"), *objects, **values)
    end(store, local_id, status=status)
    return local_id


def clean_up(
    store: Store,
    *local_ids: str,
    age: float = -1.0,
    limit: int = 500,
    farewells: dict[str, Farewell] | None = None,
) -> Cleaned:
    """One batch of a cleanup: the first `limit` jobs that ended so many seconds ago, or those of
    them that are named."""
    page = store.finished_page(None, clock.now() - age, limit=limit)
    return store.clean_up(
        [one for one in page if not local_ids or one.local_id in local_ids], farewells
    )


def owed_removals(store: Store) -> list[str]:
    """The places of all that is owed as a removal, in order."""
    owed = store.outbox(limit=10**6)
    return [one["object"] for one in owed if one["kind"] == Kind.REMOVE_OBJECT]


def remove(store: Store, *lanes: str, found: bool = True) -> int:
    """Carry out the removals that are due on these lanes, or on both; how many there were."""
    removed = 0
    for lane in lanes or (REMOVALS, FILES):
        due = claim_operations(store, service=lane)
        store.settle([lifecycle.after_removal(one, ObjectChange(None, found=found)) for one in due])
        removed += len(due)
    return removed


def planned(key: str = "in/x.pdf", role: str = Role.INPUT) -> StoredObject:
    """An S3 object that is to be put there."""
    return in_s3(key, role, size=3, sha256="ab", name="x.pdf", state=ObjectState.PLANNED)


def uploading(store: Store, **values: Any) -> str:
    """The local id of a new job that owes the upload of its input."""
    file = spooled("x", media_type="a/b")
    return submitted(store, file=file, target=planned(), **values)


def storing(store: Store) -> str:
    """The local id of a job whose result came home and goes on into S3."""
    local_id = running(store)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    (fetch,) = claim_operations(store)
    content = Content(id="c-1", path="/results/r", size=3, sha256="ab", media_type="a/b")
    store.settle([lifecycle.owed_store(fetch, content, planned("out/r.bin", Role.RESULT))])
    return local_id


def the_object(store: Store, local_id: str) -> dict[str, Any]:
    """The one S3 object that a job uses."""
    (found,) = [one for one in store.objects_of(local_id) if one["scheme"] == Scheme.S3]
    return found


def end_upload(store: Store, operation: Operation, **values: Any) -> ObjectChange:
    """Settle the last step of an input's upload."""
    change = ObjectChange(
        ObjectState.PRESENT, **{"version_id": "v1", "etag": "e1", "upload_id": "", **values}
    )
    store.settle([lifecycle.after_upload(operation, change, RULES.retry)])
    return change


def claim_upload(store: Store, poller: str = "p1") -> Operation:
    """The one upload that is due."""
    (operation,) = claim_operations(store, service=UPLOADS, poller=poller)
    return operation


def claim(
    store: Store,
    limit: int = 50,
    *,
    service: str = "docs",
    poller: str = "p1",
    lease: float = LEASE,
    cutoff: float | None = None,
    only: Sequence[str] | None = None,
) -> list[Job]:
    """What a poller gets of the jobs that are due."""
    when = clock.now() if cutoff is None else cutoff
    return store.claim_due_jobs(service, limit, poller, lease, cutoff=when, only=only).jobs


def claim_operations(
    store: Store,
    limit: int = 50,
    *,
    service: str = "docs",
    poller: str = "p1",
    lease: float = LEASE,
    cutoff: float | None = None,
    kinds: Sequence[str] = tuple(Kind),
    only: Sequence[str] | None = None,
) -> list[Operation]:
    """What a poller gets of the operations that are due."""
    when = clock.now() if cutoff is None else cutoff
    return store.claim_due_operations(
        service, limit, poller, lease, cutoff=when, kinds=kinds, only=only
    ).operations


def polled(job: Job, result: Reading | Failure, rules: Rules = RULES) -> Any:
    """The outcome of a poll, without jitter."""
    return lifecycle.after_poll(job, result, rules, rnd=lambda: 0.0)


def poller_row(poller: str, *, pid: int = 1, scope: str = "elsewhere") -> PollerRow:
    """A poller of another machine."""
    return PollerRow(poller, "run", "far", scope, pid, "", "")


def types(store: Store, local_id: str) -> list[str]:
    """The types of a job's events, in order."""
    return [event.type for event in store.events(local_id=local_id)]
