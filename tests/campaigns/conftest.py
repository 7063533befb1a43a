"""Services and yards for the campaigns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import Ledger
from yard import Service, Yard

MakeYard = Callable[..., Yard]


@pytest.fixture
def make_yard(tmp_path: Path, database: Ledger | None) -> Iterator[MakeYard]:
    """Make a yard whose service has these knobs; all its processes end with the test."""
    yards: list[Yard] = []

    def make(**knobs: Any) -> Yard:
        folder = tmp_path / f"yard-{len(yards)}"
        folder.mkdir()
        yards.append(Yard(folder, Service(**knobs), database))
        return yards[-1]

    yield make
    for yard in yards:
        yard.close()
        yard.service.close()
