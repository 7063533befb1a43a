"""What S3 and the way to it do wrong: whose problem it is, and in which words it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from asking_s3 import TASKS, Asker, task_of
from s3front import Answer, Request, xml
from s3server import SECRET, S3Server
from unruly import failing, without_list_permission

from tracker.model import Fault
from tracker.services.failures import transport_failure
from tracker.transports.aws import ATTEMPTS
from tracker.transports.tasks import Get, Item, Look, Remove

ERRORS = [
    (400, "ExpiredToken", Fault.UNAUTHORISED),
    (403, "InvalidAccessKeyId", Fault.UNAUTHORISED),
    (403, "SignatureDoesNotMatch", Fault.UNAUTHORISED),
    (403, "RequestTimeTooSkewed", Fault.UNAUTHORISED),
    (503, "SlowDown", Fault.THROTTLED),
    (503, "RequestLimitExceeded", Fault.THROTTLED),
    (429, "TooManyRequestsException", Fault.THROTTLED),
    (404, "NoSuchBucket", Fault.REFUSED),
]
OTHER_ERRORS = [
    (401, "Whatever", Fault.UNAUTHORISED),
    (429, "Whatever", Fault.THROTTLED),
    (500, "InternalError", Fault.SERVER),
    (503, "ServiceUnavailable", Fault.SERVER),
    (408, "Whatever", Fault.SERVER),
    (403, "AccessDenied", Fault.REFUSED),
    (400, "InvalidRequest", Fault.REFUSED),
    (301, "PermanentRedirect", Fault.REDIRECT),
    (307, "TemporaryRedirect", Fault.REDIRECT),
]
"""Where listing fails with one of these, it can be done without."""


@pytest.mark.parametrize("kind", TASKS)
def test_errors_are_sorted_by_whose_problem_they_are(ask: Asker, s3: S3Server, kind: str) -> None:
    """Each step of each task tells an error by S3's code and message, sorted as the failure table
    has it."""
    task, operation = task_of(ask, s3, kind)
    for status, code, fault in ERRORS + (OTHER_ERRORS if kind != "list" else []):
        s3.interfere(failing(status, code, "in S3's own <words>"), operation)
        reply = ask.do(task)
        assert (reply.fault, reply.status) == (fault, status), code
        assert reply.message.startswith(f"s3://{task.bucket}")
        assert reply.message.endswith(f": {code}: in S3's own <words>")


def test_s3s_own_time_out_is_the_servers(ask: Asker, s3: S3Server) -> None:
    """RequestTimeout is the one 400 that means: try again. S3 waited for the body in vain."""
    task, operation = task_of(ask, s3, "put")
    s3.interfere(failing(400, "RequestTimeout", "not read from within the time"), operation)
    assert ask.refused(task)[0] is Fault.SERVER


def test_a_look_knows_no_more_than_the_status(ask: Asker, s3: S3Server) -> None:
    """A HEAD has no body: the status is all that there is, and it says enough."""
    bucket = s3.bucket()
    task = Look(ask.endpoint, bucket, "k")
    assert ask.refused(task)[0] is Fault.REFUSED
    for status, fault in ((403, Fault.REFUSED), (503, Fault.SERVER), (429, Fault.THROTTLED)):
        s3.interfere(failing(status, "Unseen"), "HeadObject")
        reply = ask.do(task)
        assert (reply.fault, reply.status) == (fault, status)
        assert reply.message.startswith(f"s3://{bucket}/k: {status}")


# Trouble is no leave to delete blindly.


@pytest.mark.parametrize("listing", [True, False])
def test_trouble_on_looking_is_no_leave_to_delete(ask: Asker, s3: S3Server, listing: bool) -> None:
    """A server that cannot tell now which version is there is asked again later: a delete marker
    over a version that stays would pass for its removal."""
    bucket = s3.bucket(versioned=True)
    s3.put(bucket, "k")
    found = []
    for status, _, fault in [one for one in OTHER_ERRORS if one[0] not in (400, 403)]:
        s3.interfere(failing(status, "Whatever"), "ListObjectVersions", "HeadObject")
        if not listing:
            without_list_permission(s3)
        found.append((ask.do(Remove(ask.endpoint, bucket, [Item("k")])).fault, fault))
        assert s3.markers(bucket) == []
    assert s3.keys(bucket) == ["k"]
    assert not [one for one in found if one[0] is not one[1]]


def test_a_server_in_trouble_is_not_asked_for_each_key(ask: Asker, s3: S3Server) -> None:
    """When listing fails with a server's error, a batch of keys is not worth as many requests."""
    bucket = s3.bucket()
    s3.interfere(failing(500, "InternalError"))
    fault, _, _ = ask.refused_removal(bucket, *map(str, range(50)))
    assert fault is Fault.SERVER
    assert len(s3.log) == ATTEMPTS


# Regions.


