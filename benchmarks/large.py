"""Large ledgers, made fast: rows in bulk, the indexes behind them, on SQLite and on PostgreSQL."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from servers import database, postgres

from tracker import clock
from tracker.store import open_store

DIALECTS = ("sqlite", "postgres")
PRIME = 2_654_435_761
"""Multiplied by it, row numbers come in an order that has nothing to do with that of the rows."""

COLUMNS = """local_id, server_id, server_key, service, job_type, status, initiated_at, created_at,
    updated_at, accepted_at, completed_at, last_poll_at, progress, last_http_status, next_poll_at"""

SQLITE = """
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :rows - 1),
r AS (SELECT i, i * :prime % :rows AS place, :now - 86400 * 30.0 * (:rows - i) / :rows AS begun
      FROM n),
t AS (SELECT i, place, printf('%012x', CAST(begun * 1000 AS INTEGER)) AS stamp,
      strftime('%Y-%m-%dT%H:%M:%fZ', begun, 'unixepoch') AS begun FROM r)
INSERT INTO processing_jobs (COLUMNS)
SELECT substr(stamp, 1, 8) || '-' || substr(stamp, 9) || '-7' || lower(substr(hex(
        randomblob(2)), 2)) || '-a' || lower(substr(hex(randomblob(2)), 2)) || '-'
        || lower(hex(randomblob(6))),
    'job-' || i, lower(hex(randomblob(16))), 'bench', 'ocr',
    iif(place < :live, 'processing', 'completed'), begun, begun, begun, begun,
    iif(place < :live, NULL, strftime('%Y-%m-%dT%H:%M:%fZ', :now - 60 - abs(random() % 86400000)
        / 1000.0, 'unixepoch')),
    begun, 50.0, 200,
    iif(place < :live, strftime('%Y-%m-%dT%H:%M:%fZ', :now - abs(random() % 600000) / 1000.0
        + iif(place < :due, 0, 86400), 'unixepoch'), NULL)
FROM t
""".replace("COLUMNS", COLUMNS)

POSTGRES = """
WITH r AS MATERIALIZED (
    SELECT i, i * :prime % :rows AS place, to_timestamp(
        :now - 86400 * 30 * (:rows - i)::float8 / :rows) AS begun,
        md5(i::text || 'a') AS word, md5(i::text || 'b') AS key
    FROM generate_series(0, :rows - 1::bigint) AS i
)
INSERT INTO processing_jobs (COLUMNS)
SELECT substr(stamp, 1, 8) || '-' || substr(stamp, 9) || '-7' || substr(word, 1, 3)
        || '-a' || substr(word, 4, 3) || '-' || substr(word, 7, 12),
    'job-' || i, key, 'bench', 'ocr',
    CASE WHEN place < :live THEN 'processing' ELSE 'completed' END, begun, begun, begun, begun,
    CASE WHEN place >= :live THEN to_timestamp(:now - 60 - random() * 86400) END,
    begun, 50.0, 200,
    CASE WHEN place < :live THEN to_timestamp(:now - random() * 600
        + CASE WHEN place < :due THEN 0 ELSE 86400 END) END
FROM r, lpad(to_hex((extract(epoch FROM begun) * 1000)::bigint), 12, '0') AS stamp
""".replace("COLUMNS", COLUMNS)


def with_databases(description: str, **defaults: int) -> argparse.Namespace:
    """``--json``, ``--database``, and an option for each of `defaults`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--database", choices=(*DIALECTS, "both"), default="both")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default: {value}")
    return parser.parse_args()


def dialects_of(args: argparse.Namespace) -> tuple[str, ...]:
    """What ``--database`` means."""
    return DIALECTS if args.database == "both" else (args.database,)


@contextlib.contextmanager
def ledger(dialect: str, folder: Path, *, rows: int, due: int, later: int) -> Iterator[str]:
    """A ledger of so many jobs, gone afterwards: `due` of them due since up to ten minutes, `later`
    due tomorrow, all others finished. Yields its path or URL."""
    numbers = {"rows": rows, "due": due, "live": due + later, "now": clock.now(), "prime": PRIME}
    if dialect == "sqlite":
        path = folder / "tracker.db"
        open_store(path).close()
        _fill_file(path, numbers)
        yield str(path)
        for one in folder.glob("tracker.db*"):
            one.unlink()
        return
    with postgres() as url:
        large = database(url, "large")
        open_store(large).close()
        _fill_server(large, numbers)
        yield large
        _on_server(url, "DROP DATABASE large WITH (FORCE)")


def _fill_file(path: Path, numbers: dict[str, Any]) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144"):
            database.execute(f"PRAGMA {pragma}")
        indexes = database.execute(
            "SELECT name, sql FROM sqlite_master "
            "WHERE type = 'index' AND tbl_name = 'processing_jobs' AND sql IS NOT NULL"
        ).fetchall()
        database.execute("BEGIN")
        for name, _ in indexes:
            database.execute(f"DROP INDEX {name}")
        database.execute(SQLITE, numbers)
        for _, sql in indexes:
            database.execute(sql)
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = WAL")
    os.sync()


def _fill_server(url: str, numbers: dict[str, Any]) -> None:
    import psycopg

    with contextlib.closing(psycopg.connect(url, autocommit=True)) as database:
        for setting in ("fsync = off", "max_wal_size = '8GB'"):
            database.execute(f"ALTER SYSTEM SET {setting}".encode())
        database.execute("SELECT pg_reload_conf()")
        database.execute("SET maintenance_work_mem = '512MB'")
        indexes = database.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'processing_jobs' "
            "AND indexname NOT IN (SELECT conname FROM pg_constraint) "
            # Made afterwards, one by hash has room for all rows, also where it holds none.
            "AND indexdef NOT LIKE '%USING hash%'"
        ).fetchall()
        for name, _ in indexes:
            database.execute(f"DROP INDEX {name}".encode())
        text = re.sub(r"(?<!:):(\w+)", r"%(\1)s", POSTGRES.replace("%", "%%"))
        with database.cursor() as cursor, database.transaction():
            cursor.execute(text.encode(), numbers)
        for _, sql in indexes:
            database.execute(sql.encode())
        database.execute("VACUUM (ANALYZE, FREEZE)")
        database.execute("ALTER SYSTEM RESET ALL")
        database.execute("SELECT pg_reload_conf()")
        database.execute("CHECKPOINT")
    os.sync()


def _on_server(url: str, sql: str) -> None:
    import psycopg

    with contextlib.closing(psycopg.connect(url, autocommit=True)) as database:
        database.execute(sql.encode())
