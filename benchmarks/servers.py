"""Real servers of the benchmarks: nginx, which answers and counts status calls, and PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"

# Two digits of the clock's milliseconds and one of the request's number: two polls of a job seldom
# bring the same progress. A map, since "07" is no number in JSON.
NGINX = """
daemon off;
worker_processes 1;
pid {place}/pid;
error_log /dev/null crit;
events {{ worker_connections 2000; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    client_body_temp_path {place}/bodies;
    map "$msec$connection_requests" $progress {{
        "~\\.(?<whole>\\d)(?<rest>\\d\\d)\\d*(?<last>\\d)$" $whole.$rest$last;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=2000;
        location / {{
            default_type application/json;
            return 200 '{{"status":"running","progress":$progress}}';
        }}
        location = /counted {{ stub_status; }}
    }}
}}
"""

KEEPER = """
import sys, postgres
for name in ("fsync", "full_page_writes"):  # on, as anybody would have it
    del postgres.SETTINGS[name]
postgres._keep(int(sys.argv[1]))
"""


@contextlib.contextmanager
def nginx(place: Path) -> Iterator[str]:
    """nginx with one worker on a free port of loopback, which answers every path with a status and
    a progress; its URL."""
    if shutil.which("nginx") is None:
        raise SystemExit("this needs nginx, as an administrator: apt-get install nginx-light")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = place / "nginx.conf"
    settings.write_text(NGINX.format(place=place, port=port))
    command = ["nginx", "-p", str(place), "-c", str(settings), "-e", "/dev/null"]
    process = subprocess.Popen(command)
    try:
        while True:
            assert process.poll() is None, "nginx did not start"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def counted(url: str) -> int:
    """How many requests nginx has had, this one included."""
    with urllib.request.urlopen(f"{url}/counted") as reply:
        found = re.search(r"(\d+) (\d+) (\d+)", reply.read().decode())
    assert found is not None
    return int(found[3])


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server with its usual settings; the URL of its first database. It ends with
    this process."""
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(os.getpid())],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert keeper.stdout is not None
    url = keeper.stdout.readline().strip()
    assert url, "PostgreSQL did not start"
    yield url


def database(url: str, name: str) -> str:
    """The URL of a new database of that server; one of the same name goes first."""
    import psycopg

    drop(url, name)
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    base, _, query = url.partition("?")
    return f"{base.rpartition('/')[0]}/{name}?{query}"


def drop(url: str, name: str) -> None:
    """Remove a database of that server, if there is one."""
    import psycopg

    with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
