"""Where objects go, and which calls are made for them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.config import LONGEST_PREFIX, StorageConfig
from tracker.errors import ConfigError, UsageError
from tracker.ids import new_id
from tracker.model import Content, Job, Kind, Operation
from tracker.objects import ObjectState, Role, Scheme, StoredObject
from tracker.storage import Storage
from tracker.storage.uris import LONGEST_KEY
from tracker.transports.tasks import Begin, Get, Item, Look, Put, Remove

calm = settings(deadline=None)
ID = "01900000-0000-7000-8000-0000deadbeef"
PLACE = Storage(StorageConfig(bucket="mine", prefix="in/"))
HASH = "ab" * 32


def spooled(name: str | None, **other: Any) -> StoredObject:
    """A file as it is spooled."""
    known: dict[str, Any] = {"size": 5, "sha256": HASH, "media_type": "text/plain", "name": name}
    return StoredObject(Scheme.FILE, "/spool/x", role=Role.INPUT, **{**known, **other})


def operation(target: StoredObject | None, **other: Any) -> Operation:
    """A claimed operation on an object."""
    job = Job(7, ID, "docs", "", None, "pending")
    known: dict[str, Any] = {"lease": 1, "attempts": 0, "idempotency_key": None}
    known |= {"payload": {"path": "/spool/x"}, "object": target}
    return Operation(1, Kind.UPLOAD_INPUT, job, **{**known, **other})


def planned(size: int = 5, **other: Any) -> StoredObject:
    """An object that is to be put there."""
    known: dict[str, Any] = {"sha256": HASH, "media_type": "text/plain"}
    return StoredObject(Scheme.S3, "k", "mine", size=size, **{**known, **other})


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("scan.pdf", "scan.pdf"),
        ("a b+ü%.pdf", "a b+ü%.pdf"),
        ("a/b\\c.pdf", "a_b_c.pdf"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("..", "_"),
        (".", "_"),
        ("", "input"),
        (None, "input"),
        ("a\nb\0c\x7f.txt", "a_b_c_.txt"),
        (".hidden", ".hidden"),
        ("x" * 500 + ".pdf", "x" * 396 + ".pdf"),
        ("é" * 300 + ".pdf", "é" * 198 + ".pdf"),
        ("x." + "y" * 500, None),
    ],
)
def test_an_inputs_key_ends_with_its_name(name: str | None, end: str | None) -> None:
    """A person who looks into the bucket knows the file again; a name that no key should have is
    made one that it may have, its suffix kept."""
    found = PLACE.plan_input(ID, spooled(name))
    assert end is None or found.key == f"in/{ID}/input/{end}"
    assert (found.bucket, found.scheme, found.role) == ("mine", Scheme.S3, Role.INPUT)
    assert (found.size, found.sha256, found.media_type) == (5, HASH, "text/plain")
    assert found.state == ObjectState.PLANNED and found.owned and found.name == name


@calm
@given(st.text(), st.text(max_size=LONGEST_PREFIX // 4))
def test_every_name_makes_a_key_that_s3_takes(name: str, prefix: str) -> None:
    """With the longest prefix and the longest name a key is within 1,024 bytes; it stays below the
    job's own place, has no control character that the prefix has not, and is always the same."""
    place = Storage(StorageConfig(bucket="mine", prefix=prefix))
    found = place.plan_input(ID, spooled(name))
    assert len(found.key.encode()) <= LONGEST_KEY
    start = f"{prefix}{ID}/input/"
    assert found.key.startswith(start)
    end = found.key[len(start) :]
    assert end and end not in (".", "..") and not re.search(r"[\x00-\x1f\x7f/]", end)
    assert place.plan_input(ID, spooled(name)).key == found.key


@pytest.mark.parametrize("name", ["\udcff.txt", "a.\udcff"])
def test_a_name_that_is_no_text_makes_a_key_too(name: str) -> None:
    """A file's name in another encoding, stem or suffix, is no reason not to upload it."""
    PLACE.plan_input(ID, spooled(name)).key.encode()


def test_the_longest_key_of_all() -> None:
    """Prefix, id and name at their longest still fit."""
    place = Storage(StorageConfig(bucket="mine", prefix="p" * LONGEST_PREFIX))
    assert (
        len(place.plan_input(new_id(), spooled("é" * 4000 + ".\U0001f600" * 30)).key.encode())
        < 1024
    )


