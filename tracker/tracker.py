"""Tracker: what commands, servers and users call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tracker import config, lifecycle
from tracker.background import Background
from tracker.config import Config
from tracker.errors import Impossible, TrackerError
from tracker.keeping import Keeping
from tracker.lifecycle import Rules
from tracker.maintenance import ledger_path
from tracker.model import ProcessingJob, Status
from tracker.outcomes import Transition
from tracker.recording import Recording
from tracker.serving import ATTEMPT_SECONDS
from tracker.spool import Folder
from tracker.store import Store, open_store

if TYPE_CHECKING:
    from tracker.poller import Poller
    from tracker.services import Services, Sink
    from tracker.storage import Storage


class Tracker(Keeping, Recording):
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

    def signed_in(self, service: str) -> str:
        """``ok``, ``none needed``, or why the service's credentials cannot be had; never a
        secret."""
        credential = self.services.find(service).credential
        if credential is None:
            return "none needed"
        try:
            credential.headers()
        except TrackerError as error:
            return str(error)
        return "ok"

    # What a person does.

    def complete(self, job: str | ProcessingJob) -> ProcessingJob:
        """Call a job completed, whatever its service says. Raises Impossible when it has ended."""
        return self._by_hand(job, Status.COMPLETED, None)

    def fail(self, job: str | ProcessingJob, message: str | None = None) -> ProcessingJob:
        """Call a job failed. Raises Impossible when it has ended."""
        return self._by_hand(job, Status.FAILED, message)

    def _by_hand(
        self, job: str | ProcessingJob, status: Status, message: str | None
    ) -> ProcessingJob:
        found = self.get(job)
        in_hand = self.store.job_in_hand(found.local_id)
        rules = Rules(sinks=tuple(sink.name for sink in self.sinks))
        change = lifecycle.by_hand(in_hand, status, rules, error=message)
        return self._act(found, change, f"is {found.status} already")

    def reopen(self, job: str | ProcessingJob) -> ProcessingJob:
        """Bring a finished job back: processing, due now, its completion cleared. Raises
        Impossible for one that has not ended, or that its service never accepted."""
        found = self.get(job)
        if not found.server_id:
            raise Impossible(
                f"job {found.short_id} cannot be reopened: its service never accepted it",
                "submit it again",
            )
        in_hand = self.store.job_in_hand(found.local_id)
        return self._act(found, lifecycle.reopened(in_hand), f"is {found.status}, not finished")

    def _act(self, job: ProcessingJob, change: Transition, otherwise: str) -> ProcessingJob:
        if not self.store.act(job.local_id, change):
            raise Impossible(f"job {job.short_id} {otherwise}", f"see: tracker show {job.short_id}")
        return self.store.get(job.local_id)

    def pause(self) -> bool:
        """Turn all polling and syncing off, for every poller; False when it was off."""
        return self.store.set_paused(True)

    def resume(self) -> bool:
        """Turn it on again; nothing was lost. False when it was on."""
        return self.store.set_paused(False)
