"""Putting a large file into S3 in parts: gone on with where it ended, and nobody else's touched."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import replace
from typing import Any

import boto3
import pytest
from asking_s3 import PART, Asker
from s3front import Answer, Request, error, xml
from s3server import S3Server
from unruly import Verifying, cutting, failing, losing, without_conditions, without_list_permission

from tracker.model import Fault
from tracker.transports.s3_upload import MOST_PARTS, part_size
from tracker.transports.tasks import Begun, Get, Put

DATA = b"".join(bytes([one]) * PART for one in (1, 2)) + b"the rest"


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A versioned bucket of a server that verifies checksums."""
    Verifying(s3)
    return s3.bucket(versioned=True)


def parts_of(ask: Asker, bucket: str, key: str = "k", **other: Any) -> Put:
    """The task that puts DATA there in parts; an upload is begun for it."""
    if "upload_id" not in other:
        other["upload_id"] = ask.begun(ask.begin(bucket, key, DATA))
    return ask.put(bucket, key, DATA, part_size=PART, **other)


def cut_off_after(s3: S3Server, count: int) -> None:
    """From now on, S3 takes `count` more parts and then none."""
    left = iter(range(count))

    def then(request: Request) -> Answer | None:
        return None if next(left, None) is not None else error(500, "InternalError")

    s3.interfere(then, "UploadPart", times=count + 3)  # boto3 tries three times


def test_parts_make_one_object(ask: Asker, s3: S3Server, bucket: str) -> None:
    """A large file arrives whole, each part with its checksum, and nothing unfinished remains."""
    told: list[int] = []
    stored = ask.stored(parts_of(ask, bucket, on_bytes=told.append))
    assert s3.versions(bucket) == [("k", stored.version_id, len(DATA))]
    assert s3.uploads(bucket) == []
    assert told == [PART, PART, 8]
    assert ask.do(Get(ask.endpoint, bucket, "k")).body == DATA
    head = s3.client.head_object(Bucket=bucket, Key="k")
    assert head["Metadata"] == {"tracker-sha256": hashlib.sha256(DATA).hexdigest()}
    assert head["ContentType"] == "text/plain"
    s3.need_front()
    for request in s3.log:
        if request.operation == "UploadPart":
            checksum = b64encode(hashlib.sha256(request.body).digest()).decode()
            assert request.headers["x-amz-checksum-sha256"] == checksum


@pytest.fixture
def broken_off(ask: Asker, s3: S3Server, bucket: str) -> Put:
    """An upload of which the first of three parts is there; the task that goes on with it."""
    task = parts_of(ask, bucket)
    cut_off_after(s3, 1)
    assert ask.refused(task)[0] is Fault.SERVER
    s3.forget()
    return parts_of(ask, bucket, upload_id=task.upload_id, again=True)


def test_a_second_attempt_sends_only_what_is_missing(
    ask: Asker, s3: S3Server, bucket: str, broken_off: Put
) -> None:
    """An upload that broke off goes on where it ended, and all of it is told as being there."""
    told: list[int] = []
    stored = ask.stored(replace(broken_off, on_bytes=told.append))
    assert s3.count("UploadPart") == 2
    assert s3.versions(bucket) == [("k", stored.version_id, len(DATA))]
    assert ask.do(Get(ask.endpoint, bucket, "k")).body == DATA
    assert sum(told) == len(DATA)


@pytest.mark.parametrize("listed", ["other bytes", "no checksums"])
def test_a_part_that_may_be_another_is_sent_again(
    ask: Asker, s3: S3Server, bucket: str, broken_off: Put, listed: str
) -> None:
    """A part that is there with other bytes, or with no checksum to go by, is not relied upon."""
    if listed == "other bytes":
        client = boto3.Session().client("s3", endpoint_url=s3.url)
        client.upload_part(
            Bucket=bucket, Key="k", UploadId=broken_off.upload_id, PartNumber=1, Body=b"?" * PART
        )
    else:
        s3.interfere(s3.pass_on, "ListParts")
    s3.forget()
    ask.stored(broken_off)
    assert s3.count("UploadPart") == 3
    assert ask.do(Get(ask.endpoint, bucket, "k")).body == DATA


def test_a_lost_reply_to_the_last_step_is_found_out(ask: Asker, s3: S3Server, bucket: str) -> None:
    """An upload that S3 completed, and says it does not know any more, is adopted."""
    task = parts_of(ask, bucket)
    s3.interfere(failing(404, "NoSuchUpload"), "CompleteMultipartUpload", "ListParts")
    s3.interfere(losing(s3), "CompleteMultipartUpload", times=1)
    first = ask.stored(task)
    assert first.adopted
    assert ask.stored(replace(task, again=True)).version_id == first.version_id
    assert len(s3.versions(bucket)) == 1 and s3.uploads(bucket) == []


def test_what_was_completed_unseen_is_adopted_by_the_next_attempt(
    ask: Asker, s3: S3Server, bucket: str
) -> None:
    """When the process died between the completion and its record, the next one looks first."""
    task = parts_of(ask, bucket)
    ask.stored(task)
    s3.forget()
    again = ask.stored(replace(task, again=True))
    assert again.adopted and len(s3.versions(bucket)) == 1
    assert s3.counts == {"HeadObject": 1}


