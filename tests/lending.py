"""Databases on a server that are lent to one test after the other: to make one and to drop it
costs the server ten times as much as to empty it.

Only what a test has left as it found it, but for rows, is lent again.
"""

from __future__ import annotations

from contextlib import closing

import psycopg
from psycopg import sql

CLOSE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

SHAPE = """
WITH own AS (
  SELECT * FROM pg_class WHERE relnamespace = 'public'::regnamespace
), shape (one) AS (
  SELECT format('%s %s %s %s', oid, relname, relkind, reloptions) FROM own
  UNION ALL SELECT format('%s %s %s %s', attrelid, attnum, atttypid, attnotnull)
    FROM pg_attribute WHERE attrelid IN (SELECT oid FROM own)
  UNION ALL SELECT format('%s %s', oid, tgenabled) FROM pg_trigger
  UNION ALL SELECT oid::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT oid::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'
  UNION ALL SELECT setconfig::text FROM pg_db_role_setting
  -- Whoever has statistics, or many pages of dead rows, is asked in other ways.
  UNION ALL SELECT format('%s %s', starelid, staattnum)
    FROM pg_statistic WHERE starelid IN (SELECT oid FROM own)
  UNION ALL SELECT oid::text FROM own WHERE relkind = 'r' AND pg_relation_size(oid) > 200000
)
SELECT md5(string_agg(one, ',' ORDER BY one)) FROM shape
"""
"""All that is not a row. Copies of a database have the same numbers in it."""

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
SEQUENCES = """
SELECT format('SELECT setval(%L, %s, %L)', sequencename, coalesce(last_value, start_value),
              last_value IS NOT NULL)
FROM pg_sequences WHERE schemaname = 'public'
"""


class Lender:
    """Has copies of the database at the URL `template`; those that are `idle` are as it is."""

    def __init__(self, template: str) -> None:
        self.idle: list[str] = []
        # A new connection would read the catalogue anew, which costs more than all the rest.
        self._kept: dict[str, psycopg.Connection] = {}
        with closing(psycopg.connect(template, autocommit=True)) as connection:
            self._shape = self._look(connection, SHAPE)
            tables = self._look(connection, TABLES)
            self._rows = {}
            for (name,) in tables:
                with connection.cursor().copy(
                    sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))
                ) as copy:
                    self._rows[name] = b"".join(copy)
            self._sequences = self._look(connection, SEQUENCES)

    def emptied(self, url: str) -> bool:
        """Whether what is at `url` is as it was when it was made."""
        connection = self._kept.pop(url, None) or psycopg.connect(url, autocommit=True)
        connection.execute(CLOSE)
        if self._look(connection, SHAPE) != self._shape:
            connection.close()
            return False
        connection.execute("SET session_replication_role = replica")  # rows in any order
        with connection.transaction(), connection.cursor() as cursor:
            for name, rows in self._rows.items():
                table = sql.Identifier(name)
                cursor.execute(sql.SQL("DELETE FROM {}").format(table))
                if rows:
                    with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
                        copy.write(rows)
            for (statement,) in self._sequences:
                cursor.execute(statement.encode())
        self._kept[url] = connection
        return True

    def _look(self, connection: psycopg.Connection, query: str) -> list[tuple[str, ...]]:
        return connection.execute(query.encode()).fetchall()
