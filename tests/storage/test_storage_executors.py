"""Uploads and removals as the poller makes them: from claimed operations to their outcomes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking_s3 import PART, Asker
from s3server import S3Server
from unruly import failing

from tracker.config import StorageConfig
from tracker.errors import UsageError
from tracker.executors import Lane, removal_lanes
from tracker.executors.base import Executed
from tracker.executors.remove import LEAST, MOST, RemoveFiles, RemoveObjects
from tracker.executors.upload import StoreResult, UploadInput
from tracker.lifecycle import Rules
from tracker.model import FILES, REMOVALS, Fault, Job, Kind, Operation, OperationState, Status
from tracker.objects import ObjectChange, ObjectState, Scheme, StoredObject
from tracker.outcomes import Attempted
from tracker.schedule import RetryPolicy
from tracker.spool import Folder
from tracker.storage import Storage
from tracker.transports.base import Call, Reply
from tracker.transports.tasks import Removed
from tracker.work import grouped

POLICY = RetryPolicy(attempts=3)
RULES = Rules(sinks=("ops",), result_retry=POLICY)


@pytest.fixture
def storage(s3: S3Server) -> Storage:
    """S3 as configured; a bucket of its own, versioned."""
    config = StorageConfig(s3.bucket(versioned=True), endpoint_url=s3.url, path_style=True)
    return Storage(replace(config, part_size=PART, timeout=10.0))


def operation(kind: Kind, target: StoredObject | None, **other: Any) -> Operation:
    """A claimed operation on an object, of a job that is where this kind finds it."""
    found = {Kind.UPLOAD_INPUT: Status.PENDING, Kind.STORE_RESULT: Status.RETRIEVING}
    job = Job(7, "local-id", "docs", "acc", None, found.get(kind, Status.COMPLETED))
    known: dict[str, Any] = {"lease": 1, "attempts": 0, "idempotency_key": "key", "payload": {}}
    return Operation(1, kind, job, **{**known, **other}, object=target)


def upload(
    ask: Asker, storage: Storage, data: bytes = b"hello", kind: Kind = Kind.UPLOAD_INPUT
) -> Operation:
    """An operation that puts `data` into S3."""
    target = StoredObject(
        Scheme.S3, "in/k", storage.config.bucket or "", id=9, size=len(data), state="planned",
        sha256=hashlib.sha256(data).hexdigest(), media_type="text/plain",
    )  # fmt: skip
    payload = {"path": str(ask.spooled(data)), "priority": "high", "content_id": "c-1"}
    return operation(kind, target, payload=payload)


def attempt(ask: Asker, executor: Any, items: Sequence[Operation]) -> Executed:
    """One attempt, as `Work` has it made."""
    call = executor.prepare(items)
    assert isinstance(call, Call)
    executed: Executed = executor.settle(items, ask.call(call))
    assert len(executed.outcomes) == len(items)
    return executed


def one(executed: Executed) -> Attempted:
    [outcome] = executed.outcomes
    assert isinstance(outcome, Attempted)
    return outcome


# Uploads.


def test_with_its_upload_a_job_owes_the_create(ask: Asker, s3: S3Server, storage: Storage) -> None:
    """The create comes after the object, with the idempotency key that it had from the start."""
    item = upload(ask, storage)
    done = one(attempt(ask, UploadInput(storage, POLICY), [item]))
    [(key, version, _)] = s3.versions(storage.config.bucket or "")
    assert done.state is None and key == "in/k"
    assert done.object is not None and done.object.state is ObjectState.PRESENT
    assert (done.object.version_id, done.object.upload_id) == (version, "")
    create = done.becomes
    assert create is not None and done.operations == []
    assert (create.kind, create.service, create.account) == (Kind.CREATE, "docs", "acc")
    assert (create.priority, create.idempotency_key) == ("high", "key")


def test_a_large_input_goes_step_by_step(ask: Asker, s3: S3Server, storage: Storage) -> None:
    """What was begun is on record before any part of it leaves; no step but the last one owes a
    create, and none burns an attempt."""
    told: list[int] = []
    executor = UploadInput(storage, POLICY, told.append)
    item = upload(ask, storage, b"x" * (PART + 1))
    began = one(attempt(ask, executor, [item]))
    [(_, upload_id)] = s3.uploads(storage.config.bucket or "")
    assert began.object == ObjectChange(ObjectState.UPLOADING, upload_id=upload_id)
    assert (began.state, began.burnt, began.operations) == (OperationState.PENDING, False, [])
    assert told == []
    assert item.object is not None
    item.object.upload_id, item.lease = upload_id, 2
    done = one(attempt(ask, executor, [item]))
    assert done.state is None and done.becomes is not None and done.becomes.kind == Kind.CREATE
    assert told == [PART, 1]


def test_an_upload_that_s3_forgot_begins_anew(ask: Asker, s3: S3Server, storage: Storage) -> None:
    """An unfinished upload that somebody aborted is forgotten, and begun again."""
    item = upload(ask, storage, b"x" * (PART + 1))
    assert item.object is not None
    item.object.upload_id, item.lease = "gone", 2
    s3.interfere(failing(404, "NoSuchUpload"), "ListParts", "UploadPart")
    executor = UploadInput(storage, POLICY)
    lost = one(attempt(ask, executor, [item]))
    assert lost.object == ObjectChange(ObjectState.UPLOADING, upload_id="")
    assert (lost.state, lost.burnt) == (OperationState.PENDING, False)
    item.object.upload_id = ""
    again = one(attempt(ask, executor, [item]))
    assert again.object is not None and again.object.upload_id not in ("", "gone")


@pytest.mark.parametrize(("kind", "status"), [(Kind.UPLOAD_INPUT, Status.CANCELLED),
                                              (Kind.STORE_RESULT, Status.FAILED)])  # fmt: skip
def test_a_job_that_ended_meanwhile_uploads_nothing(
    ask: Asker, storage: Storage, kind: Kind, status: Status
) -> None:
    """Nothing leaves for a job that somebody cancelled, and nothing more is owed."""
    item = upload(ask, storage, kind=kind)
    item.job.status = status
    executor = (
        UploadInput(storage, POLICY)
        if kind is Kind.UPLOAD_INPUT
        else StoreResult(storage, lambda name: RULES)
    )
    assert executor.prepare([item]) == [Attempted(item, None)]


def test_a_stored_result_completes_its_job(ask: Asker, s3: S3Server, storage: Storage) -> None:
    """When the result is in S3, the job is completed, told, and the local copy is to go."""
    item = upload(ask, storage, kind=Kind.STORE_RESULT)
    done = one(attempt(ask, StoreResult(storage, lambda name: RULES), [item]))
    assert done.state is None and done.transition is not None
    assert done.transition.status is Status.COMPLETED
    assert done.transition.content is not None and done.transition.content.object_id == 9
    kinds = {one.kind: one for one in done.transition.operations}
    assert set(kinds) == {Kind.NOTIFY, Kind.REMOVE_OBJECT}
    local = kinds[Kind.REMOVE_OBJECT].object
    assert local is not None and local.key == item.payload["path"]


def test_failures_of_s3_itself_burn_no_attempt(ask: Asker, s3: S3Server, storage: Storage) -> None:
    """Down, throttled or without credentials: the lane pauses, and the upload is owed as before."""
    item = upload(ask, storage)
    executor = UploadInput(storage, POLICY)
    for status, code in ((503, "SlowDown"), (400, "ExpiredToken")):
        s3.interfere(failing(status, code, "words"), "PutObject")
        executed = attempt(ask, executor, [item])
        failed = one(executed)
        assert (failed.state, failed.burnt) == (OperationState.PENDING, False)
        assert f"{code}: words" in (failed.error or "")
        assert executed.failure is not None and executed.failure.http_status == status
    s3.pause()
    down = attempt(ask, executor, [item])
    assert down.failure is not None and down.failure.fault is Fault.UNREACHABLE
    assert not one(down).burnt


def test_other_failures_are_tried_again_and_then_given_up(
    ask: Asker, s3: S3Server, storage: Storage
) -> None:
    """A denied upload is tried again with delays, and is a dead letter after its last attempt; a
    result's job has failed then, and keeps its local copy."""
    s3.interfere(failing(403, "AccessDenied", "no s3:PutObject"), "PutObject")
    item = upload(ask, storage)
    executor = UploadInput(storage, POLICY)
    first = one(attempt(ask, executor, [item]))
    assert (first.state, first.burnt, first.http_status) == (OperationState.PENDING, True, 403)
    assert first.delay > 0 and "AccessDenied: no s3:PutObject" in (first.error or "")
    item.attempts = 2
    assert one(attempt(ask, executor, [item])).state is OperationState.DEAD
    result = replace(upload(ask, storage, kind=Kind.STORE_RESULT), attempts=2)
    last = one(attempt(ask, StoreResult(storage, lambda name: RULES), [result]))
    assert last.transition is not None and last.transition.status is Status.FAILED
    assert Kind.REMOVE_OBJECT not in [one.kind for one in last.transition.operations]
    assert Path(str(result.payload["path"])).is_file()


