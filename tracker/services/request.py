"""A request table, compiled into a function that makes a `Call` of a job."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.errors import ConfigError, UsageError
from tracker.model import Job
from tracker.services import headers as header_rules
from tracker.services.secret import is_reference
from tracker.services.template import (
    MISSING,
    Maker,
    Placeholder,
    compile_json,
    compile_text,
    encode_json,
    parse,
    text_of,
)
from tracker.services.url import (
    Site,
    UrlMaker,
    compile_full_url,
    compile_path,
    origin_of,
    quote_all,
)
from tracker.tables import Table
from tracker.transports import HTTP
from tracker.transports.base import Call
from tracker.transports.tasks import Ask, Endpoint

if TYPE_CHECKING:
    from tracker.services.definition import Service


@dataclass(frozen=True, slots=True)
class Fields:
    """Named values: ``fixed`` headers and ``made`` ones, of which those that are MISSING drop."""

    key: str
    fixed: dict[str, str]
    made: tuple[tuple[str, Maker], ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A compiled request table. ``timeout`` is seconds; ``auth`` None sends credentials only to
    base_url's origin; ``placeholders`` are those of everything but the headers, ``in_headers``
    those of the headers. A ``form`` is urlencoded, unless it is ``multipart`` or comes with a file;
    with ``file_optional`` a job without a file sends none."""

    key: str
    method: str
    url: UrlMaker
    site: Site
    at_home: bool
    headers: Fields
    foreign_headers: dict[str, str]
    timeout: float
    auth: bool | None = None
    query: Fields | None = None
    json: Maker | None = None
    form: Fields | None = None
    body: Maker | None = None
    multipart: bool = False
    file: bool = False
    file_field: str | None = None
    file_optional: bool = False
    placeholders: frozenset[Placeholder] = frozenset()
    in_headers: frozenset[Placeholder] = frozenset()
    operation: str | None = None

    @property
    def identifying(self) -> dict[str, Placeholder]:
        """Its variables but for the job's own ids, by name."""
        own = ("server_id", "local_id", "client_id")
        return {each.name: each for each in self.placeholders if each.root not in own}

    @property
    def uses(self) -> set[str]:
        """The names of its variables, such as ``server_id`` and ``payload.language``."""
        return {placeholder.name for placeholder in self.placeholders | self.in_headers}

    def call(
        self, service: Service, job: Job, idempotency_key: str | None = None, max_bytes: int = 0
    ) -> Call:
        """The call for `job`. Raises UsageError: a value is missing or cannot be carried."""
        job = service.with_constants(job)
        url = self.url(job, idempotency_key)
        call = Call(
            service.name,
            self.method,
            url,
            dict(self.headers.fixed),
            timeout=self.timeout,
            max_bytes=max_bytes or service.max_bytes,
            verify=service.verify,
            credential=service.credential,
        )
        if not self.at_home or self.auth is not None:
            self._guard(call)
        if self.headers.made:
            call.headers.update(_header_values(self.headers, job, idempotency_key))
        if self.query is not None:
            call.url = _with_query(url, self.query, job, idempotency_key)
        if self.json or self.form or self.body or self.file:
            self._fill(call, job, idempotency_key)
        if self.operation is not None and self.site.aws is not None:
            place = self.site.aws
            endpoint = Endpoint(place.endpoint_url, place.region, timeout=self.timeout)
            call.task = Ask(endpoint, place.client, self.operation)
        elif self.site.aws is not None:
            call.transport = HTTP
        return call

    def _guard(self, call: Call) -> None:
        """Keep credentials and the service's headers from other hosts than base_url's."""
        home = self.at_home or origin_of(call.url) == self.site.origin
        if not home and self.auth is not True:
            call.headers = dict(self.foreign_headers)
            call.credential = None
        elif self.auth is False:
            call.credential = None

    def _fill(self, call: Call, job: Job, idempotency_key: str | None) -> None:
        if self.json is not None:
            call.body = encode_json(self.json(job, idempotency_key), f"{self.key}.json")
            _default_type(call, "application/json")
        if self.body is not None:
            call.body = str(self.body(job, idempotency_key)).encode(errors="replace")
            _default_type(call, "text/plain; charset=utf-8")
        if self.form is not None:
            call.form = _texts(self.form, job, idempotency_key)
            call.multipart = self.multipart
        if self.file:
            self._attach(call, job)

    def _attach(self, call: Call, job: Job) -> None:
        spooled = job.input or {}
        if not spooled.get("path"):
            if self.file_optional:
                return
            raise UsageError(f"{self.key}.file needs a submitted file, which the job does not have")
        call.file = Path(str(spooled["path"]))
        call.file_field = self.file_field
        call.file_name = str(spooled.get("name") or call.file.name)
        if self.file_field is None:
            _default_type(call, str(spooled.get("media_type") or "application/octet-stream"))


