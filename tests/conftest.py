"""The command `tracker` in a folder of its own, with a real service, on each database."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import DATABASES, Ledger, database, new_database, own_postgres, postgres, template
from project import Project
from s3server import s3
from service import JobService

__all__ = ["database", "new_database", "own_postgres", "postgres", "s3", "template"]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: tests wait for processes and clocks too."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """The one mark."""
    config.addinivalue_line("markers", "once(database, why): on this database only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever has a ledger runs on each database, unless it is marked, or brings its own."""
    if "database" in metafunc.fixturenames and "new_database" not in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("once")
        on = [one for one in DATABASES if mark is None or one == mark.args[0]]
        metafunc.parametrize("database", on, indirect=True)


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Commands started here meet Ctrl-C as they would in a terminal, also where the tests run in
    the background of a shell, which ignores it for its children."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def service() -> Iterator[JobService]:
    """A job service that does what its script says."""
    one = JobService()
    yield one
    one.close()


@pytest.fixture
def project(
    tmp_path: Path,
    service: JobService,
    monkeypatch: pytest.MonkeyPatch,
    database: Ledger | None,
) -> Iterator[Project]:
    """A folder with a tracker.toml whose service `docs` is `service`; `tracker` runs in it."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("TRACKER_"):
            monkeypatch.delenv(name)
    one = Project(tmp_path / "project", service.url)
    one.configure()
    if database:
        one.use(database)
    yield one
    service.release()
    one.close()
