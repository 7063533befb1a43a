"""Header names and values: what a configuration may set and what a header can carry."""

from __future__ import annotations

from tracker.errors import ConfigError

SECRET = frozenset(("authorization", "proxy-authorization", "cookie"))
"""Headers whose values are always secrets."""

_TRANSPORTS_OWN = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer")
)
_TOKEN = frozenset("!#$%&'*+-.^_`|~")


def check_name(name: str, key: str) -> None:
    """Raise ConfigError for a name that is none, or that is the transport's own."""
    if not name or not all(c.isascii() and (c.isalnum() or c in _TOKEN) for c in name):
        raise ConfigError(f"{key}: '{name}' is not a header name")
    if name.lower() in _TRANSPORTS_OWN:
        raise ConfigError(f"{key}: the header {name} is set by the transport")


def is_text(text: str) -> bool:
    """Whether a header can carry `text`: Latin-1, no line break, no control character but tab."""
    return all(char == "\t" or " " <= char <= "~" or "\xa0" <= char <= "\xff" for char in text)


def check_value(value: object, key: str) -> str:
    """`value` as a header's fixed value. Raises ConfigError."""
    if not isinstance(value, str):
        raise ConfigError(f"{key}: expected a string")
    if not is_text(value):
        raise ConfigError(f"{key}: a header cannot carry line breaks or non-Latin-1 text")
    return value


def merged(below: dict[str, str], above: dict[str, str], also: set[str]) -> dict[str, str]:
    """`below` with `above` over it; names compare without case, those in `also` are left out."""
    names = {name.lower() for name in (*above, *also)}
    return {name: value for name, value in below.items() if name.lower() not in names} | above