def read_request(
    table: Table,
    site: Site,
    headers: dict[str, str],
    timeout: float,
    roots: frozenset[str],
    method: str = "GET",
) -> Request:
    """The request that `table` describes; `headers` and `timeout` are the service's.

    Raises ConfigError.
    """
    if site.aws is not None and not {"url", "path"} & set(table.names()):
        return _read_operation(table, site, timeout, roots)
    names: set[Placeholder] = set()
    method = table.string("method", method).upper()
    if not re.fullmatch(r"[A-Z]{1,20}", method):
        table.fail("method", "expected an HTTP method such as GET or POST")
    url, at_home = _read_url(table, site, roots, names)
    in_headers: set[Placeholder] = set()
    own = _read_headers(table, roots, in_headers)
    made = {name for name, _ in own.made}
    file = _read_file(table)
    request = Request(
        key=table.path,
        method=method,
        url=url,
        site=site,
        at_home=at_home,
        headers=Fields(own.key, header_rules.merged(headers, own.fixed, made), own.made),
        foreign_headers=own.fixed,
        timeout=table.duration("timeout", timeout, positive=True),
        auth=table.optional_boolean("auth"),
        query=_read_fields(table, "query", roots, names),
        json=_read_json(table, roots, names),
        form=_read_fields(table, "form", roots, names),
        body=_read_body(table, roots, names),
        multipart=table.boolean("multipart", False),
        file=file is not False,
        file_field=file.removesuffix("?") if isinstance(file, str) else None,
        file_optional=isinstance(file, str) and file.endswith("?"),
        placeholders=frozenset(names),
        in_headers=frozenset(in_headers),
    )
    table.finish()
    if request.multipart and request.form is None:
        raise ConfigError(f"{table.path}.multipart: goes with a form")
    bodies = [name for name in ("json", "body", "form", "file") if getattr(request, name)]
    if len(bodies) > 1 and not (bodies == ["form", "file"] and request.file_field):
        raise ConfigError(
            f"{table.path}: {' and '.join(bodies)} exclude each other",
            'a form goes with file = "fieldname"' if "file" in bodies else "",
        )
    return request


def _read_operation(table: Table, site: Site, timeout: float, roots: frozenset[str]) -> Request:
    """An operation of an AWS service, with its parameters in ``json``."""
    names: set[Placeholder] = set()
    operation = table.string("operation")
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]{1,100}", operation):
        table.fail("operation", 'expected a name such as "StartTranscriptionJob"')
    request = Request(
        key=table.path,
        method="POST",
        url=lambda job, key: f"{site.base_url}/{operation}",
        site=site,
        at_home=True,
        headers=Fields(table.key("headers"), {}),
        foreign_headers={},
        timeout=table.duration("timeout", timeout, positive=True),
        json=_read_json(table, roots, names),
        placeholders=frozenset(names),
        operation=operation,
    )
    table.finish()
    return request


