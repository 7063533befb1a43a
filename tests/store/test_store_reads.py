"""Finding jobs, paging through them, and reading what happened to them."""

from __future__ import annotations

import math
import threading

import pytest
from ledgers import (
    DONE,
    FETCHING,
    at,
    claim,
    claim_operations,
    clean_up,
    finished,
    in_s3,
    loose,
    polled,
    running,
    spooled,
    sql,
    submitted,
    uploading,
)

from tracker import clock, lifecycle
from tracker.errors import NotFound, UsageError
from tracker.lifecycle import Rules
from tracker.model import (
    ACTIVE,
    FILES,
    FINISHED,
    REMOVALS,
    UPLOADS,
    Content,
    Failure,
    Fault,
    ProcessingJob,
    Reading,
    State,
    Status,
)

A = "01900000-0000-7000-8000-00000000aaaa"
B = "01900000-0000-7000-8000-00001234aaaa"
C = "01911111-0000-7000-8000-0000cafe0001"


@pytest.fixture
def three(store):
    """Three jobs with ids that are alike in parts."""
    for local_id, server_id in ((A, "one"), (B, "two"), (C, "a:b:c")):
        running(store, local_id=local_id, server_id=server_id)
    return store


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (A, A),
        (A.upper(), A),
        (f"  {A}\n", A),
        ("0000aaaa", A),
        ("1234aaaa", B),
        ("34aaaa", B),
        ("001234aaaa", B),
        ("8000-00001234aaaa", B),
        ("0001", C),
        ("CAFE0001", C),
        ("01911111", C),
        ("0191", C),
        ("01911111-0000-7", C),
        ("docs:one", A),
        ("docs:a:b:c", C),
    ],
)
def test_a_job_can_be_named(three, text, found):
    """A job is its id, an end or a beginning of that, or ``service:server_id``, colons and all."""
    assert three.resolve(text) == found


@pytest.mark.parametrize("text", ["aaaa", "0190", "01900000", "01900000-0000-7000-8000-0000"])
def test_an_ambiguous_name(three, text):
    """What could mean two jobs is an error that shows both, and never a guess."""
    with pytest.raises(UsageError) as caught:
        three.resolve(text)
    assert caught.value.exit_code == 2
    assert A in caught.value.message and B in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "%", "____", "%%%%", "0000____", "%aaaa", "aaa", "1", "zzzz", "docs:", "docs:o%",
        "docs:on_", "docs:onex", "other:one", ":one", "DOCS:one", "'; DROP TABLE meta; --",
        "a" * 10_000, "\x00\x00\x00\x00", "🙂🙂🙂🙂", "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "deadbeef", "*", "[0-9]", "----",
    ],
)  # fmt: skip
def test_a_name_of_nothing(three, text):
    """Whatever else is typed, wildcards of any kind included, names no job."""
    with pytest.raises(NotFound) as caught:
        three.resolve(text)
    assert caught.value.exit_code == 4 and len(caught.value.message) < 120


def test_one_server_id_at_two_accounts(store):
    """An id that two accounts of a service both have is ambiguous."""
    for account in ("a", "b"):
        job = ProcessingJob(f"id-{account}", "docs", "processing", server_id="r", account=account)
        store.adopt(job, f"key-{account}", 0)
    with pytest.raises(UsageError):
        store.resolve("docs:r")


def ids(jobs) -> list[str]:
    return [job.local_id for job in jobs]