def test_an_upload_that_nobody_knows_starts_over(ask: Asker, s3: S3Server, bucket: str) -> None:
    """One that was aborted meanwhile, by a lifecycle rule perhaps, is answered by: begin anew."""
    task = parts_of(ask, bucket)
    s3.client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=task.upload_id)
    assert ask.do(replace(task, again=True)).answer == Begun("")
    ask.stored(parts_of(ask, bucket))
    assert len(s3.versions(bucket)) == 1


def test_beginning_twice_begins_once(ask: Asker, s3: S3Server, bucket: str) -> None:
    """An upload that was begun and not recorded is found again, and not a neighbour's."""
    for neighbour in ("k2", "k/", "K"):
        s3.client.create_multipart_upload(Bucket=bucket, Key=neighbour)
    first = ask.begun(ask.begin(bucket, "k"))
    assert ask.begun(ask.begin(bucket, "k")) == first
    assert sorted(key for key, _ in s3.uploads(bucket)) == ["K", "k", "k/", "k2"]


def test_without_the_permission_to_list_it_begins_all_the_same(
    ask: Asker, s3: S3Server, bucket: str
) -> None:
    """Finding what was begun needs a permission of its own, uploading does not."""
    without_list_permission(s3)
    ask.stored(parts_of(ask, bucket))
    assert s3.keys(bucket) == ["k"]


def test_another_object_at_the_key_is_left_alone(ask: Asker, s3: S3Server, bucket: str) -> None:
    """What somebody put at the key while the parts went there is not written over."""
    task = parts_of(ask, bucket)
    s3.put(bucket, "k", b"somebody else's")
    before = s3.versions(bucket)
    fault, _, message = ask.refused(task)
    assert fault is Fault.REFUSED and message.endswith("another object is there already")
    assert s3.versions(bucket) == before


def test_the_same_object_at_the_key_ends_the_upload(ask: Asker, s3: S3Server, bucket: str) -> None:
    """Where the same file got there first, it is adopted, and the parts are thrown away."""
    task = parts_of(ask, bucket)
    other = s3.client.create_multipart_upload(Bucket=bucket, Key="k2")["UploadId"]
    whole = ask.stored(ask.put(bucket, "k", DATA))
    assert ask.stored(task).version_id == whole.version_id
    assert s3.uploads(bucket) == [("k2", other)]
    assert len(s3.versions(bucket)) == 1


@pytest.mark.parametrize("change", ["shorter", "gone", "changed"])
def test_a_copy_that_is_not_what_it_was_completes_nothing(
    ask: Asker, s3: S3Server, bucket: str, change: str
) -> None:
    """A spooled file that vanished, was cut or has other bytes of the same number makes no
    object."""
    task = parts_of(ask, bucket)
    if change == "gone":
        task.path.unlink()
    else:
        task.path.write_bytes(DATA[:-1] if change == "shorter" else DATA[:-1] + b"?")
    fault, sent, _ = ask.refused(task)
    assert (fault, sent) == (Fault.INVALID, False)
    assert s3.versions(bucket) == []


def test_an_error_inside_a_200_is_an_error(ask: Asker, s3: S3Server, bucket: str) -> None:
    """S3 may say that completing failed after it began to answer with 200."""
    failed = "<Error><Code>InternalError</Code><Message>try again</Message></Error>"
    s3.interfere(lambda request: xml(failed), "CompleteMultipartUpload")
    fault, _, message = ask.refused(parts_of(ask, bucket))
    assert fault is Fault.SERVER and "InternalError: try again" in message
    assert s3.versions(bucket) == [] and len(s3.uploads(bucket)) == 1


def test_a_part_that_was_garbled_is_refused(ask: Asker, s3: S3Server, bucket: str) -> None:
    """A part whose checksum is not the one that was told does not count as sent."""

    def garble(request: Request) -> None:
        request.body = b"?" + request.body[1:]

    s3.interfere(garble, "UploadPart")
    fault, _, message = ask.refused(parts_of(ask, bucket))
    assert fault is Fault.REFUSED and "BadDigest" in message
    assert s3.versions(bucket) == []


def test_a_part_whose_connection_broke_is_sent_again(ask: Asker, s3: S3Server, bucket: str) -> None:
    """A connection that breaks in the middle of an upload costs one more request."""
    s3.interfere(cutting, "UploadPart", times=1)
    ask.stored(parts_of(ask, bucket))
    assert s3.count("UploadPart") == 4


def test_a_server_without_conditions_completes_too(ask: Asker, s3: S3Server, bucket: str) -> None:
    """Large files get into servers that do not implement If-None-Match, like small ones."""
    without_conditions(s3)
    stored = ask.stored(parts_of(ask, bucket))
    assert s3.versions(bucket) == [("k", stored.version_id, len(DATA))]


@pytest.mark.parametrize("size", [1, PART, 10**9, 50 * 2**30, 5 * 2**40])
def test_there_are_never_more_parts_than_s3_takes(ask: Asker, size: int) -> None:
    """Files of any size that S3 takes fit into 10,000 parts."""
    task = replace(ask.put("bucket", "k"), size=size, part_size=PART)
    assert part_size(task) >= PART
    assert part_size(task) * MOST_PARTS >= size
