"""Whatever else is in the bucket: what was not named survives."""

from __future__ import annotations

import random

import pytest
from asking_s3 import Asker
from s3server import S3Server
from unruly import in_pages_of, without_list_permission

from tracker.transports.tasks import Item

PARTS = ["a", "a/", "ab", "b", "é", " ", "~"]


def mixed(rnd: random.Random) -> list[str]:
    """Keys that share beginnings, some of them beginnings of others."""
    return sorted({"".join(rnd.choices(PARTS, k=rnd.randint(1, 4))) for _ in range(14)})


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("page", [1, 2, 5, None])
def test_neighbours_survive(ask: Asker, s3: S3Server, page: int | None, seed: int) -> None:
    """Of keys that begin alike, of which some have several versions and some delete markers,
    exactly the named versions go, wherever a listing's pages end. Sizes are told where they were
    found."""
    rnd = random.Random(seed)
    bucket = s3.bucket(versioned=True)
    there: list[tuple[str, str | None, int]] = []
    for key in mixed(rnd):
        for size in range(1, 2 + rnd.choice([0, 0, 1, 2])):
            there.append((key, s3.put(bucket, key, b"x" * size), size))
        if rnd.random() < 0.2:
            s3.client.delete_object(Bucket=bucket, Key=key)
    markers = s3.markers(bucket)
    if page is not None:
        in_pages_of(s3, page)
    mine = rnd.sample(there, rnd.randint(1, 6))
    removed = ask.remove(bucket, *(Item(key, version) for key, version, _ in mine))
    sizes = [size for _, _, size in mine]
    assert [one.size or size for one, size in zip(removed, sizes, strict=True)] == sizes
    assert page is not None or None not in [one.size for one in removed]
    assert s3.versions(bucket) == sorted(set(there) - set(mine))
    assert s3.markers(bucket) == markers


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("versioned", [True, False])
def test_neighbours_of_unpinned_objects_survive(
    ask: Asker, s3: S3Server, versioned: bool, listing: bool
) -> None:
    """Without a version on record, the named keys alone go, and leave no delete marker."""
    rnd = random.Random(1)
    bucket = s3.bucket(versioned)
    keys = mixed(rnd)
    for key in keys:
        s3.put(bucket, key)
    if listing:
        in_pages_of(s3, 2)
    else:
        without_list_permission(s3)
    mine = rnd.sample(keys, 5)
    assert [one.size for one in ask.remove(bucket, *mine)] == [1] * 5
    assert s3.keys(bucket) == sorted(set(keys) - set(mine))
    assert s3.markers(bucket) == []


def test_a_crowd_before_the_key_costs_few_requests(ask: Asker, s3: S3Server) -> None:
    """In a bucket with many others, what is asked grows with what is to go, not with them."""
    bucket = s3.bucket()
    for one in range(40):
        s3.put(bucket, f"crowd/{one:02}")
    in_pages_of(s3, 2)
    for key in ("crowd/zz", "crowd/00x"):
        s3.put(bucket, key)
    ask.remove(bucket, "crowd/zz", "crowd/00x")
    assert len(s3.keys(bucket)) == 40
    assert s3.count("ListObjectVersions") <= 3 and s3.count("HeadObject") <= 2
