"""Objects as people name them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.errors import UsageError
from tracker.objects import Role, Scheme
from tracker.storage.uris import LONGEST_KEY, read_uri

calm = settings(deadline=None)

KEYS = ["k", "a/b", "a b", "a+b", "a%20b", "slash/", "/lead", "//", "ü/日本", "a=b", "q?x=1", "#h",
        "k?versionID=x", "k?versionId=a&x=b", "line\nend", "k" * 1024, "é" * 512, "?"]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=lambda key: ascii(key[:16]))
def test_a_key_is_taken_as_it_stands(key: str) -> None:
    """Nothing in a key is decoded, trimmed or normalised: what is named is what is meant."""
    found = read_uri(f"s3://my-bucket.x/{key}")
    assert (found.scheme, found.bucket, found.key) == (Scheme.S3, "my-bucket.x", key)
    assert (found.version_id, found.role, found.owned) == (None, Role.OTHER, False)


@pytest.mark.parametrize("role", list(Role))
def test_a_word_before_it_is_its_role(role: Role, tmp_path: Path) -> None:
    """input=, result= and other= say as what the job uses it."""
    (tmp_path / "a").write_text("hello")
    assert read_uri(f"{role}=s3://bucket/k=v").role == role
    assert read_uri(f"{role}=s3://bucket/k=v").key == "k=v"
    assert read_uri(f"{role}=file://{tmp_path}/a").role == role


def test_a_version_can_be_named() -> None:
    """?versionId= at the end is the version, and no part of the key."""
    found = read_uri("s3://bucket/a?b?versionId=3/L4kqtJlcpXroDTDmJ%2Brm.Sp_-")
    assert (found.key, found.version_id) == ("a?b", "3/L4kqtJlcpXroDTDmJ+rm.Sp_-")


def test_ownership_is_only_what_was_said() -> None:
    """What was made elsewhere is not the tracker's to remove, unless somebody says so."""
    assert not read_uri("s3://bucket/k").owned
    assert read_uri("s3://bucket/k", owned=True).owned


def test_a_file_is_described(tmp_path: Path) -> None:
    """A file's path may be percent-encoded; its size and name are found."""
    path = tmp_path / "a b+ü%.txt"
    path.write_bytes(b"hello")
    for uri in (
        f"file://{tmp_path}/a%20b+%C3%BC%25.txt",
        f"file://localhost{tmp_path}/a b+ü%25.txt",
    ):
        found = read_uri(uri, owned=True)
        assert (found.scheme, found.bucket, found.key) == (Scheme.FILE, "", str(path))
        assert (found.size, found.name, found.owned) == (5, path.name, True)


BAD = ["", "k", "bucket/k", "s3:", "s3:/bucket/k", "s3://", "s3://bucket", "s3://bucket/", "s3:///k",
       "s3://b/k", "s3://-bucket/k", "s3://buc ket/k", f"s3://{'b' * 64}/k", "s3://büro/k",
       "S3://bucket/k", "https://bucket/k", "input=", "input=k", "bogus=s3://bucket/k", "=s3://b1/k",
       "s3://bucket/?versionId=x", "s3://bucket/a\0b", f"s3://bucket/{'k' * 1025}",
       f"s3://bucket/{'é' * 513}", "s3://bucket/\udcff", "s3://user:pw@bucket/k", "file:",
       "file://", "file:///", "file://relative", "file:relative", "file://host/etc/hosts",
       "file:///nonexistent/file", "file:///dev/null", "file:///etc", "file:///a%00b",
       "file:///\udcff"]  # fmt: skip


@pytest.mark.parametrize("uri", BAD, ids=lambda uri: ascii(uri[:24]))
def test_what_cannot_be_read_is_refused(uri: str) -> None:
    """What is no object is told in one short line that says what was given."""
    with pytest.raises(UsageError) as refused:
        read_uri(uri)
    assert len(str(refused.value)) < 250


def test_a_pipe_and_a_file_without_permission_to_look(tmp_path: Path) -> None:
    """Only regular files are objects; what hides behind a name too long is told too."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "x" * 300):
        with pytest.raises(UsageError):
            read_uri(f"file://{tmp_path}/{name}")


@pytest.mark.parametrize("uri", ["file://[/x", "file://[::g]/x", "file://\u2100/x"])
def test_a_host_that_is_none_is_refused(uri: str) -> None:
    """Nonsense where a host would be is bad input like any other."""
    with pytest.raises(UsageError):
        read_uri(uri)


@pytest.mark.parametrize("tail", ["#1", "?x=1", "\n", "\t"])
def test_no_other_file_is_read_than_the_one_named(tmp_path: Path, tail: str) -> None:
    """A name that a URL cannot hold is refused, or taken as it stands; another file, whose name is
    a part of it, is not taken in its place."""
    (tmp_path / "a").write_text("another")
    try:
        found = read_uri(f"file://{tmp_path}/a{tail}")
    except UsageError:
        return
    assert found.name == f"a{tail}"


@calm
@given(st.text(), st.sampled_from(["s3://", "file://", "file:///", "input=s3://bucket/", ""]))
def test_anything_is_read_or_refused(text: str, start: str) -> None:
    """Whatever is typed, there is an object or a refusal."""
    try:
        found = read_uri(start + text)
    except UsageError:
        return
    assert found.key
    assert found.scheme == Scheme.FILE or len(found.key.encode()) <= LONGEST_KEY


@calm
@given(
    st.text(min_size=1, max_size=400), st.from_regex(r"[a-z0-9][a-z0-9.-]{2,40}", fullmatch=True)
)
def test_what_was_read_is_written_alike(key: str, bucket: str) -> None:
    """An object's own spelling of itself is what it was read from."""
    try:
        found = read_uri(f"s3://{bucket}/{key}")
    except UsageError:
        assert "\0" in key or len(key.encode()) > LONGEST_KEY
        return
    assert found.uri == f"s3://{bucket}/{key}"