def test_a_bucket_that_is_not_allowed_gets_nothing(ask: Asker, storage: Storage) -> None:
    """What the configuration does not allow is refused before any call is built."""
    config = replace(storage.config, allowed_buckets=("another",))
    with pytest.raises(UsageError):
        UploadInput(Storage(config), POLICY).prepare([upload(ask, storage)])
    with pytest.raises(UsageError):
        RemoveObjects(Storage(config)).prepare([upload(ask, storage)])


# Removals.


def removal(bucket: str, key: str, **other: Any) -> Operation:
    """An operation that removes an object."""
    return operation(Kind.REMOVE_OBJECT, StoredObject(Scheme.S3, key, bucket, **other))


def lane_of(storage: Storage, name: str = REMOVALS) -> Lane:
    """The lane for removals."""
    [lane] = [one for one in removal_lanes(storage, Folder(Path("/x"))) if one.name == name]
    return lane


def test_removals_of_a_bucket_share_a_call() -> None:
    """2,500 objects of two buckets are three calls: each of one bucket, none over 1,000."""
    lane = lane_of(Storage(StorageConfig()))
    items = [removal("even" if n % 5 else "odd", str(n)) for n in range(2500)]
    found = list(grouped(lane, items))
    named = [[(one.object.bucket, one.object.key) for one in work.items] for work in found]
    calls = [(sorted({bucket for bucket, _ in one}), len(one)) for one in named]
    assert sorted(calls) == [(["even"], 1000), (["even"], 1000), (["odd"], 500)]
    assert sorted(int(key) for one in named for _, key in one) == [*range(2500)]


