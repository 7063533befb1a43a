"""tracker run"""

from __future__ import annotations

from dataclasses import asdict

import click

from tracker.commands.common import (
    Settings,
    collect_seldom,
    common,
    json_option,
    print_json,
    stoppable,
)


@click.command()
@click.option("--service", "services", multiple=True, help="Serve only this service (repeatable).")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@json_option
@common
def command(settings: Settings, services: tuple[str, ...], quiet: bool, as_json: bool) -> int:
    """Poll until SIGTERM or Ctrl-C.

    Any number of these may run beside each other. Told to stop, it finishes what is in flight,
    writes it, and gives back the rest. SIGUSR1 has it try at once the services that could not be
    reached or refused the credentials.

    \b
    tracker run
    tracker -v run --service docs
    """
    settings.quiet = quiet
    collect_seldom()
    with settings.open() as tracker, stoppable() as (stop, on_poller):
        summary = tracker.run(services=services, on_poller=on_poller)
        if as_json:
            print_json(asdict(summary))
        elif not quiet:
            click.echo(summary.sentence)
    return stop.exit_code
