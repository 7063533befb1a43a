"""Looking at the ledger: the half of the facade that calls nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker import clock
from tracker.errors import Impossible, UsageError
from tracker.model import ACTIVE, FINISHED, POLL, Json, OperationState, ProcessingJob, Status
from tracker.objects import StoredObject

if TYPE_CHECKING:
    from tracker.services import Service, Services
    from tracker.store import Store
    from tracker.store.budgets import Budget
    from tracker.store.reads import EventRow


Rows = list[dict[str, Json]]

GLANCE_SECONDS = 0.05
"""How often a follower looks whether another process wrote something."""


def has_ended(job: ProcessingJob) -> bool:
    """Whether nothing more will happen to `job` by itself: it is finished, or its submission was
    given up or is in doubt."""
    return job.finished or (job.status == Status.PENDING and job.sync_status == "failed")


class Records:
    """Reads are local: they work without a network, without credentials, beside any poller. Only
    what is kept in S3 is read from there."""

    store: Store

    @property
    def services(self) -> Services:
        """The services of the configuration."""
        raise NotImplementedError

    def local_id(self, job: str | ProcessingJob) -> str:
        """The local id of a job, of an unambiguous end or beginning of one, or of
        ``service:server_id``. Raises NotFound, or UsageError when it could be several."""
        return job.local_id if isinstance(job, ProcessingJob) else self.store.resolve(job)

    def get(self, job: str | ProcessingJob) -> ProcessingJob:
        """One job, as the ledger has it now."""
        return self.store.get(self.local_id(job))

    def list(
        self,
        *,
        statuses: Sequence[str] = (),
        service: str | None = None,
        job_type: str | None = None,
        project: str | None = None,
        session_id: str | None = None,
        document_id: str | None = None,
        newer_than: float | None = None,
        older_than: float | None = None,
        before: str | ProcessingJob | None = None,
        limit: int = 50,
    ) -> list[ProcessingJob]:
        """A page of up to `limit` jobs, newest first; the next one starts `before` the last of
        this one. `newer_than` and `older_than` are ages in seconds; ``active`` and ``finished``
        stand for the statuses that mean so."""
        now = self.store.now()
        return self.store.list_jobs(
            statuses=_statuses(statuses),
            service=service,
            job_type=job_type,
            project=project,
            session_id=session_id,
            document_id=document_id,
            created_after=None if newer_than is None else clock.to_text(now - newer_than),
            created_before=None if older_than is None else clock.to_text(now - older_than),
            before=None if before is None else self.local_id(before),
            limit=limit,
        )

    def count_due(self) -> int:
        """How many running jobs are due now."""
        now = self.store.now()
        return sum(
            self.store.count_due(service, now) for service in self.store.services_with_work()
        )

    def result(self, job: str | ProcessingJob) -> bytes:
        """The kept result of a job, wherever it is kept. Raises NotFound when there is none,
        Impossible when its file has gone, CallFailed when S3 does not give it out."""
        body, path, stored = self.store.content(self.local_id(job))
        if stored is not None:
            return self.download(stored)
        if path is None:
            return body or b""
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise Impossible(f"the kept result {path} cannot be read: {error.strerror}") from None

    def download(self, stored: StoredObject) -> bytes:
        """What an S3 object holds."""
        raise NotImplementedError

    def objects(self, job: str | ProcessingJob) -> Rows:
        """The files and S3 objects that a job uses, as dicts of the columns and ``role``."""
        return self.store.objects_of(self.local_id(job))

    def outbox(
        self, job: str | ProcessingJob | None = None, *, state: str | None = None, limit: int = 100
    ) -> Rows:
        """What is owed, oldest first, as dicts of the columns; ``object`` is the place of what it
        is about. `state` is pending, in_doubt or dead. Raises UsageError for another."""
        if state is not None and state not in tuple(OperationState):
            raise UsageError(f"state '{state}' is none of {', '.join(OperationState)}")
        local_id = None if job is None else self.local_id(job)
        return self.store.outbox(state=state, local_id=local_id, limit=limit)

    def count_outbox(
        self, job: str | ProcessingJob | None = None, *, state: str | None = None
    ) -> int:
        """How many operations `outbox` has in all."""
        local_id = None if job is None else self.local_id(job)
        return self.store.count_outbox(state=state, local_id=local_id)

    def details(self, job: str | ProcessingJob) -> dict[str, Rows]:
        """What belongs to a job: ``operations`` that it owes, ``contents``, ``objects``."""
        local_id = self.local_id(job)
        return {
            "operations": self.store.operations_of(local_id),
            "contents": self.store.contents_of(local_id),
            "objects": self.store.objects_of(local_id),
        }

    def events(
        self,
        job: str | ProcessingJob | None = None,
        *,
        after: int = 0,
        limit: int | None = None,
        follow: bool = False,
    ) -> Iterator[EventRow]:
        """Events with a ``seq`` above `after`, in the order they were committed; of one job or of
        all. With `follow` it goes on for ever, waiting for the next."""
        local_id = None if job is None else self.local_id(job)
        count = 0
        while True:
            change = self.store.change_count()
            page = self.store.events(local_id=local_id, after=after)
            for event in page:
                yield event
                after, count = event.seq, count + 1
                if count == limit:
                    return
            if not page and not follow:
                return
            while follow and not page and change == self.store.change_count():
                clock.sleep(GLANCE_SECONDS)

    def watch(
        self, job: str | ProcessingJob | None = None, *, after: int | None = None
    ) -> Iterator[EventRow]:
        """Changes of a job, or of all, from now on or behind the event `after`, for ever: none is
        missed and none repeated, across processes and restarts. Raises Impossible when what
        follows `after` has been pruned: then everything has to be read anew."""
        if after is None:
            after = self.store.last_event()
        elif after < self.store.events_pruned_to():
            raise Impossible(
                f"the events behind {after} are gone", "read the jobs again, then watch from now"
            )
        return self.events(job, after=after, follow=True)

    def health(self) -> dict[str, Json]:
        """How things are: ``healthy``, and ``problems`` in words; counts of unfinished ``jobs`` by
        status and of ``operations`` by state, ``oldest_operation_seconds``, ``stuck_jobs`` (local
        ids, 20 at most) and ``stuck_operations`` (more than 30 min), ``paused`` services,
        ``listings`` (the last and the next of each service), ``outgrown`` services,
        ``success_rate`` of the jobs that ended in the last day (0 to 1, None without any),
        ``pollers`` that live, ``tables`` (rows), ``database_bytes``."""
        from tracker.health import health

        return health(self.store, self.services)

    def explain(self, job: str | ProcessingJob) -> dict[str, Any]:
        """Why a job is where it is and what happens next; see `tracker.explain.explain`."""
        from tracker.explain import explain
        from tracker.schedule import PollPolicy

        found = self.get(job)
        service = self.services.get(found.service)
        owed = self.store.operations_of(found.local_id)
        calling, account, kind = found.service, found.account, POLL
        if owed and found.status != Status.PROCESSING:
            calling, account, kind = (owed[0][name] for name in ("service", "account", "kind"))
        return explain(
            found,
            owed,
            self._budget_for(calling, account, kind),
            now=self.store.now(),
            paused=self.store.is_paused(),
            known=service is not None,
            policy=service.poll if service is not None else PollPolicy(),
            possible=self._possible(service),
        )

    def _possible(self, service: Service | None) -> float:
        return service.possible_every(self.store.count_due(service.name)) if service else 0.0

    def service_list(self) -> Rows:
        """The services: how fast they may be called, how many calls are left this second, until
        when they are paused and why (of those budgets that polls use, and by kind of call in
        ``budgets``), and how often each running job can be polled at that rate, in seconds."""
        from tracker.overview import overview

        return overview(self.store, self.services)

    def _budget_for(self, service: str, account: str, kind: str = POLL) -> Budget:
        """The budget that a poll, or an operation of this kind, depends on."""
        found = self.services.get(service)
        return self.store.budget(service, account, found.calls_of(kind) if found else "")


def check_json(what: str, value: Any) -> None:
    """Raises UsageError for what JSON, or a database, cannot hold."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise UsageError(f"{what} cannot be recorded: {why}") from None


def _statuses(words: Sequence[str]) -> list[str]:
    groups: dict[str, tuple[str, ...]] = {"active": ACTIVE, "finished": FINISHED}
    known = [*Status, *groups]
    found: list[str] = []
    for word in words:
        if word not in known:
            raise UsageError(f"status '{word}' is none of {', '.join(known)}")
        found += groups.get(word, (word,))
    return found
