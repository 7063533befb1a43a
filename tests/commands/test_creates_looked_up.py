"""create.lookup: a service without keys is asked whether it has what a create may have made."""

from __future__ import annotations

import signal
import time

import pytest
from desk import LOOKUP, Answer, Desk, Hang
from helping import LONG_AGO, at_rest, outbox

LOOK = r"^/jobs\?q="


@pytest.fixture
def service():
    """A service that loses replies."""
    one = Desk()
    yield one
    one.close()


@pytest.fixture
def looking(project):
    """A project whose service is asked."""
    project.configure(LOOKUP)
    return project


def lookup(*without, **changed):
    """`LOOKUP` with other values in the table `lookup`, and `without` some of its keys."""
    create = LOOKUP["create"]
    table = {key: value for key, value in create["lookup"].items() if key not in without}
    return {"create": {**create, "lookup": {**table, **changed}}}


def dead_letter(project):
    """The one dead letter that `tracker outbox` shows."""
    [found] = outbox(project)
    assert (found["kind"], found["state"]) == ("create", "dead")
    return found


@pytest.mark.parametrize("fate", ["lost", "broken"])
def test_a_lost_reply_is_adopted(looking, service, fate):
    """A create that the service carried out and did not confirm is never sent again: the job is
    found, under the id that it has there, and goes on."""
    service.fates = [fate]
    service.make("somebody else's")
    job = looking.ok("submit", "docs", "--json").json["local_id"]
    assert looking.row(job)["status"] == "pending"
    at_rest(looking)
    assert (looking.row(job)["status"], looking.row(job)["server_id"]) == ("processing", "srv-2")
    assert service.notes.count(job) == service.count("POST") == service.count("GET", LOOK) == 1


def test_one_that_never_arrived(looking, service):
    """A create that did not arrive is made by the second attempt, after one look."""
    service.fates = ["never", "ok"]
    job = looking.attempted()
    at_rest(looking)
    assert looking.row(job)["status"] == "processing" and service.notes == [job]
    assert (service.count("POST"), service.count("GET", LOOK)) == (2, 1)


def test_each_attempt_is_looked_for(looking, service):
    """What one look said holds for one attempt only: each further one comes after its own look."""
    service.fates = ["never", "never", "lost"]
    looking.configure({**LOOKUP, "retry": {"attempts": 9}})
    job = looking.attempted()
    at_rest(looking)
    assert service.notes == [job] and looking.row(job)["status"] == "processing"
    told = [
        one.method for one in service.seen if one.path.startswith("/jobs") and "srv" not in one.path
    ]
    assert told == ["POST", "GET", "POST", "GET", "POST", "GET"]


def test_nobody_asks_before_there_is_doubt(looking, service):
    """A first attempt, and one that was refused before it began (429), come without a look."""
    service.fates = [Answer({}, 429, {"Retry-After": "0"}), "ok"]
    job = looking.attempted()
    looking.write("UPDATE budgets SET paused_until = ?", LONG_AGO)
    at_rest(looking)
    assert looking.row(job)["status"] == "processing" and service.notes == [job]
    assert (service.count("POST"), service.count("GET", LOOK)) == (2, 0)


def killed_in_flight(project, service, creates):
    """Have a poller killed while its create, the n-th one, is on its way."""
    poller = project.start("run")
    service.wait_for(creates, "POST")
    poller.signal(signal.SIGKILL)
    poller.end()


@pytest.mark.parametrize(
    ("fates", "kills"),
    [(["late"], [1]), (["never", "late"], [2]), ([Hang(), "late"], [1, 2])],
    ids=["first attempt", "second attempt", "twice"],
)
def test_a_poller_killed_in_flight(looking, service, fates, kills):
    """After a poller that died while its create was on its way, whichever attempt that was, nobody
    looks before `after` has passed; then the job that the service made meanwhile is adopted."""
    after = 0.8
    looking.configure(lookup(after=f"{after}s"))
    service.fates = fates
    job = looking.record()
    for creates in kills:
        killed_in_flight(looking, service, creates)
    looks, died = service.count("GET", LOOK), time.monotonic()
    looking.poll()
    assert service.count("GET", LOOK) == looks, "somebody looked at once"
    service.release()
    looking.until(lambda: looking.poll() or looking.row(job)["server_id"])
    assert service.requests("GET", LOOK)[looks].at - died > after
    assert service.notes == [job] and looking.row(job)["status"] == "processing"
    assert service.count("POST") == len(fates)


def test_a_reply_that_is_late(looking, service):
    """After a create whose reply did not come in time, too, nobody looks before `after` has passed,
    however short the retries are: the job that is made meanwhile is adopted."""
    looking.configure({**lookup(after="1s"), "timeout": "300ms"})
    service.fates = ["late"]
    job = looking.attempted()
    given_up = time.monotonic()
    looking.poll()
    service.release()
    looking.until(lambda: looking.poll() or looking.row(job)["server_id"])
    assert service.requests("GET", LOOK)[0].at - given_up > 0.9
    assert service.notes == [job] and service.count("POST") == 1


def test_the_others_do_not_wait(looking, service):
    """While one job waits for what may be on its way, other jobs of the service are created."""
    looking.configure(lookup(after="1h"))
    service.fates = ["late", "ok"]
    first = looking.record()
    killed_in_flight(looking, service, 1)
    second = looking.record()
    looking.poll()
    assert service.notes == [second] and looking.row(first)["server_id"] is None
    [owed] = outbox(looking)
    assert owed["local_id"] == first and owed["state"] == "pending"


