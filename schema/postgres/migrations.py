"""The steps from an empty database to the present one, in order.

A step's name, once released, never changes, and what it leaves is usable by the version before it.
All steps run in one transaction, with the record of them.
"""

from __future__ import annotations

STEPS: list[tuple[str, str]] = [
    ("0001_ledger", "0001_ledger"),
    ("0002_vacuum", "0002_vacuum"),
]
"""Names, each with the script that it runs. ``tables.sql`` is what the steps come to; a test
compares them."""
