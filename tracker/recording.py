"""Putting jobs on record: the half of the facade that begins a job's life."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tracker import ids, lifecycle
from tracker.background import Background
from tracker.config import Config
from tracker.errors import UsageError
from tracker.model import PRIORITIES, Job, Json, Kind, NewOperation, ProcessingJob, Status
from tracker.objects import ObjectState, StoredObject
from tracker.records import Records, check_json
from tracker.spool import Folder

if TYPE_CHECKING:
    from tracker.services import Service
    from tracker.storage import Storage


class Recording(Records):
    """Whatever happens next, what was recorded here is on record."""

    config: Config
    folder: Folder
    _background: Background

    if TYPE_CHECKING:  # what the other halves of the facade bring

        @property
        def storage(self) -> Storage:
            """Where objects are kept."""

        def identify(self, stored: StoredObject) -> StoredObject:
            """The same object with what can be found out about it."""

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
        on_bytes: Callable[[int], None] | None = None,
    ) -> ProcessingJob:
        """Record a new job and return it at once; with `sync`, a first attempt to get it accepted
        follows in the background.

        `payload` and `file` are what the service's create call is built from. The file is copied
        into the tracker's folder first (`on_bytes` is told how many more bytes were); where the
        service wants it in S3, it is uploaded before the create call. `priority` is critical, high,
        medium or low. Raises NotFound for an unknown service, UsageError when the create call lacks
        something; nothing is recorded then.
        """
        found = self._creator(service, priority)
        job = self._new_job(
            found,
            payload or {},
            job_type=job_type,
            project=project,
            session_id=session_id,
            document_id=document_id,
            estimated_seconds=estimated_seconds,
        )
        source = None if file is None else Path(file)
        self._check_create(found, job, source)
        spooled = None if source is None else self.folder.take_in(source, job.local_id, on_bytes)
        operation = _owed_create(job, priority)
        try:
            if spooled is not None and found.uploads:
                target = self.storage.plan_input(job.local_id, spooled)
                operation = lifecycle.owed_upload(operation, target, spooled.key)
            self.store.submit(job, operation, spooled=spooled)
        except BaseException:
            if spooled is not None:
                self.folder.remove(spooled.key)
            raise
        if sync:
            self._background.hand(job.local_id)
        return job

    def submit_many(
        self,
        service: str,
        payloads: Iterable[Mapping[str, Json]],
        *,
        job_type: str = "",
        project: str | None = None,
        session_id: str | None = None,
        document_id: str | None = None,
        estimated_seconds: float | None = None,
        priority: str = "medium",
        sync: bool = True,
    ) -> list[ProcessingJob]:
        """Record a job for each of `payloads`, all of them or none, in one transaction: as
        `submit` does, many times as fast. None of them has a file.

        A transaction of some hundred jobs delays nobody else.
        """
        found = self._creator(service, priority)
        jobs = []
        for payload in payloads:
            job = self._new_job(
                found,
                payload,
                job_type=job_type,
                project=project,
                session_id=session_id,
                document_id=document_id,
                estimated_seconds=estimated_seconds,
            )
            self._check_create(found, job, None)
            jobs.append(job)
        self.store.submit_many([(job, _owed_create(job, priority)) for job in jobs])
        for job in jobs if sync else ():
            self._background.hand(job.local_id)
        return jobs

    def check_payload(self, service: str, payload: Mapping[str, Json]) -> None:
        """Raises what `submit` would raise for a job without a file; nothing is recorded."""
        found = self._creator(service, PRIORITIES[0])
        self._check_create(found, self._new_job(found, payload), None)

    def _creator(self, name: str, priority: str) -> Service:
        service = self.services.find(name)
        if service.create is None:
            raise UsageError(
                f"service '{name}' has no create call",
                f"define [services.{name}.create], or track a job that runs: tracker add",
            )
        if priority not in PRIORITIES:
            raise UsageError(f"priority '{priority}' is none of {', '.join(PRIORITIES)}")
        return service

    def _new_job(
        self,
        service: Service,
        payload: Mapping[str, Json],
        *,
        job_type: str = "",
        project: str | None = None,
        session_id: str | None = None,
        document_id: str | None = None,
        estimated_seconds: float | None = None,
    ) -> ProcessingJob:
        job = ProcessingJob(
            local_id=ids.new_id(),
            service=service.name,
            status=Status.PENDING,
            account=service.account,
            job_type=job_type,
            user_id=self.config.user_id,
            session_id=session_id,
            project=project,
            document_id=document_id,
            payload=dict(payload),
            estimated_completion_seconds=estimated_seconds,
        )
        _check_texts(job)
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
        objects: Sequence[str] = (),
        owned: bool = False,
    ) -> ProcessingJob:
        """Track a job that already runs at `service`; it is due at once. `variables` are what its
        calls need besides the id. `objects` are the URIs of what it uses (``s3://bucket/key``,
        ``file:///path``, with ``input=`` or ``result=`` before it); those that are `owned` are
        removed with the last job that uses them.

        Raises Impossible when the job is tracked already, NotFound for an owned object that is not
        there.
        """
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
        _check_texts(job)
        in_hand = _in_hand(job)
        found.build_status(in_hand)
        from tracker.storage.uris import read_uri  # brings all of a service's definition

        named = [read_uri(uri, owned=owned) for uri in objects]
        known = {one.uri for one in named if self.store.knows(one)}
        used = [self.identify(one) for one in named]
        self.store.adopt(job, found.server_key(in_hand), 0.0, used, known)
        return self.store.get(job.local_id)

    def _check_create(self, service: Service, job: ProcessingJob, source: Path | None) -> None:
        """Raises UsageError when the create call cannot be built once the input is where it is to
        be."""
        in_hand = _in_hand(job)
        if source is not None:
            described = self.folder.describe(source)
            in_hand.describe_input(described)
            if service.uploads:
                target = self.storage.plan_input(job.local_id, described)
                self.storage.check(target.bucket)
                in_hand.describe_input(replace(target, state=ObjectState.PRESENT))
                in_hand.input = {**(in_hand.input or {}), "url": target.uri}
        service.build_create(in_hand, job.local_id)


def _owed_create(job: ProcessingJob, priority: str) -> NewOperation:
    return NewOperation(
        Kind.CREATE,
        job.service,
        job.account,
        priority=priority,
        idempotency_key=job.local_id,
    )


def _check_texts(job: ProcessingJob) -> None:
    """Raises UsageError for what JSON, or a database, cannot hold."""
    for name, value in job.said.items():
        check_json(f"the job's {name}", value)


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