@pytest.fixture
def many(store, time):
    """Jobs of each status, each a minute after the one before; newest last."""
    made = {
        "pending": submitted(store, project="P", user_id="ann"),
    }
    time.tick(60)
    made["retrieving"] = running(store, session_id="S", job_type="ocr")
    sql(store, "UPDATE processing_jobs SET status = 'retrieving' WHERE status = 'processing'")
    for status in (Status.COMPLETED, Status.FAILED):
        time.tick(60)
        made[str(status)] = finished(store, status, service="other", document_id="D")
    time.tick(60)
    made["processing"] = running(store, project="P", job_type="ocr")
    return store, made


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["processing", "failed", "completed", "retrieving", "pending"]),
        ({"statuses": ["failed", "pending"]}, ["failed", "pending"]),
        ({"statuses": list(ACTIVE)}, ["processing", "retrieving", "pending"]),
        ({"statuses": list(FINISHED)}, ["failed", "completed"]),
        ({"statuses": ["cancelled"]}, []),
        ({"statuses": ["unheard of"]}, []),
        ({"service": "other"}, ["failed", "completed"]),
        ({"service": "other", "statuses": ["failed"]}, ["failed"]),
        ({"job_type": "ocr"}, ["processing", "retrieving"]),
        ({"project": "P"}, ["processing", "pending"]),
        ({"session_id": "S"}, ["retrieving"]),
        ({"document_id": "D"}, ["failed", "completed"]),
        ({"user_id": "ann"}, ["pending"]),
        ({"project": "%"}, []),
        ({"project": None}, ["processing", "failed", "completed", "retrieving", "pending"]),
        ({"created_after": -60.0}, ["processing", "failed"]),
        ({"created_before": -60.0}, ["completed", "retrieving", "pending"]),
        ({"created_after": -120.0, "created_before": 0.0}, ["failed", "completed"]),
        ({"limit": 2}, ["processing", "failed"]),
    ],
)
def test_a_list_and_its_filters(many, filters, expected):
    """Lists are newest first, and every filter narrows them; all of them may be combined."""
    store, made = many
    for name in {"created_after", "created_before"} & set(filters):
        filters = {**filters, name: at(filters[name])}
    assert ids(store.list_jobs(**filters)) == [made[status] for status in expected]


@pytest.mark.parametrize("statuses", [(), tuple(ACTIVE)])
def test_paging_by_key(store, statuses):
    """Pages join up without a gap or a repetition, also while new jobs come in."""
    made = [running(store) for _ in range(10)]
    pages, before = [], None
    while page := store.list_jobs(limit=3, before=before, statuses=statuses):
        pages.append(ids(page))
        before = page[-1].local_id
        running(store)
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert [one for page in pages for one in page] == made[::-1]


def test_paging_past_a_job_that_has_gone(store, time):
    """A page's key still works when its job was cleaned up between two pages."""
    made = []
    for _ in range(5):
        made.append(running(store))
        time.tick(0.001)
    last = store.list_jobs(limit=2)[-1].local_id
    sql(store, "DELETE FROM processing_jobs WHERE local_id = ?", [last])
    assert ids(store.list_jobs(limit=2, before=last)) == [made[2], made[1]]


def test_paging_past_one_of_many_that_have_gone(store, time):
    """That is so too for jobs that were recorded in one millisecond."""
    made = [running(store) for _ in range(30)]
    while made:
        last = made.pop()
        sql(store, "DELETE FROM processing_jobs WHERE local_id = ?", [last])
        assert ids(store.list_jobs(limit=2, before=last)) == made[-2:][::-1]


def test_counts(many):
    """Counts tell what is active, and what is owed, by state."""
    store, _ = many
    assert store.counts() == {"pending": 1, "processing": 1, "retrieving": 1}
    assert store.operation_counts() == {"pending": 1}
    assert store.count_due("docs", clock.now()) == 1
    assert store.count_due("docs", clock.now() - 1) == 0
    assert store.count_due("docs", math.inf) == store.count_due("docs") == 1


def test_rows_that_somebody_edited(store):
    """A row whose JSON was broken by hand can still be listed and shown."""
    local_id = running(store)
    broken = loose(store, "x", "1")
    sql(store, "UPDATE processing_jobs SET payload = ?, vars = '[]'", [broken])
    assert store.get(local_id).payload == {"unreadable": broken}
    assert store.list_jobs()[0].vars == {"unreadable": "[]"}


