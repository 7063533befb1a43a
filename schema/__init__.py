"""The one place that knows tables: their definition, their migrations, and every statement."""

from __future__ import annotations

from functools import cache
from pkgutil import get_data


@cache
def script(dialect: str, name: str) -> str:
    """The text of ``<dialect>/<name>.sql``."""
    # importlib.resources would do the same and takes 10 ms to import, which every command pays.
    found = get_data(__package__, f"{dialect}/{name}.sql")
    assert found is not None
    return found.decode()


@cache
def queries(dialect: str) -> dict[str, str]:
    """Every named statement of a dialect: each follows a line ``-- name: <name>``. What another
    dialect does not say in its own words is SQLite's; what it says nothing under, it does not
    need."""
    found: dict[str, str] = dict(queries("sqlite")) if dialect != "sqlite" else {}
    for block in script(dialect, "queries").split("\n-- name: ")[1:]:
        name, _, sql = block.partition("\n")
        found[name.strip()] = sql.strip().rstrip(";")
    return {name: sql for name, sql in found.items() if sql}


def statements(text: str) -> list[str]:
    """The single statements of an SQL script; a trigger's body stays in one piece."""
    from sqlite3 import complete_statement

    found, current = [], ""
    for line in text.splitlines(keepends=True):
        if not current and (not line.strip() or line.lstrip().startswith("--")):
            continue
        current += line
        if complete_statement(current):
            found.append(current.strip())
            current = ""
    return found