def test_files_and_objects_have_lanes_of_their_own() -> None:
    """S3 being down holds up no file."""
    lane = lane_of(Storage(StorageConfig()), FILES)
    assert isinstance(lane.operations[Kind.REMOVE_OBJECT], RemoveFiles)


def test_each_key_has_its_own_outcome(
    ask: Asker, s3: S3Server, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """Gone, gone before, and denied: two are done, and the third is owed, with S3's words, its
    delay and a line in the log."""
    bucket = storage.config.bucket or ""
    fine = removal(bucket, "fine", version_id=s3.put(bucket, "fine", b"four"))
    gone = removal(bucket, "gone", version_id="v1")
    denied = replace(removal(bucket, "denied", version_id=s3.put(bucket, "denied")), attempts=3)
    s3.deny("denied", message="no s3:DeleteObjectVersion")
    with caplog.at_level(logging.ERROR, "tracker.cleanup"):
        executed = attempt(ask, RemoveObjects(storage), [fine, gone, denied])
    assert executed.failure is None
    first, second, third = executed.outcomes
    assert first == Attempted(fine, None, object=ObjectChange(None))
    assert fine.object is not None and fine.object.size == 4
    assert second == Attempted(gone, None, object=ObjectChange(None, found=False))
    assert isinstance(third, Attempted) and third.object is None
    assert (third.state, third.burnt) == (OperationState.PENDING, True)
    assert third.error == "AccessDenied: no s3:DeleteObjectVersion"
    assert 480 <= third.delay <= 528  # the fourth failure: 1 min, doubled three times
    [line] = caplog.records
    assert line.getMessage() == (
        f"s3://{bucket}/denied cannot be removed: AccessDenied: no s3:DeleteObjectVersion"
    )
    assert line.__dict__["job"] == "local-id"


@pytest.mark.parametrize(("status", "code", "burnt"), [
    (503, "SlowDown", False), (400, "ExpiredToken", False), (500, "InternalError", True),
    (404, "NoSuchBucket", True), (301, "PermanentRedirect", True),
])  # fmt: skip
def test_a_request_that_failed_is_owed_for_all_of_its_keys(
    ask: Asker, s3: S3Server, storage: Storage, status: int, code: str, burnt: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Nothing that was not removed is forgotten, whatever S3 says of the request as a whole; a
    batch is one line in the log."""
    bucket = storage.config.bucket or ""
    s3.interfere(failing(status, code), "DeleteObjects")
    items = [removal(bucket, str(n), version_id=s3.put(bucket, str(n))) for n in range(3)]
    executed = attempt(ask, RemoveObjects(storage), items)
    assert executed.failure is not None
    for outcome in executed.outcomes:
        assert isinstance(outcome, Attempted)
        assert (outcome.state, outcome.burnt) == (OperationState.PENDING, burnt)
        assert outcome.object is None and f"{code}: as asked" in (outcome.error or "")
    [line] = caplog.records
    assert line.getMessage().startswith(f"s3://{bucket}/0 (and 2 more) cannot be removed: ")


def test_where_s3_asks_to_slow_down_the_calls_get_smaller(
    ask: Asker, s3: S3Server, storage: Storage
) -> None:
    """SlowDown, for the request or for one key of it, halves what the next call carries."""
    bucket = storage.config.bucket or ""
    executor = RemoveObjects(storage)
    items = [removal(bucket, key, version_id=s3.put(bucket, key)) for key in "ab"]
    assert executor.most == MOST == 1000
    s3.deny("a", code="SlowDown")
    attempt(ask, executor, items)
    assert executor.most == 500
    s3.interfere(failing(503, "SlowDown"), "DeleteObjects")
    attempt(ask, executor, items)
    assert executor.most == 250
    s3.obey()
    attempt(ask, executor, items)
    assert executor.most == 500


def test_calls_shrink_to_a_floor_and_grow_to_a_ceiling() -> None:
    """Never fewer than 50 keys, never more than 1,000; other failures change nothing."""
    executor = RemoveObjects(Storage(StorageConfig()))
    item = removal("bucket", "k")
    seen = []
    for reply in [Reply(fault=Fault.THROTTLED)] * 6 + [Reply(fault=Fault.SERVER)]:
        executor.settle([item], reply)
        seen.append(executor.most)
    for _ in range(6):
        executor.settle([item], Reply(200, answer=[Removed()]))
        seen.append(executor.most)
    assert seen == [500, 250, 125, 62, LEAST, LEAST, LEAST, 100, 200, 400, 800, MOST, MOST]


# Files.


def test_files_go_one_by_one_and_stay_within_the_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is there goes, one that has gone is done, and what lies outside, also behind a
    link, is owed with a reason and is not touched."""
    folder = Folder(tmp_path / "own")
    folder.spool.mkdir(parents=True)
    outside = tmp_path / "original.pdf"
    outside.write_text("mine")
    (folder.spool / "a").write_text("x")
    (folder.spool / "link").symlink_to(outside)
    paths = [folder.spool / "a", folder.spool / "gone", outside, folder.spool / "link",
             folder.spool / ".." / ".." / "original.pdf"]  # fmt: skip
    items = [operation(Kind.REMOVE_OBJECT, StoredObject(Scheme.FILE, str(path))) for path in paths]
    outcomes = RemoveFiles(folder).prepare(items)
    a, gone, *others = outcomes
    assert a == Attempted(items[0], None, object=ObjectChange(None))
    assert gone == Attempted(items[1], None, object=ObjectChange(None, found=False))
    for path, outcome in zip(paths[2:], others, strict=True):
        assert isinstance(outcome, Attempted) and outcome.state is OperationState.PENDING
        assert outcome.delay >= 60 and str(path) in (outcome.error or "")
    assert outside.read_text() == "mine" and not (folder.spool / "a").exists()
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3
