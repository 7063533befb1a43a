"""What the demo's service does with each file. Nothing here is left to chance, so that every run
of the demo ends alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tracker.model import Json

QUEUED_SHARE = 0.1
"""The part of its time that a job spends in the queue."""


@dataclass(frozen=True, slots=True)
class Act:
    """How the service treats one file.

    The job ends as ``ending`` (done, error, timeout or cancelled) after ``seconds``, with
    ``message``. ``refusals`` are HTTP codes by the number of the poll (1, 2, …) that gets them
    instead of an answer; the job does not end before they are used up. ``loses_reply`` has the
    service accept the job and answer its first create with an HTTP 500. ``result_rows`` is how
    much is in the result.
    """

    seconds: float = 1.0
    ending: str = "done"
    message: str | None = None
    refusals: Mapping[int, int] = field(default_factory=dict)
    loses_reply: bool = False
    result_rows: int = 3

    def answer(self, age: float, polls: int) -> dict[str, Json]:
        """What the `polls`-th poll of a job learns that was accepted `age` seconds ago."""
        if age >= self.seconds and polls > max(self.refusals, default=0):
            error = {"message": self.message} if self.message else None
            progress = {"progress": 100} if self.ending == "done" else {}
            return {"status": self.ending, "error": error, **progress}
        share = min(age / self.seconds, 0.99)
        if share < QUEUED_SHARE:
            return {"status": "queued"}
        return {"status": "running", "progress": int(100 * share)}


SCRIPT: dict[str, Act] = {
    "hello.txt": Act(seconds=0.8),
    "report.pdf": Act(seconds=7.0),
    # Larger than what a row takes: this result is kept as a file.
    "orders.json": Act(seconds=1.5, refusals={1: 503}, result_rows=1500),
    "table.csv": Act(seconds=2.5, ending="error", message="row 3 has 2 columns"),
    "marathon.txt": Act(seconds=2.0, ending="timeout", message="stopped after 2 s of work"),
    "draft.md": Act(seconds=0.5, ending="cancelled", message="withdrawn by author"),
    "letter.txt": Act(seconds=1.0, loses_reply=True),
    # One 429 is enough to show it: it pauses the whole service, the first time for 5 s.
    "photo.bin": Act(seconds=2.0, refusals={2: 429}),
}
"""By file name; any other file is done after a second."""
