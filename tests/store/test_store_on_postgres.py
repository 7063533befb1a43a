"""What only a server does: many writers at once, lost connections, other people's databases."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from bouncer import Bouncer
from ledgers import DONE, RUNNING, claim, polled, running, spooled, sql, submitted, types
from pooler import Pooler
from proxy import Proxy
from psycopg_pool.base import AttemptWithBackoff

from tracker import clock
from tracker.databases import postgres as postgres_database
from tracker.databases import servers
from tracker.databases.base import LEDGER, ROWS
from tracker.databases.migrate import migrate
from tracker.databases.postgres import Database
from tracker.errors import DatabaseBusy, DatabaseError, UsageError
from tracker.schema import queries, script
from tracker.schema.postgres import translated
from tracker.schema.postgres.migrations import STEPS
from tracker.store import Store, open_store, server_key
from tracker.store.ledger import PARTS


@pytest.fixture
def url(postgres, template) -> Iterator[str]:
    """A database with an empty ledger."""
    made = postgres.create(template)
    yield made
    postgres.drop(made)


@pytest.fixture
def opened(url) -> Iterator[Callable[[], Store]]:
    """Opens the ledger once more, as another process would."""
    stores: list[Store] = []

    def open_one() -> Store:
        stores.append(open_store(url))
        return stores[-1]

    yield open_one
    for one in stores:
        one.close()


@pytest.fixture
def proxy(url) -> Iterator[Proxy]:
    """The way to the database, which can be cut."""
    one = Proxy(url)
    yield one
    one.close()


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do all of it at the same time; what each returned."""
    with ThreadPoolExecutor(len(acts)) as pool:
        return [one.result(60) for one in [pool.submit(act) for act in acts]]


def columns_on(url: str) -> dict[str, list[str]]:
    with closing(psycopg.connect(url)) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        ).fetchall()
    found = defaultdict(list)
    for table, column in rows:
        found[table].append(column)
    return found


def test_tables_are_the_same(url, tmp_path):
    """B10: every table and view has the same name and columns, in the same order, on both."""
    migrate(tmp_path / "tracker.db", server_key)
    with closing(sqlite3.connect(tmp_path / "tracker.db")) as database:
        tables = [
            row[0]
            for row in database.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            )
            if not row[0].startswith(("sqlite_", "_sqlite"))
        ]
        expected = {
            table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            for table in tables
        }
    found = columns_on(url)
    assert set(found) - set(expected) == {"event_counter", "tracker_migrations"}
    assert {table: found[table] for table in expected} == expected


@pytest.mark.parametrize(
    "name", [one for one in sorted(queries("postgres")) if not one.endswith(PARTS)]
)
def test_every_statement_is_understood(opened, name):
    """Each statement of the store is one that PostgreSQL can plan, whatever is given to it."""
    store = opened()
    text = store.sql[name]
    given = defaultdict(lambda: None)
    with store.database.transaction():
        assert store.database._run(store.database._current(), f"EXPLAIN {text}", given).fetchall()
    assert "json_each" not in translated(text)


def test_nobody_gets_what_another_one_has(opened):
    """P4: many pollers that claim at the same time get each due job once, and all of them."""
    stores = [opened() for _ in range(4)]
    expected = {running(stores[0], due=-1) for _ in range(100)}

    def take(store: Store) -> list[str]:
        mine = []
        while found := claim(store, 7, poller=f"p{id(store)}"):
            mine += [job.local_id for job in found]
        return mine

    taken = at_once(*(lambda one=one: take(one) for one in stores))
    got = [local_id for mine in taken for local_id in mine]
    assert len(got) == len(set(got)) and set(got) == expected


def test_a_claim_waits_for_nobody(opened):
    """P4: rows that another transaction holds are passed over, not waited for."""
    one, other = opened(), opened()
    first, second = running(one, due=-2), running(one, due=-1)
    with one.database.transaction(ROWS):
        assert [job.local_id for job in claim(one, 1)] == [first]
        assert [job.local_id for job in claim(other)] == [second]


