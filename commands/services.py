"""tracker services"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import click

from tracker.commands.common import Settings, common, json_option, print_json, print_table

CALLS = ("status", "create", "result", "lookup", "cancel", "delete")


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
        found = tracker.service_list()
    if as_json:
        print_json(found)
        return
    columns = ("SERVICE", "URL", "CALLS", "LEFT", "POLLED EVERY", "POSSIBLE", "RUNNING", "PAUSED")
    print_table(columns, [row for one in found for row in _rows(one)])


def _rows(one: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    about = (
        f"{one['poll_every_seconds']:g} s",
        f"{one['possible_every_seconds']:.3g} s",
        one["running_jobs"],
    )
    for calls, budget in one["budgets"].items():
        distance, paused = budget["seconds_between_calls"], ""
        if budget["paused_until"]:
            paused = f"until {budget['paused_until']}: {budget['paused_why']}"
        yield (
            one["service"] + (f" ({calls})" if calls else ""),
            "" if calls else one["base_url"],
            "unlimited" if distance is None else _rate(distance),
            "" if distance is None else budget["calls_left_this_second"],
            *(("", "", "") if calls else about),
            paused,
        )


def _rate(distance: float) -> str:
    return f"{1 / distance:g}/s" if distance <= 1 else f"one in {distance:g} s"


@command.command()
@click.argument("names", nargs=-1, metavar="[SERVICE]...")
@click.option("--live", metavar="JOB", help="Make one real status call for JOB, and show it.")
@json_option
@common
def check(settings: Settings, names: tuple[str, ...], live: str | None, as_json: bool) -> int:
    """Check the services: that each reads its examples as they are meant, whether their credentials
    can be had, and whose they are.

    Exits 1 when something is wrong. No service is called, but with --live, which shows what was
    sent, what came back and how it was read, and changes nothing; no secret is shown.

    \b
    tracker services check docs
    tracker services check --live 3f2a91bc
    """
    with settings.open() as tracker:
        if live is not None:
            return _show_live(tracker.look(live), as_json)
        found = [
            {"service": name, **tracker.examined(name), **tracker.signed_in(name)}
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
        for one in found:
            for name, problems in one["problems"].items():
                for problem in problems:
                    click.echo(f"{one['service']}.examples.{name}: {problem}", err=True)
    return int(
        any(one["problems"] or one["credentials"] not in ("ok", "none needed") for one in found)
    )


@command.command()
@click.argument("name", required=False)
@json_option
@common
def presets(settings: Settings, name: str | None, as_json: bool) -> None:
    """List the definitions that are brought along, or print the one called NAME.

    \b
    tracker services presets
    tracker services presets openai-batch
    """
    with settings.open() as tracker:
        if name is not None:
            text, tables = tracker.preset(name)
            if as_json:
                print_json(tables)
            else:
                click.echo(text, nl=False)
            return
        found = tracker.presets()
    if as_json:
        print_json(found)
    else:
        print_table(("PRESET", "SERVICE", "URL"), [tuple(one.values()) for one in found])


@command.command("try")
@click.argument("name")
@click.option(
    "--reply",
    required=True,
    type=click.File("rb"),
    metavar="FILE",
    help="The saved body of a reply; - is standard input.",
)
@click.option("--http", type=click.IntRange(100, 599), default=200, show_default=True)
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE")
@click.option("--call", type=click.Choice(CALLS), default="status", show_default=True)
@click.option("--of", "server_id", metavar="ID", help="The job's id at the service.")
@json_option
@common
def try_(
    settings: Settings,
    name: str,
    reply: BinaryIO,
    http: int,
    headers: tuple[str, ...],
    call: str,
    server_id: str | None,
    as_json: bool,
) -> int:
    """Read a saved reply as service NAME would, or as the preset of that name.

    Exits 1 when it is no usable reply.

    \b
    curl -s https://api.example.com/jobs/7 | tracker services try docs --reply -
    tracker services try openai-batch --reply batch.json
    """
    with settings.open() as tracker:
        found = tracker.try_reply(
            name, reply.read(), call=call, http=http, headers=_headers(headers), server_id=server_id
        )
    if as_json:
        print_json(found)
    else:
        rows = [(key, value) for key, value in found.items() if value not in (None, {}, "")]
        print_table(("WHAT", "READ AS"), rows)
    return int(found["state"] == "failure")


def _show_live(found: dict[str, dict[str, Any]], as_json: bool) -> int:
    if as_json:
        print_json(found)
    else:
        rows = [
            (step, name, value)
            for step, told in found.items()
            for name, value in told.items()
            if value not in (None, {}, "")
        ]
        print_table(("STEP", "WHAT", "VALUE"), rows)
    return int(found["read"]["state"] == "failure")


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for one in given:
        name, colon, value = one.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"--header: expected NAME:VALUE, got '{one[:60]}'")
        found[name.strip().lower()] = value.strip()
    return found
