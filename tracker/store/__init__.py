"""The ledger, in operations named after intentions; all SQL goes through here."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from tracker.databases import sqlite
from tracker.databases.base import is_server
from tracker.store.acts import Acts
from tracker.store.budgets import Budgets
from tracker.store.by_hand import ByHand
from tracker.store.changes import Changes
from tracker.store.claims import Claims
from tracker.store.reads import Reads
from tracker.store.upkeep import Upkeep
from tracker.store.vitals import Vitals

__all__ = ["Store", "open_store", "server_key"]


class Store(Changes, ByHand, Acts, Claims, Reads, Budgets, Upkeep, Vitals):
    """One ledger. Safe to share between threads; each method is one transaction or one read.

    Every method raises `tracker.errors.DatabaseError` for what the database does.
    """


def _persistent(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def act(store: Store, *arguments: Any, **options: Any) -> Any:
        return store.database.persist(lambda: method(store, *arguments, **options))

    return act


# Each method is a transaction or a read: where a database ends one for no fault of its own (a
# deadlock, a lost connection), the whole method is what can be done again.
for _name in dir(Store):
    if not _name.startswith("_") and _name not in ("close", "settling", "now"):
        setattr(Store, _name, _persistent(getattr(Store, _name)))


def server_key(service: str, server_id: str, account: str = "", parts: tuple[str, ...] = ()) -> str:
    """What makes a remote id unique: 32 hexadecimal digits over service, account, id and the
    further `parts` that its calls are built from (two projects may both have a build 42)."""
    import hashlib
    import json

    text = json.dumps([service, account, server_id, *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def open_store(place: Path | str, *, zone: str = "UTC") -> Store:
    """Open the ledger at `place`, a path or a server's URL, creating or upgrading it where that is
    needed.

    Raises DatabaseError when it cannot be opened, or only by a newer program.
    """
    return _on_server(str(place)) if is_server(place) else _in_file(Path(place), zone)


def _on_server(url: str) -> Store:
    from tracker.databases.postgres import Database
    from tracker.databases.servers import migrate_server

    database = Database(url)
    try:
        database.persist(lambda: migrate_server(database))
    except BaseException:
        database.close()
        raise
    return Store(database)


def _in_file(path: Path, zone: str) -> Store:
    from tracker.databases.layout import pending

    if path.exists() and not path.is_dir():
        database = sqlite.Database(path)
        try:
            up_to_date = not pending(database)
        except BaseException:
            database.close()
            raise
        if up_to_date:
            return Store(database)
        database.close()
    from tracker.databases.migrate import migrate

    migrate(path, server_key, zone=zone)
    return Store(sqlite.Database(path))
