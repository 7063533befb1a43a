"""Reading what was submitted: a file in a multipart form, or as the whole body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser


class Unreadable(Exception):
    """The request is no submission; the text says why."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A submitted file and the form's other fields."""

    name: str
    content: bytes
    fields: dict[str, str] = field(default_factory=dict)


def read_upload(content_type: str, headers: Mapping[str, str] | Message, body: bytes) -> Upload:
    """The file in `body`: a part of a form, or all of it (its name is then in ``X-File-Name``, its
    fields are the headers that begin with ``X-Field-``). Raises Unreadable."""
    kind = Message()
    kind["Content-Type"] = content_type or "application/octet-stream"
    if kind.get_content_type() != "multipart/form-data":
        fields = {
            name.lower().removeprefix("x-field-"): value
            for name, value in headers.items()
            if name.lower().startswith("x-field-")
        }
        return Upload(headers.get("X-File-Name") or "", body, fields)
    boundary = kind.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise Unreadable("the form has no boundary")
    return _from_parts(body, b"--" + boundary.encode("latin-1", "replace"))


def _from_parts(body: bytes, delimiter: bytes) -> Upload:
    # The delimiter belongs to the line break before it; the first part has none of its own.
    parts = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if len(parts) < 3 or not parts[-1].startswith(b"--"):
        raise Unreadable("the form is cut short")
    name, content = None, b""
    fields: dict[str, str] = {}
    for part in parts[1:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = BytesParser().parsebytes(head + b"\r\n\r\n", headersonly=True)
        file_name = headers.get_filename()
        if file_name is not None:
            name, content = file_name, value
        else:
            key = headers.get_param("name", header="Content-Disposition")
            fields[str(key)] = value.decode("utf-8", "replace")
    if name is None:
        raise Unreadable("the form has no file")
    return Upload(name, content, fields)