def test_events_in_order(store):
    """R1: events are read in the order of their commits, after any number, of one job or all."""
    first, second = running(store), running(store)
    store.settle([polled(job, DONE, Rules()) for job in claim(store)])
    everything = store.events()
    assert [event.seq for event in everything] == [1, 2, 3, 4, 5, 6] and store.last_event() == 6
    assert [event.local_id for event in everything[:2]] == [first, second]
    assert [event.seq for event in store.events(after=4)] == [5, 6]
    assert [event.seq for event in store.events(limit=2)] == [1, 2]
    mine = store.events(local_id=first)
    assert [event.type for event in mine] == ["job:created", "job:status-changed", "job:finalized"]
    assert store.events(local_id=first, after=mine[-1].seq) == []


def test_a_reader_misses_no_event(connect):
    """R1: one who always asks for what came after the last event it saw sees every event once."""
    writers = [connect() for _ in range(3)]
    reader, seen, done = connect(), [], threading.Event()

    def write(one) -> None:
        for _ in range(25):
            running(one)

    def read() -> None:
        while not done.is_set() or reader.events(after=seen[-1] if seen else 0):
            seen.extend(one.seq for one in reader.events(after=seen[-1] if seen else 0))

    threads = [threading.Thread(target=write, args=(one,)) for one in writers]
    watching = threading.Thread(target=read)
    watching.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    done.set()
    watching.join(30)
    assert seen == list(range(1, 76))


def test_numbers_of_events_never_come_back(store, time):
    """R12: a number that was pruned away is never given to another event."""
    running(store)
    time.tick(8 * 86400)
    assert store.prune_events() == 1
    running(store)
    assert store.last_event() == 2


def test_event_retention(store, time):
    """Events are kept for 7 days, and a late reader is told where the rest begins."""
    running(store)
    time.tick(4 * 86400)
    running(store)
    time.tick(3 * 86400)
    assert store.prune_events() == 0 and store.get_meta("events_pruned_to") is None
    time.tick(1)
    assert store.prune_events() == 1
    assert [event.seq for event in store.events()] == [2]
    assert store.get_meta("events_pruned_to") == "1"
    time.tick(4 * 86400)
    assert store.prune_events() == 1 and store.get_meta("events_pruned_to") == "2"


def test_pruning_is_bounded(store, time):
    """Pruning goes in batches of a thousand: none of them delays a poll."""
    sql(
        store,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) "
        "INSERT INTO job_events (seq, at, local_id, type) "
        "SELECT i, '2020-01-01', 'x', 'job:created' FROM n",
    )
    assert [store.prune_events() for _ in range(3)] == [1000, 500, 0]
    assert store.get_meta("events_pruned_to") == "1500"


def test_changes_are_noticed(connect):
    """Whoever waits for a change sees a number move, whoever made the change."""
    store, other = connect(), connect()
    before = other.change_count()
    assert other.change_count() == before
    local_id = running(store)
    between = other.change_count()
    assert between != before
    change = lifecycle.by_hand(other.job_in_hand(local_id), Status.FAILED, Rules())
    other.act(local_id, change)
    assert other.change_count() != between


def test_changes_of_others_are_noticed(connect):
    """A poller looks again at who is paused where somebody else wrote something, not after each
    settlement of its own."""
    store, other = connect(), connect()
    before = other.foreign_change_count()
    local_id = running(other)
    change = lifecycle.by_hand(other.job_in_hand(local_id), Status.FAILED, Rules())
    other.act(local_id, change)
    assert other.foreign_change_count() == before
    running(store)
    assert other.foreign_change_count() != before


def test_the_switch(connect):
    """P5: one switch, kept in the ledger, turns everything off and on; both are on record."""
    store, other = connect(), connect()
    assert not store.is_paused()
    assert store.set_paused(True) and not other.set_paused(True)
    assert other.is_paused()
    assert other.set_paused(False) and not store.set_paused(False)
    assert [event.type for event in store.events()] == ["ledger:paused", "ledger:resumed"]


