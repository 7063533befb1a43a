"""The outbox at its worst: poison among thousands, a service that is away, one that hangs.

A sample runs with every `pytest`; the whole campaign with its figures takes a quarter of an hour,
most of it for a day of two loops::

    TRACKER_CAMPAIGN=full pytest -s tests/campaigns/test_outbox.py
"""

from __future__ import annotations

import heapq
import json
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from typing import Any

import pytest
from postgres import in_file
from yard import FULL, PATIENCE

from tracker import Tracker, clock, schedule
from tracker.poller import Poller
from tracker.serving import ATTEMPT_SECONDS

HOUR, DAY = 3600.0, 86400.0
LONGEST_PAUSE = schedule.service_pauses()[-1]

SERVICE = """
[services.{name}]
base_url = "{url}"
rate = "{rate}"
timeout = "60s"
transport = "{transport}"
poll = {{ first = "1h" }}
retry = {{ base = "10ms", cap = "20ms", attempts = 5 }}
[services.{name}.create]
request = {{ path = "/jobs", json = {{ marker = "{{payload.marker}}" }}, \
headers = {{ X-Kind = "{{payload.kind?}}" }} }}
idempotency = "{idempotency}"
server_id = "body.job_id"
[services.{name}.status]
request = {{ path = "/jobs/{{server_id}}" }}
state = "body.status"
[services.{name}.states]
processing = ["running"]
completed = ["done"]
"""


class Office(ThreadingHTTPServer):
    """A service that makes one job for each key, and listens only once it is `open`.

    Before that its port refuses calls, and nobody else gets it. `told` decides what a create with
    this marker is answered: None (a job is made), a code and a body, or a function that is given
    the handler and answers in its own way. After `recover` all is well.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        told: Callable[[str], Any] = lambda marker: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Desk, bind_and_activate=False)
        self.server_bind()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.told, self.now = told, now
        self.recovered = threading.Event()
        self.calls: Counter[str] = Counter()
        self.made: dict[str, tuple[str, float]] = {}  # by key: whose, and when
        self.times: list[float] = []
        self._lock = threading.Lock()
        self._listens = self._serves = False

    def listen(self, backlog: int = request_queue_size) -> None:
        """Have the port accept connections that nobody attends to yet."""
        self.socket.listen(backlog)
        self._listens = True

    def open(self) -> None:
        """Attend to callers."""
        if not self._listens:
            self.listen()
        self._serves = True
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def recover(self) -> None:
        """Let nothing hang any more, and answer as one should."""
        self.told = lambda marker: None
        self.recovered.set()

    def close(self) -> None:
        """Give the port up."""
        self.recovered.set()
        if self._serves:
            self.shutdown()
        self.server_close()

    def make(self, marker: str, key: str) -> str:
        """The id of the job for this key."""
        with self._lock:
            self.made.setdefault(key or f"call-{len(self.times)}", (marker, self.now()))
            return f"job-{marker}"

    def note(self, marker: str) -> None:
        """Record a create call."""
        with self._lock:
            self.calls[marker] += 1
            self.times.append(self.now())

    def handle_error(self, *_: object) -> None:
        """Nothing: some callers are killed, or give up."""


class Desk(BaseHTTPRequestHandler):
    """One connection to the office."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Office

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        marker = str(body["marker"])
        self.server.note(marker)
        told = self.server.told(marker)
        if callable(told):
            told(self, marker)
        elif told is not None:
            self.answer(*told)
        else:
            self.make(marker)

    def do_GET(self) -> None:
        self.answer(200, b'{"status": "done"}')

    def make(self, marker: str) -> None:
        """Do as one should."""
        job = self.server.make(marker, self.headers.get("Idempotency-Key", ""))
        self.answer(201, b'{"job_id": "%s"}' % job.encode())

    def answer(self, code: int, body: bytes) -> None:
        """The whole reply, in one piece."""
        head = f"HTTP/1.1 {code} Told\r\nContent-Type: application/json\r\n"
        self.wfile.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def say_nothing(self, marker: str) -> None:
        """Make the job, and never say so."""
        self.server.make(marker, self.headers.get("Idempotency-Key", ""))
        self.server.recovered.wait()
        self.close_connection = True

    def dribble(self, marker: str) -> None:
        """Make the job, and never come to the end of saying so."""
        self.server.make(marker, self.headers.get("Idempotency-Key", ""))
        self.wfile.write(b"HTTP/1.1 201 Told\r\nX-Patience: ")
        while not self.server.recovered.wait(0.2):
            self.wfile.write(b".")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Simulated:
    """The tracker's clock for several threads: it stands still while one of them is at work, and
    goes on to the first that is to wake when all of them sleep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._began, self._elapsed = time.time(), 0.0
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._numbers = count()
        self._awake = 0
        self._failed: list[BaseException] = []
        self._lock = threading.Lock()
        for name in ("now", "monotonic", "sleep"):
            monkeypatch.setattr(clock, name, getattr(self, name))

    def now(self) -> float:
        """As `clock.now`."""
        return self._began + self._elapsed

    def monotonic(self) -> float:
        """As `clock.monotonic`."""
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """As `clock.sleep`, without the waiting."""
        woken = threading.Event()
        with self._lock:
            wake = self._elapsed + max(seconds, 1e-6)
            heapq.heappush(self._sleepers, (wake, next(self._numbers), woken))
            self._rest()
        woken.wait()
        if self._failed:
            raise InterruptedError("somebody else failed")

    def _rest(self) -> None:
        self._awake -= 1
        if self._awake == 0 and self._sleepers:
            self._elapsed, _, woken = heapq.heappop(self._sleepers)
            self._awake = 1
            woken.set()

    def live(self, *acts: Callable[[], object]) -> None:
        """Do all of these in this time, at once, to their ends; where one fails, all end."""

        def one(act: Callable[[], object]) -> None:
            try:
                act()
            except BaseException as error:
                self._failed.append(error)
            finally:
                with self._lock:
                    self._rest()

        self._awake = len(acts)
        threads = [threading.Thread(target=one, args=(act,), daemon=True) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failed:
            raise self._failed[0]


@pytest.fixture
def make_office() -> Iterator[Callable[..., Office]]:
    """Make an `Office`; it closes with the test."""
    with ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Office:
            return stack.enter_context(closing(Office(*arguments, **options)))

        yield make


def configuration(**urls: str) -> str:
    """A tracker.toml with these services."""
    return services({name: {"url": url} for name, url in urls.items()})


def services(settings: dict[str, dict[str, str]]) -> str:
    """A tracker.toml with these services and their settings."""
    usual = {"rate": "unlimited", "idempotency": "header", "transport": "curl"}
    return 'database = "tracker.db"\n' + "".join(
        SERVICE.format(name=name, **{**usual, **own}) for name, own in settings.items()
    )


def record(tracker: Tracker, markers: list[str], service: str = "mill") -> None:
    """Put a job on record for each marker, in one transaction, without attempting them."""
    with tracker.store.database.transaction():
        for marker in markers:
            tracker.submit(service, {"marker": marker}, sync=False)


# Poison.

REASONS = {
    "refused": ("HTTP 422 Unprocessable Entity: pages must be positive", 1),
    "nameless": ("body.job_id holds no usable id", 5),
    "another's": ("the service answered with the id of another job", 1),
    "torn": ("cannot be read", 1),
    "unsendable": ("X-Kind", 1),
    "babble": ("not JSON", 5),
    "sick": ("HTTP 500 Internal Server Error: out of order", 5),
}
"""Kinds of poison: the dead letter's words, and the attempts until it is one."""

