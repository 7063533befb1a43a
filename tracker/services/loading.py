"""From ``[services.X]`` tables to `Service` values. Everything wrong is found here, not later."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracker import config as configuration
from tracker import places
from tracker.config import Config
from tracker.errors import ConfigError, NotFound, did_you_mean
from tracker.model import CALLS_OF, State
from tracker.schedule import PollPolicy, RetryPolicy
from tracker.services import headers as header_rules
from tracker.services import specs, specs_common, specs_create, specs_result
from tracker.services.credentials import HeaderCredential, Part, read_auth, secret_header
from tracker.services.definition import Service
from tracker.services.examples import read_examples
from tracker.services.expression import expression_in
from tracker.services.pacing import read_pacing
from tracker.services.parts import ResultSpec, StatusSpec
from tracker.services.preset import laid_over, preset_names, read_preset
from tracker.services.secret import is_reference
from tracker.services.url import AwsPlace, Site, read_site
from tracker.services.values import Word, word_key
from tracker.tables import Table, shown
from tracker.transports import HTTP, NEEDS_PYCURL, pycurl_is_there

STATES = tuple(s.value for s in State if s not in (State.UNKNOWN_WORD, State.UNKNOWN_JOB))
"""The keys of ``[services.X.states]``."""

TRANSPORTS = ("requests", "curl")
"""What a service may choose for itself."""


class Services(dict[str, Service]):
    """The services of a configuration, by name."""

    def find(self, name: str) -> Service:
        """The service called `name`. Raises NotFound with the nearest name there is."""
        if name not in self:
            known = did_you_mean(name, list(self)) or f"known: {', '.join(self) or 'none'}"
            raise NotFound(f"no service '{name}' in tracker.toml", known)
        return self[name]


def load_services(config: Config) -> Services:
    """All services of `config`. Raises ConfigError for the first thing that is wrong."""
    file = config.file or ""
    services = Services()
    for name, data in config.services.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise ConfigError(
                f"services: {shown(name)} is no name for a service",
                "letters, digits, '-', '_' and '.', at most 64",
            )
        key = Table("services", {}).key(name)
        service = read_service(name, Table(key, _with_preset(data, key)), file)
        _check_bucket(service, config)
        services[name] = service
    return services


def read_service(name: str, table: Table, file: str) -> Service:
    """The service that `table` describes; relative paths start beside `file`.

    Raises ConfigError naming the full path of what is wrong.
    """
    site = _read_place(table)
    headers, credential = _read_headers(table, file)
    shared = specs_common.Shared(site, headers, table.duration("timeout", 30.0, positive=True))
    retry = specs_common.read_retry(table.table("retry"), RetryPolicy())
    names = ("create", "status", "result", "update", "cancel", "delete", "list")
    tables = {key: table.optional_table(key) for key in names}
    create = specs_create.read_create(found, shared) if (found := tables["create"]) else None
    status = specs.read_status(found, shared, create) if (found := tables["status"]) else None
    result = specs_result.read_result(found, shared, retry) if (found := tables["result"]) else None
    fold_case = table.boolean("fold_case", False)
    states = _read_states(table.table("states"), fold_case)
    service = _read_class(table, file)(
        name=name,
        base_url=site.base_url,
        account=table.optional_string("account", empty=True) or "",
        rate=table.rate("rate", 0.1),
        rates=_read_rates(table.table("rates")),
        concurrency=table.integer("concurrency", 8, low=1, high=1000),
        timeout=shared.timeout,
        max_bytes=table.size("max_bytes", 8 * 2**20),
        verify=_read_verify(table, file),
        headers=headers,
        transport="aws" if site.aws else _read_transport(table),
        poll=_read_poll(table.table("poll")),
        retry=retry,
        retry_after_cap=table.duration("retry_after_cap", 300.0),
        create=create,
        status=_joined(status, result),
        states=states,
        fold_case=fold_case,
        refused=expression_in(table, "refused"),
        vars=dict(table.optional_mapping("vars") or {}),
        result=result,
        update=specs.read_update(found, shared) if (found := tables["update"]) else None,
        cancel=specs.read_cancel(found, shared) if (found := tables["cancel"]) else None,
        list=specs.read_list(found, shared, status) if (found := tables["list"]) else None,
        delete=specs.read_delete(found, shared) if (found := tables["delete"]) else None,
        cleanup=specs.read_cleanup(table.table("cleanup"), shared),
        credential=credential,
        pacing=read_pacing(table.table("pacing")),
        title=table.optional_string("title") or "",
        examples=read_examples(table.table("examples")),
    )
    table.finish()
    if status is not None:
        _check_words(table, status, states, fold_case)
    _check_constants(service)
    return service


def _check_constants(service: Service) -> None:
    """A listing is about no job: of ``vars`` it has those that the table says."""
    if service.list is not None:
        names = {name[5:] for name in service.list.request.uses if name.startswith("vars.")}
        missing = sorted(names - set(service.vars))
        if missing:
            raise ConfigError(
                f"{service.list.request.key} needs vars.{missing[0]}",
                f"say it in [services.{service.name}.vars]",
            )


def _read_class(table: Table, file: str) -> type[Service]:
    reference = table.optional_string("class")
    if reference is None:
        return Service
    from tracker.services.custom import load_class

    return load_class(reference, table.key("class"), str(Path(file).parent))


def _read_place(table: Table) -> Site:
    found = table.optional_table("aws")
    if found is None:
        return read_site(table.string("base_url"), table.strings("allowed_hosts"), table.path)
    place = AwsPlace(
        found.string("client"),
        found.optional_string("region"),
        found.optional_string("endpoint_url"),
    )
    found.finish()
    if not re.fullmatch(r"[a-z0-9-]{2,60}", place.client):
        found.fail("client", 'expected boto3\'s name of a service, such as "transcribe"')
    base_url = table.optional_string("base_url")
    hosts = table.strings("allowed_hosts")
    site = read_site(base_url or f"https://{place.client}.amazonaws.com", hosts, table.path)
    return replace(site, aws=place)


def load_preset(name: str) -> Service:
    """A preset as a service of that name. Raises NotFound."""
    if name not in preset_names():
        near = did_you_mean(name, preset_names()) or "see: tracker services presets"
        raise NotFound(f"neither a service nor a preset '{name[:80]}'", near)
    return read_service(name, Table(f"presets.{name}", read_preset(name)), "")


def _with_preset(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """`data` over the preset that it names, if it does. Raises ConfigError."""
    name = data.get("preset")
    if name is None:
        return data
    if not isinstance(name, str):
        raise ConfigError(f"{key}.preset: expected a name, got {shown(name)}")
    try:
        preset = read_preset(name)
    except NotFound as error:
        raise ConfigError(f"{key}.preset: {error.message}", error.hint) from None
    return laid_over(preset, {one: value for one, value in data.items() if one != "preset"})


def _check_bucket(service: Service, config: Config) -> None:
    stores = service.result is not None and service.result.keep == "object"
    if stores and config.storage.bucket is None:
        key = f"services.{service.name}.result.keep"
        raise ConfigError(f"{key}: there is no bucket to put results into", "set storage.bucket")


def known_keys() -> list[str]:
    """Every key that a ``tracker.toml`` can have, as a dotted path such as
    ``services.*.poll.every``: those that reading complete examples asks for."""
    record: set[str] = set()
    for example in _EXAMPLES:
        read_service("*", Table("services.*", example, record), "/tracker.toml")
    preset = "services.*.preset"  # it is looked at before there is a table
    own = {"services.*.examples", "services.*.create.request.operation"}  # told in words
    return sorted({*record, preset, *configuration.known_keys()} - own)


def _read_headers(table: Table, file: str) -> tuple[dict[str, str], HeaderCredential | None]:
    folder, key = str(Path(file).parent), table.key("headers")
    auth = table.optional_table("auth", secret=True)
    parts: list[Part] = [] if auth is None else [read_auth(auth, folder)]
    fixed: dict[str, str] = {}
    for name, value in (table.optional_mapping("headers", secret=True) or {}).items():
        own = f"{key}.{name}"
        header_rules.check_name(name, own)
        text = header_rules.check_value(value, own)
        if any(part.name.lower() == name.lower() for part in parts):
            raise ConfigError(f"{own}: is set by {table.key('auth')} too")
        if is_reference(text):
            parts.append(secret_header(name, text, own, folder))
        elif name.lower() in header_rules.SECRET:
            hint = 'write "env:NAME", "file:PATH" or "command:CMD"'
            raise ConfigError(f"{own}: expected a reference to the secret", hint)
        else:
            fixed[name] = text
    return fixed, HeaderCredential(tuple(parts)) if parts else None


def _read_transport(table: Table) -> str:
    name = table.choice("transport", TRANSPORTS, HTTP)
    if name == "curl" and not pycurl_is_there():
        table.fail("transport", *NEEDS_PYCURL)
    return name


def _read_verify(table: Table, file: str) -> bool | str:
    value = table.raw("verify")
    if value is None or isinstance(value, bool):
        return value is not False
    if not isinstance(value, str) or not value or "\0" in value:
        table.fail("verify", f"expected true, false or a CA bundle, got {shown(value)}")
    path = places.beside(file, value)
    if not Path(path).exists():
        table.fail("verify", f"there is no CA bundle {path}")
    return path


def _read_rates(table: Table) -> dict[str, float | None]:
    found = {
        name: table.rate(name, None)
        for name in sorted(set(CALLS_OF.values()))
        if table.raw(name) is not None
    }
    table.finish()
    return found


def _read_poll(table: Table) -> PollPolicy:
    default = PollPolicy()
    backoff = table.table("backoff")
    base, cap = specs_common.read_curve(backoff, default.backoff_base, default.backoff_cap)
    backoff.finish()
    policy = PollPolicy(
        first=table.duration("first", default.first),
        every=table.duration("every", default.every, positive=True),
        backoff_base=base,
        backoff_cap=cap,
        max_per_minute=table.number("max_per_minute", default.max_per_minute, low=0.01, high=6000),
        give_up_after=table.optional_duration("give_up_after", positive=True),
        lost_after=table.duration("lost_after", default.lost_after),
        words=_read_words(table),
    )
    table.finish()
    return policy


def _read_words(table: Table) -> dict[str, float]:
    given = table.optional_mapping("words") or {}
    inner = Table(table.key("words"), given)
    return {word: inner.duration(word, 0.0, positive=True) for word in given}


def _read_states(table: Table, fold_case: bool) -> dict[Word, State]:
    states: dict[Word, State] = {}
    for name in STATES:
        words = table.raw(name)
        if words is None:
            continue
        if not isinstance(words, list):
            table.fail(name, f"expected an array of words, got {shown(words)}")
        for word in words:
            key = word_key(word, fold_case)
            if key is None:
                table.fail(name, f"expected strings, numbers or booleans, got {shown(word)}")
            before = states.setdefault(key, State(name))
            if before is not State(name):
                table.fail(name, f"{shown(word)} is also among {before.value}")
    table.finish()
    return states


def _check_words(
    table: Table, status: StatusSpec, states: Mapping[Word, State], fold_case: bool
) -> None:
    if State.COMPLETED not in states.values():
        raise ConfigError(f"{table.key('states')}.completed: is missing", "no job could end well")
    for code, word in status.http.items():
        if word_key(word, fold_case) not in states:
            words = [known for known in states if isinstance(known, str)]
            path = f'{table.key("status")}.http."{code}"'
            raise ConfigError(
                f"{path}: {shown(word)} is not in {table.key('states')}", did_you_mean(word, words)
            )


def _joined(status: StatusSpec | None, result: ResultSpec | None) -> StatusSpec | None:
    """A result that is read from the status reply needs that reply's body too."""
    value = result.value if result is not None else None
    if status is None or value is None or "body" not in value.roots:
        return status
    return replace(status, reads_body=True)


