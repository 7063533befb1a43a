"""Running the demo: what a user would do, through the same facade, and whether it came out well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tracker import clock
from tracker.cleanup import Receipt
from tracker.demo.ending import Ending, ending_of
from tracker.demo.samples import SAMPLES, Sample, write_configuration, write_inputs
from tracker.demo.service import DemoService
from tracker.errors import WaitTimeout
from tracker.model import Status
from tracker.poller import Poller
from tracker.serving import OnPoller, Progress
from tracker.store.reads import EventRow
from tracker.tracker import Tracker

PATIENCE_SECONDS = 24.0
"""After this long a job that has not ended counts as one that went wrong. A run takes about 10 s
and has to end within 30 s whatever happens."""

SERVICE = "docs"
TOLD = "report.pdf"
"""The job whose timeline is shown: it runs for the longest time."""

CLEANED = (Status.CANCELLED,)
"""What the demo's cleanup deletes; the rest is left to look into."""

Say = Callable[[str], None]
Watch = Callable[[Tracker, int], AbstractContextManager[Progress | None]]


@dataclass
class Report:
    """What the demo did. ``answers`` counts the service's responses by HTTP code, ``rehearsal`` is
    the cleanup's dry run over all jobs, ``problems`` are lines that say what went wrong."""

    folder: Path
    config: Path
    database: Path | str
    endings: list[Ending] = field(default_factory=list)
    timeline: list[EventRow] = field(default_factory=list)
    answers: dict[int, int] = field(default_factory=dict)
    rehearsal: Receipt = field(default_factory=Receipt)
    receipt: Receipt = field(default_factory=Receipt)
    problems: list[str] = field(default_factory=list)
    stopped: bool = False
    seconds: float = 0.0

    @property
    def told(self) -> Ending:
        """The job that the timeline is of."""
        return next((one for one in self.endings if one.sample.name == TOLD), self.endings[0])


def run_demo(
    folder: Path,
    *,
    samples: Sequence[Sample] = SAMPLES,
    patience: float = PATIENCE_SECONDS,
    say: Say = lambda line: None,
    watch: Watch = lambda tracker, total: nullcontext(),
    on_poller: OnPoller = lambda poller: None,
) -> Report:
    """Let some jobs live their whole lives in `folder`, which is new or empty, and check each.

    `say` is told what is done, line by line; `watch` gives a listener for the time of the wait;
    `on_poller` gets the poller, to stop it. Whatever a job did, the report says so. Raises
    Impossible when `folder` holds something, TrackerError when it cannot be written.
    """
    began = clock.monotonic()
    folder = folder.absolute()
    inputs = write_inputs(folder, samples)
    with DemoService() as service:
        config = write_configuration(folder, service.url)
        say(f"service   {service.url}, for the time of the demo")
        say(f"wrote     {config} and {len(inputs)} files in {inputs[0].parent}")
        with Tracker(config) as tracker:
            report = Report(folder, config, tracker.database)
            local_ids = [_submit(tracker, path) for path in inputs]
            say(f"submitted {len(local_ids)} jobs to '{SERVICE}'; waiting until all have ended")
            with watch(tracker, len(local_ids)) as on_progress:
                report.stopped = _wait(tracker, local_ids, patience, on_progress, on_poller)
            pairs = zip(samples, local_ids, strict=True)
            report.endings = [ending_of(tracker, sample, local_id) for sample, local_id in pairs]
            report.timeline = list(tracker.events(report.told.job))
            report.answers = service.answers
            if not report.stopped:
                _clean_up(tracker, report)
                report.problems = _problems(report, service.job_count)
    report.seconds = round(clock.monotonic() - began, 2)
    return report


def _submit(tracker: Tracker, path: Path) -> str:
    job = tracker.submit(
        SERVICE, {"language": "en"}, file=path, job_type="demo", document_id=path.name
    )
    return job.local_id


def _wait(
    tracker: Tracker,
    local_ids: Sequence[str],
    patience: float,
    on_progress: Progress | None,
    on_poller: OnPoller,
) -> bool:
    """Wait for the jobs; whether somebody stopped it."""
    pollers: list[Poller] = []

    def keep(poller: Poller) -> None:
        pollers.append(poller)
        on_poller(poller)

    with suppress(WaitTimeout):  # comparing the jobs with what is expected says which
        tracker.wait(*local_ids, timeout=patience, on_progress=on_progress, on_poller=keep)
    return any(poller.summary.stopped for poller in pollers)


def _clean_up(tracker: Tracker, report: Report) -> None:
    report.rehearsal = tracker.cleanup(older_than=0.0, dry_run=True)
    report.receipt = tracker.cleanup(older_than=0.0, statuses=CLEANED)


def _problems(report: Report, created: int) -> list[str]:
    found = [one.problem for one in report.endings if one.problem]
    if created != len(report.endings):
        found.append(f"{created} jobs at the service, expected {len(report.endings)}")
    gone = sum(one.job.status in CLEANED for one in report.endings)
    if report.receipt.rows_deleted != gone or report.receipt.files.failed:
        found.append(f"the cleanup deleted {report.receipt.rows_deleted} jobs, expected {gone}")
    return found
