"""Where the tracker's objects go in S3, and the calls for them. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracker.config import StorageConfig
from tracker.errors import ConfigError, UsageError
from tracker.model import UPLOADS, Content, Failure, Operation
from tracker.objects import ObjectState, Role, Scheme, StoredObject
from tracker.services.failures import transport_failure
from tracker.transports.base import Call, Reply
from tracker.transports.tasks import Begin, Endpoint, Get, Item, Look, Put, Remove, Task

LONGEST_NAME = 400
"""Bytes of a file's name that become part of a key; with prefix and id it stays below 1,024."""


@dataclass(frozen=True, slots=True)
class Storage:
    """S3 by the configuration's ``[storage]``."""

    config: StorageConfig

    # Where.

    def plan_input(self, local_id: str, spooled: StoredObject) -> StoredObject:
        """Where the submitted file of a job will be. Raises ConfigError without a bucket."""
        key = f"{local_id}/input/{_safe(spooled.name or 'input')}"
        return self._planned(key, Role.INPUT, spooled.size, spooled.sha256, spooled.media_type,
                             spooled.name)  # fmt: skip

    def plan_result(self, local_id: str, content: Content) -> StoredObject:
        """Where the result of a job will be. Raises ConfigError without a bucket."""
        suffix = Path(content.path or "").suffix or ".bin"
        key = f"{local_id}/result/{content.sha256[:16]}{suffix}"
        media_type = content.media_type or "application/octet-stream"
        return self._planned(key, Role.RESULT, content.size, content.sha256, media_type, None)

    def _planned(
        self,
        key: str,
        role: Role,
        size: int | None,
        sha256: str | None,
        media_type: str | None,
        name: str | None,
    ) -> StoredObject:
        if self.config.bucket is None:
            raise ConfigError("storage.bucket: is missing, and a file is to be uploaded")
        return StoredObject(
            Scheme.S3,
            self.config.prefix + key,
            self.config.bucket,
            role=role,
            size=size,
            sha256=sha256,
            name=name,
            media_type=media_type,
            state=ObjectState.PLANNED,
        )

    def endpoint(self, bucket: str) -> Endpoint:
        """How `bucket` is reached."""
        config = self.config
        region = config.regions.get(bucket, config.region)
        return Endpoint(config.endpoint_url, region, config.path_style, config.timeout)

    def check(self, bucket: str) -> None:
        """Raises UsageError for a bucket that the configuration does not allow."""
        allowed = self.config.allowed_buckets
        if allowed is not None and bucket not in allowed:
            raise UsageError(
                f"bucket '{bucket}' is not in storage.allowed_buckets", "nothing is done there"
            )

    # Calls.

    def build_upload(
        self, operation: Operation, on_bytes: Callable[[int], None] | None = None
    ) -> Call:
        """The next step of an upload: the whole file; or, for a large one, a beginning and then
        the parts. Raises UsageError for a bucket that is not allowed."""
        target = _object_of(operation)
        self.check(target.bucket)
        endpoint, size = self.endpoint(target.bucket), target.size or 0
        media_type, sha256 = target.media_type or "", target.sha256 or ""
        if size > self.config.part_size and not target.upload_id:
            return self._call(Begin(endpoint, target.bucket, target.key, sha256, media_type))
        return self._call(
            Put(
                endpoint,
                target.bucket,
                target.key,
                Path(str(operation.payload.get("path", ""))),
                size,
                sha256,
                media_type,
                again=operation.lease > 1,
                upload_id=target.upload_id,
                part_size=self.config.part_size,
                on_bytes=on_bytes,
            )
        )

    def build_removal(self, operations: Sequence[Operation]) -> Call:
        """The call that removes objects of one bucket. Raises UsageError for one that is not
        allowed."""
        bucket = _object_of(operations[0]).bucket
        self.check(bucket)
        items = [
            Item(
                operation.object.key,
                operation.object.version_id,
                traces=bool(operation.payload.get("traces")),
                upload_id=operation.object.upload_id,
            )
            for operation in operations
            if operation.object is not None
        ]
        return self._call(Remove(self.endpoint(bucket), bucket, items))

    def build_look(self, target: StoredObject) -> Call:
        """The call that sees whether an object is there. Raises UsageError."""
        self.check(target.bucket)
        look = Look(self.endpoint(target.bucket), target.bucket, target.key, target.version_id)
        return self._call(look)

    def build_get(self, target: StoredObject) -> Call:
        """The call that reads an object into memory. Raises UsageError."""
        self.check(target.bucket)
        get = Get(self.endpoint(target.bucket), target.bucket, target.key, target.version_id)
        return self._call(get)

    def _call(self, task: Task) -> Call:
        return Call(UPLOADS, "TASK", "", timeout=self.config.timeout, task=task)


def failure_of(reply: Reply) -> Failure | None:
    """What went wrong with a task; None when nothing did."""
    return None if reply.fault is None else transport_failure(reply)


def _object_of(operation: Operation) -> StoredObject:
    if operation.object is None:
        raise UsageError(f"{operation.kind} #{operation.id} names no object")
    return operation.object


def _safe(name: str) -> str:
    """`name` as the end of a key: no control characters, at most 400 bytes, its suffix kept."""
    plain = re.sub(r"[\x00-\x1f\x7f/\\]", "_", name.encode("utf-8", "replace").decode())
    if plain in (".", ".."):
        plain = "_"
    suffix = Path(plain).suffix[-20:]
    room = LONGEST_NAME - len(suffix.encode())
    stem = plain[: len(plain) - len(suffix)].encode("utf-8", "replace")[:room]
    return stem.decode("utf-8", "ignore") + suffix
