"""Putting jobs on record: the half of the facade that begins a job's life."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from tracker import ids
from tracker.background import Background
from tracker.config import Config
from tracker.errors import UsageError
from tracker.model import PRIORITIES, Job, Json, Kind, NewOperation, ProcessingJob, Status
from tracker.records import Records
from tracker.spool import Folder


class Recording(Records):
    """Whatever happens next, what was recorded here is on record."""

    config: Config
    folder: Folder
    _background: Background

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
        _check_texts(job)
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
        _check_texts(job)
        in_hand = _in_hand(job)
        found.build_status(in_hand)
        self.store.adopt(job, found.server_key(in_hand), 0.0)
        return self.store.get(job.local_id)


def _check_texts(job: ProcessingJob) -> None:
    """Raises UsageError for what JSON, or a database, cannot hold."""
    for name, value in asdict(job).items():
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the job's {name} cannot be recorded: {_plain(error)}") from None


def _plain(error: Exception) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)


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
