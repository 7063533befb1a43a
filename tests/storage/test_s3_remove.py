"""Removing objects: exactly those that were named, by as few requests as S3 allows."""

from __future__ import annotations

import pytest
from asking_s3 import Asker
from s3front import Answer, refusal, xml
from s3server import S3Server
from unruly import in_pages_of, losing, without_list_permission

from tracker.transports import s3_remove
from tracker.transports.tasks import Item, Remove, Removed

NASTY = ["a b", "a+b", "a%20b", "a%2Fb", "ü/日本 語", "\U0001f600", "x//y", "&<>\"'?#=", "k" * 1024,
         "slash/", "e\u0301", "\u00e9", "tab\there", " lead", "..", "a/../b", "*"]  # fmt: skip
GONE = Removed(found=False, size=0)


# Many at once.


def test_a_thousand_keys_are_one_request(ask: Asker, s3: S3Server) -> None:
    """1,000 objects go by one DeleteObjects, each by its version, and nothing else is deleted."""
    without_list_permission(s3)
    bucket = s3.bucket(versioned=True)
    kept = s3.put(bucket, "0007", b"seven")
    gone = s3.put(bucket, "0008", b"eight")
    items = [Item(f"{one:04}", gone if one == 8 else f"v{one}") for one in range(1000)]
    assert all(one.error is None for one in ask.remove(bucket, *items))
    assert s3.count("DeleteObjects") == 1 and s3.count("DeleteObject") == 0
    [request] = [one for one in s3.log if one.operation == "DeleteObjects"]
    named = [(one["Key"], one["VersionId"]) for one in request.items]
    assert named == [(item.key, item.version_id) for item in items]
    assert s3.versions(bucket) == [("0007", kept, 5)] and s3.markers(bucket) == []


def test_a_listing_tells_of_all_of_them_at_once(ask: Asker, s3: S3Server) -> None:
    """Sizes and versions of a batch are found by one listing, not by a request for each."""
    bucket = s3.bucket(versioned=True)
    versions = [s3.put(bucket, f"jobs/{one}/input", b"x" * one) for one in range(30)]
    items = [Item(f"jobs/{one}/input", version) for one, version in enumerate(versions)]
    assert ask.remove(bucket, *items) == [Removed(size=one) for one in range(30)]
    assert s3.versions(bucket) == s3.markers(bucket) == []
    assert s3.count("HeadObject") <= 1  # moto does not tell of the first key after a marker
    assert s3.count("ListObjectVersions") == s3.count("DeleteObjects") == 1


