"""pgqueuer: coroutines of one queue manager on PostgreSQL, by its guide to throughput: asyncpg, a
connection of its own, its autovacuum settings, larger batches for short jobs; uvloop, as its own
command runs it. Its tables are logged ("durable"), as by default.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from peers import Contestant, Task, now, numbers
from peers.bare import checked

NEEDS = {"pgqueuer, PostgreSQL": "pgqueuer"}

BATCH = 25
"""Jobs a claim, as the guide's example; the default is 10."""


class Pgqueuer(Contestant):
    """A queue manager that ends when its queue is empty. Connections limit the calls at a time: its
    own limit would cost it a further condition of every claim."""

    database = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import aiohttp
        import uvloop

        logging.getLogger("pgqueuer").setLevel(logging.WARNING)
        self.aiohttp = aiohttp
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def fill(self) -> None:
        self.runner.run(self._fill())

    async def _fill(self) -> None:
        import asyncpg
        from pgqueuer import PgQueuer
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.models import Job

        self.connection = await asyncpg.connect(self.task.database)
        self.pgq = PgQueuer(AsyncpgDriver(self.connection))
        queries: Any = self.pgq.qm.queries
        await queries.install()
        await queries.optimize_autovacuum()
        todo = [str(number).encode() for number in numbers(self.task.jobs)]
        await queries.enqueue(["poll"] * len(todo), todo, [0] * len(todo))
        await self.connection.execute("ANALYZE")
        self.left, log_jobs = self.task.jobs, queries.log_jobs

        @self.pgq.entrypoint("poll")
        async def poll(job: Job) -> None:
            assert job.payload is not None
            url = f"{self.task.url}/jobs/job-{job.payload.decode()}"
            async with self.session.get(url) as reply:
                checked(await reply.json())

        async def counted(jobs: list[Any]) -> None:
            await log_jobs(jobs)
            self.left -= len(jobs)
            if not self.left:  # it looks for more for a while before it ends
                self.ended = now()

        queries.log_jobs = counted

    def run(self) -> float:
        self.runner.run(self._run())
        return self.ended

    async def _run(self) -> None:
        from pgqueuer.domain.types import QueueExecutionMode

        connector = self.aiohttp.TCPConnector(limit=self.task.concurrency)
        async with self.aiohttp.ClientSession(connector=connector) as self.session:
            await self.pgq.run(batch_size=BATCH, mode=QueueExecutionMode.drain)

    def recorded(self) -> int:
        sql = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
        return int(self.runner.run(self.connection.fetchval(sql)))


CONTESTANTS = {"pgqueuer, PostgreSQL": Pgqueuer}
