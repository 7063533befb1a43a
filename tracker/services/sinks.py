"""Who is told when a job ends: a command, a URL or both, from ``[notify]``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tracker.config import Config, NotifyConfig
from tracker.model import Failure, Fault
from tracker.services import values
from tracker.services.credentials import HeaderCredential, read_auth
from tracker.services.failures import LONGEST_MESSAGE, http_failure_of, transport_failure
from tracker.tables import Table
from tracker.transports import HTTP
from tracker.transports.base import Call, Reply

RETRY_AFTER_CAP = 300.0


class Sink(Protocol):
    """One receiver of notifications; ``name`` has a colon, which no service's name can have."""

    @property
    def name(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def transport(self) -> str: ...
    def build(self, message: bytes) -> Call:
        """The call that delivers `message`, a JSON object."""

    def read(self, reply: Reply) -> Failure | None:
        """None when it was taken."""


@dataclass(frozen=True, slots=True)
class CommandSink:
    """A command that gets the message on its standard input; exit code 0 is success."""

    command: tuple[str, ...]
    timeout: float
    name: str = "notify:command"
    transport: str = "command"

    def build(self, message: bytes) -> Call:
        """See `Sink`."""
        argv = list(self.command)
        return Call(self.name, "RUN", "", body=message, timeout=self.timeout, argv=argv)

    def read(self, reply: Reply) -> Failure | None:
        """See `Sink`. The end of what the command wrote to standard error is in the message."""
        if reply.fault is not None:
            return transport_failure(reply)
        if reply.status == 200:
            return None
        said = values.line(reply.body.decode(errors="replace"), LONGEST_MESSAGE)
        message = f"{reply.message}: {said}" if said else reply.message
        return Failure(Fault.SERVER, message, sent=reply.sent)


@dataclass(frozen=True, slots=True)
class UrlSink:
    """A URL that the message is posted to; any 2xx is success."""

    url: str
    timeout: float
    credential: HeaderCredential | None = None
    name: str = "notify:url"
    transport: str = HTTP

    def build(self, message: bytes) -> Call:
        """See `Sink`."""
        headers = {"Content-Type": "application/json"}
        call = Call(self.name, "POST", self.url, headers, message, timeout=self.timeout)
        call.credential = self.credential
        return call

    def read(self, reply: Reply) -> Failure | None:
        """See `Sink`."""
        if reply.fault is not None:
            return transport_failure(reply)
        if 200 <= reply.status < 300:
            return None
        return http_failure_of(reply, "", RETRY_AFTER_CAP)


def load_sinks(config: Config) -> list[Sink]:
    """The sinks of `config`; none without ``[notify]``. Raises ConfigError."""
    if config.notify is None:
        return []
    sinks: list[Sink] = []
    credential = _credential(config.notify, config.file)
    if config.notify.command is not None:
        sinks.append(CommandSink(config.notify.command, config.notify.timeout))
    if config.notify.url is not None:
        sinks.append(UrlSink(config.notify.url, config.notify.timeout, credential))
    return sinks


def _credential(notify: NotifyConfig, file: str | None) -> HeaderCredential | None:
    if notify.auth is None:
        return None
    part = read_auth(Table("notify.auth", notify.auth), str(Path(file or "").parent))
    return HeaderCredential((part,))