def test_a_results_key_says_what_it_holds() -> None:
    """A result that is kept twice, with the same bytes, has one place; other bytes have another."""
    content = Content(size=3, sha256=HASH, path="/results/x.1.2.json", media_type="")
    found = PLACE.plan_result(ID, content)
    assert found.key == f"in/{ID}/result/{HASH[:16]}.json"
    assert (found.role, found.size, found.sha256) == (Role.RESULT, 3, HASH)
    assert found.media_type == "application/octet-stream"
    assert PLACE.plan_result(ID, replace(content, path=None)).key.endswith(".bin")
    assert PLACE.plan_result(ID, replace(content, sha256="cd" * 32)).key != found.key


def test_without_a_bucket_nothing_is_planned() -> None:
    """The setting that is missing is named."""
    for plan in (
        lambda: Storage(StorageConfig()).plan_input(ID, spooled("a")),
        lambda: Storage(StorageConfig()).plan_result(ID, Content(sha256=HASH)),
    ):
        with pytest.raises(ConfigError, match=r"storage\.bucket"):
            plan()


def test_a_bucket_is_reached_in_its_own_region() -> None:
    """Each bucket may be somewhere else; endpoint, addressing and patience are those of all."""
    config = StorageConfig("mine", "", "http://s3", "eu-west-1", {"far": "ap-south-1"}, True)
    place = Storage(replace(config, timeout=7.0))
    assert place.endpoint("mine").region == "eu-west-1"
    far = place.endpoint("far")
    assert (far.url, far.region, far.path_style, far.timeout) == (
        "http://s3", "ap-south-1", True, 7.0,
    )  # fmt: skip


def test_buckets_that_are_not_allowed_are_left_alone() -> None:
    """With a list, nothing is put, read or removed elsewhere; an empty list allows nothing."""
    other = replace(planned(), bucket="other")
    for allowed in (("mine", "spare"), ()):
        place = Storage(StorageConfig("mine", allowed_buckets=allowed))
        for build in (
            lambda place=place: place.build_upload(operation(other)),
            lambda place=place: place.build_removal([operation(other)]),
            lambda place=place: place.build_look(other),
            lambda place=place: place.build_get(other),
        ):
            with pytest.raises(UsageError, match=r"'other' is not in storage\.allowed"):
                build()
    Storage(StorageConfig("mine", allowed_buckets=("mine",))).build_look(planned())
    PLACE.build_look(other)  # without a list, any


def test_small_files_go_whole_and_large_ones_in_parts() -> None:
    """Up to the size of a part a file is one request; beyond, an upload is begun first."""
    size = PLACE.config.part_size
    whole = PLACE.build_upload(operation(planned(size))).task
    assert isinstance(whole, Put) and whole.upload_id is None and not whole.again
    assert (whole.path, whole.size, whole.sha256) == (Path("/spool/x"), size, HASH)
    begin = PLACE.build_upload(operation(planned(size + 1))).task
    assert isinstance(begin, Begin) and (begin.bucket, begin.key) == ("mine", "k")
    parts = PLACE.build_upload(operation(planned(size + 1, upload_id="u"), lease=2)).task
    assert isinstance(parts, Put)
    assert (parts.upload_id, parts.part_size, parts.again) == ("u", size, True)


def test_a_removal_names_what_is_on_record() -> None:
    """Keys and versions come from the ledger; what an unfinished upload left is asked for."""
    first = operation(replace(planned(), version_id="v1"))
    second = operation(planned(upload_id="u"), payload={"traces": True})
    call = PLACE.build_removal([first, second])
    assert isinstance(call.task, Remove) and call.task.bucket == "mine"
    assert call.task.items == [Item("k", "v1"), Item("k", traces=True, upload_id="u")]


def test_looks_and_reads_are_of_the_version_on_record() -> None:
    """The object on record is one version of a key, where there are versions."""
    target = replace(planned(), version_id="v1")
    look, get = PLACE.build_look(target).task, PLACE.build_get(target).task
    assert isinstance(look, Look) and isinstance(get, Get)
    assert look.version_id == get.version_id == "v1"


def test_an_operation_without_an_object_is_refused() -> None:
    """What is about nothing removes nothing."""
    for build in (PLACE.build_upload, lambda one: PLACE.build_removal([one])):
        with pytest.raises(UsageError, match="names no object"):
            build(operation(None))
