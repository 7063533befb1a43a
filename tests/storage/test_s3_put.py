"""Putting a whole file into S3: once, and with its checksum verified."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest
from asking_s3 import Asker
from s3front import Answer, Request
from s3server import S3Server
from unruly import Verifying, cutting, failing, losing, without_conditions

from tracker.model import Fault
from tracker.transports.tasks import Get, Look

KEYS = ["a b", "a+b", "a%20b", "ü/日本 語", "x//y", "&<>\"'?#=", "k" * 1024, "slash/", "e\u0301"]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: ascii(key[:12]))
def test_what_is_put_is_what_is_there(ask: Asker, s3: S3Server, key: str) -> None:
    """A file arrives whole at exactly its key, can be looked at and read, with its media type."""
    bucket = s3.bucket(versioned=True)
    stored = ask.stored(ask.put(bucket, key))
    assert s3.versions(bucket) == [(key, stored.version_id, 5)] and not stored.adopted
    assert ask.stored(Look(ask.endpoint, bucket, key)).version_id == stored.version_id
    assert ask.do(Get(ask.endpoint, bucket, key)).body == b"hello"
    assert s3.client.head_object(Bucket=bucket, Key=key)["ContentType"] == "text/plain"


def test_its_checksum_and_the_condition_are_sent(ask: Asker, s3: S3Server) -> None:
    """S3 itself verifies the SHA-256 of what arrives, and writes over nothing."""
    bucket, told = s3.bucket(), []
    ask.stored(ask.put(bucket, "k", on_bytes=told.append))
    s3.need_front()
    [request] = s3.log
    sha256 = hashlib.sha256(b"hello")
    sent = {name.lower(): value for name, value in request.headers.items()}
    assert sent["x-amz-checksum-sha256"] == b64encode(sha256.digest()).decode()
    assert sent["x-amz-meta-tracker-sha256"] == sha256.hexdigest()
    assert sent["if-none-match"] == "*"
    assert told == [5]


def test_an_empty_file_is_an_object_too(ask: Asker, s3: S3Server) -> None:
    """An empty result can be kept."""
    bucket = s3.bucket()
    assert ask.stored(ask.put(bucket, "k", b"")).size == 0
    assert [size for _, _, size in s3.versions(bucket)] == [0]


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_repeated_upload_makes_no_second_version(
    ask: Asker, s3: S3Server, versioned: bool, again: bool
) -> None:
    """Whether or not the ledger knows of an earlier attempt, what is there already is adopted."""
    bucket = s3.bucket(versioned)
    first = ask.stored(ask.put(bucket, "k"))
    second = ask.stored(ask.put(bucket, "k", again=again))
    assert (second.version_id, second.etag) == (first.version_id, first.etag)
    assert second.adopted and len(s3.versions(bucket)) == 1


def test_an_upload_that_may_have_got_through_looks_first(ask: Asker, s3: S3Server) -> None:
    """A second attempt asks before it sends what may be gigabytes."""
    bucket = s3.bucket()
    ask.stored(ask.put(bucket, "k"))
    s3.forget()
    ask.stored(ask.put(bucket, "k", again=True))
    assert s3.counts == {"HeadObject": 1}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("other", [b"HELLO", b"longer"], ids=["same size", "another size"])
def test_another_object_at_the_key_is_not_touched(
    ask: Asker, s3: S3Server, again: bool, other: bytes
) -> None:
    """A key that somebody else's object has is refused, and that object stays what it is."""
    bucket = s3.bucket(versioned=True)
    s3.put(bucket, "k", other)
    before = s3.versions(bucket)
    fault, _, message = ask.refused(ask.put(bucket, "k", again=again))
    assert fault is Fault.REFUSED
    assert message == f"s3://{bucket}/k: another object is there already"
    assert s3.versions(bucket) == before


def test_a_checksum_on_record_alone_proves_nothing(ask: Asker, s3: S3Server) -> None:
    """An object that says of itself that it is ours, and has another size, is another."""
    bucket = s3.bucket()
    task = ask.put(bucket, "k")
    s3.client.put_object(
        Bucket=bucket, Key="k", Body=b"longer", Metadata={"tracker-sha256": task.sha256}
    )
    assert ask.refused(task)[0] is Fault.REFUSED


def test_a_lost_reply_is_made_good_within_the_call(ask: Asker, s3: S3Server) -> None:
    """boto3 sends again when the connection breaks; that finds the first one, and adopts it."""
    bucket = s3.bucket(versioned=True)
    s3.interfere(losing(s3), "PutObject", times=1)
    assert ask.stored(ask.put(bucket, "k")).adopted
    assert len(s3.versions(bucket)) == 1
    assert s3.counts == {"PutObject": 2, "HeadObject": 1}


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "PreconditionFailed"])
def test_two_uploads_at_once_end_as_one(ask: Asker, s3: S3Server, code: str) -> None:
    """Where another attempt is at it at the same moment, its object is the one."""
    bucket = s3.bucket()
    ask.stored(ask.put(bucket, "k"))
    s3.interfere(failing(409 if "Conflict" in code else 412, code), "PutObject")
    assert ask.stored(ask.put(bucket, "k")).adopted


