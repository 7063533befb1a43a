"""Templates: ``{server_id}``, ``{payload.a.b[0]}``, ``{payload.language?}``, ``{+server_id}``.

Braces are doubled to mean themselves. A value that is exactly one placeholder keeps its JSON type;
``?`` drops the key or parameter when the value is missing; ``+`` (in URLs only) keeps reserved
characters as they are. Everything is compiled once, into functions of a job and a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tracker.errors import ConfigError, UsageError, did_you_mean
from tracker.model import Job
from tracker.tables import shown

MISSING: Final[Any] = object()
"""Stands for a value that is not there; a key or parameter that has it is dropped."""

Maker = Callable[[Job, str | None], Any]
"""Makes a value from a job and the idempotency key of the operation (None elsewhere)."""

JOB_FIELDS = (
    "local_id",
    "server_id",
    "job_type",
    "project",
    "session_id",
    "document_id",
    "user_id",
    "service",
    "account",
    "remote_version",
)
PLACE_FIELDS = ("url", "uri", "bucket", "key", "version_id")
"""What an input has only once it is in S3."""
INPUT_FIELDS = ("name", "size", "media_type", "sha256", *PLACE_FIELDS)
ROOTS = frozenset(
    ("server_id", "local_id", "client_id", "idempotency_key", "payload", "vars", "input", "job")
)
LIST_ROOTS = frozenset(("cursor", "since", "vars"))
UPDATE_ROOTS = (ROOTS - {"idempotency_key"}) | {"changes"}
CREATE_ROOTS = ROOTS - {"server_id"}
LATER_ROOTS = ROOTS - {"idempotency_key"}
RESULT_ROOTS = LATER_ROOTS | {"cursor"}
BULK_ROOTS = (LATER_ROOTS - {"server_id", "local_id", "client_id", "input"}) | {"server_ids"}
CLEANUP_ROOTS = (LATER_ROOTS - {"input", "job"}) | {"server_ids"}

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_INSIDE = re.compile(r"(\+?)([A-Za-z_][A-Za-z0-9_]*)((?:\.[^.\[\]?]+|\[[0-9]{1,6}\])*)(\??)")
_STEP = re.compile(r"\.([^.\[\]?]+)|\[([0-9]+)\]")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One ``{…}``; ``name`` is what stands inside, without its markers."""

    name: str
    root: str
    get: Maker
    raw: bool
    optional: bool


Parts = tuple[str | Placeholder, ...]


def parse(text: str, key: str, roots: frozenset[str], *, raw: bool = False) -> Parts:
    """The literals and placeholders of `text`; ``+`` is allowed only with `raw`.

    Raises ConfigError naming `key`.
    """
    parts: list[str | Placeholder] = []
    literal, last = "", 0
    for match in _BRACES.finditer(text):
        literal += text[last : match.start()]
        last = match.end()
        if match[0] in ("{{", "}}"):
            literal += match[0][0]
            continue
        if match[1] is None:
            where = f"a lone '{match[0]}' at position {match.start()}"
            raise ConfigError(f"{key}: {where}", "double a brace that means itself")
        if literal:
            parts.append(literal)
            literal = ""
        parts.append(_placeholder(match[1], key, roots, raw))
    literal += text[last:]
    if literal:
        parts.append(literal)
    return tuple(parts)


def _placeholder(inside: str, key: str, roots: frozenset[str], raw: bool) -> Placeholder:
    match = _INSIDE.fullmatch(inside)
    if match is None:
        raise ConfigError(f"{key}: {{{inside}}} is not a placeholder")
    plus, root, path, mark = match.groups()
    if root not in roots:
        if root in ROOTS | CLEANUP_ROOTS | UPDATE_ROOTS | LIST_ROOTS:
            raise ConfigError(f"{key}: {root} is not known in this call")
        near = did_you_mean(root, sorted(roots)) or f"known: {', '.join(sorted(roots))}"
        raise ConfigError(f"{key}: unknown variable '{root}'", near)
    if plus and not raw:
        raise ConfigError(f"{key}: {{{inside}}}: '+' has a meaning only in path and url")
    steps = tuple(int(step[1]) if step[1] else step[0] for step in _STEP.findall(path))
    return Placeholder(root + path, root, _getter(root, steps, key), bool(plus), bool(mark))


def _getter(root: str, steps: tuple[str | int, ...], key: str) -> Maker:
    if root == "payload":
        return lambda job, _: _walk(job.payload, steps)
    if root in ("cursor", "since"):
        return lambda job, _: MISSING if getattr(job, root) is None else getattr(job, root)
    if root == "changes":
        return lambda job, _: _walk(job.changes, steps)
    if root == "vars" and steps:
        return lambda job, _: _walk(job.vars, steps)
    if root in ("input", "job"):
        return _field(root, steps, key)
    if root == "server_ids" and steps == ("joined",):
        return lambda job, _: ",".join(job.server_ids)
    if steps or root == "vars":
        example = " such as vars.name" if root == "vars" else " without a path behind it"
        raise ConfigError(f"{key}: expected {root}{example}")
    if root == "server_ids":
        return lambda job, _: list(job.server_ids)
    if root == "server_id":
        return lambda job, _: MISSING if job.server_id is None else job.server_id
    if root == "idempotency_key":
        return lambda job, idempotency_key: idempotency_key or job.local_id
    return lambda job, _: job.local_id


