"""Clients without a queue: they call, read the reply, and record nothing."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

from peers import Contestant, Task, now, numbers

NEEDS = {"bare requests": "requests", "bare aiohttp": "aiohttp", "bare pycurl": "pycurl"}


def checked(reply: dict[str, object]) -> None:
    """Look at what everybody looks at."""
    assert reply["status"] == "running"
    assert isinstance(reply["progress"], float)


class Requests(Contestant):
    """A thread pool around one session with as many connections."""

    records = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import requests
        from requests.adapters import HTTPAdapter

        self.session = requests.Session()
        self.session.mount("http://", HTTPAdapter(pool_maxsize=task.concurrency))

    def run(self) -> float:
        with ThreadPoolExecutor(self.task.concurrency) as pool:
            list(pool.map(self._call, numbers(self.task.jobs)))
        return now()

    def _call(self, number: int) -> None:
        checked(self.session.get(f"{self.task.url}/jobs/job-{number}", timeout=30).json())


class Aiohttp(Contestant):
    """One session, and as many coroutines as calls at a time."""

    records = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import aiohttp

        self.aiohttp = aiohttp

    def run(self) -> float:
        return asyncio.run(self._run())

    async def _run(self) -> float:
        todo = iter(numbers(self.task.jobs))
        connector = self.aiohttp.TCPConnector(limit=self.task.concurrency)
        async with self.aiohttp.ClientSession(connector=connector) as session:

            async def work() -> None:
                for number in todo:
                    async with session.get(f"{self.task.url}/jobs/job-{number}") as reply:
                        checked(await reply.json())

            await asyncio.gather(*(work() for _ in range(self.task.concurrency)))
            return now()


class Pycurl(Contestant):
    """The multi interface as its documentation shows it, with easy handles used again."""

    records = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import pycurl

        self.pycurl = pycurl
        self.multi = pycurl.CurlMulti()
        self.todo = iter(numbers(task.jobs))
        self.bodies: dict[pycurl.Curl, list[bytes]] = {}

    def run(self) -> float:
        curls = (self.pycurl.Curl() for _ in range(self.task.concurrency))
        active = sum(self._start(curl) for curl in curls)
        while active:
            self.multi.perform()
            _, succeeded, failed = self.multi.info_read()
            assert not failed, failed
            for curl in succeeded:
                self.multi.remove_handle(curl)
                checked(json.loads(b"".join(self.bodies[curl])))
                active -= not self._start(curl)
            if not succeeded:
                self.multi.select(1.0)
        return now()

    def _start(self, curl: object) -> bool:
        number = next(self.todo, None)
        if number is None:
            return False
        self.bodies[curl] = []
        curl.setopt(self.pycurl.URL, f"{self.task.url}/jobs/job-{number}")
        curl.setopt(self.pycurl.WRITEFUNCTION, self.bodies[curl].append)
        self.multi.add_handle(curl)
        return True


CONTESTANTS = {"bare requests": Requests, "bare aiohttp": Aiohttp, "bare pycurl": Pycurl}
