"""Putting one file into S3: once, whole, and with its checksum verified."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tracker.model import Fault
from tracker.transports.aws import code_of
from tracker.transports.tasks import Begin, Begun, Get, Look, Put, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_PARTS = 10_000
SHA256 = "tracker-sha256"
"""The metadata that says what the object's bytes hash to: of what came in parts, S3 itself knows
only a hash of the parts' hashes."""

SPOILT = "the spooled copy is not what was submitted: its checksum differs"

_THERE_ALREADY = ("PreconditionFailed", "ConditionalRequestConflict")
_NOT_THERE = ("404", "NoSuchKey", "NotFound", "NoSuchVersion")


class Unusable(Exception):
    """The file, or what is at the key already, cannot be used; the text says why."""

    def __init__(self, message: str, fault: Fault = Fault.INVALID) -> None:
        super().__init__(message)
        self.fault = fault


def put(client: S3Client, task: Put) -> Stored | Begun:
    """Put the file at its key. Raises Unusable, ClientError, OSError."""
    if task.again and (there := _same_there(client, task)) is not None:
        return there
    if task.upload_id is not None:
        return _put_parts(client, task, task.upload_id)
    with Path(task.path).open("rb") as file:
        _check(task, file)
        _check_whole(task, file)
        conditions: dict[str, Any] = {"IfNoneMatch": "*"}
        try:
            return _put_whole(client, task, file, conditions)
        except ClientError as error:
            code, status = code_of(error)
            if code in _THERE_ALREADY or status == 412:
                return _adopted(client, task)
            if not _knows_no_conditions(code, status):
                raise
        # A server without conditional puts: look first, then put.
        if (there := _same_there(client, task)) is not None:
            return there
        file.seek(0)
        return _put_whole(client, task, file, {})


def begin(client: S3Client, task: Begin) -> Begun:
    """Begin an upload in parts, or find one that was begun and not recorded."""
    for upload_id in unfinished(client, task.bucket, task.key):
        return Begun(upload_id)
    made = client.create_multipart_upload(
        Bucket=task.bucket,
        Key=task.key,
        ContentType=task.media_type,
        ChecksumAlgorithm="SHA256",
        Metadata={SHA256: task.sha256},
    )
    return Begun(made["UploadId"])


def look(client: S3Client, task: Look) -> Stored:
    """What is at a key. Raises ClientError; a 404 says that nothing is."""
    wanted: dict[str, Any] = {"VersionId": task.version_id} if task.version_id else {}
    found = client.head_object(Bucket=task.bucket, Key=task.key, **wanted)
    return Stored(found.get("VersionId"), found.get("ETag"), found["ContentLength"], adopted=True)


def read(client: S3Client, task: Get) -> bytes:
    """An object's bytes. Raises ClientError, and what urllib3 raises for a broken connection."""
    wanted: dict[str, Any] = {"VersionId": task.version_id} if task.version_id else {}
    body = client.get_object(Bucket=task.bucket, Key=task.key, **wanted)["Body"]
    with body:
        return body.read()


def unfinished(client: S3Client, bucket: str, key: str) -> list[str]:
    """The ids of uploads in parts that were begun at exactly this key and not finished."""
    try:
        # The key as a prefix: S3 has no other way to ask for those of one key.
        found = client.list_multipart_uploads(Bucket=bucket, Prefix=key)
    except ClientError as error:
        if code_of(error)[0] in ("AccessDenied", "NotImplemented", "MethodNotAllowed", "403"):
            return []
        raise
    return [one["UploadId"] for one in found.get("Uploads", []) if one["Key"] == key]


def _put_whole(
    client: S3Client, task: Put, file: BufferedReader, conditions: dict[str, Any]
) -> Stored:
    made = client.put_object(
        Bucket=task.bucket,
        Key=task.key,
        Body=file,
        ContentLength=task.size,
        ContentType=task.media_type,
        ChecksumSHA256=b64encode(bytes.fromhex(task.sha256)).decode(),
        Metadata={SHA256: task.sha256},
        **conditions,
    )
    _tell(task, task.size)
    return Stored(made.get("VersionId"), made.get("ETag"), task.size)


def _put_parts(client: S3Client, task: Put, upload_id: str) -> Stored | Begun:
    try:
        parts = _send_parts(client, task, upload_id)
        made = _complete(client, task, upload_id, parts)
    except ClientError as error:
        code, status = code_of(error)
        if code == "NoSuchUpload":
            # Completed by an attempt whose reply was lost; or aborted by somebody.
            there = _same_there(client, task)
            return there if there is not None else Begun("")
        if code in _THERE_ALREADY or status == 412:
            there = _adopted(client, task)
            client.abort_multipart_upload(Bucket=task.bucket, Key=task.key, UploadId=upload_id)
            return there
        raise
    if isinstance(made, Stored):
        return made
    return Stored(made.get("VersionId"), made.get("ETag"), task.size)


