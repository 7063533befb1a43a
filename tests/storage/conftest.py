"""S3 and a transport to it, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asking_s3 import Asker
from s3server import S3Server, s3

__all__ = ["s3"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for boto3's own pauses between its attempts."""
    delay = "botocore.retries.standard.ExponentialBackoff.delay_amount"
    monkeypatch.setattr(delay, lambda self, context: 0.0)


@pytest.fixture
def ask(s3: S3Server, tmp_path: Path) -> Iterator[Asker]:
    one = Asker(s3, tmp_path)
    yield one
    one.transport.close()
