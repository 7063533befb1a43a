"""An S3 server for tests: moto's, as a process of its own, behind a front that can be closed,
counts what comes, and answers itself where a test says so.

`TRACKER_TEST_S3` names another S3 endpoint (AWS's ordinary credentials are used for it). Then
there is no front: a test that needs one is skipped.

A conftest takes the fixture by ``from s3server import s3``; all of a process share one server.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import socket
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from s3front import PATIENCE, Answer, Front, Request, bound, error, forward, refusal, refuse

ELSEWHERE = os.environ.get("TRACKER_TEST_S3")
SECRET = "moto-secret-which-nobody-may-read"
NOWHERE = "/nonexistent/aws"

Interference = Callable[[Request], Answer | None]
"""What answers instead of S3; None lets the request pass."""


class S3Server:
    """An S3 server with nothing in it.

    ``url`` is for whoever is tested: requests through it are in ``log``. ``client`` is the test's
    own, straight to the server: it is not counted, and not stopped by `pause`. ``env`` has what a
    subprocess needs to use the server.
    """

    def __init__(self, elsewhere: str | None = ELSEWHERE) -> None:
        self.elsewhere = elsewhere
        self.env = _environment(elsewhere)
        self.log: list[Request] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._front: Front | None = None
        self._held: socket.socket | None = None
        self._rules: list[_Rule] = []
        self._buckets: list[str] = []
        self._upstream = self.url = elsewhere or ""
        if elsewhere is None:
            self._held = bound(0)
            self.url = f"http://127.0.0.1:{self._held.getsockname()[1]}"
        self.start()

    # What is in there.

    def bucket(self, versioned: bool = False) -> str:
        """The name of a new bucket."""
        name = f"tracker-{uuid.uuid4().hex[:20]}"
        region = self.client.meta.region_name
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.client.create_bucket(Bucket=name, **({} if region == "us-east-1" else place))
        self._buckets.append(name)
        if versioned:
            self.version(name, "Enabled")
        return name

    def version(self, bucket: str, status: str) -> None:
        """Make a bucket ``Enabled`` or ``Suspended``."""
        self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})

    def put(self, bucket: str, key: str, body: bytes = b"x") -> str | None:
        """Put an object there; its version id."""
        version: str | None = self.client.put_object(Bucket=bucket, Key=key, Body=body).get(
            "VersionId"
        )
        return version

    def versions(self, bucket: str) -> list[tuple[str, str, int]]:
        """All versions of all objects: (key, version id, size)."""
        found = self._listed("list_object_versions", bucket, "Versions")
        return sorted((one["Key"], one["VersionId"], one["Size"]) for one in found)

    def keys(self, bucket: str) -> list[str]:
        """The key of each version."""
        return [key for key, _, _ in self.versions(bucket)]

    def markers(self, bucket: str) -> list[tuple[str, str]]:
        """All delete markers: (key, version id)."""
        found = self._listed("list_object_versions", bucket, "DeleteMarkers")
        return sorted((one["Key"], one["VersionId"]) for one in found)

    def uploads(self, bucket: str) -> list[tuple[str, str]]:
        """All unfinished uploads in parts: (key, upload id)."""
        found = self._listed("list_multipart_uploads", bucket, "Uploads")
        return sorted((one["Key"], one["UploadId"]) for one in found)

    # What came.

    def count(self, operation: str, bucket: str | None = None) -> int:
        """How many requests of that kind came, such as ``DeleteObjects``."""
        self.need_front()
        found = [one for one in self.log if one.operation == operation]
        return len([one for one in found if bucket in (None, one.bucket)])

    @property
    def counts(self) -> Counter[str]:
        """How many requests of each kind came."""
        self.need_front()
        return Counter(one.operation for one in self.log)

    def forget(self) -> None:
        """Count from nought."""
        self.log.clear()

    # Trouble.

    def need_front(self) -> None:
        """Skips the test where there is none."""
        if self.elsewhere is not None:
            pytest.skip("needs moto's server behind its front")

    def pause(self) -> None:
        """Refuse connections, and cut those there are. What is stored stays."""
        self.need_front()
        if self._front is not None:
            self._held = self._front.close()
            self._front = None

    def resume(self) -> None:
        """Take connections again, at the same port."""
        if self._held is not None:
            self._front = Front(self._answer, self._held)
            self._held = None

    def interfere(
        self, then: Interference, *operations: str, key: str | None = None, times: int | None = None
    ) -> None:
        """Answer requests of these operations (none: all) about ``key`` (None: any) otherwise, the
        first ``times`` that come (None: all). The latest rule comes first."""
        self.need_front()
        self._rules.insert(0, _Rule(then, operations, key, times))

    def deny(self, *keys: str, code: str = "AccessDenied", message: str = "Access Denied") -> None:
        """Have removals of these keys refused: one by one with 403, of many inside the 200."""

        def then(request: Request) -> Answer | None:
            if not set(keys) & set(request.keys):
                return None
            if request.operation == "DeleteObject":
                return error(403, code, message)
            denied = [one for one in request.items if one["Key"] in keys]
            refused = {one["Key"]: refusal(one, code, message) for one in denied}
            return refuse(request, refused, self._upstream)

        self.interfere(then, "DeleteObjects", "DeleteObject")

    def obey(self) -> None:
        """No more interference."""
        self._rules.clear()

    def pass_on(self, request: Request) -> Answer:
        """What S3 itself answers."""
        return forward(self._upstream, request)

    def _answer(self, request: Request) -> Answer:
        self.log.append(request)
        for rule in list(self._rules):
            if rule.fits(request) and (answer := rule.then(request)) is not None:
                return answer
        return self.pass_on(request)

    # Its life.

    def start(self) -> None:
        """Start it; after `stop` at the same port, and with nothing in it."""
        if self.elsewhere is None and self._process is None:
            self._process, self._upstream = _moto()
            self.resume()
        self.client = _client(self)

    def stop(self) -> None:
        """End the server's process; connections are refused."""
        self.pause()
        self._buckets.clear()
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(PATIENCE)
            self._process = None

    def reset(self) -> None:
        """As it was in the beginning. Somebody else's server keeps nothing of ours."""
        self.obey()
        self.start() if self._process is None else self.resume()
        self.forget()
        while self.elsewhere is not None and self._buckets:
            self._empty(self._buckets.pop())

    def close(self) -> None:
        """End everything."""
        if self.elsewhere is not None:
            self.reset()
        else:
            self.stop()
            if self._held is not None:
                self._held.close()

    def _empty(self, bucket: str) -> None:
        for key, upload_id in self.uploads(bucket):
            self.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        found = [(key, version_id) for key, version_id, _ in self.versions(bucket)]
        for key, version_id in found + self.markers(bucket):
            self.client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
        self.client.delete_bucket(Bucket=bucket)

    def _listed(self, operation: str, bucket: str, what: str) -> list[Any]:
        pages = self.client.get_paginator(operation).paginate(Bucket=bucket)
        return [one for page in pages for one in page.get(what, [])]

    @property
    def upstream(self) -> str:
        """Where the server itself is, without the front."""
        return self._upstream


