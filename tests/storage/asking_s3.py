"""What the tests of this folder ask of the transport to S3."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from s3server import S3Server

from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.s3 import S3Transport
from tracker.transports.tasks import (
    Begin,
    Begun,
    Endpoint,
    Get,
    Item,
    Put,
    Remove,
    Removed,
    Stored,
    Task,
)

PART = 5 * 2**20
"""The smallest part that S3 takes."""


class Asker:
    """Has tasks done as the poller has: by a transport, in its threads."""

    def __init__(self, s3: S3Server, folder: Path) -> None:
        self.s3 = s3
        self.folder = folder
        self.endpoint = Endpoint(s3.url, path_style=True, timeout=10.0)
        self.transport = S3Transport()

    def do(self, task: Task | None) -> Reply:
        """What comes of a task."""
        return self.call(Call("storage:uploads", "TASK", "", task=task))

    def call(self, call: Call) -> Reply:
        """What comes of a call."""
        self.transport.send(call)
        [(brought, reply)] = self.transport.receive(30)
        assert brought is call
        assert "moto-secret" not in reply.message and "\n" not in reply.message
        return reply

    def refused(self, task: Task | None) -> tuple[Fault, bool, str]:
        """Why a task was not done: whose problem, whether anything left, in which words."""
        reply = self.do(task)
        assert reply.fault is not None and reply.answer is None, reply
        return reply.fault, reply.sent, reply.message

    def spooled(self, data: bytes, name: str = "spooled") -> Path:
        """A file with those bytes."""
        path = self.folder / name
        path.write_bytes(data)
        return path

    def put(self, bucket: str, key: str, data: bytes = b"hello", **other: Any) -> Put:
        """The task that puts `data` there, from a file."""
        known = {
            "path": other.pop("path", None) or self.spooled(data),
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "media_type": "text/plain",
        }
        return Put(self.endpoint, bucket, key, **{**known, **other})

    def stored(self, task: Task) -> Stored:
        """What a task found or put there."""
        reply = self.do(task)
        assert reply.fault is None and isinstance(reply.answer, Stored), reply
        return reply.answer

    def begun(self, task: Task) -> str:
        """The id of the upload in parts that a task brought."""
        reply = self.do(task)
        assert reply.fault is None and isinstance(reply.answer, Begun), reply
        return reply.answer.upload_id

    def begin(self, bucket: str, key: str, data: bytes = b"hello") -> Begin:
        """The task that begins an upload of `data` in parts."""
        sha256 = hashlib.sha256(data).hexdigest()
        return Begin(self.endpoint, bucket, key, sha256, "text/plain")

    def remove(self, bucket: str, *items: Item | str) -> list[Removed]:
        """Remove these; what became of each."""
        wanted = [Item(one) if isinstance(one, str) else one for one in items]
        reply = self.do(Remove(self.endpoint, bucket, wanted))
        assert reply.fault is None and isinstance(reply.answer, list), reply
        assert len(reply.answer) == len(items)
        return reply.answer

    def refused_removal(self, bucket: str, *items: Item | str) -> tuple[Fault, bool, str]:
        """Why none of these was removed."""
        wanted = [Item(one) if isinstance(one, str) else one for one in items]
        return self.refused(Remove(self.endpoint, bucket, wanted))


TASKS = ["put", "begin", "part", "get", "list", "delete"]


def task_of(ask: Asker, s3: S3Server, kind: str, key: str = "k") -> tuple[Task, str]:
    """A task, and the operation of S3 that it needs most."""
    bucket = s3.bucket()
    match kind:
        case "put":
            return ask.put(bucket, key), "PutObject"
        case "begin":
            return ask.begin(bucket, key), "CreateMultipartUpload"
        case "part":
            upload_id = ask.begun(ask.begin(bucket, key))
            return ask.put(bucket, key, upload_id=upload_id), "UploadPart"
        case "get":
            s3.put(bucket, key)
            return Get(ask.endpoint, bucket, key), "GetObject"
        case "list":
            return Remove(ask.endpoint, bucket, [Item(key)]), "ListObjectVersions"
    s3.put(bucket, key)
    return Remove(ask.endpoint, bucket, [Item(key)]), "DeleteObjects"
