"""JMESPath over the envelope of a reply: ``{http: {status, headers, url}, headers, body, job}``.

Plain paths such as ``body.error.message`` are walked here, about ten times faster; `jmespath` is
imported only for the others. Two functions are added: ``last_segment(url)``, the last part of a
URL's path, percent-decoded, and ``absolute(url)``, resolved against the URL that answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tracker.errors import ConfigError, did_you_mean
from tracker.model import Job, Json
from tracker.services import values
from tracker.tables import Table
from tracker.transports.base import Reply

ROOTS = ("body", "headers", "http", "job")
LONGEST = 4096

_PART = r'(?:[A-Za-z_][A-Za-z0-9_]*|"[^"\\\x00-\x1f\x7f-\U0010ffff]+")'
_PLAIN = re.compile(rf"(?:{'|'.join(ROOTS)})(?:\.{_PART})*")


class ExpressionError(Exception):
    """An expression could not be evaluated over this reply; the message names its key."""


class Envelope:
    """What expressions see. ``body`` is the decoded reply, once it was loaded, or what it is made
    with: an item of a list; the rest is made when asked for."""

    __slots__ = ("_is_json", "body", "job", "reply")

    def __init__(self, reply: Reply, job: Job | None, body: Json = None) -> None:
        self.reply = reply
        self.job = job
        self.body = body
        self._is_json: bool | None = None

    def load(self) -> bool:
        """Decode the reply's body, once; False when it is not JSON."""
        if self._is_json is None:
            try:
                self.body = values.decode(self.reply.body)
                self._is_json = True
            except values.Undecodable:
                self._is_json = False
        return self._is_json

    def root(self, name: str) -> Json:
        """One of `ROOTS`, as plain JSON."""
        if name == "body":
            return self.body
        headers = self.reply.headers
        if type(headers) is not dict:
            headers = dict(headers)
        if name == "headers":
            return headers
        if name == "http":
            return {"status": self.reply.status, "headers": headers, "url": self.reply.url}
        return _job_view(self.job) if self.job is not None else None

    def mapping(self) -> dict[str, Json]:
        """All of it."""
        return {name: self.root(name) for name in ROOTS}


def _job_view(job: Job) -> dict[str, Json]:
    return {
        "local_id": job.local_id,
        "server_id": job.server_id,
        "service": job.service,
        "account": job.account,
        "job_type": job.job_type,
        "user_id": job.user_id,
        "session_id": job.session_id,
        "project": job.project,
        "document_id": job.document_id,
        "payload": job.payload,
        "vars": job.vars,
        "input": job.input,
    }


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. ``find`` evaluates it and may raise ExpressionError; ``plain`` is
    whether it is a mere path; ``roots`` are the parts of the envelope that it reads."""

    text: str
    key: str
    find: Callable[[Envelope], Json]
    roots: frozenset[str]
    plain: bool


def compile_expression(text: str, key: str) -> Expression:
    """Compile `text`, the value of `key`. Raises ConfigError naming key and position."""
    if len(text) > LONGEST:
        raise ConfigError(f"{key}: an expression may have {LONGEST} characters")
    if _PLAIN.fullmatch(text):
        first, *rest = (part.strip('"') for part in re.findall(_PART, text))
        _check_header(first, rest, key)
        return Expression(text, key, _walker(first, tuple(rest)), frozenset((first,)), True)
    return _compile_jmespath(text, key)


def _check_header(root: str, rest: list[str], key: str) -> None:
    names = rest[1:] if root == "http" and rest[:1] == ["headers"] else rest
    if root in ("http", "headers") and names and names[0] != names[0].lower():
        raise ConfigError(f"{key}: header names are in lower case here: {names[0].lower()}")


def _walker(root: str, parts: tuple[str, ...]) -> Callable[[Envelope], Json]:
    if root == "body" and len(parts) == 1:
        only = parts[0]

        def field(envelope: Envelope) -> Json:
            body = envelope.body
            return body.get(only) if type(body) is dict else None

        return field

    def walk(envelope: Envelope) -> Json:
        value = envelope.body if root == "body" else envelope.root(root)
        for part in parts:
            if type(value) is not dict:
                return None
            value = value.get(part)
        return value

    return walk


def _compile_jmespath(text: str, key: str) -> Expression:
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        compiled = jmespath.compile(text)
        tree = compiled.parsed
        fields = set(_outer_fields(tree))
        _check_functions(tree, key)
    except (JMESPathError, RecursionError, ValueError) as error:
        raise ConfigError(f"{key}: {_syntax(error)}", _quoting(text)) from None
    roots = fields & set(ROOTS)
    wrong = sorted(fields - set(ROOTS) - {"*"})
    if wrong:
        near = did_you_mean(wrong[0], list(ROOTS)) or f"did you mean 'body.{wrong[0]}'?"
        raise ConfigError(f"{key}: '{wrong[0]}' is none of {', '.join(ROOTS)}", near)
    read = frozenset(ROOTS if "*" in fields else roots)
    options = _functions().options

    def find(envelope: Envelope) -> Json:
        try:
            view = {name: envelope.root(name) for name in read}
            return compiled.search(view, options(envelope.reply.url))
        except Exception as error:
            # Besides its own errors JMESPath lets Python's through, for odd enough data.
            first = str(error).partition("\n")[0][:200]
            raise ExpressionError(f"{key} cannot be evaluated over the reply: {first}") from None

    return Expression(text, key, find, read, False)


def _outer_fields(node: Mapping[str, Any]) -> Iterator[str]:
    """The names that an expression looks up in the envelope itself; ``*`` when it looks at all."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        yield node["value"]
    elif kind in ("current", "identity"):
        yield "*"
    elif kind in _LEFT_FIRST:
        # The others of these children see what the first one yields.
        yield from _outer_fields(children[0])
    elif kind not in ("literal", "expref", "index", "slice"):
        for child in children:
            yield from _outer_fields(child)


