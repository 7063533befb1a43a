"""The tables ``create``, ``status``, ``result``, ``delete`` and ``cleanup`` of a service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tracker.config import read_ages
from tracker.errors import ConfigError, UsageError
from tracker.listed import RULES, Merging
from tracker.model import Job
from tracker.schedule import RetryPolicy
from tracker.services import headers as header_rules
from tracker.services.definition import (
    IDEMPOTENCY,
    KEEP,
    BulkSpec,
    CancelSpec,
    CleanupSpec,
    CreateSpec,
    DeleteSpec,
    ListSpec,
    Progress,
    ResultSpec,
    StatusSpec,
    UpdateSpec,
)
from tracker.services.expression import Expression, compile_expression, expression_in
from tracker.services.request import Fields, Request, read_request
from tracker.services.template import (
    BULK_ROOTS,
    CLEANUP_ROOTS,
    CREATE_ROOTS,
    LATER_ROOTS,
    LIST_ROOTS,
    PLACE_FIELDS,
    UPDATE_ROOTS,
    Maker,
)
from tracker.services.url import Site
from tracker.tables import Table


@dataclass(frozen=True, slots=True)
class Shared:
    """What all requests of one service have in common."""

    site: Site
    headers: dict[str, str]
    timeout: float

    def request(self, table: Table, roots: frozenset[str], method: str = "GET") -> Request:
        """The table's ``request``. Raises ConfigError."""
        inner = table.optional_table("request")
        if inner is None:
            raise ConfigError(f"{table.key('request')}: is missing")
        return read_request(inner, self.site, self.headers, self.timeout, roots, method)


def read_create(table: Table, shared: Shared) -> CreateSpec:
    """``[services.X.create]``. Raises ConfigError."""
    request = shared.request(table, CREATE_ROOTS, "POST")
    idempotency = table.choice("idempotency", IDEMPOTENCY, "none")
    name = table.optional_string("idempotency_key")
    if idempotency == "lookup":
        table.fail("idempotency", '"lookup" is not supported yet')
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
        *(capture := _capture(table)).values(),
    ]
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
        needs_body=_reads(needed, "body"),
        reads_body=_reads([*needed, server_id, *extras], "body"),
        reads_headers=_reads([server_id], "headers", "http"),
        upload=bool(request.uses & places) if upload is None else upload,
    )


def read_status(table: Table, shared: Shared, create: CreateSpec | None) -> StatusSpec:
    """``[services.X.status]``. Raises ConfigError."""
    request = shared.request(table, LATER_ROOTS)
    state, error = expression_in(table, "state"), expression_in(table, "error")
    estimate, version = (
        expression_in(table, "estimated_seconds"),
        expression_in(table, "version"),
    )
    progress, capture = _progress(table), _capture(table)
    partial, unknown = expression_in(table, "partial"), expression_in(table, "unknown")
    estimated_at = expression_in(table, "estimated_at")
    codes = _codes(table)
    if state is None and not codes:
        table.fail("state", "is missing", 'an expression such as "body.status"')
    server_id = table.optional_string("server_id", empty=True)
    if server_id:
        check: Expression | None = compile_expression(server_id, table.key("server_id"))
    else:
        check = _default_check(create) if server_id is None else None
    bulk_table = table.optional_table("bulk")
    bulk = _read_bulk(bulk_table, shared) if bulk_table is not None else None
    table.finish()
    amounts = [progress.part, progress.whole] if progress else []
    others = [partial, estimated_at, error, estimate, version, check, *amounts, *capture.values()]
    return StatusSpec(
        request,
        state,
        progress,
        error,
        estimate,
        check,
        version,
        partial,
        unknown,
        estimated_at,
        codes,
        capture,
        needs_body=_reads([state], "body"),
        reads_body=_reads([state, *others], "body"),
        bulk=bulk,
    )


