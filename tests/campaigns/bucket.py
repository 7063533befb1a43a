"""Buckets whose whole contents a test can read, on the S3 server of all tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from botocore.exceptions import ClientError
from s3server import S3Server


class Contents(NamedTuple):
    """All that is in a bucket: (key, version id) of versions and delete markers, (key, upload id)
    of unfinished uploads in parts, and the bytes of all versions."""

    versions: set[tuple[str, str]]
    markers: set[tuple[str, str]]
    uploads: set[tuple[str, str]]
    size: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is left."""
        return not (self.versions or self.markers or self.uploads)


class Bucket:
    """A new bucket."""

    def __init__(self, server: S3Server, *, versioned: bool = True, locked: bool = False) -> None:
        """`locked` is whether its objects can be protected from removal."""
        self.server, self.client = server, server.client
        self.name = server.bucket(versioned)
        if locked:
            server.need_front()
            self.name += "-locked"
            self.client.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=True)

    def settings(self, *, direct: bool = False) -> str:
        """The table ``[storage]`` for this bucket; `direct` goes past the server's front."""
        url = self.server.upstream if direct else self.server.url
        return (
            f'[storage]\nbucket = "{self.name}"\nprefix = "tracker/"\npart_size = "5MiB"\n'
            f'endpoint_url = "{url}"\n'
        )

    def put(self, keys: Sequence[str], body: bytes = b"something") -> list[str]:
        """New objects; their URIs, each with its version."""
        with ThreadPoolExecutor(4) as pool:
            versions = list(pool.map(lambda key: self.server.put(self.name, key, body), keys))
        return [
            f"s3://{self.name}/{key}" + (f"?versionId={version}" if version else "")
            for key, version in zip(keys, versions, strict=True)
        ]

    def contents(self) -> Contents:
        """Everything that is there, old versions included."""
        versions = self.server.versions(self.name)
        return Contents(
            {(key, version) for key, version, _ in versions},
            set(self.server.markers(self.name)),
            set(self.server.uploads(self.name)),
            sum(size for _, _, size in versions),
        )

    def deny(self, key: str, *, by_policy: bool) -> None:
        """Have the removal of an object refused: by the bucket's policy, or by a legal hold."""
        if not by_policy:
            self.client.put_object_legal_hold(Bucket=self.name, Key=key, LegalHold={"Status": "ON"})
            return
        denied = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
            "Resource": f"arn:aws:s3:::{self.name}/{key}",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
        self.client.put_bucket_policy(Bucket=self.name, Policy=policy)

    def allow(self, key: str) -> None:
        """Take back what was denied."""
        self.client.delete_bucket_policy(Bucket=self.name)
        with suppress(ClientError):  # where objects cannot be held
            self.client.put_object_legal_hold(
                Bucket=self.name, Key=key, LegalHold={"Status": "OFF"}
            )