_LEFT_FIRST = frozenset(
    (
        "subexpression",
        "index_expression",
        "pipe",
        "projection",
        "value_projection",
        "filter_projection",
        "flatten",
    )
)


def _check_functions(node: Any, key: str) -> None:
    """Unknown functions and wrong counts of arguments, which JMESPath finds only when it runs."""
    if not isinstance(node, Mapping):
        return
    if node["type"] == "function_expression":
        name, table = node["value"], _functions().FUNCTION_TABLE
        if name not in table:
            raise ConfigError(f"{key}: unknown function '{name}'", did_you_mean(name, list(table)))
        signature = table[name]["signature"]
        count, wanted = len(node["children"]), len(signature)
        variadic = bool(signature) and signature[-1].get("variadic", False)
        if count < wanted or (count > wanted and not variadic):
            raise ConfigError(f"{key}: {name}() takes {wanted} argument(s), got {count}")
    if node["type"] == "subexpression" and node["children"][0]["type"] == "not_expression":
        raise ConfigError(f"{key}: !a.b means (!a).b, which is never there", "write !(a.b)")
    for child in node["children"]:
        _check_functions(child, key)


def _syntax(error: Exception) -> str:
    position = getattr(error, "lex_position", None)
    what = str(error).partition("\n")[0].partition(": Parse error at")[0]
    what = re.sub(r"^(?:Bad|Invalid) jmespath expression: ", "", what, flags=re.I).rstrip(":")
    where = "" if position is None else f" at position {position}"
    return f"not a JMESPath expression{where}: {what}"


def _quoting(text: str) -> str:
    """The commonest slip: a header's hyphen reads as a minus."""
    if re.search(r"[a-z]-[a-z]", text):
        return 'names with a hyphen are quoted: headers."operation-location"'
    return ""


@lru_cache(maxsize=1)
def _functions() -> Any:
    from urllib.parse import unquote, urljoin, urlsplit

    from jmespath import Options, functions

    class Functions(functions.Functions):
        def __init__(self, url: str) -> None:
            self.url = url

        @classmethod
        def options(cls, url: str) -> Options:
            return Options(custom_functions=cls(url))

        @functions.signature({"types": ["string", "null"]})
        def _func_last_segment(self, url: str | None) -> str | None:
            return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]) if url else None

        @functions.signature({"types": ["string", "null"]})
        def _func_absolute(self, url: str | None) -> str | None:
            return urljoin(self.url, url) if url else None

    return Functions


def soft(expression: Expression | None, envelope: Envelope) -> Json:
    """What `expression` finds; None where it cannot be evaluated.

    For what is nice to know: a reply whose counters are null still has a state.
    """
    if expression is None:
        return None
    try:
        return expression.find(envelope)
    except ExpressionError:
        return None


def all_found(expressions: Mapping[str, Expression], envelope: Envelope) -> dict[str, Json]:
    """What the `expressions` find, by name, but for null."""
    found = {name: soft(expression, envelope) for name, expression in expressions.items()}
    return {name: value for name, value in found.items() if value is not None}


def expression_in(table: Table, name: str) -> Expression | None:
    """The expression under a key; None when there is none. Raises ConfigError."""
    text = table.optional_string(name)
    return None if text is None else compile_expression(text, table.key(name))
