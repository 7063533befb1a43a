"""The ledger, in operations named after intentions; all SQL goes through here."""

from __future__ import annotations

from pathlib import Path

from tracker.databases.sqlite import Database
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


def server_key(service: str, server_id: str, account: str = "", parts: tuple[str, ...] = ()) -> str:
    """What makes a remote id unique: 32 hexadecimal digits over service, account, id and the
    further `parts` that its calls are built from (two projects may both have a build 42)."""
    import hashlib
    import json

    text = json.dumps([service, account, server_id, *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def open_store(path: Path, *, zone: str = "UTC") -> Store:
    """Open the ledger at `path`, creating or upgrading it where that is needed.

    Raises DatabaseError when it cannot be opened, or only by a newer program.
    """
    from tracker.databases.layout import pending

    if path.exists() and not path.is_dir():
        database = Database(path)
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
    return Store(Database(path))
