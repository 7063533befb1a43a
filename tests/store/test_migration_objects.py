"""From the first ledger to the one whose operations may be about objects (0002)."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from freezegun import freeze_time
from ledgers import NOON, claim, claim_operations, clean_up, owed_removals
from test_migrations import backups, layout, open_at_once

from tracker import lifecycle
from tracker.databases.migrate import migrate, rehearse
from tracker.errors import DatabaseError
from tracker.model import FILES
from tracker.objects import ObjectChange
from tracker.schema import script, statements
from tracker.schema.sqlite.migrations import STEPS
from tracker.store import open_store, server_key

FIRST = "00dac6dc344dfb119667e35f43f51c5b4e4b708018ee1441b71713551f2c87be"
"""What the first step hashes to, without comments and spacing."""
ENDED = "2026-01-01T00:00:00.000Z"
JOBS = [("running", "processing", None), ("done", "completed", ENDED), ("new", "pending", None)]


@contextmanager
def only_the_first_step() -> Iterator[None]:
    """This program as it was when there was no other step."""
    later = STEPS[1:]
    del STEPS[1:]
    try:
        yield
    finally:
        STEPS.extend(later)


@pytest.fixture
def path(tmp_path) -> Path:
    """A ledger of the first layout, with rows of all kinds in it."""
    path = tmp_path / "tracker.db"
    with freeze_time(NOON), only_the_first_step():
        assert migrate(path, server_key).steps == ("0001_ledger",)
    with closing(sqlite3.connect(path)) as connection, connection:
        fill(connection)
    return path


def fill(connection: sqlite3.Connection) -> None:
    connection.executemany(
        "INSERT INTO processing_jobs (local_id, server_id, server_key, service, status, "
        "completed_at, next_poll_at, lease, initiated_at, created_at, updated_at) "
        "VALUES (?1, ?1, ?1, 'docs', ?2, ?3, ?4, 7, ?4, ?4, ?4)",
        [(name, status, ended, ENDED) for name, status, ended in JOBS],
    )
    connection.execute(
        "INSERT INTO operations (local_id, kind, service, state, attempts, next_attempt_at, "
        "sent_at, created_at) VALUES ('new', 'create', 'docs', 'in_doubt', 1, ?1, ?1, ?1)",
        [ENDED],
    )
    connection.executemany(
        "INSERT INTO objects (id, scheme, key, size, owned, state, created_at, updated_at) "
        "VALUES (?, 'file', ?, 5, ?, ?, '2025', ?)",
        [
            (3, "/spool/new", 1, "present", ENDED),
            (5, "/spool/gone", 1, "removal_requested", ENDED),
            (8, "/results/gone", 1, "removal_requested", ENDED),
            (9, "/home/original", 0, "present", ENDED),
        ],
    )
    connection.execute("INSERT INTO job_objects VALUES ('new', 3, 'input')")
    connection.execute(
        "INSERT INTO contents (local_id, role, id, size, sha256, body, created_at) "
        "VALUES ('done', 'result', 'c', 3, '', x'78797a', ?)",
        [ENDED],
    )
    connection.execute(
        "INSERT INTO budgets (service, paused_until, paused_why, pause_count) "
        "VALUES ('docs', '2999-01-01T00:00:00.000Z', 'no route', 3)"
    )


SYNCED = ["alerted_at", "synced_at", "found_at", "expires_at"]


def dump(path: Path) -> dict[str, list[dict]]:
    """All rows of all tables, each a dict by column; but for those of the migrations."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        names = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if "sqlite" not in row[0]
        ]
        return {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]
                for name in names}  # fmt: skip


def test_the_first_step_is_frozen():
    """P11: what was released stays: a step that has run somewhere is never changed."""
    text = re.sub(r"--[^\n]*|\s", "", script("sqlite", "0001_ledger"))
    assert hashlib.sha256(text.encode()).hexdigest() == FIRST


def test_nothing_is_lost(path):
    """P11: every row of every table is there afterwards, with all that it held; what is new in a
    row is empty."""
    before = dump(path)
    open_store(path).close()
    after = dump(path)
    owed = after["operations"].pop(1), after["operations"].pop(1)
    assert all(one["kind"] == "remove_object" for one in owed)
    new = {"operations": ["object_id"], "budgets": ["fault"], "processing_jobs": SYNCED}
    assert set(after) == {*before, "listed", "strangers", "tombstones"}
    for table, rows in before.items():
        for row in after[table]:
            assert [row.pop(name) for name in new.get(table, [])] == [None] * len(
                new.get(table, [])
            )
            # Whatever was claimed once may have left.
            if table == "operations":
                assert row.pop("unaccounted") == (row["lease"] > 0)
        assert rows == after[table], table


