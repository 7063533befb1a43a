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
def make_yard(
    tmp_path: Path, database: Ledger | None, request: pytest.FixtureRequest
) -> Iterator[MakeYard]:
    """Make a yard whose service has these knobs; all its processes end with the test."""
    yards: list[Yard] = []

    def another() -> Ledger:
        server = request.getfixturevalue("postgres")
        return Ledger(server.lend(request.getfixturevalue("template")))

    def make(**knobs: Any) -> Yard:
        folder = tmp_path / f"yard-{len(yards)}"
        folder.mkdir()
        ledger = another() if database and yards else database
        yards.append(Yard(folder, Service(**knobs), ledger))
        return yards[-1]

    yield make
    for yard in yards:
        yard.close()
        yard.service.close()
        if yard.server and yard.server is not database:
            yard.server.close()
            request.getfixturevalue("postgres").give_back(yard.server.url)
