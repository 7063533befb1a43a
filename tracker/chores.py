"""What a poller that serves everything does besides, a little each time it is asked."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tracker import clock
from tracker.errors import TrackerError
from tracker.model import Fault
from tracker.store import Store
from tracker.store.budgets import Budget, Place
from tracker.store.refreshing import Wanted
from tracker.summary import Summary

if TYPE_CHECKING:
    from tracker.services import Service

log = logging.getLogger("tracker.poller")

REFRESH_LOOK_SECONDS = 5.0
ALERT_SECONDS = 60.0
NAMED = 5
LOOK_SECONDS = 1.0
ASK_SECONDS = 15.0
"""A command for credentials is not run more often than this only to see whether it works again."""

NOWHERE = ("192.0.2.1", 9)
"""An address that belongs to nobody (RFC 5737); no packet is sent to it."""


class Refresher:
    """Has services listed when their time has come; those that need others, after them."""

    def __init__(self, store: Store, groups: list[list[Wanted]]) -> None:
        self._store = store
        self._groups = groups
        self._look_at = 0.0
        store.forget_refreshes([one.service for group in groups for one in group])

    def __call__(self, summary: Summary) -> bool:
        """Look, once in a while; there is never more to do at once."""
        if clock.monotonic() >= self._look_at:
            self._look_at = clock.monotonic() + REFRESH_LOOK_SECONDS
            for group in self._groups:
                self._store.owe_refreshes(group)
                if self._store.is_refreshing([one.service for one in group]):
                    break
        return False


class Comeback:
    """Notices what was away and is back: a sync that waited for it goes on at once (J14). It looks
    once a second, at what a pause is on record for, and only then."""

    def __init__(self, store: Store, services: Sequence[Service]) -> None:
        self._store = store
        self._services = services
        self._look_at = 0.0
        self._ask_at = dict.fromkeys((one.name for one in services), 0.0)
        self._network: bool | None = None

    def __call__(self, summary: Summary) -> bool:
        """Look; whether something is back."""
        now = clock.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        paused = {place: one for place, one in self._store.budgets().items() if one.paused_for}
        return bool(paused) and (self._signed_in(paused, now) + self._network_came()) > 0

    def _signed_in(self, paused: Mapping[Place, Budget], now: float) -> int:
        back = 0
        for service in self._services:
            refused = [
                one
                for (name, account, _), one in paused.items()
                if (name, account) == (service.name, service.account)
                and one.fault in (Fault.SIGNED_OUT, Fault.UNAUTHORISED)
            ]
            if not refused:
                continue
            budget = refused[0]
            credential = service.credential
            slow = service.transport == "aws" or (credential is not None and credential.slow)
            if slow and now < self._ask_at[service.name]:
                continue
            self._ask_at[service.name] = now + ASK_SECONDS
            if _is_back(service, budget.fault == Fault.SIGNED_OUT):
                back += self._store.probe_now([str(budget.fault)], service.name)
        return back

    def _network_came(self) -> int:
        before, self._network = self._network, has_route()
        if before is False and self._network:
            return self._store.probe_now([Fault.UNREACHABLE])
        return 0


def _is_back(service: Service, had_none: bool) -> bool:
    """Whether there are credentials now where there were none, or others than were refused."""
    if service.transport == "aws":
        from tracker.transports.aws import whose

        return had_none and whose()["credentials"] == "ok"
    if service.credential is None:
        return False
    try:
        others = service.credential.look()
    except TrackerError:
        return False
    return others or had_none


def has_route() -> bool:
    """Whether this machine knows a way to the outside. Nothing is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(NOWHERE)
    except OSError:
        return False
    return True


class Alarm:
    """Tells of jobs that have been processing for too long, of each once (P12)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._look_at = 0.0

    def __call__(self, summary: Summary) -> bool:
        """Look, once in a while."""
        now = clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + ALERT_SECONDS
            stuck = self._store.alert_stuck()
            if stuck:
                # One line, however many: it may be a cron mail. Each has its event.
                names = ", ".join(one[-8:] for one in stuck[:NAMED])
                more = f" and {len(stuck) - NAMED} more" if len(stuck) > NAMED else ""
                log.warning("processing for more than 30 minutes: %s%s", names, more)
        return False