ANSWERS = {
    "refused": (422, b'{"error": "pages must be positive"}'),
    "nameless": (201, b'{"status": "queued"}'),
    "another's": (201, b'{"job_id": "job-m0"}'),
    "babble": (200, b"<html>Welcome</html>"),
    "sick": (500, b'{"error": "out of order"}'),
}

WAITING = "SELECT 1 FROM operations WHERE state = 'pending' AND next_attempt_at > ?"


@in_file
def test_poison(project, make_office):
    """Seven operations that can never succeed, each for a reason of its own, hold nobody up: all
    others are through in one pass, and each of the seven ends in the dead letter with its reason
    after as many attempts as its failure deserves."""
    size = 3000 if FULL else 150
    office = make_office(ANSWERS.get)
    office.open()
    project.toml.write_text(configuration(mill=office.url))
    good = [f"m{number}" for number in range(size)]
    markers = list(good)
    for index, kind in enumerate(REASONS):
        markers.insert(1 + (index + 1) * size // 9, kind)
    with project.tracker() as tracker:
        record(tracker, markers)
    of = "WHERE json_extract(payload, '$.marker') = ?"
    project.write(
        f"UPDATE processing_jobs SET payload = json_set(payload, '$.kind', ?) {of}",
        "two\r\nlines",
        "unsendable",
    )
    project.write(f"UPDATE processing_jobs SET payload = '{{torn' {of}", "torn")

    began = time.monotonic()
    project.run("poll", "--quiet")
    took = time.monotonic() - began
    accepted = project.rows("SELECT server_id FROM processing_jobs WHERE status = 'processing'")
    assert {row["server_id"] for row in accepted} == {f"job-{marker}" for marker in good}
    assert office.calls == Counter([*good, *ANSWERS])
    assert {marker for marker, _ in office.made.values()} == set(good)

    for _ in range(4):
        project.until(lambda: not project.rows(WAITING, clock.to_text(clock.now())))
        project.run("poll", "--quiet")
    assert office.calls == Counter(good) + Counter({kind: REASONS[kind][1] for kind in ANSWERS})
    [poisoned] = project.rows("SELECT count(*) AS n FROM operations")
    assert poisoned["n"] == len(REASONS)
    dead = project.json("outbox", "--state", "dead")
    for kind, letter in zip(REASONS, dead, strict=True):
        reason, attempts = REASONS[kind]
        assert reason in letter["last_error"] and letter["attempts"] == attempts, (kind, letter)
    print(*(f"\n{letter['attempts']} {letter['last_error']}" for letter in dead))
    told = project.run("health")
    assert told.code == 1 and "7 operations were given up" in told.out + told.err
    print(f"\n{size} jobs and 7 poisoned ones: one pass of {took:.1f} s")


@in_file
@pytest.mark.parametrize("time_in_row", ["", "soon"])
@pytest.mark.parametrize(
    ("table", "column"), [("operations", "next_attempt_at"), ("processing_jobs", "next_poll_at")]
)
def test_torn_times(project, make_office, table, column, time_in_row):
    """A row whose due time nobody can read is its own problem: passes go on for all others."""
    office = make_office()
    office.open()
    project.toml.write_text(configuration(mill=office.url))
    with project.tracker() as tracker:
        torn = tracker.add("mill", "job-torn")
        if table == "operations":
            torn = tracker.submit("mill", {"marker": "torn"}, sync=False)
        record(tracker, ["m0", "m1"])
    project.write(f"UPDATE {table} SET {column} = ? WHERE local_id = ?", time_in_row, torn.local_id)
    for _ in range(2):
        assert project.run("poll", "--quiet").code == 0
    good = {"job-m0", "job-m1"}
    assert good <= {row["server_id"] for row in project.rows("SELECT * FROM processing_jobs")}


def test_poison_in_a_row(tmp_path, make_office, monkeypatch):
    """Seven sick operations at the head of the queue look like a sick service, so it is paused;
    but a probe that is another job's ends that: the others are not held up for longer than the
    first pause, nobody of them fails, and the seven are given up after five attempts each."""
    time_here = Simulated(monkeypatch)
    sick = [f"s{number}" for number in range(7)]
    office = make_office(lambda marker: ANSWERS["sick"] if marker in sick else None)
    office.open()
    (tmp_path / "tracker.toml").write_text(configuration(mill=office.url))
    with Tracker(tmp_path / "tracker.toml") as tracker:
        record(tracker, sick)
        record(tracker, [f"m{number}" for number in range(50)])
        running: list[Poller] = []
        office.now = time_here.monotonic

        def watch() -> None:
            read = tracker.store.database.read
            while read("SELECT 1 FROM operations WHERE state = 'pending'"):
                assert time_here.monotonic() < HOUR, "they are never given up"
                time_here.sleep(0.5)
            running[0].stop()

        time_here.live(lambda: tracker.run(on_poller=running.append), watch)
        good = dict(office.made.values())
        assert len(good) == 50 and max(good.values()) <= schedule.service_pauses()[0] + 1
        letters = tracker.store.database.read("SELECT state, attempts FROM operations")
        assert letters == [("dead", 5)] * 7
        assert office.calls == Counter([*good, *5 * sick])


# A service that is away.


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How many connections this process tried to make so far, by port."""
    tried: Counter[int] = Counter()
    connect = socket.socket.connect

    def counting(self: socket.socket, address: Any) -> None:
        tried[address[1]] += 1
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", counting)
    return tried


def probes_in(seconds: float) -> int:
    """How many probes a service that stays away gets in so much time."""
    at, found = 0.0, 0
    while at <= seconds:
        at += schedule.service_pauses()[min(found, len(schedule.service_pauses()) - 1)]
        found += 1
    return found


def passes(tracker: Tracker, time_here: Simulated, every: float, stopped: threading.Event) -> None:
    """A pass now and then, as cron makes them."""
    while not stopped.is_set():
        tracker.poll()
        time_here.sleep(every)


CASES = {  # cron lines, loops, how long the service is away
    "two cron lines": (2, 0, DAY),
    "two loops": (0, 2, DAY if FULL else HOUR / 6),
}


@pytest.mark.parametrize("case", CASES)
def test_service_is_away(tmp_path, make_office, connects, monkeypatch, case):
    """A service that is away for a day hears no more probes than one poller would make, whatever
    number of pollers there is, and no attempt is burnt; once it is back, every job arrives, once,
    as fast as the rate allows."""
    crons, loops, away = CASES[case]
    size, rate, every = (10_000, 100, 60.0) if FULL else (200, 100, 900.0)
    time_here = Simulated(monkeypatch)
    office = make_office(now=time_here.monotonic)
    (tmp_path / "tracker.toml").write_text(
        # `connects` sees what Python connects.
        services({"mill": {"url": office.url, "rate": f"{rate}/s", "transport": "requests"}})
    )
    markers = [f"m{number}" for number in range(size)]
    found: dict[str, Any] = {}
    stopped = threading.Event()
    running: list[Poller] = []
    with ExitStack() as stack:
        mine, *others = [
            stack.enter_context(Tracker(tmp_path / "tracker.toml"))
            for _ in range(1 + crons + loops)
        ]
        record(mine, markers)
        read = mine.store.database.read

        def watch() -> None:
            time_here.sleep(away)
            found["probes"] = connects[office.server_port]
            found["burnt"] = read(
                "SELECT sum(attempts), sum(unaccounted), count(*) FROM operations"
                " WHERE state = 'pending' AND kind = 'create'"
            )
            office.open()
            while read("SELECT 1 FROM processing_jobs WHERE status = 'pending'"):
                assert time_here.monotonic() < away + HOUR, "they never arrive"
                time_here.sleep(1)
            stopped.set()
            for poller in running:
                poller.stop()

        began = time.monotonic()
        time_here.live(
            watch,
            *(lambda one=one: passes(one, time_here, every, stopped) for one in others[:crons]),
            *(lambda one=one: one.run(on_poller=running.append) for one in others[crons:]),
        )
        took = time.monotonic() - began
    times = sorted(office.times)
    waited, lasted = times[0] - away, times[-1] - times[0]
    print(
        f"\n{case}, {size} jobs, {away / HOUR:g} h away: {found['probes']} probes (one poller:"
        f" {probes_in(away)}), back after {waited:.1f} s, all through {lasted:.1f} s later"
        f" ({size / rate:.1f} by the rate); {took:.0f} s"
    )
    assert found["burnt"] == [(0, 0, size)]
    assert office.calls == Counter(markers)
    assert waited <= LONGEST_PAUSE + every * bool(crons)
    assert min(later - at for at, later in pairwise(times)) > 0.99 / rate
    assert lasted <= size / rate * 1.1 + 1
    # Before the first of them came back, nobody knew.
    assert 1 < found["probes"] < probes_in(away) + crons + loops


MANNERS = {
    "says no": (401, b'{"error": "token expired"}'),
    "wants less": (429, b'{"error": "too many requests"}'),
    "signed out": None,
}
"""Services that are there and of no use for now."""

AUTH = 'auth = { bearer = "env:MILL_TOKEN" }'


@pytest.mark.parametrize("manner", MANNERS)
def test_service_lets_nobody_in(tmp_path, make_office, monkeypatch, manner):
    """While nobody is let in for a day, no attempt is burnt: a service that says so hears a few
    hundred probes, and nobody calls at all without credentials. After that every job arrives."""
    size, every = (2000, 60.0) if FULL else (100, 900.0)
    time_here = Simulated(monkeypatch)
    monkeypatch.delenv("MILL_TOKEN", raising=False)
    office = make_office(lambda marker: MANNERS[manner], time_here.monotonic)
    office.open()
    text = configuration(mill=office.url)
    if manner == "signed out":
        text = text.replace("timeout", f"{AUTH}\ntimeout", 1)
    (tmp_path / "tracker.toml").write_text(text)
    stopped = threading.Event()
    with Tracker(tmp_path / "tracker.toml") as mine, Tracker(tmp_path / "tracker.toml") as other:
        record(mine, [f"m{number}" for number in range(size)])
        read = mine.store.database.read

        def watch() -> None:
            time_here.sleep(DAY)
            burnt = read("SELECT sum(attempts), sum(unaccounted), count(*) FROM operations")
            probes = len(office.times)
            print(f"\n{manner}, {size} jobs: {probes} probes in a day")
            assert burnt == [(0, 0, size)]
            assert probes == 0 if manner == "signed out" else 1 < probes <= probes_in(DAY) + 8
            monkeypatch.setenv("MILL_TOKEN", "t")
            office.recover()
            while read("SELECT 1 FROM processing_jobs WHERE status = 'pending'"):
                assert time_here.monotonic() < DAY + HOUR, "they never arrive"
                time_here.sleep(1)
            stopped.set()

        time_here.live(watch, lambda: passes(other, time_here, every, stopped))
    assert Counter(marker for marker, _ in office.made.values()) == Counter(
        f"m{number}" for number in range(size)
    )


# A service that hangs.

HANGS: dict[str, dict[str, str]] = {
    "silent": {},
    "dribbling": {},
    "crowded": {},
    "keyless": {"idempotency": "none"},
}
"""Services that take a call and say nothing, say a little for ever, or do not even take it."""


def test_service_hangs(project, make_office):
    """However a service hangs, recording a job takes no longer than listing jobs does, and a
    submission ends by itself within its bound; when the service is well again every job arrives,
    and none was made twice, also those that it made before it hung. Where no key tells it so, it is
    not asked again."""
    offices = {name: make_office(lambda marker: Desk.say_nothing) for name in HANGS}
    offices["dribbling"].told = lambda marker: Desk.dribble
    crowded = offices.pop("crowded")
    crowded.listen(0)
    queue = [socket.socket() for _ in range(4)]
    for one in queue:
        one.setblocking(False)
        one.connect_ex(crowded.server_address)
    for office in offices.values():
        office.open()
    offices["crowded"] = crowded
    project.toml.write_text(
        services({name: {"url": offices[name].url, **own} for name, own in HANGS.items()})
    )
    project.create()

    def timed(*arguments: str) -> float:
        began = time.monotonic()
        project.run(*arguments)
        return time.monotonic() - began

    listing, recording = [], []
    for number in range(5):
        listing.append(timed("list"))
        recording.append(timed("submit", "silent", "-p", f"marker=later-{number}", "--no-sync"))
    usual, taken = statistics.median(listing), statistics.median(recording)
    assert not offices["silent"].calls
    assert taken < 4 * usual

    began = time.monotonic()
    submits = {name: project.start("submit", name, "-p", f"marker={name}") for name in HANGS}
    ids = {name: submit.line() for name, submit in submits.items()}
    printed = time.monotonic() - began
    ends = {}
    for name, submit in submits.items():
        done = submit.end(PATIENCE)
        ends[name] = time.monotonic() - began
        assert done.code == 0 and "recorded, not accepted yet" in done.err, (name, done)
    assert not any(office.recovered.is_set() for office in offices.values())
    assert max(ends.values()) < ATTEMPT_SECONDS + 40 * usual
    assert all(offices[name].calls == {name: 1} for name in HANGS if name != "crowded")
    waits = {row["local_id"] for row in project.rows("SELECT * FROM jobs WHERE status = 'pending'")}
    assert waits >= set(ids.values()) and len(waits) == 5 + len(HANGS)
    burnt = project.rows("SELECT service, max(attempts) AS n FROM operations GROUP BY service")
    assert {row["service"]: row["n"] for row in burnt} == {**dict.fromkeys(HANGS, 1), "crowded": 0}

    for one in queue:
        one.close()
    for office in offices.values():
        office.recover()
    crowded.open()
    known = [name for name in HANGS if name != "keyless"]
    unaccepted = "SELECT 1 FROM processing_jobs WHERE status = 'pending' AND service <> 'keyless'"
    latest = time.monotonic() + PATIENCE
    while project.rows(unaccepted):
        assert time.monotonic() < latest, project.rows("SELECT * FROM operations")
        project.run("poll", "--quiet", "--for", "1s")
    for name in known:
        job = project.row(ids[name])
        assert (job["server_id"], job["sync_status"]) == (f"job-{name}", "synced")
    for name, office in offices.items():
        made = Counter(marker for marker, _ in office.made.values())
        later = [f"later-{number}" for number in range(5)] if name == "silent" else []
        assert made == Counter([name, *later]), name
    [doubt] = project.json("outbox", "--job", ids["keyless"])
    assert doubt["state"] == "in_doubt" and offices["keyless"].calls == {"keyless": 1}
    print(
        f"\nwhile the service hangs, seconds: list {usual:.3f}, submit --no-sync {taken:.3f} (most"
        f" {max(recording):.3f}); four submits at once: ids printed after {printed:.2f}, ended"
        f" after {', '.join(f'{name} {end:.2f}' for name, end in ends.items())}"
    )
