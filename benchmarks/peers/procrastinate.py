"""procrastinate: coroutines of one worker on PostgreSQL, as its guide has it for work that waits
for the network; finished jobs stay in its table, as by default.
"""

from __future__ import annotations

import asyncio
import logging

from peers import Contestant, Task, now, numbers
from peers.bare import checked

NEEDS = {"procrastinate, PostgreSQL": "procrastinate"}


class Procrastinate(Contestant):
    """A worker with as many jobs at a time as calls."""

    database = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import aiohttp
        import procrastinate

        logging.getLogger("procrastinate").setLevel(logging.WARNING)
        self.aiohttp = aiohttp
        self.app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(conninfo=task.database)
        )
        self.runner = asyncio.Runner()

        @self.app.task(name="poll")
        async def poll(number: int) -> float:
            async with self.session.get(f"{task.url}/jobs/job-{number}") as reply:
                found = await reply.json()
            checked(found)
            return float(found["progress"])

        self.poll = poll

    def fill(self) -> None:
        self.runner.run(self._fill())

    async def _fill(self) -> None:
        await self.app.open_async()
        await self.app.schema_manager.apply_schema_async()
        todo = numbers(self.task.jobs)
        for start in range(0, len(todo), 1000):
            part = todo[start : start + 1000]
            await self.poll.batch_defer_async(*({"number": number} for number in part))
        await self.app.connector.execute_query_async("ANALYZE")

    def run(self) -> float:
        return self.runner.run(self._run())

    async def _run(self) -> float:
        connector = self.aiohttp.TCPConnector(limit=self.task.concurrency)
        async with self.aiohttp.ClientSession(connector=connector) as self.session:
            await self.app.run_worker_async(
                concurrency=self.task.concurrency, wait=False, install_signal_handlers=False
            )
            return now()

    def recorded(self) -> int:
        return self.runner.run(self._recorded())

    async def _recorded(self) -> int:
        sql = "SELECT count(*) AS done FROM procrastinate_jobs WHERE status = 'succeeded'"
        found = await self.app.connector.execute_query_one_async(sql)
        await self.app.close_async()
        return int(found["done"])


CONTESTANTS = {"procrastinate, PostgreSQL": Procrastinate}
