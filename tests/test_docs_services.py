"""docs/services.md and the loader know the same keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracker import config
from tracker.services import known_keys, load_services

TEXT = (Path(__file__).parent.parent / "docs" / "services.md").read_text()
CALLS = ("create", "create.then", "create.lookup", "status", "status.bulk", "result", "update",
         "cancel", "delete", "list", "cleanup")  # fmt: skip


def documented() -> set[str]:
    """The keys in the tables of the document, as dotted paths with `*` for a service's name."""
    keys: set[str] = set()
    prefixes: list[str] | None = None
    for line in TEXT.splitlines():
        if heading := re.match(r"#+ (.*)", line):
            prefixes = _prefixes(heading[1])
        elif prefixes is not None and (row := re.match(r"\| `([a-z_.]+)` \|", line)):
            keys.update(f"{prefix}{row[1]}" for prefix in prefixes)
    requests = {f"services.*.{call}.request" for call in CALLS}
    return keys - requests


def _prefixes(heading: str) -> list[str] | None:
    if heading == "Top level":
        return [""]
    if heading == "`request`":
        return [f"services.*.{call}.request." for call in CALLS]
    table = re.fullmatch(r"`\[(.*)\]`", heading)
    return [table[1].replace(".X", ".*") + "."] if table else None


def test_every_key_is_documented():
    """Each key that the loader reads has a row in the reference."""
    assert set(known_keys()) - documented() == set()


def test_no_row_is_invented():
    """Each row of the reference is a key that the loader reads."""
    assert documented() - set(known_keys()) == set()


def test_the_check_sees_something():
    """The comparison is not one of two empty sets."""
    assert len(documented()) > 90 and "services.*.poll.backoff.base" in documented()


EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
COMPLETION = {
    "create": {"request": {"path": "/x"}, "server_id": "body.id"},
    "status": {"request": {"path": "/x"}, "state": "body.state"},
    "states": {"completed": ["done"], "processing": ["running"], "failed": ["failed"]},
}


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_loads(example):
    """Each example of the reference is accepted, with the parts that it leaves out filled in."""
    if "[" not in example and example.startswith("state"):
        example = f"[services.docs.status]\n{example}"
    loaded = config.parse(example, "/etc/tracker.toml")
    for table in loaded.services.values():
        table.setdefault("base_url", "https://api.example.com")
        for name, defaults in COMPLETION.items():
            table[name] = defaults | table.get(name, {})
    assert list(load_services(loaded)) == list(loaded.services)