def test_pollers_do_not_wait_for_each_other(opened):
    """P3: what one poller writes does not keep another from claiming and settling; an act that
    looks before it writes waits for both."""
    one, other, third = opened(), opened(), opened()
    running(one, due=-1), running(one, due=-1)
    (mine,), (its,) = claim(one, 1), claim(other, 1)
    done = threading.Event()

    def act() -> None:
        with third.database.transaction(LEDGER):
            done.set()

    with one.database.transaction(ROWS):
        one.settle([polled(mine, RUNNING)])
        assert other.settle([polled(its, RUNNING)]).applied == 1
        waiting = threading.Thread(target=act)
        waiting.start()
        sql_of_locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not other.database.read(sql_of_locks)[0][0]:
            assert not done.is_set()
    waiting.join(10)
    assert done.is_set()


def test_events_are_in_the_order_of_commits(opened):
    """R1: an event that is committed later has a higher number, also where its transaction began
    earlier: who has read up to a number has missed nothing below it."""
    slow, quick = opened(), opened()
    with slow.database.transaction(ROWS):
        late = submitted(slow)
        early = submitted(quick)
        assert [event.local_id for event in quick.events()] == [early]
    assert [(event.seq, event.local_id) for event in quick.events()] == [(1, early), (2, late)]


def test_numbers_have_no_gaps_under_load(opened):
    """R1: many writers at once give each event one number, and a reader that follows sees all."""
    stores, seen = [opened() for _ in range(4)], []
    watcher = opened()

    def write(store: Store) -> None:
        for _ in range(25):
            submitted(store)

    def follow() -> None:
        while len(seen) < 100:
            seen.extend(event.seq for event in watcher.events(after=seen[-1] if seen else 0))

    at_once(follow, *(lambda one=one: write(one) for one in stores))
    assert seen == list(range(1, 101))


def test_rates_are_shared(opened):
    """P5, B3: pollers on many hosts together keep a service's distance between two calls."""
    stores = [opened() for _ in range(4)]
    before = clock.monotonic()

    def take(store: Store) -> int:
        return sum(len(store.take_tokens(("docs", "", ""), 1, 0.1)[0]) for _ in range(10))

    taken = sum(at_once(*(lambda one=one: take(one) for one in stores)))
    assert taken <= (clock.monotonic() - before + 0.25) / 0.1 + 2


def test_a_deadlock_is_tried_again(opened):
    """B10: two transactions that stand in each other's way both come through."""
    one, other = opened(), opened()
    jobs = [running(one), running(one)]
    both = threading.Barrier(2, timeout=5)
    tries = []

    def touch(store: Store, order: list[str]) -> None:
        with store.database.transaction(ROWS):
            tries.append(order)
            for number, job in enumerate(order):
                store.database.write(
                    "UPDATE processing_jobs SET version = version + 1 WHERE local_id = ?", [job]
                )
                if number == 0 and len(tries) <= 2:
                    both.wait()

    at_once(
        lambda: one.database.persist(lambda: touch(one, jobs)),
        lambda: other.database.persist(lambda: touch(other, jobs[::-1])),
    )
    assert len(tries) == 3 and [one.get(job).version for job in jobs] == [3, 3]


def test_a_lost_connection(opened, postgres, url):
    """B10: after the server has ended all connections the next act finds a new one by itself."""
    store = opened()
    first = submitted(store)
    name = url.rpartition("/")[2].partition("?")[0]
    postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert store.get(first).status == "pending" and store.get(submitted(store))


def test_a_server_that_was_away(own_postgres, monkeypatch):
    """B10: a server that comes back is found again at once, however long it was away: attempts to
    connect do not become ever rarer."""
    monkeypatch.setattr(AttemptWithBackoff, "INITIAL_DELAY", 3600.0)
    store = open_store(own_postgres.create())
    first = submitted(store)
    own_postgres.end()
    with monkeypatch.context() as impatient, pytest.raises(DatabaseBusy, match="cannot be reached"):
        impatient.setattr(postgres_database, "PATIENCE_SECONDS", 0.1)
        store.get(first)
    own_postgres.restart("fast")
    assert store.get(first).local_id == first
    store.close()


