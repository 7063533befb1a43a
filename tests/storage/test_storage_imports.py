"""boto3 is 25 MB and 0.2 s: whoever has no use for it does not load it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from s3server import S3Server

HEAVY = {"boto3", "botocore", "s3transfer"}

SCRIPT = """
import json, sys
from tracker import Tracker
{then}
print(json.dumps(sorted(sys.modules)))
"""
LANES = """
from pathlib import Path
from tracker.config import load
from tracker.executors import lanes_of
from tracker.spool import Folder
from tracker.storage import Storage
config = load("tracker.toml")
assert len(lanes_of([], [], Storage(config.storage), Folder(Path("x")))) == 3
"""
POLL = """
with Tracker("tracker.toml") as tracker:
    summary = tracker.poll()
"""
CLEANUP = """
with Tracker("tracker.toml") as tracker:
    tracker.cleanup(older_than=0.0)
"""


def loaded(project: Any, then: str, **env: str) -> set[str]:
    """The modules that a process has loaded after `then`."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT.format(then=then)],
        cwd=project.path, env=project.env | env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.fixture
def configured(project: Any, s3: S3Server) -> Any:
    """A project that has a bucket."""
    bucket = s3.bucket()
    project.configure(storage={"bucket": bucket, "endpoint_url": s3.url})
    return project


@pytest.mark.parametrize(
    "then", ["", LANES, POLL, CLEANUP], ids=["import", "lanes", "poll", "cleanup"]
)
def test_who_has_nothing_for_s3_loads_no_boto3(configured: Any, then: str) -> None:
    """Importing, building lanes, polling a job and cleaning up one without objects need no S3, also
    where a bucket is configured."""
    configured.add("srv-1")
    configured.ended("srv-2")
    modules = loaded(configured, then)
    assert "tracker" in modules and not modules & HEAVY


def test_a_removal_loads_it(configured: Any, s3: S3Server) -> None:
    """The same pass with one object to remove does load boto3: the test above can fail."""
    bucket = s3.bucket()
    s3.put(bucket, "k")
    configured.ended("srv-1", objects=[f"s3://{bucket}/k"], owned=True)
    assert loaded(configured, CLEANUP, **s3.env) >= {"boto3", "botocore"}
    assert s3.keys(bucket) == []
