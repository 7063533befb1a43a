"""Presigned URLs: good, the same while they are good, and never without credentials."""

from __future__ import annotations

import random
import threading
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from freezegun import freeze_time
from s3server import SECRET, S3Server

from tracker import clock
from tracker.config import StorageConfig
from tracker.errors import CallFailed
from tracker.storage import Storage
from tracker.storage.signing import Signer

NOON = "2026-03-04T12:00:00Z"
KEYS = ["k", "a b", "a+b", "a%20b", "ü/日本", "slash/", "&<>\"'?#=", "~*()'!", "x//y"]


def signer(s3: S3Server | None = None, **config: Any) -> Signer:
    """Signs for a server with path style, or else for AWS itself."""
    if s3 is not None:
        config |= {"endpoint_url": s3.url, "path_style": True}
    return Signer(Storage(StorageConfig("bucket", **config)))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says what the time is."""
    return lambda seconds: monkeypatch.setattr(clock, "now", lambda: seconds)


@pytest.mark.parametrize("key", KEYS)
def test_anybody_reads_the_object_by_its_url(s3: S3Server, key: str) -> None:
    """A service that knows nothing but the URL gets exactly that object."""
    bucket = s3.bucket()
    s3.put(bucket, key, key.encode())
    with urlopen(signer(s3).url(bucket, key), timeout=20) as reply:
        assert reply.read() == key.encode()


def test_the_version_on_record_is_signed(s3: S3Server) -> None:
    """Whoever writes over the key does not change what the service reads."""
    bucket = s3.bucket(versioned=True)
    old = s3.put(bucket, "k", b"old")
    s3.put(bucket, "k", b"new")
    with urlopen(signer(s3).url(bucket, "k", old), timeout=20) as reply:
        assert reply.read() == b"old"
    with pytest.raises(HTTPError):
        urlopen(signer(s3).url(bucket, "gone", old), timeout=20)


@pytest.mark.parametrize(
    ("server", "region"),
    [
        (True, None),
        (True, "eu-west-3"),
        (False, None),
        (False, "eu-west-3"),
    ],
)
def test_it_is_what_boto3_signs_at_the_beginning_of_the_window(
    s3: S3Server, server: bool, region: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3's own URL, made at the first second of the window, is the same: for AWS at the host of
    the bucket's region, and for a server of one's own."""
    s3.need_front()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token/+=")
    with freeze_time(NOON):
        client = boto3.Session().client(
            "s3",
            region_name=region,
            endpoint_url=s3.url if server else None,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path" if server else "virtual"},
            ),
        )
        expected = [
            client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=3600)
            for key in KEYS
            for wanted in (
                {"Bucket": "bucket", "Key": key},
                {"Bucket": "bucket", "Key": key, "VersionId": "a.b_c-d"},
            )
        ]
    with freeze_time("2026-03-04T12:29:59Z"):
        mine = signer(s3 if server else None, region=region)
        found = [mine.url("bucket", key, version) for key in KEYS for version in (None, "a.b_c-d")]
    for mine_is, boto3s_is in zip(found, expected, strict=True):
        assert taken_apart(mine_is) == taken_apart(boto3s_is)


def taken_apart(url: str) -> tuple[str, str, dict[str, list[str]]]:
    """A URL without the order of its query."""
    parts = urlsplit(url)
    return parts.netloc, parts.path, parse_qs(parts.query)


def test_it_is_the_same_within_its_window_and_another_after_it(s3: S3Server, at: Any) -> None:
    """A create that is sent again has the very same body; past half of the time it is signed anew,
    also by another process."""
    noon = clock.to_seconds(NOON)
    one, another, urls = signer(s3, presign=600.0), signer(s3, presign=600.0), []
    for seconds in (0, 1, 150, 299.9, 300, 599.9, 600):
        at(noon + seconds)
        urls.append(one.url("bucket", "k"))
        assert urls[-1] == another.url("bucket", "k")
    assert urls[0] == urls[1] == urls[2] == urls[3] != urls[4] == urls[5] != urls[6]
    assert one.url("bucket", "other") != urls[6]


@pytest.mark.parametrize("presign", [2, 3, 61, 3600, 7 * 86400])
def test_it_is_good_for_at_least_half_of_its_time(s3: S3Server, at: Any, presign: int) -> None:
    """Whenever it is asked for, a URL is already good, and goes on being so for half of what was
    configured, but for a second of rounding."""
    one = signer(s3, presign=float(presign))
    rnd = random.Random(presign)
    for _ in range(40):
        now = rnd.uniform(0, 4e9)
        at(now)
        found = parse_qs(urlsplit(one.url("bucket", "k")).query)
        began = datetime.strptime(found["X-Amz-Date"][0] + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
        assert began <= now
        assert int(found["X-Amz-Expires"][0]) == presign
        assert began + presign - now >= presign / 2 - 1


def test_the_same_url_comes_from_all_threads(s3: S3Server) -> None:
    """One signer serves all of a poller's lanes."""
    one, found = signer(s3, presign=7 * 86400), []
    threads = [
        threading.Thread(target=lambda: found.append(one.url("bucket", "k"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


def test_nobody_is_asked_for_it(s3: S3Server) -> None:
    """Signing is arithmetic: it works while S3 is down."""
    one = signer(s3)
    s3.pause()
    assert one.url("bucket", "k").startswith(f"{s3.url}/bucket/k?X-Amz-")


# What cannot be signed.


def test_without_credentials_there_is_no_url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing credentials are told, and no unsigned URL goes out in place of a signed one."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(CallFailed, match="credentials"):
        signer(s3).url("bucket", "k")


def test_credentials_that_come_later_are_found(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poller that runs on need not be started anew when somebody has logged in."""
    s3.need_front()
    key = s3.env["AWS_ACCESS_KEY_ID"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    one = signer(s3)
    with pytest.raises(CallFailed):
        one.url("bucket", "k")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    assert "X-Amz-Signature" in one.url("bucket", "k")


BROKEN = {
    "profile": ("", {"AWS_PROFILE": "nobody"}),
    "syntax": ("[default\nx", {}),
    "process": ("[default]\ncredential_process = false\n", {}),
    "half": ("", {"AWS_ACCESS_KEY_ID": "only this"}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_configuration_of_aws_is_told(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Whatever is wrong with AWS's own settings is a failed call with a reason, and no crash."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    text, env = BROKEN[case]
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CallFailed) as failed:
        signer(s3).url("bucket", "k")
    assert SECRET not in str(failed.value)


def test_the_secret_is_not_in_the_url(s3: S3Server) -> None:
    """A signature is there, the key that made it is not."""
    s3.need_front()
    found = signer(s3).url("bucket", "k")
    assert "X-Amz-Signature=" in found and SECRET not in found
