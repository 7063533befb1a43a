"""The layout of a ledger on PostgreSQL: what the steps come to is what is documented."""

from __future__ import annotations

from contextlib import closing

import psycopg

from tracker.schema import script
from tracker.schema.postgres.migrations import STEPS

LAYOUT = (
    "SELECT relname, relkind, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace",
    "SELECT table_name, column_name, ordinal_position, data_type, collation_name, is_nullable, "
    "column_default, is_identity FROM information_schema.columns WHERE table_schema = 'public'",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace",
    "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
)


def layout(connection: psycopg.Connection) -> set[str]:
    return {str(row) for sql in LAYOUT for row in connection.execute(sql.encode()).fetchall()}


def test_the_layout_is_the_documented_one(new_database):
    """The steps, from nothing, end at exactly schema/postgres/tables.sql."""
    with closing(psycopg.connect(new_database(), autocommit=True)) as connection:
        connection.execute(script("postgres", "tables").encode())
        documented = layout(connection)
    with closing(psycopg.connect(new_database(), autocommit=True)) as connection:
        for _, file in STEPS[:-1]:
            connection.execute(script("postgres", file).encode())
        assert layout(connection) != documented
        connection.execute(script("postgres", STEPS[-1][1]).encode())
        assert layout(connection) == documented
