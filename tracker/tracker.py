"""Tracker: what commands, servers and users call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tracker import config, ids, lifecycle
from tracker.background import Background
from tracker.config import Config
from tracker.errors import Impossible, TrackerError, UsageError, WaitTimeout
from tracker.lifecycle import Rules
from tracker.maintenance import ledger_path
from tracker.model import PRIORITIES, Job, Json, Kind, NewOperation, ProcessingJob, Status
from tracker.outcomes import Transition
from tracker.records import Records, has_ended
from tracker.spool import Folder
from tracker.store import Store, open_store

if TYPE_CHECKING:
    from tracker.cleanup import Receipt
    from tracker.executors.base import Lane
    from tracker.poller import Poller, Summary
    from tracker.services import Services, Sink

ATTEMPT_SECONDS = 10.0
"""Bound of the attempt that follows a submission at once."""

FORCED_SECONDS = 45.0
"""How long `poll` waits for jobs that it was asked to poll now; a paused service may outlast it."""

Progress = Callable[["Summary"], None]
OnPoller = Callable[["Poller"], None]


class Tracker(Records):
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
        self._sinks: list[Sink] = []
        self._lock = Lock()
        self._background = Background(self.attempt)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let first attempts that are under way end (10 s at most) and close the ledger."""
        self._background.close(ATTEMPT_SECONDS)
        self.store.close()

    @property
    def services(self) -> Services:
        """The services of the configuration, checked. Raises ConfigError."""
        with self._lock:
            if self._services is None:
                from tracker.services import load_services, load_sinks

                self._sinks = load_sinks(self.config)
                self._services = load_services(self.config)
            return self._services

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

    # Recording.

    def submit(
        self,
        service: str,
        payload: Mapping[str, Json] | None = None,
        *,
        file: str | Path | None = None,
        job_type: str = "",
        project: str | None = None,
        session_id: str | None = None,
        document_id: str | None = None,
        estimated_seconds: float | None = None,
        priority: str = "medium",
        sync: bool = True,
    ) -> ProcessingJob:
        """Record a new job and return it at once; with `sync`, a first attempt to get it accepted
        follows in the background.

        `payload` and `file` are what the service's create call is built from. The file is copied
        into the tracker's folder first. `priority` is critical, high, medium or low. Raises
        NotFound for an unknown service, UsageError when the create call lacks something; nothing
        is recorded then.
        """
        found = self.services.find(service)
        if found.create is None:
            raise UsageError(
                f"service '{service}' has no create call",
                f"define [services.{service}.create], or track a job that runs: tracker add",
            )
        if priority not in PRIORITIES:
            raise UsageError(f"priority '{priority}' is none of {', '.join(PRIORITIES)}")
        job = ProcessingJob(
            local_id=ids.new_id(),
            service=service,
            status=Status.PENDING,
            account=found.account,
            job_type=job_type,
            user_id=self.config.user_id,
            session_id=session_id,
            project=project,
            document_id=document_id,
            payload=dict(payload or {}),
            estimated_completion_seconds=estimated_seconds,
        )
        source = None if file is None else Path(file)
        in_hand = _in_hand(job)
        in_hand.input = None if source is None else self.folder.describe(source)
        found.build_create(in_hand, job.local_id)
        spooled = None if source is None else self.folder.take_in(source, job.local_id)
        operation = NewOperation(
            Kind.CREATE,
            service,
            found.account,
            priority=priority,
            idempotency_key=job.local_id,
        )
        try:
            self.store.submit(job, operation, spooled=spooled)
        except BaseException:
            if spooled is not None:
                self.folder.remove(str(spooled["path"]))
            raise
        if sync:
            self._background.hand(job.local_id)
        return job

    def add(
        self,
        service: str,
        server_id: str,
        *,
        job_type: str = "",
        project: str | None = None,
        session_id: str | None = None,
        document_id: str | None = None,
        variables: Mapping[str, Json] | None = None,
    ) -> ProcessingJob:
        """Track a job that already runs at `service`; it is due at once. `variables` are what its
        calls need besides the id. Raises Impossible when it is tracked already."""
        found = self.services.find(service)
        if found.status is None:
            raise UsageError(f"service '{service}' has no status call")
        if not server_id:
            raise UsageError("the server id is empty")
        job = ProcessingJob(
            local_id=ids.new_id(),
            service=service,
            status=Status.PROCESSING,
            server_id=server_id,
            account=found.account,
            job_type=job_type,
            user_id=self.config.user_id,
            project=project,
            session_id=session_id,
            document_id=document_id,
            vars=dict(variables or {}),
        )
        in_hand = _in_hand(job)
        found.build_status(in_hand)
        self.store.adopt(job, found.server_key(in_hand), 0.0)
        return self.store.get(job.local_id)

    # Serving.

    def attempt(self, local_ids: Sequence[str], on_poller: OnPoller | None = None) -> Summary:
        """Attempt now what these jobs owe, for 10 s at most; what is left stays owed."""
        poller = self._poller("submit", once=True, only=local_ids, bound=ATTEMPT_SECONDS)
        if on_poller is not None:
            on_poller(poller)
        return poller.run(seconds=ATTEMPT_SECONDS)

    def poll(
        self,
        jobs: Sequence[str | ProcessingJob] = (),
        *,
        seconds: float | None = None,
        services: Sequence[str] = (),
        limit: int | None = None,
        overlap: bool = True,
        on_progress: Progress | None = None,
        on_poller: OnPoller | None = None,
    ) -> Summary:
        """Handle what is due now; with `seconds`, also what becomes due in that time.

        `jobs` are polled now, whenever they are due. `services` serves only those, `limit` bounds
        the number of polls. Without `overlap` it steps back while another poller serves
        everything: until that one ends, or at once where there are no `seconds`.
        """
        only = [self.local_id(job) for job in jobs] or None
        if only:
            self.store.make_due(only)
        poller = self._poller(
            "poll" if only is None else "wait",
            once=seconds is None and only is None,
            only=only,
            services=services,
            limit=limit,
            on_progress=on_progress,
        )
        if on_poller is not None:
            on_poller(poller)
        if only:
            seconds = FORCED_SECONDS if seconds is None else seconds
            before = {job.local_id: job.poll_count for job in self.store.get_many(only)}
            return poller.run(seconds=seconds, until=lambda: self._polled_since(before))
        summary = poller.run(seconds=seconds, overlap=overlap)
        self.store.note_checked(self.config.fingerprint)
        return summary

    def run(self, *, services: Sequence[str] = (), on_poller: OnPoller | None = None) -> Summary:
        """Serve until `Poller.stop` is called on what `on_poller` is given."""
        poller = self._poller("run", services=services)
        if on_poller is not None:
            on_poller(poller)
        return poller.run()

    def wait(
        self,
        *jobs: str | ProcessingJob,
        timeout: float | None = None,
        on_progress: Progress | None = None,
        on_poller: OnPoller | None = None,
    ) -> list[ProcessingJob]:
        """Wait until all of `jobs` have ended, polling whatever of them is due; return them.

        A job whose submission was given up or is in doubt counts as ended. Raises WaitTimeout
        after `timeout` seconds.
        """
        only = [self.local_id(job) for job in jobs]
        poller = self._poller("wait", only=only, on_progress=on_progress)
        if on_poller is not None:
            on_poller(poller)
        if not self._ended(only):
            poller.run(seconds=timeout, until=lambda: self._ended(only))
        ended = {job.local_id: job for job in self.store.get_many(only)}
        found = [ended[local_id] for local_id in only if local_id in ended]
        running = [job.short_id for job in found if not has_ended(job)]
        if running and not poller.summary.stopped:
            raise WaitTimeout(
                f"{len(running)} of {len(found)} jobs did not end within {timeout:g} s: "
                + ", ".join(running[:5]),
                "they go on; wait again, or see: tracker explain JOB",
            )
        return found

    def _poller(
        self,
        kind: str,
        *,
        once: bool = False,
        only: Sequence[str] | None = None,
        services: Sequence[str] = (),
        limit: int | None = None,
        bound: float | None = None,
        on_progress: Progress | None = None,
    ) -> Poller:
        from tracker.poller import Poller
        from tracker.transports import TRANSPORTS

        return Poller(
            self.store,
            self._lanes(services, bound),
            TRANSPORTS,
            kind=kind,
            once=once,
            only=only,
            limit=limit,
            concurrency=self.config.concurrency,
            on_progress=on_progress,
        )

    def _lanes(self, names: Sequence[str], bound: float | None) -> list[Lane]:
        from tracker.executors import lanes_of

        chosen = [self.services.find(name) for name in names] or list(self.services.values())
        return lanes_of(chosen, self._sinks, self.folder.results, bound)

    def _polled_since(self, before: dict[str, int]) -> bool:
        return all(
            job.poll_count > before[job.local_id] or job.status != Status.PROCESSING
            for job in self.store.get_many(list(before))
        )

    def _ended(self, local_ids: Sequence[str]) -> bool:
        return all(has_ended(job) for job in self.store.get_many(local_ids))

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
        rules = Rules(sinks=self._sink_names())
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

    def _sink_names(self) -> tuple[str, ...]:
        assert self.services is not None  # loads the sinks too
        return tuple(sink.name for sink in self._sinks)

    def pause(self) -> bool:
        """Turn all polling and syncing off, for every poller; False when it was off."""
        return self.store.set_paused(True)

    def resume(self) -> bool:
        """Turn it on again; nothing was lost. False when it was on."""
        return self.store.set_paused(False)

    def cleanup(
        self,
        *,
        older_than: float | None = None,
        statuses: Sequence[str] = ("completed", "failed", "cancelled"),
        dry_run: bool = False,
    ) -> Receipt:
        """Delete finished jobs that ended more than `older_than` seconds ago (default: the
        configuration's 7 days) and owe nothing, with the tracker's own copies of their files."""
        from tracker.cleanup import clean_up

        policy = self.config.cleanup
        age = policy.older_than if older_than is None else older_than
        return clean_up(self.store, self.folder, age, statuses, keep=policy.keep, dry_run=dry_run)


def _in_hand(job: ProcessingJob) -> Job:
    return Job(
        id=0,
        local_id=job.local_id,
        service=job.service,
        account=job.account,
        server_id=job.server_id,
        status=job.status,
        job_type=job.job_type,
        user_id=job.user_id,
        session_id=job.session_id,
        project=job.project,
        document_id=job.document_id,
        payload=job.payload,
        vars=job.vars,
    )
