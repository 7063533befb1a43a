"""The tables of a service's calls, but for ``create`` and ``result``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from tracker.config import read_ages
from tracker.errors import ConfigError
from tracker.listed import RULES, Merging
from tracker.services.expression import Expression, compile_expression, expression_in
from tracker.services.parts import (
    BulkSpec,
    CancelSpec,
    CleanupSpec,
    CreateSpec,
    DeleteSpec,
    ListSpec,
    Progress,
    StatusSpec,
    UpdateSpec,
)
from tracker.services.specs_common import Shared, named_expressions, reads
from tracker.services.template import (
    BULK_ROOTS,
    CLEANUP_ROOTS,
    LATER_ROOTS,
    LIST_ROOTS,
    UPDATE_ROOTS,
)
from tracker.tables import Table


def read_status(table: Table, shared: Shared, create: CreateSpec | None) -> StatusSpec:
    """``[services.X.status]``. Raises ConfigError."""
    request, state = shared.request(table, LATER_ROOTS), expression_in(table, "state")
    progress, capture = _progress(table), named_expressions(table, "capture")
    names = ("error", "estimated_seconds", "version", "partial", "estimated_at", "expires_at")
    others = {name: expression_in(table, name) for name in names}
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
    unknown = expression_in(table, "unknown")
    table.finish()
    amounts = [progress.part, progress.whole] if progress else []
    looked_at = [state, check, *others.values(), *amounts, *capture.values()]
    return StatusSpec(
        request,
        state,
        progress,
        server_id=check,
        unknown=unknown,
        http=codes,
        capture=capture,
        needs_body=reads([state], "body"),
        reads_body=reads(looked_at, "body"),
        bulk=bulk,
        **others,
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
    spec = CancelSpec(shared.request(table, LATER_ROOTS, "POST"), ends=table.boolean("ends", False))
    table.finish()
    return spec


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
        fields=named_expressions(table, "fields"),
        capture=named_expressions(table, "capture"),
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
