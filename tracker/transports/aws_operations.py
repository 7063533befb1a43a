"""The transport to AWS's services: operations of boto3's own clients, in threads."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.boto import BotoTransport
from tracker.transports.tasks import Ask

if TYPE_CHECKING:
    from botocore import exceptions

    from tracker.transports.aws import Clients

TOLD = frozenset({Fault.REFUSED, Fault.REDIRECT})
"""Errors that the service's definition may understand: they become replies with a body."""


class AwsTransport(BotoTransport):
    """Calls operations, up to `threads` at a time."""

    def __init__(self, threads: int = 8) -> None:
        super().__init__(_answer, threads, "aws")


def _answer(clients: Clients, call: Call) -> Reply:
    reply = perform(clients, call)
    reply.url = reply.url or call.url
    return reply


def perform(clients: Clients, call: Call) -> Reply:
    """Call the operation. What AWS refuses is a reply with ``__type`` and ``message`` in its body,
    as AWS's own JSON protocol has it."""
    from botocore import exceptions, xform_name

    from tracker.transports import aws

    task = call.task
    if not isinstance(task, Ask):
        return Reply(fault=Fault.INVALID, sent=False, message="the call has no operation for AWS")
    about = f"{task.client} {task.operation}"
    try:
        client = clients.any(task.client, task.endpoint)
        method = getattr(client, xform_name(task.operation), None)
        if method is None:
            return Reply(fault=Fault.INVALID, sent=False, message=f"AWS has no {about}")
        found = method(**json.loads(call.body or b"{}"))
    except exceptions.ClientError as error:
        return _refused(error, about)
    except (exceptions.UnknownServiceError, exceptions.ParamValidationError, TypeError) as error:
        return Reply(fault=Fault.INVALID, sent=False, message=aws.line(f"{about}: {error}"))
    except Exception as error:
        return aws.reply_to(error, aws.line(about))
    return _answered(found, call)


def _refused(error: exceptions.ClientError, about: str) -> Reply:
    from tracker.transports import aws

    code, status = aws.code_of(error)
    fault = aws.fault_of(code, status)
    headers = _headers(error.response.get("ResponseMetadata", {}))
    if fault not in TOLD:
        message = aws.line(f"{about}: {aws.said_by(error)}")
        return Reply(status, headers, fault=fault, message=message)
    told = {"__type": code, "message": error.response.get("Error", {}).get("Message", "")}
    # AWS's JSON protocol has but 400 for most of what goes wrong.
    status = 409 if code == "ConflictException" else status or 400
    return Reply(status, headers, json.dumps(told).encode())


def _headers(told: Mapping[str, Any]) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in told.get("HTTPHeaders", {}).items()}


def _answered(found: dict[str, Any], call: Call) -> Reply:
    told = found.pop("ResponseMetadata", {})
    body = json.dumps(found, default=lambda value: _plain(value, call.max_bytes)).encode()
    status = int(told.get("HTTPStatusCode", 200))
    if len(body) > call.max_bytes:
        return Reply(status, fault=Fault.OVERSIZED, message=f"more than {call.max_bytes} bytes")
    return Reply(status, _headers(told) | {"content-type": "application/json"}, body)


def _plain(value: Any, most: int) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "read"):
        value = value.read(most + 1)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