@pytest.mark.parametrize("heard", [False, True], ids=["unheard", "heard"])
@pytest.mark.parametrize("word", [b"BEGIN", b"INSERT INTO operations", b"COMMIT"])
def test_a_line_that_breaks_within(proxy, word, heard):
    """B10: wherever in an act the connection is lost, also between a commit and its answer, the
    act is done once."""
    store = open_store(proxy.url)
    proxy.cut_at, proxy.heard = word, heard
    local_id = submitted(store)
    assert proxy.cuts == 1
    assert types(store, local_id) == ["job:created"] and len(store.operations_of(local_id)) == 1
    assert store.last_event() == 1
    store.close()


def test_a_settlement_that_breaks_within(proxy):
    """B7: a settlement whose commit was not heard of has its effects once."""
    store = open_store(proxy.url)
    local_id = running(store, due=-1)
    (job,) = claim(store)
    proxy.cut_at, proxy.heard = b"COMMIT", True
    assert store.settle([polled(job, DONE)]).finished == [(local_id, "completed")]
    assert types(store, local_id).count("job:finalized") == 1 and proxy.cuts == 1
    store.close()


def test_many_begin_at_once(new_database):
    """Processes that start together on an empty database make one ledger, and all can use it."""
    url = new_database()
    stores = at_once(*[lambda: open_store(url)] * 6)
    assert len({one.get_meta("ledger_id") for one in stores}) == 1
    for one in stores:
        one.close()


def test_a_database_of_another_program(new_database):
    """A database that has tables of such names already is left as it is."""
    url = new_database()
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE TABLE objects (mine text)")
    with pytest.raises(DatabaseError, match=r"objects is some other program's"):
        open_store(url)
    assert columns_on(url) == {"objects": ["mine"]}


def test_a_newer_ledger(opened, url):
    """A ledger that needs a newer program is not opened by this one."""
    sql(opened(), "UPDATE meta SET value = '99.0' WHERE key = 'min_program'")
    with pytest.raises(DatabaseError, match=r"needs tracker 99\.0 or newer"):
        open_store(url)


TAKES_AWAY = re.compile(
    r"\b(DROP (TABLE|COLUMN|VIEW|SEQUENCE)|RENAME|ALTER COLUMN|TRUNCATE)\b"
    r"|ADD COLUMN(?![^,;]*\bDEFAULT\b)[^,;]*\bNOT NULL\b"
    r"|ADD (CONSTRAINT|CHECK|UNIQUE|FOREIGN)|UNIQUE INDEX",
    re.I,
)
"""What a step may not say: the version before it writes and reads its tables as they were."""


def test_steps_only_add():
    """B10: after every step the version before it can go on: nothing that it reads is gone, and
    nothing is refused that it writes."""
    for name, file in STEPS[1:]:
        assert not TAKES_AWAY.search(script("postgres", file)), name
    for bad in (
        "ALTER TABLE meta RENAME COLUMN value TO v",
        "ALTER TABLE meta ADD COLUMN colour text NOT NULL",
        "ALTER TABLE meta ADD COLUMN a text DEFAULT 'x', ADD COLUMN b text NOT NULL",
        "CREATE UNIQUE INDEX one ON processing_jobs (document_id)",
    ):
        assert TAKES_AWAY.search(bad), bad
    good = "ALTER TABLE meta ADD COLUMN colour text NOT NULL DEFAULT 'blue'; CREATE INDEX i ON meta"
    assert not TAKES_AWAY.search(good)


def test_a_migration_takes_its_time(opened, url, monkeypatch):
    """A step may take longer than a statement of daily work: nobody would ever get past it."""
    opened()
    monkeypatch.setattr(postgres_database, "BEGIN", "BEGIN; SET LOCAL statement_timeout = '1s'")
    monkeypatch.setattr(servers, "STEPS", [*servers.STEPS, ("0002_slow", "slow")])
    monkeypatch.setattr(servers, "script", lambda dialect, name: "SELECT pg_sleep(1.2)")
    assert opened().get_meta("ledger_id")
    assert columns_on(url)


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "kind", "told"),
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:1/jobs", DatabaseBusy, "cannot be reached"),
        (f"postgresql://me:{SECRET}@[::/jobs", UsageError, "cannot be read"),
        (f"postgresql://me:{SECRET}@h/jobs?nonsense=1", UsageError, "cannot be read"),
    ],
    ids=["no server", "no URL", "no option"],
)
def test_a_password_is_never_told(url, kind, told, monkeypatch, caplog):
    """O6: whatever is wrong with a database's URL, what is told of it holds no password."""
    monkeypatch.setattr("tracker.databases.connections.WAIT_SECONDS", 0.5)
    monkeypatch.setattr("tracker.databases.postgres.PATIENCE_SECONDS", 0.1)
    with pytest.raises(kind, match=told) as error:
        open_store(url)
    assert SECRET not in str(error.value) + caplog.text


