"""Definitions of well-known services, brought along: ``preset = "openai-batch"``.

A preset is a file of TOML: what a ``[services.X]`` table would say, with a ``title`` and examples
of replies; the table that names it is laid over it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracker.errors import NotFound, did_you_mean
from tracker.services.values import word_key

FOLDER = Path(__file__).with_name("presets")

_PLACES = ({"path", "url"}, {"path", "url"})
_BODIES = ({"json", "form", "body"}, {"json", "form", "body"})
_SCHEMES = ({"bearer", "basic", "header"}, {"bearer", "basic", "header", "value", "prefix"})
_RESULTS = ({"request", "value"}, {"request", "value"})
_AMOUNTS = ({"percent", "fraction", "num"}, {"percent", "fraction", "num", "den"})
TAKES_BACK: Mapping[str, tuple[tuple[set[str], set[str]], ...]] = {
    "": (({"rate"}, {"rates"}),),
    "request": (_PLACES, _BODIES),
    "auth": (_SCHEMES,),
    "result": (_RESULTS,),
    "progress": (_AMOUNTS,),
    "create": (({"idempotency"}, {"idempotency_key"}),),
}
"""By table ("": the service's own): whoever says one of the first keys takes back what the preset
says of the second."""


SAYS_NOTHING_OF_REPLIES = {
    "auth", "account", "rate", "rates", "concurrency", "timeout", "poll", "retry"
}  # fmt: skip


def preset_names() -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def preset_text(name: str) -> str:
    """The preset as it is written. Raises NotFound with the nearest name there is."""
    names = preset_names()
    if name not in names:
        near = did_you_mean(name, names) or "see: tracker services presets"
        raise NotFound(f"no preset '{name[:80]}'", near)
    return (FOLDER / f"{name}.toml").read_text("utf-8")


def read_preset(name: str) -> dict[str, Any]:
    """The tables of a preset. Raises NotFound."""
    return tomllib.loads(preset_text(name))


def laid_over(preset: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """`preset` with what `table` says instead; a table that is ``false`` there is none. A state
    word that `table` names means there what it says, and nothing else. The preset's examples are
    those of the preset alone: they hold for it as it is written."""
    found = _merged(preset, table, "")
    states, below = table.get("states"), preset.get("states")
    if isinstance(states, Mapping) and isinstance(below, Mapping):
        found["states"] = _moved(below, states, bool(found.get("fold_case")))
    if set(table) - SAYS_NOTHING_OF_REPLIES:
        found.pop("examples", None)
    if "examples" in table:
        found["examples"] = table["examples"]
    return found


def _merged(below: Mapping[str, Any], above: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = dict(below)
    for said, taken_back in TAKES_BACK.get(name, ()):
        if said & set(above):
            for key in taken_back - set(above):
                found.pop(key, None)
    for key, value in above.items():
        before = found.get(key)
        if value is False and isinstance(before, Mapping):
            del found[key]
        elif isinstance(before, Mapping) and isinstance(value, Mapping):
            found[key] = _merged(before, value, key)
        else:
            found[key] = value
    return found


def _moved(below: Mapping[str, Any], above: Mapping[str, Any], fold_case: bool) -> dict[str, Any]:
    """Words keep the states of `below` but for those that `above` names."""
    named = {
        word_key(word, fold_case)
        for words in above.values()
        if isinstance(words, list)
        for word in words
    }
    found = {
        state: [word for word in words if word_key(word, fold_case) not in named]
        for state, words in below.items()
    }
    for state, words in above.items():
        found[state] = [*found.get(state, []), *words] if isinstance(words, list) else words
    return found
