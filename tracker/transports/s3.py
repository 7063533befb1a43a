"""The transport to S3: boto3 calls in threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.model import Fault
from tracker.transports.base import Call, Reply
from tracker.transports.boto import BotoTransport
from tracker.transports.tasks import Answer, Ask, Begin, Get, Look, Put, Remove

if TYPE_CHECKING:
    from tracker.transports.aws import Clients


LONGEST_KEY = 100
"""Characters of a key that a message repeats."""


class S3Transport(BotoTransport):
    """Does the tasks of its calls, up to `threads` at a time; their answers come in the replies."""

    def __init__(self, threads: int = 8) -> None:
        super().__init__(perform, threads, "s3")


def perform(clients: Clients, call: Call) -> Reply:
    """Do the task of `call`. What S3 or the file system refuses is in the reply."""
    from tracker.transports import aws, s3_remove, s3_upload

    task = call.task
    if task is None or isinstance(task, Ask):
        return Reply(fault=Fault.INVALID, sent=False, message="the call has no task for S3")
    about = f"s3://{task.bucket}"
    if not isinstance(task, Remove):
        # S3's own words have to fit in beside it.
        about += f"/{task.key}" if len(task.key) <= LONGEST_KEY else f"/{task.key[:LONGEST_KEY]}…"
    answer: Answer
    try:
        client = clients.s3(task.endpoint)
        match task:
            case Remove():
                answer = s3_remove.remove(client, task)
            case Put():
                answer = s3_upload.put(client, task)
            case Begin():
                answer = s3_upload.begin(client, task)
            case Look():
                answer = s3_upload.look(client, task)
            case Get():
                return Reply(200, body=s3_upload.read(client, task))
    except s3_upload.Unusable as error:
        sent = error.fault is not Fault.INVALID
        return Reply(fault=error.fault, sent=sent, message=aws.line(f"{about}: {error}"))
    except RecursionError:
        message = f"{about}: S3 sends to another region without end (set storage.region)"
        return Reply(fault=Fault.REDIRECT, sent=False, message=aws.line(message))
    except Exception as error:
        return aws.reply_to(error, aws.line(about))
    return Reply(200, answer=answer)
