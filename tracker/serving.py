"""Serving what is due: the half of the facade that calls out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from tracker import clock
from tracker.config import Config
from tracker.errors import DatabaseBusy, WaitTimeout
from tracker.model import UPLOADS, ProcessingJob, Status
from tracker.records import Records, has_ended
from tracker.spool import Folder

if TYPE_CHECKING:
    from tracker.executors.base import Lane
    from tracker.executors.upload import OnBytes
    from tracker.poller import Poller
    from tracker.services import Sink
    from tracker.storage import Storage
    from tracker.summary import Summary

ATTEMPT_SECONDS = 10.0
"""Bound of the attempt that follows a submission at once."""

FORCED_SECONDS = 45.0
"""How long `poll` waits for jobs that it was asked to poll now; a paused service may outlast it."""

Progress = Callable[["Summary"], None]
Chore = Callable[["Summary"], bool]
OnPoller = Callable[["Poller"], None]


class Serving(Records):
    """Each call makes one poller; any number may serve one ledger beside each other."""

    config: Config
    folder: Folder

    @property
    def sinks(self) -> list[Sink]:
        """Who is told when a job ends."""
        raise NotImplementedError

    @property
    def storage(self) -> Storage:
        """Where objects are kept."""
        raise NotImplementedError

    def attempt(
        self,
        local_ids: Sequence[str],
        on_poller: OnPoller | None = None,
        on_bytes: OnBytes | None = None,
    ) -> Summary:
        """Attempt now what these jobs owe: their uploads for as long as they take, the rest for
        10 s at most; what is left stays owed. `on_bytes` is told of each piece that was
        uploaded."""
        if any(self._uploads(local_id) for local_id in local_ids):
            lanes = [one for one in self._lanes((), on_bytes=on_bytes) if one.name == UPLOADS]
            uploading = self._poller(
                "submit", lanes=lanes, once=True, only=local_ids, on_poller=on_poller
            ).run()
            if uploading.stopped:
                return uploading
        lanes = self._lanes((), bound=ATTEMPT_SECONDS)
        poller = self._poller(
            "submit",
            lanes=[one for one in lanes if one.name != UPLOADS],
            once=True,
            only=local_ids,
            on_poller=on_poller,
        )
        return poller.run(seconds=ATTEMPT_SECONDS)

    def _uploads(self, local_id: str) -> bool:
        return any(one["service"] == UPLOADS for one in self.store.operations_of(local_id))

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
        if jobs:
            return self._poll_now(jobs, seconds, on_progress, on_poller)
        poller = self._poller(
            "part" if services else "poll",
            lanes=self._lanes(services),
            once=seconds is None,
            limit=limit,
            chores=() if services else self._chores(),
            on_progress=on_progress,
            on_poller=on_poller,
        )
        summary = poller.run(seconds=seconds, overlap=overlap)
        with suppress(DatabaseBusy):  # then the next pass checks the configuration once more
            self.store.note_checked(self.config.fingerprint)
        return summary

    def _poll_now(
        self,
        jobs: Sequence[str | ProcessingJob],
        seconds: float | None,
        on_progress: Progress | None,
        on_poller: OnPoller | None,
    ) -> Summary:
        only = [self.local_id(job) for job in jobs]
        found = self.store.get_many(only)
        before = {job.local_id: job.poll_count for job in found}
        for job in found:
            self.services.find(job.service)
        self.store.make_due(only)
        poller = self._poller("wait", only=only, on_progress=on_progress, on_poller=on_poller)
        return poller.run(
            seconds=FORCED_SECONDS if seconds is None else seconds,
            until=lambda: self._attended_to(before),
        )

    def run(self, *, services: Sequence[str] = (), on_poller: OnPoller | None = None) -> Summary:
        """Serve until `Poller.stop` is called on what `on_poller` is given."""
        poller = self._poller(
            "part" if services else "run",
            lanes=self._lanes(services),
            chores=() if services else self._chores(),
            on_poller=on_poller,
        )
        return poller.run()

    def _chores(self) -> Sequence[Chore]:
        """What a poller that serves everything does besides."""
        return ()

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
        poller = self._poller("wait", only=only, on_progress=on_progress, on_poller=on_poller)
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
        lanes: Sequence[Lane] | None = None,
        once: bool = False,
        only: Sequence[str] | None = None,
        limit: int | None = None,
        chores: Sequence[Chore] = (),
        on_progress: Progress | None = None,
        on_poller: OnPoller | None = None,
    ) -> Poller:
        from tracker.poller import Poller
        from tracker.transports import TRANSPORTS

        poller = Poller(
            self.store,
            self._lanes(()) if lanes is None else lanes,
            TRANSPORTS,
            kind=kind,
            once=once,
            only=only,
            limit=limit,
            concurrency=self.config.concurrency,
            chores=chores,
            on_progress=on_progress,
        )
        if on_poller is not None:
            on_poller(poller)
        return poller

    def _lanes(
        self,
        names: Sequence[str],
        *,
        bound: float | None = None,
        on_bytes: OnBytes | None = None,
    ) -> list[Lane]:
        from tracker.executors import lanes_of

        chosen = [self.services.find(name) for name in names] or list(self.services.values())
        return lanes_of(
            chosen, self.sinks, self.storage, self.folder, bound=bound, on_bytes=on_bytes
        )

    def _attended_to(self, before: dict[str, int]) -> bool:
        """Whether nothing more can be done now for these jobs, polled so many times before."""
        return self.store.is_paused() or not any(
            self._has_work(job, before[job.local_id]) for job in self.store.get_many(list(before))
        )

    def _has_work(self, job: ProcessingJob, polls_before: int) -> bool:
        waiting = job.status == Status.PROCESSING and job.poll_count == polls_before
        if waiting and not self._budget_for(job.service, job.account).paused_for:
            return True
        now = clock.to_text(self.store.now())
        return any(
            one["state"] == "pending"
            and one["next_attempt_at"] <= now
            and not self._budget_for(one["service"], one["account"], one["kind"]).paused_for
            for one in self.store.operations_of(job.local_id)
        )

    def _ended(self, local_ids: Sequence[str]) -> bool:
        return all(has_ended(job) for job in self.store.get_many(local_ids))