def test_the_layout_is_the_documented_one(path):
    """P11: a ledger with rows in it ends at exactly schema/sqlite/tables.sql, column by column."""
    open_store(path).close()
    with closing(sqlite3.connect(path)) as real, closing(sqlite3.connect(":memory:")) as documented:
        for statement in statements(script("sqlite", "tables")):
            documented.execute(statement)
        assert layout(real) == layout(documented)
        for table in dump(path):
            columns = f"SELECT * FROM pragma_table_info('{table}')"
            assert real.execute(columns).fetchall() == documented.execute(columns).fetchall()
        assert real.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert real.execute("PRAGMA foreign_key_check").fetchall() == []
        names = [row[0] for row in real.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]
        assert names == [name for name, _ in STEPS]


def test_what_was_owed_is_owed(path):
    """P9: files whose removal was requested before are owed as operations, due at once, and go
    like any other; nothing else is removed."""
    with freeze_time(NOON):
        store = open_store(path)
        assert store.removals_owed(FILES) == 2
        assert owed_removals(store) == ["/spool/gone", "/results/gone"]
        removals = claim_operations(store, service=FILES)
        assert [one.object.id for one in removals] == [5, 8]
        assert all(one.attempts == 0 and one.object.owned for one in removals)
        store.settle([lifecycle.after_removal(one, ObjectChange(None)) for one in removals])
        left = store.database.read("SELECT id, state FROM objects ORDER BY id")
        assert left == [(3, "present"), (9, "present")] and owed_removals(store) == []
        store.close()


def test_work_goes_on(path):
    """P11: jobs, pauses and doubts are what they were: the running job is polled, the service is
    still paused, the create is still in doubt, the result is still there."""
    store = open_store(path)
    assert [job.local_id for job in claim(store)] == ["running"]
    budget = store.budget("docs", "")
    assert budget.paused_for > 0 and (budget.why, budget.fault) == ("no route", None)
    assert store.get("new").sync_status == "failed" and store.get("done").sync_status == "synced"
    assert store.content("done") == (b"xyz", None, None)
    assert [one["key"] for one in store.objects_of("new")] == ["/spool/new"]
    assert store.next_cleanup_in() <= 0
    assert clean_up(store).rows == 1
    store.close()


def test_it_is_backed_up_first(path):
    """P11: the ledger of before is beside it, as it was, for its owner alone."""
    before, old_layout = dump(path), layout_of(path)
    open_store(path).close()
    (backup,) = backups(path)
    assert dump(backup) == before and layout_of(backup) == old_layout
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def layout_of(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return layout(connection)


def test_a_rehearsal_changes_nothing(path):
    """P11: a dry run names the steps that are left, and changes not one byte."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    assert rehearse(path, server_key).steps == ("0002_objects", "0003_sync", "0004_expiry")
    assert path.read_bytes() == before and backups(path) == []


def test_one_that_fails_leaves_the_first_ledger(path):
    """P11: a step that fails after this one takes it back: program and ledger fit as before."""

    def boom(connection: sqlite3.Connection, context: dict) -> None:
        connection.execute("INSERT INTO nowhere VALUES (1)")

    before, old_layout = dump(path), layout_of(path)
    STEPS.append(("9999_boom", boom))
    try:
        with pytest.raises(DatabaseError, match="cannot be upgraded"):
            open_store(path)
    finally:
        STEPS.pop()
    assert dump(path) == before and layout_of(path) == old_layout and backups(path) == []
    open_store(path).close()
    assert len(dump(path)["operations"]) == 3


def test_six_at_once(path):
    """P11: of six that start at once one upgrades; what was owed is owed once."""
    assert open_at_once(path, 6) == [(0, "")] * 6
    store = open_store(path)
    assert owed_removals(store) == ["/spool/gone", "/results/gone"]
    store.close()
    assert len(backups(path)) == 1


def test_an_older_connection_goes_on(path):
    """P11: a program that has the ledger open while another one upgrades it reads and writes on."""
    with closing(sqlite3.connect(path)) as older:
        read = "SELECT local_id, sync_status FROM jobs ORDER BY local_id"
        before = older.execute(read).fetchall()
        open_store(path).close()
        assert older.execute(read).fetchall() == before
        older.execute("UPDATE processing_jobs SET vars = ?", [json.dumps({"a": 1})])
        older.execute("INSERT INTO operations (local_id, kind, service, next_attempt_at, "
                      "created_at) VALUES ('done', 'notify', 'ops', '', '')")  # fmt: skip
        older.commit()
    store = open_store(path)
    assert store.get("running").vars == {"a": 1}
    assert [one.kind for one in claim_operations(store, service="ops")] == ["notify"]
    store.close()