def _complete(client: S3Client, task: Put, upload_id: str, parts: list[dict[str, Any]]) -> Any:
    wanted: dict[str, Any] = {
        "Bucket": task.bucket,
        "Key": task.key,
        "UploadId": upload_id,
        "MultipartUpload": {"Parts": parts},
    }
    try:
        return client.complete_multipart_upload(**wanted, IfNoneMatch="*")
    except ClientError as error:
        if not _knows_no_conditions(*code_of(error)):
            raise
    # As with a whole file: look first.
    if (there := _same_there(client, task)) is not None:
        client.abort_multipart_upload(Bucket=task.bucket, Key=task.key, UploadId=upload_id)
        return there
    return client.complete_multipart_upload(**wanted)


def _send_parts(client: S3Client, task: Put, upload_id: str) -> list[dict[str, Any]]:
    there = _parts_there(client, task, upload_id)
    size = part_size(task)
    parts: list[dict[str, Any]] = []
    whole = hashlib.sha256()
    with Path(task.path).open("rb") as file:
        _check(task, file)
        while data := file.read(size):
            whole.update(data)
            number, checksum = len(parts) + 1, b64encode(hashlib.sha256(data).digest()).decode()
            known = there.get(number)
            if known is not None and known == (len(data), checksum, known[2]):
                etag = known[2]
            else:
                etag = client.upload_part(
                    Bucket=task.bucket,
                    Key=task.key,
                    UploadId=upload_id,
                    PartNumber=number,
                    Body=data,
                    ChecksumSHA256=checksum,
                )["ETag"]
            parts.append({"PartNumber": number, "ETag": etag, "ChecksumSHA256": checksum})
            _tell(task, len(data))
    if whole.hexdigest() != task.sha256:
        raise Unusable(SPOILT)
    return parts


def _parts_there(client: S3Client, task: Put, upload_id: str) -> dict[int, tuple[int, str, str]]:
    if not task.again:
        return {}
    pages = client.get_paginator("list_parts").paginate(
        Bucket=task.bucket, Key=task.key, UploadId=upload_id
    )
    return {
        part["PartNumber"]: (part["Size"], part.get("ChecksumSHA256", ""), part["ETag"])
        for page in pages
        for part in page.get("Parts", [])
    }


def part_size(task: Put) -> int:
    """Bytes of each part: as set, or more where S3's 10,000 parts would not do."""
    return max(task.part_size, -(-task.size // MOST_PARTS))


def _same_there(client: S3Client, task: Put) -> Stored | None:
    """What is at the key if it is this very file; None when nothing is. Raises Unusable when it is
    something else."""
    try:
        found = client.head_object(Bucket=task.bucket, Key=task.key, ChecksumMode="ENABLED")
    except ClientError as error:
        code, status = code_of(error)
        if code in _NOT_THERE or status == 404:
            return None
        raise
    metadata = found.get("Metadata", {}).get(SHA256)
    checksum = b64encode(bytes.fromhex(task.sha256)).decode()
    same = metadata == task.sha256 or found.get("ChecksumSHA256") == checksum
    if found["ContentLength"] != task.size or not same:
        raise Unusable("another object is there already", Fault.REFUSED)
    _tell(task, task.size)
    return Stored(found.get("VersionId"), found.get("ETag"), task.size, adopted=True)


def _adopted(client: S3Client, task: Put) -> Stored:
    there = _same_there(client, task)
    if there is None:
        raise Unusable("S3 says that it is there, and that it is not", Fault.SERVER)
    return there


def _knows_no_conditions(code: str, status: int) -> bool:
    return code in ("NotImplemented", "XNotImplemented") or status == 501


def _check(task: Put, file: BufferedReader) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != task.size:
        raise Unusable(f"the spooled copy has {size} bytes instead of {task.size}")


def _check_whole(task: Put, file: BufferedReader) -> None:
    """S3 compares the checksum; many servers that speak like it do not."""
    if hashlib.file_digest(file, "sha256").hexdigest() != task.sha256:
        raise Unusable(SPOILT)
    file.seek(0)


def _tell(task: Put, count: int) -> None:
    if task.on_bytes is not None:
        task.on_bytes(count)