def test_what_cannot_help_is_told_at_once(url):
    """A database that is not there is told of without trying for ten seconds."""
    began = clock.monotonic()
    with pytest.raises(DatabaseError, match="does not exist") as error:
        open_store(url.replace("/tracker_", "/no_"))
    assert not isinstance(error.value, DatabaseBusy) and clock.monotonic() - began < 8


def test_what_no_index_can_hold(opened):
    """What no patience helps against is told as it is, and not tried again for ten seconds."""
    store, began = opened(), clock.monotonic()
    name = "".join(f"{number:x}" for number in range(4000))
    with pytest.raises(DatabaseError, match="failed: index row") as error:
        submitted(store, file=spooled(name))
    assert not isinstance(error.value, DatabaseBusy) and clock.monotonic() - began < 8


def test_a_read_writes_nothing(opened):
    """A statement that is only to look cannot change anything."""
    with pytest.raises(DatabaseError, match="read-only"):
        opened().database.read("DELETE FROM meta")


def test_the_server_tells_the_time(opened, monkeypatch):
    """B10: hosts whose clocks are wrong agree on what is due: the server's clock counts."""
    store = opened()
    right = store.now()
    monkeypatch.setattr(clock, "now", lambda: 1e9)
    other = opened()
    assert abs(other.now() - right) < 60 and abs(store.now() - right) < 60
    assert abs(clock.to_seconds(other.get(submitted(other)).created_at) - right) < 60


def test_what_no_text_can_hold(opened):
    """One bad reply never stops a pass: NUL, which PostgreSQL has no place for, is replaced."""
    store = opened()
    local_id = submitted(store, payload={"a\0": ["\0", "\\u0000"]}, document_id="x\0y")
    job = store.get(local_id)
    assert job.payload == {"a\ufffd": ["\ufffd", "\\u0000"]} and job.document_id == "x\ufffdy"


def test_no_more_connections_than_needed(url):
    """B10: a process that does one thing at a time holds one connection."""
    store = open_store(url)
    for _ in range(5):
        submitted(store)
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert store.database.read(count) == [(1,)]
    store.close()


def test_a_value_that_breaks_a_constraint_is_not_told(opened):
    """O6: the error for a broken constraint does not quote the row."""
    store = opened()
    local_id = submitted(store, payload={"secret": SECRET})
    with pytest.raises(psycopg.IntegrityError) as error:
        sql(store, "UPDATE processing_jobs SET status = 'x' WHERE local_id = ?", [local_id])
    assert SECRET not in str(error.value) and isinstance(store.database, Database)


@pytest.mark.parametrize("kind", [Bouncer, Pooler], ids=["pgbouncer", "stand-in"])
def test_behind_a_pooler(url, kind):
    """B10: behind a pooler that gives each transaction another connection, and keeps nothing of a
    session, many processes work over few connections as they do without it."""
    pooler = kind(url, 2)
    stores = [open_store(pooler.url) for _ in range(5)]

    def work(store: Store) -> int:
        mine = [submitted(store), running(store, due=-1)]
        taken = claim(store, 1, poller=f"p{id(store)}")
        settled = store.settle([polled(job, DONE) for job in taken])
        store.extend_leases(taken, [], 60.0)
        return len(settled.finished) * len(store.get_many(mine))

    assert at_once(*(lambda one=one: work(one) for one in stores)) == [2] * 5
    assert [event.seq for event in stores[0].events()] == list(range(1, stores[1].last_event() + 1))
    # This one is asked for through the pooler too.
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert 1 <= stores[0].database.read(count)[0][0] <= 2
    if isinstance(pooler, Pooler):
        assert pooler.transactions > 25 and pooler.refused == []
    for one in stores:
        one.close()
    pooler.close()
