"""How fast each service may be called, what is left of that, and who is paused (B3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracker.model import POLL, Json
from tracker.store import Store
from tracker.store.budgets import Budget, Place, budget_of

if TYPE_CHECKING:
    from tracker.services import Service, Services


def overview(store: Store, services: Services) -> list[dict[str, Json]]:
    """For each service its figures: see `tracker.records.Records.service_list`."""
    found: list[dict[str, Json]] = []
    known = store.budgets()
    for service in services.values():
        running = store.count_due(service.name)
        budgets = {calls: _budget(store, known, service, calls) for calls in ("", *service.rates)}
        found.append(
            {
                "service": service.name,
                "base_url": service.base_url,
                "concurrency": service.concurrency,
                "poll_every_seconds": service.poll.every,
                "running_jobs": running,
                "possible_every_seconds": service.possible_every(running),
                **budgets[service.calls_of(POLL)],
                "budgets": budgets,
            }
        )
    return found


def _budget(
    store: Store, known: Mapping[Place, Budget], service: Service, calls: str
) -> dict[str, Any]:
    place = (service.name, service.account, calls)
    distance = service.rates.get(calls, service.rate)
    budget = budget_of(known, place)
    paused = budget.paused_for > 0
    left = None
    if distance is not None:
        left = max(math.ceil((1.0 - max(store.free_in(place), budget.paused_for)) / distance), 0)
    return {
        "seconds_between_calls": distance,
        "calls_left_this_second": left,
        "paused_until": budget.paused_until if paused else None,
        "paused_why": budget.why if paused else None,
    }