def test_there_and_not_there_is_the_servers_problem(ask: Asker, s3: S3Server) -> None:
    """A conflict with nothing behind it is tried again later, not taken for success."""
    s3.interfere(failing(409, "ConditionalRequestConflict"), "PutObject")
    fault, _, _ = ask.refused(ask.put(s3.bucket(), "k"))
    assert fault is Fault.SERVER


# The spooled copy.


def test_a_copy_that_is_gone_is_no_upload(ask: Asker, s3: S3Server) -> None:
    """Nothing leaves when the spooled file has vanished, and the reason names no secret path."""
    bucket = s3.bucket()
    task = ask.put(bucket, "k", path=ask.folder / "gone")
    assert ask.refused(task) == (
        Fault.INVALID,
        False,
        f"s3://{bucket}/k: No such file or directory",
    )
    assert s3.counts == {}


@pytest.mark.parametrize("data", [b"hell", b"hello!", b""])
def test_a_copy_of_another_size_is_no_upload(ask: Asker, s3: S3Server, data: bytes) -> None:
    """A spooled file that was cut short or grew is noticed before anything leaves."""
    task = ask.put(s3.bucket(), "k")
    task.path.write_bytes(data)
    fault, sent, message = ask.refused(task)
    assert (fault, sent) == (Fault.INVALID, False)
    assert message.endswith(f"k: the spooled copy has {len(data)} bytes instead of 5")
    assert s3.counts == {}


def test_a_copy_that_changed_is_no_upload(ask: Asker, s3: S3Server) -> None:
    """Other bytes of the same number are noticed too, before anything leaves."""
    task = ask.put(s3.bucket(), "k")
    task.path.write_bytes(b"jello")
    fault, sent, message = ask.refused(task)
    assert (fault, sent) == (Fault.INVALID, False) and "its checksum differs" in message
    assert s3.counts == {}


def test_bytes_that_changed_on_the_way_are_no_object(ask: Asker, s3: S3Server) -> None:
    """What arrives with another checksum is refused by S3's own check."""
    Verifying(s3)
    bucket = s3.bucket()

    def garble(request: Request) -> None:
        request.body = b"jello"

    s3.interfere(garble, "PutObject")
    fault, _, message = ask.refused(ask.put(bucket, "k"))
    assert fault is Fault.REFUSED and "BadDigest: " in message
    assert s3.versions(bucket) == []


# Servers that are not quite S3.


def test_a_server_without_conditions_is_looked_at_first(ask: Asker, s3: S3Server) -> None:
    """Where If-None-Match is not implemented, a repeated upload still makes no second version."""
    without_conditions(s3)
    bucket = s3.bucket(versioned=True)
    assert not ask.stored(ask.put(bucket, "k")).adopted
    assert ask.stored(ask.put(bucket, "k")).adopted
    assert len(s3.versions(bucket)) == 1
    s3.put(bucket, "other", b"HELLO")
    assert ask.refused(ask.put(bucket, "other"))[0] is Fault.REFUSED


def test_a_server_that_ignores_conditions_gets_no_second_version(ask: Asker, s3: S3Server) -> None:
    """An attempt after the first one does not rely on the condition."""

    def ignoring(request: Request) -> Answer:
        request.headers = {k: v for k, v in request.headers.items() if k != "If-None-Match"}
        return s3.pass_on(request)

    s3.interfere(ignoring, "PutObject")
    bucket = s3.bucket(versioned=True)
    ask.stored(ask.put(bucket, "k"))
    assert ask.stored(ask.put(bucket, "k", again=True)).adopted
    assert len(s3.versions(bucket)) == 1


def test_an_upload_that_never_got_through_is_made(ask: Asker, s3: S3Server) -> None:
    """A connection that breaks before anything is done costs nothing but another attempt."""
    bucket = s3.bucket()
    s3.interfere(cutting, "PutObject", times=2)
    assert not ask.stored(ask.put(bucket, "k")).adopted
    assert s3.keys(bucket) == ["k"]


def test_reading_what_is_not_there_says_so(ask: Asker, s3: S3Server) -> None:
    """A missing object, and a missing version of one, are a 404 with S3's own words."""
    bucket = s3.bucket(versioned=True)
    reply = ask.do(Get(ask.endpoint, bucket, "k"))
    assert (reply.fault, reply.status) == (Fault.REFUSED, 404)
    assert "NoSuchKey: The specified key does not exist" in reply.message
    s3.put(bucket, "k")
    for task in (Look(ask.endpoint, bucket, "k", "gone"), Get(ask.endpoint, bucket, "k", "gone")):
        reply = ask.do(task)
        assert (reply.fault, reply.status) == (Fault.REFUSED, 404)


def test_the_named_version_is_the_one_that_is_read(ask: Asker, s3: S3Server) -> None:
    """An object that somebody wrote over is still the one on record."""
    bucket = s3.bucket(versioned=True)
    old = s3.put(bucket, "k", b"old")
    s3.put(bucket, "k", b"newer")
    assert ask.do(Get(ask.endpoint, bucket, "k", old)).body == b"old"
    assert ask.stored(Look(ask.endpoint, bucket, "k", old)).size == 3
    assert ask.stored(Look(ask.endpoint, bucket, "k")).size == 5