def test_a_bucket_in_another_region_is_found_there(ask: Asker, s3: S3Server) -> None:
    """S3 says where a bucket is; the request goes there, signed for that region."""
    bucket = s3.bucket()

    def elsewhere(request: Request) -> Answer | None:
        if "/eu-west-3/s3/" in request.headers["Authorization"]:
            return None
        wrong = failing(301, "PermanentRedirect", **{"x-amz-bucket-region": "eu-west-3"})
        return wrong(request)

    s3.interfere(elsewhere)
    assert ask.stored(ask.put(bucket, "k")).size == 5
    [removed] = ask.remove(bucket, "k")
    assert removed.error is None and s3.keys(bucket) == []


def test_requests_are_signed_for_the_configured_region(ask: Asker, s3: S3Server) -> None:
    """The configuration's region wins over AWS's own; without either it is us-east-1."""
    bucket = s3.bucket()
    for region in ("eu-north-1", None):
        ask.stored(
            replace(ask.put(bucket, str(region)), endpoint=replace(ask.endpoint, region=region))
        )
    s3.need_front()
    signed = [request.headers["Authorization"] for request in s3.log]
    assert "/eu-north-1/s3/" in signed[0] and "/us-east-1/s3/" in signed[1]


# Credentials.


def without_credentials(patch: pytest.MonkeyPatch) -> None:
    patch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    patch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)


@pytest.mark.parametrize("kind", TASKS)
def test_without_credentials_nothing_leaves(
    ask: Asker, s3: S3Server, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Missing credentials pause the service until somebody supplies them."""
    s3.need_front()
    task, _ = task_of(ask, s3, kind)
    s3.forget()
    without_credentials(monkeypatch)
    other = Asker(s3, tmp_path)
    fault, sent, message = other.refused(task)
    other.transport.close()
    assert (fault, sent) == (Fault.SIGNED_OUT, False)
    assert "credentials" in message and s3.log == []


def test_a_broken_aws_configuration_is_told(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile that does not exist is named; nothing leaves."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    ask = Asker(s3, tmp_path)
    fault, sent, message = ask.refused(ask.put("bucket", "k"))
    ask.transport.close()
    assert (fault, sent) == (Fault.SIGNED_OUT, False) and "nobody" in message


def test_no_secret_is_in_a_message(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the secret key, nor the session's token, nor a signature is in what is told, also
    where S3's error has them beside its message."""
    s3.need_front()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-token-of-the-session")
    ask = Asker(s3, tmp_path)
    seen: list[str] = []

    def chatty(request: Request) -> Answer:
        signed = request.headers["Authorization"]
        seen.append(signed.rpartition("Signature=")[2])
        token = request.headers["X-Amz-Security-Token"]
        return xml(
            "<Error><Code>SignatureDoesNotMatch</Code><Message>The signatures differ</Message>"
            f"<StringToSign>{signed}</StringToSign><Token-0>{token}</Token-0>"
            f"<SignatureProvided>{seen[-1]}</SignatureProvided></Error>",
            403,
        )

    s3.interfere(chatty)
    told = [
        ask.refused(ask.put("bucket", "k"))[2],
        ask.refused_removal("bucket", Item("k", "v1"))[2],
        ask.refused(Get(ask.endpoint, "bucket", "k"))[2],
    ]
    s3.pause()
    told.append(ask.refused(Look(ask.endpoint, "bucket", "k", "v1"))[2])
    ask.transport.close()
    assert len(seen) == 3
    for secret in (SECRET, "the-token-of-the-session", "AWS4-HMAC-SHA256", *seen):
        assert not [message for message in told if secret in message]


# Words.


@pytest.mark.parametrize("key", ["k" * 1024, "ü" * 512, "jobs/" + "x" * 400])
def test_a_long_key_leaves_room_for_s3s_words(ask: Asker, s3: S3Server, key: str) -> None:
    """What is put on record of a failure has S3's code and message, however long the key is."""
    task, operation = task_of(ask, s3, "put", key)
    s3.interfere(failing(403, "AccessDenied", "no permission for s3:PutObject"), operation)
    message = transport_failure(ask.do(task)).message
    assert message.startswith(f"s3://{task.bucket}/{key[:20]}")
    assert "AccessDenied: no permission for s3:PutObject" in message


def test_what_s3_says_is_one_line(ask: Asker, s3: S3Server) -> None:
    """Line ends, control characters and novels in S3's words do not get into a terminal."""
    task, operation = task_of(ask, s3, "put")
    s3.interfere(failing(400, "Odd\nCode", "one\n two\t\u202ethree " + "x" * 5000), operation)
    reply = ask.do(task)
    assert "Odd Code: one two three xxx" in reply.message
    assert reply.message.isprintable() and len(reply.message) < 700


def test_a_call_without_a_task_is_invalid(ask: Asker) -> None:
    """What is not S3's to do does not get there."""
    assert ask.refused(None)[:2] == (Fault.INVALID, False)


@pytest.mark.parametrize("bucket", ["no/bucket", "sp ace", ""])
def test_what_boto3_refuses_is_invalid(ask: Asker, s3: S3Server, bucket: str) -> None:
    """A bucket that cannot be one is told; nothing leaves."""
    fault, sent, message = ask.refused(Look(ask.endpoint, bucket, "k"))
    assert (fault, sent) == (Fault.INVALID, False)
    assert message.startswith(f"s3://{bucket}/k: ") and s3.counts == {}
