"""Removing objects of one bucket by one request, exactly those that were named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from tracker.model import Fault
from tracker.transports.aws import THROTTLED, UNAUTHORISED, code_of, line, said_by
from tracker.transports.s3_upload import Unusable, unfinished
from tracker.transports.tasks import Endpoint, Item, Remove, Removed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST = 1000
"""Keys that one DeleteObjects may name."""

_GONE = ("NoSuchKey", "NoSuchVersion", "404", "NotFound")
_NO_BULK = ("NotImplemented", "MissingContentMD5", "MethodNotAllowed", "MalformedXML", "501", "405")
_NOT_IN_XML = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that an XML request cannot name, or not in a way that every server reads alike."""


class Version(NamedTuple):
    """One version of a key, or a delete marker."""

    id: str | None
    size: int | None
    latest: bool
    marker: bool


@dataclass(slots=True)
class _Plan:
    """What is to be deleted for one item, and what was found of it."""

    versions: list[str | None] = field(default_factory=list)
    found: bool = True
    size: int | None = None
    error: str | None = None
    throttled: bool = False


def remove(client: S3Client, task: Remove) -> Sequence[Removed]:
    """Remove the items. Raises ClientError for what S3 says of the request as a whole."""
    versions = _survey(client, task)
    plans = [_planned(client, task.bucket, item, versions.get(item.key)) for item in task.items]
    wanted = [
        (item.key, version, plan)
        for item, plan in zip(task.items, plans, strict=True)
        for version in plan.versions
    ]
    for start in range(0, len(wanted), MOST):
        _delete(client, task.bucket, wanted[start : start + MOST])
    return [Removed(plan.error, plan.found, plan.size, plan.throttled) for plan in plans]


# What there is of each key.


def _survey(client: S3Client, task: Remove) -> dict[str, list[Version]]:
    """The versions of each key that is asked about, as far as a short listing from the first to
    the last of them tells; a key that it does not tell about is missing."""
    keys = sorted({item.key for item in task.items}, key=str.encode)
    found: dict[str, list[Version]] = {key: [] for key in keys}
    # Up to where the listing told everything: all keys before this one.
    told = b""
    try:
        for page in _pages(
            client, task.bucket, keys, most=2 + len(keys) // 250 if len(keys) > 1 else MOST
        ):
            for key, version in _versions_in(page):
                if key in found:
                    found[key].append(version)
            # The last key of a page that was cut may have more versions on the next one.
            cut = page.get("IsTruncated")
            told = page.get("NextKeyMarker", "").encode() if cut else keys[-1].encode() + b"\0"
    except ClientError as error:
        if not _may_not(error):
            raise
        return {}  # then each is looked up
    return {key: found[key] for key in keys if key.encode() < told}


def _pages(client: S3Client, bucket: str, keys: list[str], most: int) -> Iterator[Any]:
    # All but the last character of the first key sorts before it; a single key is its own prefix.
    several = len(keys) > 1 and len(keys[0]) > 1
    marker: dict[str, Any] = {"KeyMarker": keys[0][:-1]} if several else {}
    for _ in range(most):
        page = client.list_object_versions(
            Bucket=bucket, Prefix=_common_start(keys[0], keys[-1]), **marker
        )
        yield page
        following = page.get("NextKeyMarker", "")
        if not page.get("IsTruncated") or following.encode() > keys[-1].encode():
            return
        marker = {"KeyMarker": following, "VersionIdMarker": page.get("NextVersionIdMarker", "")}


def _common_start(first: str, last: str) -> str:
    length = 0
    while length < len(first) and first[: length + 1] == last[: length + 1]:
        length += 1
    return first[:length]


def _versions_in(page: Any) -> Iterator[tuple[str, Version]]:
    for one in page.get("Versions", []):
        yield (
            one["Key"],
            Version(one.get("VersionId"), one.get("Size"), bool(one.get("IsLatest")), False),
        )
    for one in page.get("DeleteMarkers", []):
        yield one["Key"], Version(one.get("VersionId"), 0, bool(one.get("IsLatest")), True)


def _planned(client: S3Client, bucket: str, item: Item, versions: list[Version] | None) -> _Plan:
    if item.traces:
        return _traces(client, bucket, item)
    if versions is None:
        named = item.version_id is not None
        return _Plan([item.version_id]) if named else _looked_up(client, bucket, item)
    if item.version_id is not None:
        mine = [one for one in versions if one.id == item.version_id]
    else:
        mine = [one for one in versions if one.latest and not one.marker]
    if not mine:
        # A listing that does not tell of it is not trusted alone: nothing may be left behind.
        return _looked_up(client, bucket, item)
    return _Plan([one.id for one in mine], size=sum(one.size or 0 for one in mine))