def _read_bulk(table: Table, shared: Shared) -> BulkSpec:
    """``[services.X.status.bulk]``. Raises ConfigError."""
    request = shared.request(table, BULK_ROOTS)
    if "server_ids" not in {name.partition(".")[0] for name in request.uses}:
        raise ConfigError(f"{request.key}: names no {{server_ids}}")
    items, server_id = expression_in(table, "items"), expression_in(table, "server_id")
    if items is None or server_id is None:
        missing = "items" if items is None else "server_id"
        table.fail(missing, "is missing", 'an expression such as "body.jobs" or "body.id"')
    spec = BulkSpec(
        request,
        items,
        server_id,
        expression_in(table, "body"),
        expression_in(table, "unprocessed"),
        table.integer("most", 100, low=2, high=1000),
        table.choice("missing", ("unknown", "retry"), "unknown"),
    )
    table.finish()
    return spec


def _default_check(create: CreateSpec | None) -> Expression | None:
    """Where a status reply repeats the id: where the reply to the create had it, if that is a
    plain path into the body. A service that has it elsewhere yields null there: no check."""
    found = create.server_id if create is not None else None
    return found if found is not None and found.plain and "body" in found.roots else None


def read_result(table: Table, shared: Shared, retry: RetryPolicy) -> ResultSpec:
    """``[services.X.result]``; `retry` gives its base and cap. Raises ConfigError."""
    request = shared.request(table, LATER_ROOTS) if "request" in table.names() else None
    value, content_id = (
        expression_in(table, "value"),
        expression_in(table, "content_id"),
    )
    if (request is None) == (value is None):
        raise ConfigError(f"{table.path}: expected a request or a value")
    spec = ResultSpec(
        request,
        value,
        content_id,
        read_retry(table.table("retry"), replace(retry, attempts=3)),
        table.size("max_bytes", 2**30),
        table.choice("keep", KEEP, "auto"),
    )
    if request is None and spec.keep != "auto":
        table.fail("keep", "goes with a request: a value is kept in the row")
    table.finish()
    return spec


def read_update(table: Table, shared: Shared) -> UpdateSpec:
    """``[services.X.update]``. Raises ConfigError."""
    request = shared.request(table, UPDATE_ROOTS, "PATCH")
    fields = table.strings("fields") if "fields" in table.names() else None
    table.raw("fields")
    spec = UpdateSpec(request, fields, expression_in(table, "version"))
    table.finish()
    return spec


def read_cancel(table: Table, shared: Shared) -> CancelSpec:
    """``[services.X.cancel]``. Raises ConfigError."""
    request = shared.request(table, LATER_ROOTS, "POST")
    table.finish()
    return CancelSpec(request)


def read_list(table: Table, shared: Shared, status: StatusSpec | None) -> ListSpec:
    """``[services.X.list]``; what an item's state and version are is read as in a status reply,
    unless it says otherwise. Raises ConfigError."""
    request = shared.request(table, LIST_ROOTS)
    items, server_id = expression_in(table, "items"), expression_in(table, "server_id")
    if items is None:
        table.fail("items", "is missing", 'an expression such as "body.jobs"')
    if server_id is None:
        table.fail("server_id", "is missing", 'an expression over one item, such as "body.id"')
    following = table.optional_string("next")
    spec = ListSpec(
        request,
        items,
        server_id,
        Merging(
            add=table.boolean("add", True),
            authoritative=table.boolean("authoritative", False),
            most_deletions=table.number("max_deletions", 0.2, low=0.0, high=1.0),
            rule=table.choice("conflicts", RULES, "service"),
            most_items=table.integer("max_items", 100_000, low=1, high=10**7),
            every=table.duration("every", 900.0, positive=True),
        ),
        state=expression_in(table, "state") or (status.state if status is not None else None),
        version=expression_in(table, "version") or (status.version if status is not None else None),
        updated_at=expression_in(table, "updated_at"),
        next=expression_in(table, "next") if following not in (None, "link") else None,
        link=following == "link",
        fields=_named(table, "fields"),
        capture=_named(table, "capture"),
        after=table.strings("after"),
        since_overlap=table.duration("since_overlap", 60.0),
    )
    table.finish()
    return spec