def test_two_are_for_a_person(looking, service):
    """Where the service has two jobs that may be this one, none is taken and no third one made:
    the create is a dead letter that says so, and `outbox retry` looks again."""
    service.fates = ["lost"]
    job = looking.attempted()
    service.make(job)
    at_rest(looking)
    letter = dead_letter(looking)
    assert "the lookup found 2 jobs for one key" in letter["last_error"]
    assert service.count("POST") == 1 and looking.row(job)["server_id"] is None
    service.made.pop()
    looking.ok("outbox", "retry", str(letter["id"]))
    at_rest(looking)
    assert looking.row(job)["server_id"] == "srv-1" and service.count("POST") == 1


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Answer({"error": "no search today"}, 500), "no search today"),
        (Answer({"error": "may not search"}, 403), "may not search"),
        (Answer(b"<html>"), "the lookup is not JSON"),
        (Answer({"jobs": {"a": 1}}), "body.jobs is no list"),
        (Answer({}), "body.jobs is no list"),
        (lambda seen: {"jobs": [{"note": seen.path[8:], "job_id": {"a": 1}}]}, "no usable id"),
        (lambda seen: {"jobs": [{"note": seen.path[8:]}]}, "no usable id"),
    ],
    ids=["500", "403", "text", "object", "nothing", "odd id", "no id"],
)
def test_a_lookup_that_fails(looking, service, told, words):
    """As long as a lookup gives no clear answer, nothing is sent a second time; the dead letter
    that is left has the service's words."""
    service.fates, service.looks = ["lost"], [told]
    looking.attempted()
    at_rest(looking)
    assert words in dead_letter(looking)["last_error"]
    assert service.count("POST") == 1


@pytest.mark.parametrize("note", [None, 5, "", "x", ["x"]])
def test_others_are_not_adopted(looking, service, note):
    """Only a job that repeats the very client id is adopted; whatever else a lookup brings is
    somebody else's, and ours is made."""
    service.fates = ["never", "ok"]
    other = {"job_id": "srv-9", "note": note}
    service.looks = [{"jobs": [other, None, 5, "x", [other]]}]
    job = looking.attempted()
    at_rest(looking)
    assert looking.row(job)["server_id"] == "srv-1" and service.notes == [job]


def test_without_items_the_reply_is_the_job(project, service):
    """Without `items` the reply to a lookup is the candidate, and a 404 says that there is none."""
    project.configure(lookup("items", "match"))
    service.fates = ["never", "lost"]
    service.looks = [Answer({"error": "none"}, 404), lambda _: service.made[0]]
    job = project.attempted()
    at_rest(project)
    assert project.row(job)["server_id"] == "srv-1" and service.notes == [job]
    assert service.count("POST") == service.count("GET", LOOK) == 2


def test_a_service_that_always_finds_the_same(project, service):
    """A lookup that does not tell jobs apart gives nobody another one's job: who comes second is
    a dead letter."""
    project.configure(lookup("match"))
    service.fates = ["lost"]
    service.looks = [{"jobs": [{"job_id": "srv-1"}]}]
    jobs = [project.attempted(), project.attempted()]
    at_rest(project)
    assert sorted(str(project.row(job)["server_id"]) for job in jobs) == ["None", "srv-1"]
    assert "another job" in dead_letter(project)["last_error"]
    assert service.count("POST") == 2


def test_doubt_is_shown(looking, service):
    """While it is not known whether a create arrived, `explain` says what is owed; nothing is in
    doubt for a person as long as the service can be asked."""
    service.fates = ["lost"]
    looking.configure({**LOOKUP, "retry": {"base": "1h", "cap": "1h"}})
    job = looking.attempted()
    [owed] = outbox(looking)
    assert (owed["state"], owed["attempts"]) == ("pending", 1)
    assert "create" in looking.ok("explain", job).out


def test_cancelled_in_doubt(looking, service):
    """A job that is cancelled while nobody knows whether it arrived is looked for, and what is
    found is stopped; nothing is made a second time."""
    cancel = {"request": {"path": "/jobs/{server_id}/stop"}}
    looking.configure({**LOOKUP, "cancel": cancel, "retry": {"base": "1h", "cap": "1h"}})
    service.fates = ["lost"]
    service.scripts["/jobs/srv-1/stop"] = [{}]
    job = looking.attempted()
    looking.ok("cancel", job)
    service.scripts["srv-1"] = ["cancelled"]
    looking.write("UPDATE operations SET next_attempt_at = ? WHERE kind = 'create'", LONG_AGO)
    looking.until(lambda: looking.poll() or looking.row(job)["status"] == "cancelled")
    assert [one.path for one in service.requests("POST")] == ["/jobs", "/jobs/srv-1/stop"]


def test_changed_in_doubt(looking, service):
    """What is changed while nobody knows whether the create arrived is told by an update of the job
    that is found: it was made as it was submitted."""
    request = {"path": "/jobs/{server_id}/change", "method": "POST", "json": "{changes}"}
    looking.configure({**LOOKUP, "update": {"request": request}})
    service.fates = ["lost"]
    service.scripts["/jobs/srv-1/change"] = [{}]
    job = looking.attempted({"pages": 1})
    with looking.tracker() as tracker:
        tracker.update(job, {"pages": 2}, sync=False)
    at_rest(looking)
    [change] = service.requests("POST", "/change$")
    assert change.json == {"pages": 2} and service.notes == [job]
    assert service.requests("POST", "^/jobs$")[0].json["pages"] == 1
