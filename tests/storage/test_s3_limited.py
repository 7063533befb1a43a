"""Servers and permissions that can do less than S3 can."""

from __future__ import annotations

import pytest
from asking_s3 import Asker
from s3front import Answer, Request, xml
from s3server import S3Server
from unruly import failing, without_list_permission

from tracker.model import Fault
from tracker.transports.tasks import Item, Removed

NO_BULK = [
    (501, "NotImplemented"),
    (405, "MethodNotAllowed"),
    (400, "MissingContentMD5"),
    (400, "MalformedXML"),
]


@pytest.mark.parametrize(("status", "code"), NO_BULK)
def test_without_deleteobjects_keys_go_one_by_one(
    ask: Asker, s3: S3Server, status: int, code: str
) -> None:
    """A server that cannot delete many at once deletes each, and its version."""
    s3.interfere(failing(status, code), "DeleteObjects")
    bucket = s3.bucket(versioned=True)
    mine = {key: s3.put(bucket, key) for key in ("a b", "b+", "ü")}
    before = s3.put(bucket, "c")
    removed = ask.remove(bucket, *(Item(key, version) for key, version in mine.items()))
    assert removed == [Removed(size=1)] * 3
    assert s3.versions(bucket) == [("c", before, 1)] and s3.markers(bucket) == []
    assert s3.counts["DeleteObject"] == 3


def test_one_by_one_each_has_its_own_error(ask: Asker, s3: S3Server) -> None:
    """Also without DeleteObjects, a key that is denied, throttled or gone holds up no other."""
    bucket = s3.bucket()
    for key in ("denied", "slow", "gone", "fine"):
        s3.put(bucket, key)
    s3.deny("denied", message="No.")
    s3.interfere(failing(503, "SlowDown", "Later."), "DeleteObject", key="slow")
    s3.interfere(failing(404, "NoSuchVersion"), "DeleteObject", key="gone")
    s3.interfere(failing(501, "NotImplemented"), "DeleteObjects")
    denied, slow, gone, fine = ask.remove(bucket, "denied", "slow", "gone", "fine")
    assert (denied.error, denied.throttled) == ("AccessDenied: No.", False)
    assert (slow.error, slow.throttled) == ("SlowDown: Later.", True)
    assert gone == Removed(found=False, size=0)
    assert fine == Removed(size=1)
    assert s3.keys(bucket) == ["denied", "gone", "slow"]


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (501, "NotImplemented"),
                                              (405, "MethodNotAllowed")])  # fmt: skip
def test_without_listings_objects_are_looked_at(
    ask: Asker, s3: S3Server, status: int, code: str
) -> None:
    """Who may not list removes all the same: the present version, known by a look, and no more."""
    s3.interfere(failing(status, code), "ListObjectVersions")
    bucket = s3.bucket(versioned=True)
    older, _ = s3.put(bucket, "k", b"older"), s3.put(bucket, "k", b"now")
    assert ask.remove(bucket, "k", "never") == [Removed(size=3), Removed(found=False, size=0)]
    assert s3.versions(bucket) == [("k", older, 5)] and s3.markers(bucket) == []


def test_without_listings_a_version_on_record_is_enough(ask: Asker, s3: S3Server) -> None:
    """An object whose version is on record needs no look: one request for all of them."""
    without_list_permission(s3)
    bucket = s3.bucket(versioned=True)
    items = [Item(key, s3.put(bucket, key)) for key in "abcde"]
    assert [one.error for one in ask.remove(bucket, *items)] == [None] * 5
    assert s3.versions(bucket) == s3.markers(bucket) == []
    assert s3.counts == {"ListObjectVersions": 1, "DeleteObjects": 1}


def test_the_version_on_record_is_what_goes_whatever_a_look_tells(ask: Asker, s3: S3Server) -> None:
    """A server whose looks do not name the version does not get a delete marker for it."""

    def forgetful(request: Request) -> Answer:
        answer = s3.pass_on(request)
        answer.headers.pop("x-amz-version-id", None)
        return answer

    s3.interfere(forgetful, "HeadObject")
    empty = xml("<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>")
    s3.interfere(lambda request: empty, "ListObjectVersions")
    bucket = s3.bucket(versioned=True)
    mine = s3.put(bucket, "k", b"mine")
    assert ask.remove(bucket, Item("k", mine)) == [Removed(size=4)]
    assert s3.versions(bucket) == s3.markers(bucket) == []


def test_whoever_may_only_delete_leaves_at_most_a_marker(ask: Asker, s3: S3Server) -> None:
    """With no permission but to delete, and no version on record, no version is lost by mistake."""
    without_list_permission(s3)
    s3.interfere(failing(403, "AccessDenied"), "HeadObject")
    bucket = s3.bucket(versioned=True)
    version = s3.put(bucket, "k")
    assert ask.remove(bucket, "k") == [Removed(size=None)]
    assert s3.versions(bucket) == [("k", version, 1)]
    assert [key for key, _ in s3.markers(bucket)] == ["k"]


def test_an_unfinished_upload_that_may_not_be_aborted_is_told(ask: Asker, s3: S3Server) -> None:
    """Parts that stay are no success: that object stays owed."""
    bucket = s3.bucket()
    s3.client.create_multipart_upload(Bucket=bucket, Key="k")
    s3.interfere(failing(403, "AccessDenied", "No."), "AbortMultipartUpload")
    [removed] = ask.remove(bucket, Item("k", traces=True))
    assert removed.error == "AccessDenied: No."
    assert len(s3.uploads(bucket)) == 1


def test_an_unfinished_upload_on_record_is_aborted_unlisted(ask: Asker, s3: S3Server) -> None:
    """Who may not list unfinished uploads aborts the one that the ledger knows, and no other."""
    without_list_permission(s3)
    bucket = s3.bucket()
    mine, other = (
        s3.client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"] for _ in range(2)
    )
    [removed] = ask.remove(bucket, Item("k", traces=True, upload_id=mine))
    assert removed.error is None and removed.found
    assert s3.uploads(bucket) == [("k", other)]


def test_an_upload_that_was_aborted_meanwhile_is_no_error(ask: Asker, s3: S3Server) -> None:
    """Two processes may tidy up at once."""
    bucket = s3.bucket()
    s3.client.create_multipart_upload(Bucket=bucket, Key="k")
    s3.interfere(failing(404, "NoSuchUpload"), "AbortMultipartUpload")
    [removed] = ask.remove(bucket, Item("k", traces=True))
    assert removed == Removed(found=True, size=0)


def test_a_missing_bucket_is_told(ask: Asker, s3: S3Server) -> None:
    """A bucket that does not exist is nobody's success: it may be a mistake in the settings."""
    bucket = "tracker-no-such-bucket-4711"
    for fault, _, message in (
        ask.refused_removal(bucket, "k"),
        ask.refused_removal(bucket, Item("k", "v1")),
        ask.refused(ask.put(bucket, "k")),
        ask.refused(ask.begin(bucket, "k")),
    ):
        assert fault is Fault.REFUSED and "NoSuchBucket" in message
