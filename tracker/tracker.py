"""Tracker: what commands, servers and users call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tracker import config
from tracker.background import Background
from tracker.changing import Changing
from tracker.config import Config
from tracker.errors import TrackerError
from tracker.keeping import Keeping
from tracker.maintenance import ledger_path
from tracker.model import Json
from tracker.recording import Recording
from tracker.serving import ATTEMPT_SECONDS
from tracker.spool import Folder
from tracker.store import Store, open_store

if TYPE_CHECKING:
    from tracker.poller import Poller
    from tracker.services import Services, Sink
    from tracker.storage import Storage


class Tracker(Recording, Changing, Keeping):
    """One ledger and the services it knows. A context manager; safe to share between threads.

    >>> with Tracker("tracker.toml") as tracker:          # doctest: +SKIP
    ...     job = tracker.submit("docs", {"language": "en"}, file="report.pdf")
    ...     tracker.wait(job, timeout=600)
    ...     print(tracker.result(job))

    Every method raises `tracker.errors.TrackerError` subclasses: ConfigError and UsageError (what
    was asked makes no sense), NotFound, Impossible (not in this state), DatabaseError.
    """

    def __init__(
        self,
        configuration: str | Path | Config | None = None,
        *,
        database: str | Path | None = None,
    ) -> None:
        """`configuration` is a tracker.toml (default: found as the command does), `database` the
        path of the ledger, where it is not the configuration's."""
        if not isinstance(configuration, Config):
            configuration = config.load(None if configuration is None else str(configuration))
        self.config = configuration
        self.database = ledger_path(str(database or configuration.database))
        self.store: Store = open_store(self.database, zone=configuration.legacy_zone)
        self.folder = Folder(
            configuration.folder or self.database.with_name(self.database.name + ".files")
        )
        self._services: Services | None = None
        self._sinks: list[Sink] | None = None
        self._lock = Lock()
        self._background = Background(self._attempt_quietly)
        self._attempting: Poller | None = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let first attempts that are under way end (after 10 s they are told to) and close the
        ledger."""
        self._background.close(ATTEMPT_SECONDS, self._stop_attempting)
        self.close_s3()
        self.store.close()

    def _attempt_quietly(self, local_ids: Sequence[str]) -> None:
        def keep(poller: Poller) -> None:
            self._attempting = poller

        self.attempt(local_ids, keep)

    def _stop_attempting(self) -> None:
        if self._attempting is not None:
            self._attempting.stop()

    @property
    def services(self) -> Services:
        """The services of the configuration, checked. Raises ConfigError."""
        with self._lock:
            if self._services is None:
                from tracker.services import load_services

                self._services = load_services(self.config)
            return self._services

    @property
    def sinks(self) -> list[Sink]:
        """Who is told when a job ends. Raises ConfigError."""
        with self._lock:
            if self._sinks is None:
                from tracker.services import load_sinks

                self._sinks = load_sinks(self.config)
            return self._sinks

    @property
    def storage(self) -> Storage:
        """Where objects are kept, by the configuration's ``[storage]``."""
        from tracker.storage import Storage

        return Storage(self.config.storage)

    def signed_in(self, service: str) -> dict[str, Json]:
        """Who is signed in at a service, never the secret: ``account`` as the configuration or the
        provider names it, ``credentials`` (``ok``, ``none needed``, or why they cannot be had),
        ``from`` which references, ``expires_in`` seconds (None: nobody said)."""
        found = self.services.find(service)
        credential = found.credential
        told: dict[str, Json] = {"account": found.account, "credentials": "none needed"}
        if credential is not None:
            try:
                credential.headers()
                told["credentials"] = "ok"
            except TrackerError as error:
                told["credentials"] = str(error)
            told["account"] = credential.who or found.account
        told["from"] = [] if credential is None else credential.sources
        told["expires_in"] = None if credential is None else credential.lives
        return told
