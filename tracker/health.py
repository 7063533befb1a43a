"""Is all well? Figures and, in words, what needs a person (P12, O6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracker import clock
from tracker.model import Json
from tracker.presence import SILENT_SECONDS
from tracker.store import Store

if TYPE_CHECKING:
    from tracker.services import Services

RIGHT = 0.95
ENOUGH = 20
"""So many jobs have to have ended before their success rate says anything."""


def health(store: Store, services: Services) -> dict[str, Json]:
    """See `tracker.records.Records.health`."""
    found: dict[str, Any] = store.vitals()
    states = store.operation_counts()
    found["jobs"] = store.counts()
    found["operations"] = {state: states.get(state, 0) for state in ("pending", "in_doubt", "dead")}
    found["all_paused"] = store.is_paused()
    found["paused"] = [
        {
            "service": service,
            "account": account,
            "calls": calls,
            "until": one.paused_until,
            "why": one.why,
        }
        for (service, account, calls), one in store.budgets().items()
        if one.paused_for
    ]
    found["listings"] = [one for one in store.listings() if one["service"] in services]
    found["outgrown"] = _outgrown(store, services)
    now = store.now()
    found["pollers"] = sum(
        now - clock.read(one.seen_at, 0.0) < SILENT_SECONDS for one in store.pollers()
    )
    found["problems"] = list(_problems(found))
    found["healthy"] = not found["problems"]
    return found


def _outgrown(store: Store, services: Services) -> list[dict[str, Json]]:
    """Services that have more running jobs than their rate allows to poll as often as is set."""
    found: list[dict[str, Json]] = []
    for service in services.values():
        running = store.count_due(service.name)
        possible = service.possible_every(running)
        if possible > service.poll.every:
            found.append(
                {
                    "service": service.name,
                    "running_jobs": running,
                    "polls_wanted_per_second": round(running / service.poll.every, 3),
                    "polls_allowed_per_second": round(running / possible, 3),
                }
            )
    return found


def _problems(found: dict[str, Any]) -> list[str]:
    told = []
    operations = found["operations"]
    if operations["dead"]:
        told.append(f"{operations['dead']} operations were given up: tracker outbox --state dead")
    if operations["in_doubt"]:
        told.append(
            f"{operations['in_doubt']} submissions are in doubt: tracker outbox --state in_doubt"
        )
    if found["stuck_operations"]:
        told.append(f"{found['stuck_operations']} operations have been due for more than 30 min")
    if found["stuck_jobs"]:
        names = ", ".join(one[-8:] for one in found["stuck_jobs"][:5])
        told.append(f"jobs have been processing for more than 30 min: {names}")
    if found["expiring"]:
        names = ", ".join(
            f"{one['local_id'][-8:]} until {one['expires_at']}" for one in found["expiring"][:5]
        )
        told.append(f"results are there for less than a day more and were not fetched: {names}")
    if found["all_paused"]:
        told.append("all polling is paused: tracker resume")
    told += [f"{one['service']} is paused: {one['why']}" for one in found["paused"]]
    told += [
        f"{one['service']} was not listed: {one['refresh_error']}"
        for one in found["listings"]
        if one["refresh_error"]
    ]
    told += [
        f"{one['service']} has {one['running_jobs']} running jobs, more than its rate can poll"
        for one in found["outgrown"]
    ]
    rate = found["success_rate"]
    if rate is not None and rate < RIGHT and found["ended_last_day"] >= ENOUGH:
        told.append(f"only {rate:.0%} of the jobs of the last day reached a right end")
    return told