_REQUEST: dict[str, Any] = {"path": "/jobs/{client_id}"}
_EXAMPLES: tuple[dict[str, Any], ...] = (
    {
        "base_url": "https://example.com",
        "auth": {"basic": {"password": "env:PASSWORD"}},
        "create": {
            "request": _REQUEST,
            "idempotency": "lookup",
            "server_id": "body.id",
            "lookup": {"request": _REQUEST, "server_id": "body.id"},
            "then": {"request": _REQUEST},
        },
        "status": {
            "request": _REQUEST,
            "state": "body.state",
            "progress": "body.progress",
            "bulk": {
                "request": {"path": "/jobs", "query": {"ids": "{server_ids}"}},
                "items": "body.jobs",
                "server_id": "body.id",
            },
        },
        "states": {"completed": ["done"]},
        "result": {"request": _REQUEST},
        "update": {"request": _REQUEST},
        "cancel": {"request": _REQUEST},
        "delete": {"request": _REQUEST},
        "list": {
            "request": {"path": "/jobs"},
            "items": "body.jobs",
            "server_id": "body.id",
        },
        "cleanup": {"request": _REQUEST},
    },
    {
        "aws": {"client": "transcribe"},
        "create": {"request": {"operation": "Create"}, "server_id": "body.Id"},
    },
    {
        "base_url": "https://example.com",
        "auth": {"header": "X-Api-Key", "value": "env:KEY"},
        "status": {
            "request": _REQUEST,
            "state": "body.state",
            "progress": {"percent": "body.progress"},
        },
        "states": {"completed": ["done"]},
    },
)
