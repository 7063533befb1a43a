"""How the demo's jobs ended, beside how they should have."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields

from tracker.demo.samples import Sample
from tracker.errors import TrackerError
from tracker.model import ProcessingJob, Status
from tracker.tracker import Tracker


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is compared. ``result`` is whether a result is kept that was made from exactly the
    submitted bytes; ``finalized`` counts the ``job:finalized`` events, one a job."""

    status: str
    failure_reason: str | None
    error_message: str | None
    result: bool
    finalized: int


@dataclass(frozen=True, slots=True)
class Ending:
    """One job of the demo; ``result_bytes`` is the size of what is kept."""

    sample: Sample
    job: ProcessingJob
    expected: Outcome
    actual: Outcome
    result_bytes: int

    @property
    def problem(self) -> str | None:
        """What is not as it should be, in one line; None when all is."""
        wrong = [
            f"{one.name} is {getattr(self.actual, one.name)!r}, "
            f"expected {getattr(self.expected, one.name)!r}"
            for one in fields(Outcome)
            if getattr(self.actual, one.name) != getattr(self.expected, one.name)
        ]
        if not wrong:
            return None
        return f"{self.sample.name} (job {self.job.short_id}): {'; '.join(wrong)}"


def ending_of(tracker: Tracker, sample: Sample, local_id: str) -> Ending:
    """How the job of `sample` ended, as the ledger has it."""
    job = tracker.get(local_id)
    result = _result(tracker, job)
    expected = Outcome(
        status=str(sample.status),
        failure_reason=_text(sample.failure_reason),
        error_message=sample.error_message,
        result=sample.status == Status.COMPLETED,
        finalized=1,
    )
    actual = Outcome(
        status=job.status,
        failure_reason=job.failure_reason,
        error_message=job.error_message,
        result=result is not None and _made_from(result, sample.content),
        finalized=sum(event.type == "job:finalized" for event in tracker.events(job)),
    )
    return Ending(sample, job, expected, actual, len(result or b""))


def _result(tracker: Tracker, job: ProcessingJob) -> bytes | None:
    try:
        return tracker.result(job)
    except TrackerError:
        return None  # there is none, or its file has gone


def _made_from(result: bytes, content: bytes) -> bool:
    try:
        said = json.loads(result)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("sha256") == hashlib.sha256(content).hexdigest()


def _text(word: str | None) -> str | None:
    return None if word is None else str(word)