def _read_url(
    table: Table, site: Site, roots: frozenset[str], names: set[Placeholder]
) -> tuple[UrlMaker, bool]:
    path, url = table.optional_string("path", empty=True), table.optional_string("url")
    if (path is None) == (url is None):
        raise ConfigError(f"{table.path}: expected a path or a url")
    name = "path" if url is None else "url"
    parts = parse(path or url or "", table.key(name), roots, raw=True)
    names.update(part for part in parts if isinstance(part, Placeholder))
    if url is None:
        return compile_path(parts, table.key(name), site)
    return compile_full_url(parts, table.key(name), site), False


def _read_headers(table: Table, roots: frozenset[str], all_names: set[Placeholder]) -> Fields:
    key = table.key("headers")
    fixed: dict[str, str] = {}
    made = []
    for name, value in (table.optional_mapping("headers") or {}).items():
        own = f"{key}.{name}"
        header_rules.check_name(name, own)
        text = header_rules.check_value(value, own)
        if name.lower() in header_rules.SECRET or is_reference(text):
            raise ConfigError(f"{own}: secrets belong into the service's auth or headers")
        maker = compile_json(text, own, roots, names := set[Placeholder]())
        all_names |= names
        if names:
            made.append((name, maker))
        else:
            fixed[name] = "".join(map(str, parse(text, own, roots)))
    return Fields(key, fixed, tuple(made))


def _header_values(fields: Fields, job: Job, idempotency_key: str | None) -> dict[str, str]:
    values = _texts(fields, job, idempotency_key)
    for name, value in values.items():
        if not header_rules.is_text(value):
            raise UsageError(f"{fields.key}.{name}: a header cannot carry this value")
    return values


def _read_fields(
    table: Table, name: str, roots: frozenset[str], names: set[Placeholder]
) -> Fields | None:
    mapping = table.optional_mapping(name)
    if mapping is None:
        return None
    key = table.key(name)
    made = tuple((k, compile_json(v, f"{key}.{k}", roots, names)) for k, v in mapping.items())
    return Fields(key, {}, made)


def _read_json(table: Table, roots: frozenset[str], names: set[Placeholder]) -> Maker | None:
    value = table.raw("json")
    return None if value is None else compile_json(value, table.key("json"), roots, names)


def _read_body(table: Table, roots: frozenset[str], names: set[Placeholder]) -> Maker | None:
    text = table.optional_string("body")
    if text is None:
        return None
    parts = parse(text, table.key("body"), roots)
    found = [part for part in parts if isinstance(part, Placeholder)]
    if any(part.optional for part in found):
        table.fail("body", "a placeholder of a text body cannot be left out")
    names.update(found)
    return compile_text(parts, table.key("body"), nested=True)


def _read_file(table: Table) -> str | bool:
    value = table.raw("file")
    if value is None:
        return False
    if not isinstance(value, (str, bool)) or value in ("", "?"):
        table.fail("file", "expected true or the name of a form field")
    return value


def _texts(fields: Fields, job: Job, idempotency_key: str | None) -> dict[str, str]:
    values = {}
    for name, make in fields.made:
        value = make(job, idempotency_key)
        if value is not MISSING:
            values[name] = text_of(value, f"{fields.key}.{name}", "its value")
    return values


def _with_query(url: str, query: Fields, job: Job, idempotency_key: str | None) -> str:
    pairs = []
    for name, make in query.made:
        value: Any = make(job, idempotency_key)
        if value is MISSING:
            continue
        key = f"{query.key}.{name}"
        for item in value if isinstance(value, list) else [value]:
            text = quote_all(text_of(item, key, "its value"), key, "its value")
            pairs.append(f"{quote_all(name, key, 'its name')}={text}")
    if not pairs:
        return url
    return url + ("&" if "?" in url else "?") + "&".join(pairs)


def _default_type(call: Call, media_type: str) -> None:
    if not any(name.lower() == "content-type" for name in call.headers):
        call.headers["Content-Type"] = media_type
