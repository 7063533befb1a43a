"""How a complete listing is merged with what is on record."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import (
    RULES,
    cell,
    claim,
    claim_operations,
    count,
    finished,
    polled,
    running,
    sql,
    submitted,
    types,
)
from listings import (
    ALL,
    counts,
    ids,
    jobs,
    listed,
    page,
    payload,
    refresh,
    synced,
    turn,
)

from tracker import lifecycle
from tracker.listed import RULES as WAYS
from tracker.listed import Merging
from tracker.model import Kind, Reading, State
from tracker.outcomes import Attempted
from tracker.store import server_key
from tracker.store.merging import reconciled

# Merging.


def test_added_jobs_are_synced_and_polled(store, time):
    """An unknown job is tracked as running at its service, with its fields, owes nothing and is
    due now."""
    refresh(store, page(listed("a", fields={"x": 1}, vars={"v": 2})))
    [job] = store.database.read_dicts("SELECT * FROM jobs")
    assert (job["status"], job["server_id"], job["sync_status"]) == ("processing", "a", "synced")
    assert json.loads(job["payload"]) == json.loads(job["last_synced"]) == {"x": 1}
    assert types(store, job["local_id"]) == ["job:created"]
    assert [one.server_id for one in store.claim_due_jobs(
        "docs", 5, "p1", 60.0, cutoff=store.now()).jobs] == ["a"]  # fmt: skip


def test_a_job_whose_create_is_on_its_way_is_not_added_twice(store, time):
    """A job that its service lists before the reply to its create was written is one job."""
    job = submitted(store)
    [create] = claim_operations(store, kinds=[Kind.CREATE])
    refresh(store, page("a"))
    reading = Reading(State.PROCESSING, server_id="a")
    key = server_key("docs", "a")
    assert count(store, "processing_jobs") == 1
    store.settle([lifecycle.after_create(create, reading, RULES, server_key=key)])
    assert store.database.read("SELECT local_id, server_id, status FROM processing_jobs") == [
        (job, "a", "processing")
    ]


def test_a_stranger_waits_for_creates_that_may_have_made_it(store, time):
    """A job that was made elsewhere is tracked once no create on its way from here can be the one
    that made it, also where there is always one on its way."""
    submitted(store), claim_operations(store, kinds=[Kind.CREATE])
    refresh(store, page("a"))
    assert "a" not in ids(store)
    time.tick(60)
    submitted(store)
    sql(store, "DELETE FROM operations WHERE claimed_by IS NOT NULL")
    claim_operations(store, kinds=[Kind.CREATE])
    refresh(store, page("a", "b"))
    assert "a" in ids(store) and "b" not in ids(store)


def test_a_job_found_for_a_create_in_doubt_is_that_one(store, time):
    """A create in doubt stops no listing; where it is repeated, and answered with the id of a job
    that came by a listing since, there is one job."""
    job = submitted(store)
    [create] = claim_operations(store, kinds=[Kind.CREATE])
    sql(store, "UPDATE operations SET state = 'in_doubt', claimed_by = NULL, lease_until = NULL")
    refresh(store, page("a"))
    assert ids(store) == {None, "a"}
    [doubtful] = store.operations_of(job)
    store.retry_operation(doubtful["id"])
    [create] = claim_operations(store, kinds=[Kind.CREATE])
    reading = Reading(State.PROCESSING, server_id="a")
    key = server_key("docs", "a")
    store.settle([lifecycle.after_create(create, reading, RULES, server_key=key)])
    assert store.database.read("SELECT local_id, server_id FROM processing_jobs") == [(job, "a")]


def test_nothing_is_added_where_that_is_set(store, time):
    """With `add` off unknown jobs stay unknown."""
    refresh(store, page("a"), merging=Merging(add=False))
    assert ids(store) == set()


def test_the_same_listing_again_changes_nothing(store, time):
    """A listing that says what is on record writes to no job and tells of none."""
    refresh(store, page(listed("a", fields={"x": 1}), "b"))
    before, events = jobs(store), len(store.events())
    time.tick(60)
    refresh(store, page(listed("a", fields={"x": 1}), "b"))
    assert jobs(store) == before
    assert len(store.events()) == events + 1
    assert counts(store) == {"listed": 2}


def test_tombstones(store, time):
    """A job that was deleted here stays away, until somebody tracks it again."""
    job = finished(store, server_id="a")
    store.delete(job, tells=False)
    refresh(store, page("a", "b"))
    assert ids(store) == {"b"}
    running(store, server_id="a")
    assert count(store, "tombstones") == 0


def test_what_a_listing_lacked_comes_back_with_the_next(store, time):
    """A job that nobody deleted here on purpose, and that its service lists again, is tracked
    again."""
    running(store, server_id="a")
    time.tick(60)
    refresh(store, page(), merging=ALL)
    assert ids(store) == set()
    time.tick(60)
    refresh(store, page("a"), merging=ALL)
    assert ids(store) == {"a"}


def test_the_service_overwrites(store, time):
    """What only the service changed is taken over, with an event; fields that it does not tell of
    stay."""
    job = synced(store, x=1, y=1, own="z")
    refresh(store, page(listed("a", fields={"x": 2, "y": 1})))
    assert payload(store, job) == {"x": 2, "y": 1, "own": "z"}
    told = [one.data for one in store.events() if one.type == "job:metadata-updated"]
    assert told == [{"payload": {"x": 2}, "by": "service"}]
    assert counts(store) == {"listed": 1, "changed": 1}


def test_unsent_changes_stay(store, time):
    """A field that was changed here and not sent yet is not overwritten by what the service has
    had all along, and is still owed; the others are taken over."""
    job = synced(store, x=1, y=1)
    store.change(job, {"x": 5}, tells=True)
    refresh(store, page(listed("a", fields={"x": 1, "y": 2})))
    assert payload(store, job) == {"x": 5, "y": 2}
    [update] = claim_operations(store, kinds=[Kind.UPDATE])
    assert update.payload["changes"] == {"x": 5}
    assert "job:conflict" not in types(store, job)


def test_changes_of_an_attempted_update_stay_too(store, time):
    """A change that was attempted and has not arrived yet is unsent as well, also where another
    update waits behind it."""
    job = synced(store, x=1, y=1)
    store.change(job, {"x": 5}, tells=True)
    claim_operations(store, kinds=[Kind.UPDATE])
    store.change(job, {"y": 5}, tells=True)
    refresh(store, page(listed("a", fields={"x": 1, "y": 1})))
    assert payload(store, job) == {"x": 5, "y": 5}


def test_changes_in_the_dead_letter_stay_too(store, time):
    """A change whose update was given up is still owed until a person lets it go."""
    job = synced(store, x=1)
    store.change(job, {"x": 5}, tells=True)
    sql(store, "UPDATE operations SET state = 'dead' WHERE kind = 'update'")
    refresh(store, page(listed("a", fields={"x": 1})))
    assert payload(store, job) == {"x": 5}


def test_changes_that_were_sent_during_the_listing_stay_too(store, time):
    """A page that was read before an update arrived does not undo it."""
    job = synced(store, x=1)
    store.change(job, {"x": 5}, tells=True)
    refresh(store, page(listed("a", fields={"x": 1}), cursor="2"))
    time.tick(10)
    [update] = claim_operations(store, kinds=[Kind.UPDATE])
    store.settle([Attempted(update, None, synced={"x": 5})])
    turn(store, page())
    assert payload(store, job) == {"x": 5}


@pytest.mark.parametrize(
    ("rule", "there_at", "kept"),
    [
        ("service", None, "here"),
        ("local", "2030-01-01", "here"),
        ("latest", "2020-01-01", "here"),
        ("latest", "2030-01-01", "there"),
        ("latest", None, "here"),
        ("merge", None, "there"),
    ],
)
def test_conflicts(store, time, rule, there_at, kept):
    """A field that both sides changed goes to whom the rule says; both values are in the event,
    and what lost here is owed no more."""
    job = synced(store, x=1)
    store.change(job, {"x": 5}, tells=True)
    item = listed("a", fields={"x": 7}, updated_at=there_at, version="2")
    refresh(store, page(item), merging=Merging(rule=rule))
    assert payload(store, job) == {"x": 5 if kept == "here" else 7}
    assert len(claim_operations(store, kinds=[Kind.UPDATE])) == (kept == "here")
    [told] = [one.data for one in store.events() if one.type == "job:conflict"]
    assert told["rule"] == rule
    assert told["fields"] == {"x": {"here": 5, "there": 7, "before": 1, "kept": kept}}
    assert (counts(store)["conflicts"], cell(store, "remote_version", job)) == (1, "2")


@pytest.mark.parametrize(
    ("there_at", "kept"),
    [("2026-01-31T13:30:00+02:00", 5), ("2026-01-31T11:30:00-02:00", 7), ("1893456000", 7)],
)
def test_latest_compares_moments(store, time, there_at, kept):
    """Which side changed last is a matter of moments, whatever the zone or the notation is."""
    job = synced(store, x=1)
    store.change(job, {"x": 5}, tells=True)
    item = listed("a", fields={"x": 7}, updated_at=there_at)
    refresh(store, page(item), merging=Merging(rule="latest"))
    assert payload(store, job) == {"x": kept}


def test_another_state_is_asked_for(store, time):
    """A running job whose state is another one at the service is polled at once; one whose state
    is the same keeps its date."""
    job, same = running(store, server_id="a", due=600), running(store, server_id="b", due=600)
    sql(store, "UPDATE processing_jobs SET remote_state = 'queued'")
    refresh(store, page(listed("a", word="done"), listed("b", word="queued")))
    assert cell(store, "next_poll_at", job) < cell(store, "next_poll_at", same)


def test_the_first_end_stands(store, time):
    """What a service says of a job that has ended here is on record, once; its status stays."""
    job = running(store, server_id="a")
    store.settle([polled(claim(store)[0], Reading(State.COMPLETED, "done"), RULES)])
    for _ in range(2):
        refresh(store, page(listed("a", word="failed")))
    assert (cell(store, "status", job), cell(store, "remote_state", job)) == ("completed", "failed")
    told = [one.data for one in store.events() if one.type == "job:metadata-updated"]
    assert told == [{"remote_state": "failed", "by": "service"}]


# Comparing the two sides.

fields = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2))


@given(fields, fields, fields, fields, st.sampled_from(WAYS), st.booleans())
def test_reconciled(here, before, there, unsent, rule, newer):
    """Whatever both sides have: nothing but one side's value is kept; a field that the service
    does not tell of stays; what was changed on one side only goes to that side; a conflict is what
    both changed to different values, goes to whom the rule says, and names both values."""
    pending = {name: here[name] for name in unsent if name in here}
    kept, conflicts = reconciled(here, before, there, pending, rule, newer)
    assert set(kept) - set(here) <= set(there) and set(here) <= set(kept)
    for name in here.keys() | there.keys():
        mine, theirs = here.get(name), there.get(name)
        if name not in there or (name in here and mine == theirs):
            assert kept.get(name) == mine and name not in conflicts
        elif name in pending and before.get(name) != theirs:
            wins = {"service": True, "local": True, "latest": not newer, "merge": False}[rule]
            assert kept[name] == (mine if wins else theirs)
            told = conflicts[name]
            assert (told["here"], told["there"]) == (mine, theirs)
            assert told["kept"] == ("here" if wins else "there")
        else:
            assert name not in conflicts
            assert kept.get(name) == (mine if name in pending or rule == "local" else theirs)
    again, left = reconciled(kept, {**before, **there}, there, pending, rule, newer)
    assert again == kept and left == {}