def read_delete(table: Table, shared: Shared) -> DeleteSpec:
    """``[services.X.delete]``. Raises ConfigError."""
    request = shared.request(table, LATER_ROOTS, "DELETE")
    table.finish()
    return DeleteSpec(request)


def read_cleanup(table: Table, shared: Shared) -> CleanupSpec:
    """``[services.X.cleanup]``. Raises ConfigError."""
    asked = "request" in table.names()
    spec = CleanupSpec(
        table.optional_duration("older_than"),
        read_ages(table),
        shared.request(table, CLEANUP_ROOTS, "POST") if asked else None,
        table.integer("most", 100, low=1, high=10_000),
        table.boolean("instead", False),
    )
    if spec.request is None and spec.instead:
        table.fail("instead", "goes with a request that has the service remove the objects")
    if spec.request is not None and spec.most > 1 and "server_ids" not in spec.request.uses:
        if "most" in table.names():
            table.fail("most", "goes with a request that uses {server_ids}")
        spec = replace(spec, most=1)
    table.finish()
    return spec


def read_retry(table: Table, default: RetryPolicy) -> RetryPolicy:
    """A ``retry`` table over its `default`. Raises ConfigError."""
    base, cap = read_curve(table, default.base, default.cap)
    attempts = table.integer("attempts", default.attempts, low=1, high=100)
    table.finish()
    return RetryPolicy(base, cap, attempts)


def read_curve(table: Table, base: float, cap: float) -> tuple[float, float]:
    """``base`` and ``cap`` of a backoff, in seconds. Raises ConfigError."""
    base = table.duration("base", base, positive=True)
    limit = table.optional_duration("cap", positive=True)
    if limit is not None and limit < base:
        table.fail("cap", f"is shorter than the base of {base:g} s")
    return base, max(cap, base) if limit is None else limit


def _capture(table: Table) -> dict[str, Expression]:
    return _named(table, "capture")


def _named(table: Table, what: str) -> dict[str, Expression]:
    key, found = table.key(what), {}
    for name, text in (table.optional_mapping(what) or {}).items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not isinstance(text, str):
            raise ConfigError(f"{key}.{name}: expected a plain name and an expression")
        found[name] = compile_expression(text, f"{key}.{name}")
    return found


def _codes(table: Table) -> dict[int, str]:
    key, found = table.key("http"), {}
    for code, word in (table.optional_mapping("http") or {}).items():
        if not re.fullmatch(r"[1-5][0-9]{2}", code):
            raise ConfigError(f'{key}."{code}": expected an HTTP code such as "202"')
        if not isinstance(word, str):
            raise ConfigError(f'{key}."{code}": expected a word of states')
        found[int(code)] = word
    return found


def _progress(table: Table) -> Progress | None:
    scale = table.optional_number("progress_scale", low=1e-9)
    value = table.raw("progress")
    if isinstance(value, Mapping):
        if scale is not None:
            table.fail("progress_scale", "goes with a progress that is an expression")
        return _progress_table(table.table("progress"))
    part = expression_in(table, "progress")
    return None if part is None else Progress(part, 100.0 if scale is None else scale)


def _progress_table(table: Table) -> Progress:
    names = ("percent", "fraction", "num", "den")
    percent, fraction, num, den = (expression_in(table, name) for name in names)
    table.finish()
    given = [name for name, item in zip(names, (percent, fraction, num, den), strict=True) if item]
    if percent is not None and len(given) == 1:
        return Progress(percent, 100.0)
    if fraction is not None and len(given) == 1:
        return Progress(fraction, 1.0)
    if num is not None and den is not None and len(given) == 2:
        return Progress(num, 1.0, den)
    raise ConfigError(f"{table.path}: expected percent, or fraction, or num and den")


def _reads(expressions: list[Expression | None], *roots: str) -> bool:
    return any(item is not None and item.roots & set(roots) for item in expressions)


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
