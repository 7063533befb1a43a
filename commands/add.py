"""tracker add"""

from __future__ import annotations

import click

from tracker.commands.common import Settings, common, job_json, json_option, print_json
from tracker.commands.submit import read_payload


@click.command()
@click.argument("service")
@click.argument("server_id")
@click.option(
    "-p",
    "variables",
    multiple=True,
    metavar="KEY=VALUE",
    help="A variable that the status call needs: KEY=TEXT or KEY:=JSON.",
)
@click.option("--type", "job_type", default="", help="The job type, to list by.")
@click.option("--project", help="The project, to list by.")
@click.option("--session", "session_id", help="The session, to list by.")
@click.option("--document", "document_id", help="The document that the job belongs to.")
@click.option(
    "--object",
    "objects",
    multiple=True,
    metavar="[ROLE=]URI",
    help="What the job uses: s3://bucket/key or file:///path, with input= or result= before it.",
)
@click.option("--owned", is_flag=True, help="The objects go with the last job that uses them.")
@json_option
@common
def command(
    settings: Settings,
    service: str,
    server_id: str,
    variables: tuple[str, ...],
    job_type: str,
    project: str | None,
    session_id: str | None,
    document_id: str | None,
    objects: tuple[str, ...],
    owned: bool,
    as_json: bool,
) -> None:
    """Track a job that already runs at SERVICE under SERVER_ID; it is due at once.

    \b
    tracker add docs 4711
    tracker add jenkins 42 -p project=website
    tracker add docs 4712 --object input=s3://scans/a.pdf --owned
    """  # fmt: skip
    with settings.open() as tracker:
        job = tracker.add(
            service,
            server_id,
            job_type=job_type,
            project=project,
            session_id=session_id,
            document_id=document_id,
            variables=read_payload(None, variables),
            objects=objects,
            owned=owned,
        )
        if as_json:
            print_json(job_json(job))
        else:
            click.echo(job.local_id)
