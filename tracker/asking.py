"""Asking services what they have: the half of the facade that lists, merges and looks up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tracker import clock
from tracker.errors import CallFailed, NotFound, UsageError
from tracker.model import Json, Kind, ProcessingJob, Status
from tracker.serving import Chore, OnPoller, Serving
from tracker.store.refreshing import Wanted

if TYPE_CHECKING:
    from tracker.summary import Summary
    from tracker.transports.base import Call, Reply


SHOWN = 4000
"""Bytes of a reply that are shown to people."""


class Asking(Serving):
    """Local first: a service is asked when it is time, when somebody says so, or when what is on
    record is too old."""

    def refresh(
        self,
        services: Sequence[str] = (),
        *,
        force: bool = False,
        on_poller: OnPoller | None = None,
    ) -> list[dict[str, Json]]:
        """List `services` (all that can be listed without any) where their interval has passed, or
        with `force` now, and merge what they say; how each listing went: ``service``,
        ``refreshed``, or why it was ``skipped``, ``error`` of the last attempt,
        ``next_refresh_at`` and the counts ``listed``, ``added``, ``changed``, ``deleted``,
        ``conflicts``."""
        groups = self._wanted(services)
        told: dict[str, dict[str, Json]] = {}
        owed: set[str] = set()
        for group in groups:
            now = self.store.owe_refreshes(group, force=force)
            owed.update(now)
            if now:
                told |= self._list_now(now, on_poller).refreshed
        states = {row["service"]: row for row in self.store.listings()}
        none = dict.fromkeys(("listed", "added", "changed", "deleted", "conflicts"), 0)
        return [
            {
                "service": one.service,
                "refreshed": one.service in told,
                "skipped": None if one.service in told else self._why_not(one.service, owed),
                "error": states[one.service]["refresh_error"],
                "next_refresh_at": states[one.service]["next_refresh_at"],
                **told.get(one.service, none),
            }
            for group in groups
            for one in group
        ]

    def _why_not(self, service: str, owed: set[str]) -> str:
        """Why a listing was not made, in words."""
        if self.store.is_paused():
            return "all polling is paused, see: tracker resume"
        account = self.services.find(service).account
        budget = self._budget_for(service, account, Kind.REFRESH)
        if budget.paused_for:
            return f"{service} is paused: {budget.why}"
        if service in owed:
            return "it is not complete yet"
        if self.store.is_refreshing([service]):
            return "another process lists it, or it waits after a failure; see --force"
        return "its time has not come, see --force"

    def _list_now(self, services: Sequence[str], on_poller: OnPoller | None) -> Summary:
        lanes = [
            replace(one, polls=None, operations={Kind.REFRESH: one.operations[Kind.REFRESH]})
            for one in self._lanes(services)
            if Kind.REFRESH in one.operations and one.name in services
        ]
        return self._poller("part", lanes=lanes, once=True, on_poller=on_poller).run()

    def get(self, job: str | ProcessingJob, *, max_age: float | None = None) -> ProcessingJob:
        """One job, as the ledger has it; with `max_age`, its service is asked first when what is
        on record is older than so many seconds, or when there is nothing: ``service:server_id`` is
        then tracked from now on.

        Raises NotFound when nobody knows it, CallFailed when the service could not be asked.
        """
        if max_age is None:
            return super().get(job)
        try:
            found = super().get(job)
        except NotFound:
            return self._ask_for(str(job))
        if found.finished or self._is_fresh(found, max_age):
            return found
        self.poll([found])
        asked = super().get(found)
        if asked.poll_count == found.poll_count or asked.last_error:
            why = asked.last_error or "it could not be asked now"
            raise CallFailed(
                f"job {found.short_id}: {why}", f"see: tracker explain {found.short_id}"
            )
        return asked

    def look(self, job: str | ProcessingJob) -> dict[str, dict[str, Json]]:
        """Make one real status call for a job, beside any poller, and change nothing: what was
        ``sent`` (credentials hidden), what ``came`` back, and how it was ``read``."""
        from tracker.services.examples import described
        from tracker.transports import TRANSPORTS, chosen

        found = super().get(job)
        service = self.services.find(found.service)
        in_hand = self.store.job_in_hand(found.local_id)
        call = service.build_status(in_hand)
        transport = TRANSPORTS[chosen(service.transport)](1)
        try:
            transport.send(call)
            received: list[tuple[Call, Reply]] = []
            while not received:
                received = list(transport.receive(1.0))
        finally:
            transport.close()
        [(_, reply)] = received
        hidden = {} if call.credential is None else {"(credentials)": "***"}
        return {
            "sent": {
                "method": call.method,
                "url": call.url,
                "headers": {**call.headers, **hidden},
                "body": (call.body or b"").decode("utf-8", "replace") or None,
            },
            "came": {
                "http": reply.status or None,
                "fault": reply.message if reply.fault is not None else None,
                "headers": service.redacted(dict(reply.headers)),
                "body": service.redacted(reply.body[:SHOWN].decode("utf-8", "replace")),
                "seconds": round(reply.elapsed, 3),
            },
            "read": described(service.read_status(in_hand, reply)),
        }

    def _is_fresh(self, job: ProcessingJob, max_age: float) -> bool:
        if job.status != Status.PROCESSING:
            return True  # there is nothing to ask, or it is on its way
        last = job.last_poll_at
        return last is not None and self.store.now() - clock.read(last, 0.0) <= max_age

    def _ask_for(self, reference: str) -> ProcessingJob:
        """Track a job that only its service knows, if it does."""
        name, separator, server_id = reference.partition(":")
        if not separator or name not in self.services:
            raise NotFound(f"no job '{reference[:80]}'", "see: tracker list")
        found = self.add(name, server_id)
        self.poll([found])
        asked = super().get(found)
        if asked.poll_count and not asked.last_error:
            return asked
        self.store.forget(asked.local_id)
        if asked.last_http_status in (404, 410):
            raise NotFound(f"service '{name}' does not know {server_id[:80]}")
        why = asked.last_error or "it could not be asked now"
        raise CallFailed(f"service '{name}' and {server_id[:80]}: {why}")

    if TYPE_CHECKING:  # what another half of the facade brings

        def add(self, service: str, server_id: str) -> ProcessingJob:
            """See `tracker.recording.Recording.add`."""

    def _wanted(self, names: Sequence[str] = ()) -> list[list[Wanted]]:
        """The services that can be listed, in groups: those of one may be listed at once, after
        those of the groups before it. Raises UsageError for a name that cannot be listed."""
        chosen = [self.services.find(name) for name in names] or [
            one for one in self.services.values() if one.list is not None
        ]
        for one in chosen:
            if one.list is None:
                raise UsageError(
                    f"service '{one.name}' has no list", f"define [services.{one.name}.list]"
                )
        groups: list[list[Wanted]] = []
        left = {one.name: one for one in chosen}
        while left:
            ready = [
                one
                for one in left.values()
                if one.list is not None and not set(one.list.after) & set(left)
            ] or list(left.values())
            groups.append(
                [
                    Wanted(
                        one.name,
                        one.account,
                        one.list.merging.every,
                        "since" in one.list.request.uses,
                        one.list.since_overlap,
                    )
                    for one in ready
                    if one.list is not None
                ]
            )
            for one in ready:
                del left[one.name]
        return groups

    def _chores(self) -> list[Chore]:
        """Have services listed when their time has come, notice who is back and who is stuck."""
        from tracker.chores import Alarm, Comeback, Refresher

        return [
            Refresher(self.store, self._wanted()),
            Comeback(self.store, list(self.services.values())),
            Alarm(self.store),
        ]
