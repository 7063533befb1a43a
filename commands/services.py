"""tracker services"""

from __future__ import annotations

from typing import Any

import click

from tracker.commands.common import Settings, common, json_option, print_json, print_table


@click.group()
def command() -> None:
    """List and check the services of the configuration."""


@command.command("list")
@json_option
@common
def list_(settings: Settings, as_json: bool) -> None:
    """List the services, how fast they may be called, and which are paused and why.

    \b
    tracker services list
    """
    with settings.open() as tracker:
        budgets = tracker.store.budgets()
        found = []
        for service in tracker.services.values():
            budget = budgets.get((service.name, service.account))
            paused = budget is not None and budget.paused_for > 0
            found.append(
                {
                    "service": service.name,
                    "base_url": service.base_url,
                    "seconds_between_calls": service.rate,
                    "concurrency": service.concurrency,
                    "poll_every_seconds": service.poll.every,
                    "running_jobs": tracker.store.count_due(service.name),
                    "paused_until": budget.paused_until if budget and paused else None,
                    "paused_why": budget.why if budget and paused else None,
                }
            )
    if as_json:
        print_json(found)
        return
    columns = ("SERVICE", "URL", "CALLS", "POLLED EVERY", "RUNNING", "PAUSED")
    print_table(columns, [_row(one) for one in found])


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    distance = one["seconds_between_calls"]
    paused = f"until {one['paused_until']}: {one['paused_why']}" if one["paused_until"] else ""
    return (
        one["service"],
        one["base_url"],
        "unlimited" if distance is None else f"{1 / distance:g}/s",
        f"{one['poll_every_seconds']:g} s",
        one["running_jobs"],
        paused,
    )


@command.command()
@click.argument("names", nargs=-1, metavar="[SERVICE]...")
@json_option
@common
def check(settings: Settings, names: tuple[str, ...], as_json: bool) -> int:
    """Check the services: their tables, whether their credentials can be read, and whose they are.

    Exits 1 when credentials are missing; no service is called, no secret is shown.

    \b
    tracker services check docs
    """
    with settings.open() as tracker:
        found = [
            {"service": name, "definition": "ok", **tracker.signed_in(name)}
            for name in names or tracker.services
        ]
    if as_json:
        print_json(found)
    else:
        columns = ("SERVICE", "DEFINITION", "ACCOUNT", "CREDENTIALS", "FROM", "EXPIRES")
        print_table(
            columns,
            [
                (
                    one["service"],
                    one["definition"],
                    one["account"],
                    one["credentials"],
                    ", ".join(one["from"]),
                    "" if one["expires_in"] is None else f"in {one['expires_in']:.0f} s",
                )
                for one in found
            ],
        )
    return 0 if all(one["credentials"] in ("ok", "none needed") for one in found) else 1