def test_more_versions_than_a_request_takes_are_several(
    ask: Asker, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that an upload left behind may be more than one request can name."""
    monkeypatch.setattr(s3_remove, "MOST", 3)
    bucket = s3.bucket(versioned=True)
    for one in range(7):
        s3.put(bucket, "k", b"x" * one)
    assert ask.remove(bucket, Item("k", traces=True)) == [Removed(size=21)]
    assert s3.versions(bucket) == []
    assert s3.count("DeleteObjects") == 3


# Which of an object's versions.


def test_the_named_version_goes_and_no_other(ask: Asker, s3: S3Server) -> None:
    """What somebody wrote before and after it stays."""
    bucket = s3.bucket(versioned=True)
    before, mine, after = (s3.put(bucket, "k", b"x" * size) for size in (1, 2, 3))
    assert ask.remove(bucket, Item("k", mine)) == [Removed(size=2)]
    assert {version for _, version, _ in s3.versions(bucket)} == {before, after}
    assert s3.markers(bucket) == []


@pytest.mark.parametrize("kind", ["plain", "versioned", "suspended"])
def test_without_a_version_the_present_one_goes(ask: Asker, s3: S3Server, kind: str) -> None:
    """Removing frees the bytes also in a versioned bucket: no delete marker stands in for it."""
    bucket = s3.bucket(versioned=kind != "plain")
    s3.put(bucket, "k", b"older")
    if kind == "suspended":
        s3.version(bucket, "Suspended")
    s3.put(bucket, "k", b"now")
    older = [one for one in s3.versions(bucket) if one[2] != 3]
    assert ask.remove(bucket, "k") == [Removed(size=3)]
    assert s3.versions(bucket) == older
    assert kind != "versioned" or len(older) == 1
    assert s3.markers(bucket) == []


def test_what_was_deleted_by_others_stays_as_they_left_it(ask: Asker, s3: S3Server) -> None:
    """Behind a delete marker there is no present object: nothing is removed, also no version."""
    bucket = s3.bucket(versioned=True)
    s3.put(bucket, "k")
    s3.client.delete_object(Bucket=bucket, Key="k")
    before = s3.versions(bucket), s3.markers(bucket)
    assert ask.remove(bucket, "k") == [GONE]
    assert (s3.versions(bucket), s3.markers(bucket)) == before


def test_two_versions_of_a_key_go_together(ask: Asker, s3: S3Server) -> None:
    """Two jobs may each own a version of the same key."""
    bucket = s3.bucket(versioned=True)
    mine = [s3.put(bucket, "k", b"x" * size) for size in (1, 2)]
    kept = s3.put(bucket, "k")
    items = [Item("k", version) for version in mine]
    assert ask.remove(bucket, *items) == [Removed(size=1), Removed(size=2)]
    assert [version for _, version, _ in s3.versions(bucket)] == [kept]


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("versioned", [True, False])
def test_what_is_gone_already_is_no_failure(
    ask: Asker, s3: S3Server, versioned: bool, listing: bool
) -> None:
    """Objects that never were, and versions that went, count as removed and not as found; and
    asking leaves no delete marker."""
    bucket = s3.bucket(versioned)
    s3.put(bucket, "other")
    version = s3.put(bucket, "k") if versioned else None
    s3.client.delete_object(Bucket=bucket, Key="k", **({"VersionId": version} if version else {}))
    if not listing:
        without_list_permission(s3)
    assert ask.remove(bucket, "never") == [GONE]
    [removed] = ask.remove(bucket, Item("k", version))
    assert removed.error is None
    assert removed == GONE or not listing  # what cannot be listed is deleted unseen
    assert s3.keys(bucket) == ["other"] and s3.markers(bucket) == []


@pytest.mark.parametrize("code", ["NoSuchVersion", "NoSuchKey"])
def test_a_version_that_is_gone_counts_as_gone(ask: Asker, s3: S3Server, code: str) -> None:
    """Servers differ in whether deleting what is not there is an error; to us it is not."""
    without_list_permission(s3)
    s3.deny("k", code=code)
    assert ask.remove(s3.bucket(), Item("k", "v1")) == [GONE]


# Keys.


@pytest.mark.parametrize("versioned", [True, False])
def test_keys_of_all_kinds(ask: Asker, s3: S3Server, versioned: bool) -> None:
    """Spaces, +, %, unicode, 1,024 bytes, a trailing slash: each key is itself and no other."""
    bucket = s3.bucket(versioned)
    mine, others = NASTY[::2], NASTY[1::2]
    for key in NASTY:
        s3.put(bucket, key, key.encode())
    assert ask.remove(bucket, *mine) == [Removed(size=len(key.encode())) for key in mine]
    assert s3.keys(bucket) == sorted(others)
    assert s3.markers(bucket) == []
    assert ask.remove(bucket, *others) == [Removed(size=len(key.encode())) for key in others]
    assert s3.keys(bucket) == []


@pytest.mark.parametrize("key", ["a\nb", "\n", "a\tb", "]]>", "&amp;", "a\u2028b"])
def test_a_key_with_line_ends_reaches_s3_as_it_is(ask: Asker, s3: S3Server, key: str) -> None:
    """Line ends in keys are not lost in XML, neither on the way there nor in an error."""
    without_list_permission(s3)
    s3.interfere(
        lambda request: xml(
            f"<DeleteResult>{refusal(request.items[0], 'AccessDenied', 'no')}</DeleteResult>"
        ),
        "DeleteObjects",
    )
    [removed] = ask.remove(s3.bucket(), Item(key, "v1"))
    [request] = [one for one in s3.log if one.operation == "DeleteObjects"]
    assert request.keys == [key]
    assert removed.error == "AccessDenied: no"


@pytest.mark.parametrize("key", ["a\x01b", "a\x0bb", "a\uffffb", "a\rb"])
def test_a_key_that_xml_cannot_name_goes_by_itself(ask: Asker, s3: S3Server, key: str) -> None:
    """Control characters fit into a URL and not into XML, and a carriage return may come back as a
    line feed: such a key has a request of its own."""
    without_list_permission(s3)
    bucket = s3.bucket()
    s3.put(bucket, key)
    s3.put(bucket, "k")
    assert [one.error for one in ask.remove(bucket, key, "k")] == [None, None]
    assert s3.count("DeleteObject") == s3.count("DeleteObjects") == 1
    s3.put(bucket, "other")
    assert s3.keys(bucket) == ["other"]


# What an unfinished upload left.


@pytest.mark.parametrize("listing", [True, False])
def test_traces_are_all_that_an_upload_may_have_left(
    ask: Asker, s3: S3Server, listing: bool
) -> None:
    """Of an upload that was never finished, unfinished parts and whatever is at its key go; what
    others have at keys that begin alike stays."""
    bucket = s3.bucket(versioned=True)
    for key in ("k", "k2", "k/", "K"):
        s3.put(bucket, key, b"xy")
        s3.client.create_multipart_upload(Bucket=bucket, Key=key)
    s3.client.create_multipart_upload(Bucket=bucket, Key="k")
    if not listing:
        s3.interfere(lambda request: xml("<Error><Code>AccessDenied</Code></Error>", 403),
                     "ListObjectVersions")  # fmt: skip
    assert ask.remove(bucket, Item("k", traces=True)) == [Removed(size=2)]
    assert s3.keys(bucket) == ["K", "k/", "k2"]
    assert [key for key, _ in s3.uploads(bucket)] == ["K", "k/", "k2"]
    assert s3.markers(bucket) == []


@pytest.mark.parametrize("key", ["k", "long/key"])
def test_traces_may_be_several_versions(ask: Asker, s3: S3Server, key: str) -> None:
    """Where uploads went wrong more than once, everything that they made goes."""
    bucket = s3.bucket(versioned=True)
    for size in (1, 2, 3):
        s3.put(bucket, key, b"x" * size)
    s3.put(bucket, key + "2")
    assert ask.remove(bucket, Item(key, traces=True)) == [Removed(size=6)]
    assert s3.keys(bucket) == [key + "2"]


@pytest.mark.parametrize(
    "page",
    [
        2,
        1,
    ],
)
def test_traces_are_listed_to_their_end(ask: Asker, s3: S3Server, page: int) -> None:
    """Versions that are on a listing's later pages are not left behind."""
    in_pages_of(s3, page)
    bucket = s3.bucket(versioned=True)
    for size in (1, 2, 3):
        s3.put(bucket, "k", b"x" * size)
    ask.remove(bucket, Item("k", traces=True))
    assert s3.versions(bucket) == s3.markers(bucket) == []


def test_traces_without_an_object_are_found_too(ask: Asker, s3: S3Server) -> None:
    """Unfinished parts alone are something that was there; nothing at all is not."""
    bucket = s3.bucket()
    s3.client.create_multipart_upload(Bucket=bucket, Key="k")
    items = Item("k", traces=True), Item("never", traces=True)
    assert ask.remove(bucket, *items) == [Removed(found=True, size=0), GONE]
    assert s3.uploads(bucket) == []
    assert s3.count("DeleteObjects") == 0


def test_traces_include_delete_markers(ask: Asker, s3: S3Server) -> None:
    """A key that was made for one upload alone is left as if it had never been used."""
    bucket = s3.bucket(versioned=True)
    s3.put(bucket, "k", b"xyz")
    s3.client.delete_object(Bucket=bucket, Key="k")
    assert ask.remove(bucket, Item("k", traces=True)) == [Removed(size=3)]
    assert s3.versions(bucket) == s3.markers(bucket) == []


# Some refused.


def test_one_denied_key_holds_up_no_other(ask: Asker, s3: S3Server) -> None:
    """Errors inside a 200 are read: that key is told with S3's own code and message."""
    bucket = s3.bucket(versioned=True)
    versions = {key: s3.put(bucket, key) for key in ("a b", "b", "c")}
    s3.deny("a b", message="User: arn:aws:iam::1:user/x is not authorized")
    a, b, c = ask.remove(bucket, *(Item(key, version) for key, version in versions.items()))
    assert a.error == "AccessDenied: User: arn:aws:iam::1:user/x is not authorized"
    assert not a.throttled
    assert b.error is None and c.error is None
    assert s3.keys(bucket) == ["a b"]
    s3.obey()
    assert ask.remove(bucket, Item("a b", versions["a b"])) == [Removed(size=1)]


def test_an_error_is_of_the_version_that_it_names(ask: Asker, s3: S3Server) -> None:
    """Of two versions of a key, the one that was refused is owed, and the other is not."""
    without_list_permission(s3)
    refused = refusal({"Key": "k", "VersionId": "v1"}, "AccessDenied", "no")
    s3.interfere(
        lambda request: xml(
            f"<DeleteResult><Deleted><Key>k</Key></Deleted>{refused}</DeleteResult>"
        ),
        "DeleteObjects",
    )
    first, second = ask.remove(s3.bucket(), Item("k", "v1"), Item("k", "v2"))
    assert (first.error, second.error) == ("AccessDenied: no", None)


def test_a_key_that_is_throttled_says_so(ask: Asker, s3: S3Server) -> None:
    """SlowDown may come for single keys of a request."""
    bucket = s3.bucket()
    s3.put(bucket, "a")
    s3.put(bucket, "b")
    s3.deny("a", code="SlowDown", message="Please reduce your request rate.")
    a, b = ask.remove(bucket, "a", "b")
    assert (a.error, a.throttled) == ("SlowDown: Please reduce your request rate.", True)
    assert (b.error, b.throttled) == (None, False)


def test_an_object_under_lock_is_told_and_the_others_go(ask: Asker, s3: S3Server) -> None:
    """An object lock is nothing to be worked round: S3's own words say what holds it."""
    bucket = s3.bucket(versioned=True)
    s3.client.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )
    free = s3.put(bucket, "free")
    held = s3.put(bucket, "held")
    s3.client.put_object_legal_hold(Bucket=bucket, Key="held", LegalHold={"Status": "ON"})
    try:
        removed = ask.remove(bucket, Item("free", free), Item("held", held))
        assert removed[0].error is None and "AccessDenied" in (removed[1].error or "")
        assert s3.keys(bucket) == ["held"]
    finally:
        s3.client.put_object_legal_hold(Bucket=bucket, Key="held", LegalHold={"Status": "OFF"})