def test_runs_are_kept_a_month(store, time):
    """P12: each pass is on record for 30 days."""
    counts = {"polled": 3, "completed": 1, "failed": 0, "errors": 2}
    store.record_run("p1", "poll", clock.now(), 0.12345, **counts)
    time.tick(30 * 86400)
    store.record_run("p1", "poll", clock.now(), 1, **counts)
    read = "SELECT duration_seconds, polled, errors FROM poll_runs ORDER BY id"
    assert store.database.read(read) == [(0.123, 3, 2), (1.0, 3, 2)]
    time.tick(1)
    store.record_run("p1", "poll", clock.now(), 1, **counts)
    assert len(store.database.read(read)) == 2


# The outbox.


def test_the_outbox(store, time):
    """O3, O6: what is owed is told oldest first, with the place of what it is about, of all jobs or
    of one, in any state or in one; pages join up."""
    upload = uploading(store)
    create = submitted(store)
    gone = finished(store, Status.FAILED, in_s3("ä b+c/"), spooled("a"))
    time.tick(1)
    clean_up(store)
    sql(store, "UPDATE operations SET state = 'dead' WHERE kind = 'create'")
    found = [(one["local_id"], one["kind"], one["object"]) for one in store.outbox()]
    assert found == [
        (upload, "upload_input", "s3://bucket/in/x.pdf"),
        (create, "create", None),
        (gone, "remove_object", "s3://bucket/ä b+c/"),
        (gone, "remove_object", "/spool/a"),
    ]
    assert [one["kind"] for one in store.outbox(state="dead")] == ["create"]
    assert len(store.outbox(local_id=gone)) == store.count_outbox(local_id=gone) == 2
    assert store.outbox(local_id=gone, state="dead") == store.outbox(state="in_doubt") == []
    first = store.outbox(limit=3)
    assert store.outbox(after=first[-1]["id"]) == store.outbox()[3:]
    assert store.outbox(local_id=gone, after=first[-1]["id"]) == store.outbox()[3:]
    assert store.count_outbox() == 4 and store.count_outbox(state="pending") == 3
    assert store.count_outbox(local_id=create, state="pending") == 0
    assert store.count_outbox(local_id="unknown") == 0
    assert [store.removals_owed(lane) for lane in (REMOVALS, FILES, UPLOADS)] == [1, 1, 1]


def test_the_outbox_shows_what_went_wrong(store, time):
    """B13: a removal that S3 refuses is shown with S3's own words, how often it was tried and when
    it will be again."""
    finished(store, Status.FAILED, in_s3("k"))
    time.tick(1)
    clean_up(store)
    (removal,) = claim_operations(store, service=REMOVALS)
    denied = Failure(Fault.REFUSED, "AccessDenied: Access Denied", http_status=403)
    store.settle([lifecycle.after_removal(removal, denied, rnd=lambda: 0.0)])
    (owed,) = store.outbox()
    assert owed["last_error"] == "AccessDenied: Access Denied" and owed["last_http_status"] == 403
    assert (owed["attempts"], owed["state"], owed["claimed_by"]) == (1, "pending", None)
    assert (owed["last_attempt_at"], owed["next_attempt_at"]) == (at(0), at(60))


def test_files_on_record(store, time):
    """J11: a file is on record as a job's input, as its kept result, or as any job's object by its
    place; an S3 object of that name is not."""
    first = submitted(store, file=spooled("a"))
    second = running(store)
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED), FETCHING)])
    (fetch,) = [one for one in claim_operations(store) if one.kind == "fetch_result"]
    content = Content(id="c", path="/results/r", size=3)
    store.settle([lifecycle.after_fetch(fetch, content, Rules())])
    running(store, "docs", spooled("shared"), in_s3("/spool/s3"))
    assert store.paths_of([first, second]) == {"/spool/a", "/results/r"}
    asked = ["/spool/shared", "/spool/s3", "/spool/nowhere", "/spool/a"]
    assert store.paths_of([second], asked) == {"/results/r", "/spool/shared", "/spool/a"}
    assert store.paths_of([], []) == set()
