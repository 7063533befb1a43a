"""Ways in which an S3 server can be a trouble, for `s3server.S3Server.interfere`."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode

from s3front import Answer, Request, error
from s3server import Interference, S3Server


def failing(status: int, code: str, message: str = "as asked", **headers: str) -> Interference:
    """Every request is refused."""
    return lambda request: error(status, code, message, **headers)


def cutting(request: Request) -> Answer:
    """The connection breaks before anything is done."""
    return Answer(cut=0)


def losing(s3: S3Server) -> Interference:
    """The request is carried out, and the connection breaks before the reply."""

    def lose(request: Request) -> Answer:
        done = s3.pass_on(request)
        assert done.status < 300, done
        return Answer(cut=0)

    return lose


def without_list_permission(s3: S3Server) -> None:
    """Nobody may list anything."""
    denied = failing(403, "AccessDenied", "not authorized to perform: s3:ListBucketVersions")
    s3.interfere(denied, "ListObjectVersions", "ListMultipartUploads", "ListObjects")


def without_conditions(s3: S3Server) -> None:
    """A server that has never heard of If-None-Match on a write, and says so."""

    def then(request: Request) -> Answer | None:
        if "If-None-Match" in request.headers:
            return error(501, "NotImplemented", "A header you provided is not implemented.")
        return None

    s3.interfere(then, "PutObject", "CompleteMultipartUpload")


def in_pages_of(s3: S3Server, size: int) -> None:
    """Listings come in pages of `size` entries instead of 1,000."""

    def then(request: Request) -> Answer:
        request.target += f"&max-keys={size}"
        return s3.pass_on(request)

    s3.interfere(then, "ListObjectVersions")


class Verifying:
    """Checksums as S3 treats them and moto does not: what differs is refused, and the checksums of
    parts are listed."""

    def __init__(self, s3: S3Server) -> None:
        self._s3 = s3
        self._parts: dict[tuple[str, str], str] = {}
        if s3.elsewhere is None:
            s3.interfere(self._check, "PutObject", "UploadPart")
            s3.interfere(self._list, "ListParts")

    def _check(self, request: Request) -> Answer | None:
        found = b64encode(hashlib.sha256(request.body).digest()).decode()
        told = {name.lower(): value for name, value in request.headers.items()}
        if told.get("x-amz-checksum-sha256", found) != found:
            return error(400, "BadDigest", "The SHA256 you specified did not match.")
        if request.operation == "UploadPart":
            self._parts[request.query["uploadId"], request.query["partNumber"]] = found
        return None

    def _list(self, request: Request) -> Answer:
        def add(part: re.Match[str]) -> str:
            checksum = self._parts.get((request.query["uploadId"], part[1]), "")
            return f"{part[0]}<ChecksumSHA256>{checksum}</ChecksumSHA256>"

        answer = self._s3.pass_on(request)
        listed = re.sub("<PartNumber>([0-9]+)</PartNumber>", add, answer.body.decode())
        answer.body = listed.encode()
        return answer