def _field(root: str, steps: tuple[str | int, ...], key: str) -> Maker:
    fields = INPUT_FIELDS if root == "input" else JOB_FIELDS
    name = steps[0] if len(steps) == 1 else None
    if not isinstance(name, str) or name not in fields:
        wrong = ".".join(map(str, (root, *steps)))
        near = did_you_mean(str(name), list(fields)) or f"known: {', '.join(fields)}"
        raise ConfigError(f"{key}: unknown variable '{wrong}'", near)

    def get(job: Job, _: str | None) -> Any:
        value = (job.input or {}).get(name) if root == "input" else getattr(job, name)
        return MISSING if value is None else value

    return get


def _walk(value: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        if isinstance(step, str):
            if not isinstance(value, Mapping) or step not in value:
                return MISSING
        elif not isinstance(value, list) or step >= len(value):
            return MISSING
        value = value[step]
    return value


def fetch(part: Placeholder, key: str, job: Job, idempotency_key: str | None) -> Any:
    """The placeholder's value, MISSING for a missing optional one. Raises UsageError."""
    value = part.get(job, idempotency_key)
    if value is MISSING and not part.optional:
        raise UsageError(f"{key} needs {part.name}, which the job does not have")
    return value


def text_of(value: Any, key: str, name: str, *, nested: bool = False) -> str:
    """`value` as text; lists and objects become JSON with `nested`. Raises UsageError."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if value is None and not nested:
        raise UsageError(f"{key} needs {name}, which is null")
    if not nested:
        kind = "a list" if isinstance(value, list) else "an object"
        raise UsageError(f"{key}: {name} is {kind}, which cannot be written here")
    return encode_json(value, key).decode()


def encode_json(value: Any, key: str) -> bytes:
    """`value` as compact JSON; whole numbers stay exact. Raises UsageError naming `key`."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return json.dumps(value, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError):
        raise UsageError(f"{key}: the job's values cannot be written as JSON") from None


def compile_text(parts: Parts, key: str, *, nested: bool = False) -> Maker:
    """A maker of text; MISSING when an optional placeholder is missing."""
    if all(isinstance(part, str) for part in parts):
        constant = "".join(map(str, parts))
        return lambda job, _: constant

    def make(job: Job, idempotency_key: str | None) -> Any:
        pieces = []
        for part in parts:
            if isinstance(part, str):
                pieces.append(part)
                continue
            value = fetch(part, key, job, idempotency_key)
            if value is MISSING or (value is None and part.optional):
                return MISSING
            pieces.append(text_of(value, key, part.name, nested=nested))
        return "".join(pieces)

    return make


def compile_json(value: Any, key: str, roots: frozenset[str], names: set[Placeholder]) -> Maker:
    """A maker of any JSON `value`, a new one each time; its placeholders are added to `names`.

    Raises ConfigError naming `key` and the path inside `value`.
    """
    if isinstance(value, str):
        return _compile_string(value, key, roots, names)
    if isinstance(value, Mapping):
        return _compile_object(value, key, roots, names)
    if isinstance(value, list):
        items = [compile_json(v, f"{key}[{i}]", roots, names) for i, v in enumerate(value)]

        def make_list(job: Job, idempotency_key: str | None) -> Any:
            made = (make(job, idempotency_key) for make in items)
            return [v for v in made if v is not MISSING]

        return make_list
    if not isinstance(value, (bool, int, float)) or value - value != 0:
        raise ConfigError(f"{key}: expected a JSON value, got {shown(value)}", "quote it")
    return lambda job, _: value


def _compile_object(
    value: Mapping[str, Any], key: str, roots: frozenset[str], names: set[Placeholder]
) -> Maker:
    """Of an object; the fields of another one, named by ``*``, come below its own."""
    below = value.get("*")
    if below is not None and not (isinstance(below, str) and re.fullmatch(r"\{[^{}]+\}", below)):
        raise ConfigError(f'{key}."*": expected one placeholder, such as "{{payload}}"')
    makers = [(k, compile_json(v, f"{key}.{k}", roots, names)) for k, v in value.items()]

    def make(job: Job, idempotency_key: str | None) -> Any:
        made = {k: make(job, idempotency_key) for k, make in makers}
        found = {k: v for k, v in made.items() if v is not MISSING}
        rest = found.pop("*", None)
        if rest is None:
            return found
        if not isinstance(rest, Mapping):
            raise UsageError(f'{key}."*": {below} is no object')
        return {**rest, **found}

    return make


def _compile_string(text: str, key: str, roots: frozenset[str], names: set[Placeholder]) -> Maker:
    parts = parse(text, key, roots)
    names.update(part for part in parts if isinstance(part, Placeholder))
    if len(parts) == 1 and isinstance(only := parts[0], Placeholder):
        return lambda job, idempotency_key: fetch(only, key, job, idempotency_key)
    return compile_text(parts, key, nested=True)