def _traces(client: S3Client, bucket: str, item: Item) -> _Plan:
    """Everything at a key that was made for one upload alone: versions, markers, and uploads in
    parts that were not finished, which are aborted here."""
    plan = _Plan()
    key = item.key
    uploads = {*unfinished(client, bucket, key), *([item.upload_id] if item.upload_id else [])}
    for upload_id in uploads:
        try:
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        except ClientError as error:
            if code_of(error)[0] != "NoSuchUpload":
                plan.error = said_by(error)
    # A listing of its own, from the beginning of the key: none of its versions may be missed.
    alone = Remove(Endpoint(), bucket, [Item(key)])
    versions = _survey(client, alone).get(key)
    if not versions:
        looked = _looked_up(client, bucket, Item(key))
        plan.versions, plan.size = looked.versions, looked.size
        plan.found = looked.found or bool(uploads)
    else:
        plan.versions = [one.id for one in versions]
        plan.size = sum(one.size or 0 for one in versions)
    return plan


def _looked_up(client: S3Client, bucket: str, item: Item) -> _Plan:
    wanted: dict[str, Any] = {"VersionId": item.version_id} if item.version_id is not None else {}
    try:
        there = client.head_object(Bucket=bucket, Key=item.key, **wanted)
    except ClientError as error:
        code, status = code_of(error)
        if code in _GONE or status == 404:
            return _Plan(found=False, size=0)
        if not _may_not(error):
            raise
        # Without a version this may leave a delete marker, and nothing else.
        return _Plan([item.version_id])
    return _Plan([item.version_id or there.get("VersionId")], size=there.get("ContentLength"))


def _may_not(error: ClientError) -> bool:
    """Whether S3 says that this is not allowed, or that it knows nothing of the kind; anything
    else says nothing about what there is."""
    code, status = code_of(error)
    if code in UNAUTHORISED:
        return False
    return code in ("AccessDenied", *_NO_BULK) or status in (400, 403, 405, 501)


# Deleting.


def _delete(client: S3Client, bucket: str, wanted: Sequence[tuple[str, str | None, _Plan]]) -> None:
    bulk = [one for one in wanted if not _NOT_IN_XML.search(one[0])]
    single = [one for one in wanted if _NOT_IN_XML.search(one[0])]
    if bulk:
        try:
            _delete_together(client, bucket, bulk)
        except ClientError as error:
            code, status = code_of(error)
            if code not in _NO_BULK and status not in (405, 501):
                raise
            single += bulk
    for key, version, plan in single:
        _delete_one(client, bucket, key, version, plan)


def _delete_together(
    client: S3Client, bucket: str, wanted: Sequence[tuple[str, str | None, _Plan]]
) -> None:
    named: list[Any] = [
        {"Key": key, "VersionId": version} if version is not None else {"Key": key}
        for key, version, _ in wanted
    ]
    # Not quiet: what is no such reply, a proxy's page for one, must not look like success.
    reply = client.delete_objects(Bucket=bucket, Delete={"Objects": named})
    if "Deleted" not in reply and "Errors" not in reply:
        raise Unusable("the reply is not S3's", Fault.UNREADABLE)
    for error in reply.get("Errors", []):
        for plan in _meant(wanted, error.get("Key"), error.get("VersionId")):
            _note(plan, error.get("Code", ""), error.get("Message", ""))


def _meant(
    wanted: Sequence[tuple[str, str | None, _Plan]], key: str | None, version: str | None
) -> list[_Plan]:
    """Which of them an error is about. Servers differ in how they spell a version that is the only
    one; an error that names none of them is taken as being about all."""
    same = [(v, plan) for name, v, plan in wanted if name == key]
    exact = [plan for v, plan in same if v == version]
    return exact or [plan for _, plan in same] or [plan for _, _, plan in wanted]


def _delete_one(client: S3Client, bucket: str, key: str, version: str | None, plan: _Plan) -> None:
    wanted: dict[str, Any] = {"VersionId": version} if version is not None else {}
    try:
        client.delete_object(Bucket=bucket, Key=key, **wanted)
    except ClientError as error:
        told = error.response.get("Error", {})
        _note(plan, told.get("Code", ""), told.get("Message", ""))


def _note(plan: _Plan, code: str, message: str) -> None:
    if code in _GONE:
        plan.found, plan.size = False, 0
    else:
        plan.error = line(f"{code}: {message}")
        plan.throttled = code in THROTTLED
