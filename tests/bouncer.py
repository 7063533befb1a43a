"""PgBouncer before the PostgreSQL of the tests, in transaction mode; where it is not installed,
what needs it is skipped.

To run all tests of the store through it, start one by hand with a configuration like the one
below, ``server_lifetime = 0`` besides (databases are copied, which nobody may be connected to),
and name it: ``TRACKER_TEST_POSTGRES=postgresql://tracker@127.0.0.1:6432/postgres``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from postgres import NOBODY, runs_as
from psycopg.conninfo import conninfo_to_dict

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

SETTINGS = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
server_reset_query = DISCARD ALL
server_reset_query_always = 1
"""


class Bouncer:
    """Any number of clients over `size` connections to the database at `url`; nothing of a session
    outlives a transaction."""

    def __init__(self, url: str, size: int = 2) -> None:
        if PROGRAM is None:
            pytest.skip("no pgbouncer here")
        place = conninfo_to_dict(url)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._folder = Path(tempfile.mkdtemp(prefix="tracker-pgbouncer-"))
        given = self._folder / "pgbouncer.ini"
        server = {key: place.get(key) for key in ("host", "user")}
        server["port"] = place.get("port") or 5432
        given.write_text(SETTINGS.format(**server, own_port=port, size=size))
        if runs_as():  # it does not run as root either
            os.chown(self._folder, NOBODY, NOBODY)
            os.chown(given, NOBODY, NOBODY)
        log = (self._folder / "log").open("w")
        self._process = subprocess.Popen(
            [PROGRAM, given], cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, **runs_as()
        )
        log.close()
        self.url = f"postgresql://{place['user']}@127.0.0.1:{port}/{place['dbname']}"
        self._wait(port)

    def _wait(self, port: int) -> None:
        latest = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < latest, self.said()
                time.sleep(0.02)

    def said(self) -> str:
        """Its log."""
        return (self._folder / "log").read_text()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)
