"""tracker db"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from contract import has_keys
from postgres import in_file

pytestmark = in_file

OLD = """
CREATE TABLE processing_jobs (job_id TEXT PRIMARY KEY, job_type TEXT NOT NULL,
    status TEXT NOT NULL, initiated_at TEXT NOT NULL, estimated_completion_seconds INTEGER,
    completed_at TEXT, result_content_id TEXT, error_message TEXT);
INSERT INTO processing_jobs VALUES
    ('4711', 'ocr', 'processing', '2026-01-31T08:15:00', 60, NULL, NULL, NULL),
    ('4712', 'ocr', 'completed', '2026-01-31T08:15:00', 60, '2026-01-31T08:16:00', 'c1', NULL),
    ('4713', 'ocr', 'timeout', '2026-01-31T08:15:00', NULL, '2026-01-31T08:16:00', NULL, NULL);
PRAGMA user_version = 1;
"""


@pytest.fixture
def old(project):
    """A project with a database from before the ledger."""
    with closing(sqlite3.connect(project.db)) as database:
        database.executescript(OLD)
    return project


def test_a_new_database(project):
    """`db migrate` creates the database where there is none; the second time nothing is left."""
    assert "ran 0001_ledger" in project.ok("db", "migrate").line
    assert project.ok("db", "migrate").line == f"{project.db} is up to date"


def test_migrate_json(old):
    """`db migrate --json` has exactly these keys, with the older rows and the backup."""
    done = old.json("db", "migrate")
    assert has_keys(done, "database steps rows backup dry_run")
    assert (done["database"], done["rows"], done["dry_run"]) == (str(old.db), 3, False)
    with closing(sqlite3.connect(done["backup"])) as backup:
        assert backup.execute("SELECT count(*) FROM processing_jobs").fetchone() == (3,)
        assert backup.execute("PRAGMA user_version").fetchone() == (1,)
    rows = old.rows("SELECT server_id, service, status FROM processing_jobs ORDER BY server_id")
    assert [tuple(row.values()) for row in rows] == [
        ("4711", "default", "processing"),
        ("4712", "default", "completed"),
        ("4713", "default", "failed"),
    ]


def test_dry_run(old):
    """`db migrate --dry-run` says what would happen and changes no byte."""
    before = old.db.read_bytes()
    said = old.ok("db", "migrate", "--dry-run").out
    assert "would run 0001_ledger" in said and "would take 3 older jobs along" in said
    assert old.json("db", "migrate", "--dry-run")["dry_run"] is True
    assert old.db.read_bytes() == before
    assert not list(old.path.glob("*backup*"))


def test_dry_run_without_a_database(project):
    """A rehearsal creates nothing."""
    project.ok("db", "migrate", "--dry-run")
    assert not project.db.exists()


def test_status(project):
    """`db status --json` says where the database is, how large, which version and what is in it,
    with exactly these keys."""
    project.add()
    project.record()
    found = project.json("db", "status")
    assert has_keys(
        found,
        "database bytes program sqlite pending_steps min_program ledger_id paused active_jobs "
        "operations last_event pollers",
    )
    assert (found["database"], found["pending_steps"], found["paused"]) == (
        str(project.db), [], False
    )  # fmt: skip
    assert found["active_jobs"] == {"pending": 1, "processing": 1, "retrieving": 0}
    assert found["operations"] == {"pending": 1}
    assert "pending 1, processing 1, retrieving 0" in project.ok("db", "status").out


def test_status_of_an_older_one(old):
    """A look at an older database does not upgrade it."""
    before = old.db.read_bytes()
    steps = old.json("db", "status")["pending_steps"]
    assert [step[:4] for step in steps] == ["0001", "0002", "0003", "0004"]
    assert old.db.read_bytes() == before


def test_status_of_none(project):
    """Without a database `db status` is exit 6, says how to get one, and creates none."""
    error = project.refused(6, "db", "status")
    assert "there is no database" in error and "tracker init" in error
    assert not project.db.exists()


def test_backup(project):
    """`db backup` writes a copy that its owner alone can read and that works as a database."""
    job = project.add()
    assert "as it was just now" in project.ok("db", "backup", "copy.db").line
    copy = project.path / "copy.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert project.json("list", "--db", str(copy))[0]["local_id"] == job


def test_backup_beside_a_poller(project, service):
    """A backup while a `run` is at work is whole."""
    project.configure({"poll": {"every": "1ms"}})
    for number in range(5):
        project.add(f"srv-{number}")
    project.start("run", "--quiet")
    service.wait_for(10, "GET")
    project.ok("db", "backup", "copy.db")
    with closing(sqlite3.connect(project.path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM processing_jobs").fetchone() == (5,)


@pytest.mark.parametrize("target", ["there.db", "nowhere/copy.db", "."])
def test_a_backup_that_cannot_be(project, target):
    """A backup overwrites nothing and needs its folder: one line that names the file."""
    project.add()
    (project.path / "there.db").write_text("mine")
    error = project.refused(6, "db", "backup", target)
    assert target.partition("/")[0].removesuffix(".") in error
    assert (project.path / "there.db").read_text() == "mine"
    assert not list(project.path.glob("**/*.partial"))


def test_backup_json(project):
    """`db backup --json` names the copy and its size, and nothing else."""
    project.add()
    done = project.json("db", "backup", "copy.db")
    copy = project.path / "copy.db"
    assert done == {"backup": str(copy), "bytes": copy.stat().st_size}