@dataclass
class _Rule:
    then: Interference
    operations: tuple[str, ...]
    key: str | None
    times: int | None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fits(self, request: Request) -> bool:
        if self.operations and request.operation not in self.operations:
            return False
        if self.key is not None and self.key not in request.keys:
            return False
        with self.lock:
            if self.times is not None:
                self.times -= 1
            return self.times is None or self.times >= 0


_WATCHED = '"$0" -H 127.0.0.1 -p 0 </dev/null & cat; kill -9 $!; wait'


def _moto() -> tuple[subprocess.Popen[bytes], str]:
    # A shell stands between: it ends the server as soon as nobody holds its standard input any
    # more, also where this process was killed.
    process = subprocess.Popen(
        ["sh", "-c", _WATCHED, str(Path(sys.executable).with_name("moto_server"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = b""
    for line in process.stderr:
        said += line
        if found := re.search(rb"Running on (http://127\.0\.0\.1:\d+)", line):
            threading.Thread(target=_swallow, args=(process.stderr,), daemon=True).start()
            return process, found[1].decode()
    raise AssertionError(f"moto_server did not start: {said.decode()}")


def _swallow(stream: Any) -> None:
    for _ in stream:
        pass


def _client(server: S3Server) -> Any:
    import boto3
    from botocore.config import Config

    path = Config(s3={"addressing_style": "path"})
    with pytest.MonkeyPatch.context() as patch:
        use(server, patch)
        return boto3.Session().client("s3", endpoint_url=server.upstream, config=path)


def _environment(elsewhere: str | None) -> dict[str, str]:
    if elsewhere is None:
        return {
            "AWS_ACCESS_KEY_ID": "moto",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": NOWHERE,
            "AWS_SHARED_CREDENTIALS_FILE": NOWHERE,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    home = Path.home() / ".aws"
    files = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}
    found = {name: str(home / file) for name, file in files.items()}
    return found | {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def use(server: S3Server, patch: pytest.MonkeyPatch) -> None:
    """Have boto3 in this process use `server`'s environment and nothing else of AWS."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            patch.delenv(name)
    for name, value in server.env.items():
        patch.setenv(name, value)


@functools.cache
def shared() -> S3Server:
    """The one server of this process; it ends with it."""
    server = S3Server()
    atexit.register(server.close)
    return server


@functools.cache
def _one_loader(path: str | None) -> Any:
    """What botocore knows of AWS, read once: that is most of what a client costs."""
    from botocore.loaders import create_loader

    return create_loader(path)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The S3 server, with boto3 in this process set up for it; nothing counted, nothing wrong."""
    server = shared()
    use(server, monkeypatch)
    monkeypatch.setattr("botocore.session.create_loader", _one_loader)
    server.reset()
    yield server
    server.reset()
