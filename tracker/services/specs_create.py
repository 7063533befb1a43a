"""The table ``create`` of a service: how a job is made known there, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tracker.errors import ConfigError, UsageError
from tracker.model import Job
from tracker.services import headers as header_rules
from tracker.services.expression import expression_in
from tracker.services.parts import IDEMPOTENCY, CreateSpec, LookupSpec
from tracker.services.request import Fields, Request
from tracker.services.specs_common import Shared, named_expressions, reads
from tracker.services.template import CREATE_ROOTS, LATER_ROOTS, PLACE_FIELDS, Maker
from tracker.tables import Table


def read_create(table: Table, shared: Shared) -> CreateSpec:
    """``[services.X.create]``. Raises ConfigError."""
    request = shared.request(table, CREATE_ROOTS, "POST")
    idempotency = table.choice("idempotency", IDEMPOTENCY, "none")
    name = table.optional_string("idempotency_key")
    if name is not None and idempotency not in ("header", "field"):
        table.fail("idempotency_key", "goes with idempotency = header or field")
    server_id = expression_in(table, "server_id")
    if server_id is None and idempotency != "client_id":
        table.fail("server_id", "is missing", 'an expression such as "body.id"')
    if idempotency == "header":
        request = _key_in_header(request, name or "Idempotency-Key", table)
    elif idempotency == "field":
        request = _key_in_field(request, name or "idempotency_key", table)
    elif idempotency == "client_id" and not request.uses & {"client_id", "local_id"}:
        raise ConfigError(f"{request.key}: sends no {{client_id}}, which idempotency needs")
    upload = table.optional_boolean("upload")
    places = {f"input.{name}" for name in PLACE_FIELDS}
    if upload is False and request.uses & places:
        used = min(request.uses & places)
        table.fail("upload", f"the request uses {used}, which only an upload gives")
    state = expression_in(table, "state")
    extras = [
        expression_in(table, "estimated_seconds"),
        *(capture := named_expressions(table, "capture")).values(),
    ]
    lookup, then = _read_lookup(table, shared, idempotency), table.optional_table("then")
    second = shared.request(then, LATER_ROOTS, "POST") if then is not None else None
    if then is not None:
        then.finish()
    table.finish()
    needed = [state, None if idempotency == "client_id" else server_id]
    return CreateSpec(
        request,
        idempotency,
        name or "",
        server_id,
        state,
        extras[0],
        capture,
        needs_body=reads(needed, "body"),
        reads_body=reads([*needed, server_id, *extras], "body"),
        reads_headers=reads([server_id], "headers", "http"),
        upload=bool(request.uses & places) if upload is None else upload,
        lookup=lookup,
        then=second,
    )


def _read_lookup(table: Table, shared: Shared, idempotency: str) -> LookupSpec | None:
    """``[services.X.create.lookup]``. Raises ConfigError."""
    inner = table.optional_table("lookup")
    if (inner is None) == (idempotency == "lookup"):
        hint = 'say idempotency = "lookup", and how in a table lookup'
        raise ConfigError(f"{table.key('lookup')}: goes with idempotency = lookup", hint)
    if inner is None:
        return None
    request = shared.request(inner, CREATE_ROOTS)
    server_id, items = expression_in(inner, "server_id"), expression_in(inner, "items")
    if server_id is None:
        inner.fail("server_id", "is missing", 'an expression such as "body.id"')
    match = expression_in(inner, "match")
    if match is None and not request.uses & {"client_id", "local_id", "idempotency_key"}:
        hint = "have the request send {client_id}, or say in match where the reply repeats it"
        raise ConfigError(f"{inner.path}: nothing tells this job from others", hint)
    spec = LookupSpec(request, server_id, items, match, inner.duration("after", 30.0))
    inner.finish()
    return spec


def _key(job: Job, idempotency_key: str | None) -> str:
    return idempotency_key or job.local_id


def _key_in_header(request: Request, name: str, table: Table) -> Request:
    header_rules.check_name(name, table.key("idempotency_key"))
    fixed = header_rules.merged(request.headers.fixed, {}, {name})
    made = (*request.headers.made, (name, _key))
    return replace(request, headers=Fields(request.headers.key, fixed, made))


def _key_in_field(request: Request, path: str, table: Table) -> Request:
    steps = path.split(".")
    if not all(steps):
        table.fail("idempotency_key", "expected a field such as meta.request_id")
    if request.body is not None or (request.file and request.file_field is None):
        raise ConfigError(f"{request.key}: idempotency = field needs a json or a form")
    if request.form is not None or request.file:
        form = request.form or Fields(f"{request.key}.form", {})
        return replace(request, form=replace(form, made=(*form.made, (path, _key))))
    return replace(request, json=_with_field(request.json, steps, f"{request.key}.json"))


def _with_field(inner: Maker | None, steps: list[str], key: str) -> Maker:
    def make(job: Job, idempotency_key: str | None) -> Any:
        # Copied along the way: a json that is "{payload}" is the job's own payload.
        value = {} if inner is None else inner(job, idempotency_key)
        top = here = _copied(value, key)
        for step in steps[:-1]:
            here[step] = here = _copied(here.get(step, {}), key)
        here[steps[-1]] = _key(job, idempotency_key)
        return top

    return make


def _copied(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{key}: expected an object to put the idempotency key into")
    return dict(value)