def test_a_lost_reply_is_asked_for_again(ask: Asker, s3: S3Server) -> None:
    """Deleting twice by version is deleting once."""
    bucket = s3.bucket(versioned=True)
    version = s3.put(bucket, "k")
    s3.interfere(losing(s3), "DeleteObjects", times=1)
    assert ask.remove(bucket, Item("k", version)) == [Removed(size=1)]
    assert s3.versions(bucket) == s3.markers(bucket) == []


def told_of(error: dict[str, str]) -> Answer:
    """A DeleteObjects reply with one error of that look."""
    return xml(f"<DeleteResult>{refusal(error, 'InternalError', 'no')}</DeleteResult>")


@pytest.mark.parametrize(
    ("version", "error"),
    [
        (None, {"Key": "k", "VersionId": "null"}),
        ("null", {"Key": "k", "VersionId": ""}),
        ("v1", {"Key": "k", "VersionId": "another"}),
        ("v1", {}),
    ],
)
def test_no_error_is_lost(
    ask: Asker, s3: S3Server, version: str | None, error: dict[str, str]
) -> None:
    """A server that spells an error's key or version in its own way does not make an object
    disappear from the ledger that is still there."""
    without_list_permission(s3)
    bucket = s3.bucket()
    s3.put(bucket, "k")
    s3.interfere(lambda request: told_of(error), "DeleteObjects")
    s3.interfere(lambda request: Answer(403), "HeadObject")
    [removed] = ask.remove(bucket, Item("k", version))
    assert removed.error == "InternalError: no"


def test_nothing_to_remove_is_nothing_to_ask(ask: Asker, s3: S3Server) -> None:
    """What was gone before causes no DeleteObjects."""
    bucket = s3.bucket()
    reply = ask.do(Remove(ask.endpoint, bucket, [Item("never")]))
    assert reply.answer == [GONE]
    assert s3.count("DeleteObjects") == 0
