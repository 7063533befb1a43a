"""Calls a second of both transports for HTTP against a bare `requests` thread pool and a bare loop
over pycurl's multi interface, of the same concurrency, in the same run. The service is nginx where
it is installed, else the benchmarks' own.

``python benchmarks/transports.py [--calls 5000] [--concurrency 8] [--runs 5]``
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pycurl
import requests
from common import arguments, folder, report, service, summary
from requests.adapters import HTTPAdapter
from servers import nginx

from tracker.transports import TRANSPORTS
from tracker.transports.base import Call


def bare_requests(url: str, calls: int, concurrency: int) -> None:
    """A thread pool around one session."""
    with requests.Session() as session, ThreadPoolExecutor(concurrency) as pool:
        session.mount("http://", HTTPAdapter(pool_maxsize=concurrency))

        def call(number: int) -> bytes:
            return session.get(f"{url}/jobs/job-{number}", timeout=30).content

        assert all(pool.map(call, range(calls)))


def bare_pycurl(url: str, calls: int, concurrency: int) -> None:
    """Easy handles that are used again, and the multi interface as its documentation shows it."""
    multi = pycurl.CurlMulti()
    numbers = iter(range(calls))
    bodies: dict[pycurl.Curl, list[bytes]] = {}

    def start(curl: pycurl.Curl) -> bool:
        number = next(numbers, None)
        if number is None:
            return False
        bodies[curl] = []
        curl.setopt(pycurl.URL, f"{url}/jobs/job-{number}")
        curl.setopt(pycurl.WRITEFUNCTION, bodies[curl].append)
        multi.add_handle(curl)
        return True

    active = sum(start(pycurl.Curl()) for _ in range(concurrency))
    while active:
        multi.perform()
        _, succeeded, failed = multi.info_read()
        assert not failed
        for curl in succeeded:
            multi.remove_handle(curl)
            assert b"".join(bodies[curl])
            active -= 1
            active += start(curl)
        if not succeeded:
            multi.select(1.0)
    multi.close()


def ours(name: str) -> Callable[[str, int, int], None]:
    """A transport of Tracker, kept busy as its loop would."""

    def run(url: str, calls: int, concurrency: int) -> None:
        transport = TRANSPORTS[name](concurrency)
        sent = done = 0
        while done < calls:
            while sent < calls and transport.in_flight < concurrency:
                transport.send(Call("bench", "GET", f"{url}/jobs/job-{sent}"))
                sent += 1
            for _, reply in transport.receive(1.0):
                assert reply.status == 200 and reply.body, reply
                done += 1
        transport.close()

    return run


WAYS = {
    "bare requests pool": bare_requests,
    "bare pycurl": bare_pycurl,
    "tracker, requests": ours("requests"),
    "tracker, curl": ours("curl"),
}


def main() -> None:
    args = arguments(__doc__ or "", calls=5000, concurrency=8, runs=5)
    speeds: dict[str, list[float]] = {name: [] for name in WAYS}
    with folder() as place:
        server = nginx(place) if shutil.which("nginx") else service()
        with server as url:
            for run in range(args.runs + 1):
                for name, way in WAYS.items():
                    began = time.perf_counter()
                    way(url, args.calls, args.concurrency)
                    if run:  # the first round warms up
                        speeds[name].append(args.calls / (time.perf_counter() - began))
    figures = {name: summary(values) for name, values in speeds.items()}
    for peer, mine in (("requests pool", "requests"), ("pycurl", "curl")):
        pairs = zip(speeds[f"tracker, {mine}"], speeds[f"bare {peer}"], strict=True)
        figures[f"{mine} / bare {peer}"] = summary([one / other for one, other in pairs])
    report(args, "calls a second", figures)


if __name__ == "__main__":
    main()
