"""tracker outbox"""

from __future__ import annotations

import pytest
from contract import OWED, has_keys
from service import Answer, Broken

COLUMNS = "ID\tJOB\tKIND\tSTATE\tTRIES\tNEXT\tWHY\tOBJECT"
PLAIN = {
    "rate": "unlimited",
    "create": {"request": {"path": "/jobs"}, "server_id": "body.job_id"},
}


@pytest.fixture
def owing(project, service):
    """A project with one operation in each state: the jobs by state."""
    service.creates = [Answer(b"", 503), Broken(), Answer({"error": {"message": "bad\tX"}}, 422)]
    project.configure(
        {"retry": {"base": "1h", "cap": "1h"}},
        services={"plain": {"base_url": project.url, **PLAIN}},
    )
    found = {}
    with project.tracker() as tracker:
        for state, name in (("pending", "docs"), ("in_doubt", "plain"), ("dead", "docs")):
            job = tracker.submit(name, sync=False)
            tracker.attempt([job.local_id])
            found[state] = job.local_id
    return found


def test_json(project, owing):
    """`outbox --json` has one entry for each operation, oldest first, with exactly these keys."""
    found = project.json("outbox")
    assert all(has_keys(one, OWED) for one in found)
    assert {one["state"]: one["local_id"] for one in found} == owing
    assert [one["id"] for one in found] == sorted(one["id"] for one in found)
    waiting, doubtful, dead = found
    assert (waiting["kind"], waiting["attempts"], waiting["object"]) == ("create", 1, None)
    assert waiting["last_http_status"] == 503 and waiting["next_attempt_at"] > waiting["created_at"]
    assert dead["last_http_status"] == 422 and "bad" in dead["last_error"]
    assert doubtful["state"] == "in_doubt"


def test_table(project, owing):
    """A row for each, in one line whatever the service said; when the next try is stands only where
    there will be one."""
    heading, *rows = project.ok("outbox").out.splitlines()
    assert heading == COLUMNS
    cells = [row.split("\t") for row in rows]
    assert [(one[1], one[2], one[3]) for one in cells] == [
        (job[-8:], "create", state) for state, job in owing.items()
    ]
    assert [bool(one[5]) for one in cells] == [True, False, False]
    assert "bad X" in cells[2][6]


def test_nothing_owed(project):
    """Where nothing is owed there is a heading, or an empty list; exit 0."""
    project.add()
    assert project.ok("outbox").out.splitlines() == [COLUMNS]
    assert project.json("outbox") == []


def test_filters(project, owing):
    """--state and --job choose, alone and together."""
    with project.tracker() as tracker:
        for state, job in owing.items():
            assert [one["local_id"] for one in tracker.outbox(state=state)] == [job]
            assert tracker.outbox(job) == tracker.outbox(job, state=state)
            assert (tracker.count_outbox(job), tracker.count_outbox()) == (1, 3)
    job = owing["dead"]
    assert [one["state"] for one in project.json("outbox", "--job", job[-8:])] == ["dead"]
    assert project.json("outbox", "--job", job, "--state", "pending") == []


def test_limit(project, owing):
    """--limit shows so many of the oldest, and how many more there are, on standard error."""
    done = project.ok("outbox", "--limit", "2")
    assert len(done.out.splitlines()) == 3 and done.err == "… and 1 more; see --limit\n"
    done = project.ok("outbox", "--state", "dead", "--limit", "1")
    assert done.err == "" and len(done.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("code", "arguments", "told"),
    [
        (2, ["--state", "late"], "'late' is not one of 'pending', 'in_doubt', 'dead'"),
        (2, ["--limit", "0"], "0 is not in the range"),
        (4, ["--job", "12345678"], "no job '12345678'"),
    ],
)
def test_slips(project, code, arguments, told):
    """A state, number or job that there is not is one line with its exit code."""
    project.create()
    assert told in project.refused(code, "outbox", *arguments)


def test_what_a_deleted_job_left_owed(project, s3):
    """What is owed outlives its job's row, and is shown with the place that it is about."""
    bucket = project.upload_to(s3)
    s3.put(bucket, "a b+ü")
    with project.tracker() as tracker:
        job = tracker.add("docs", "1", objects=[f"s3://{bucket}/a b+ü"], owned=True)
        tracker.complete(job)
        s3.pause()
        tracker.cleanup(older_than=-1)
    [row] = project.ok("outbox").out.splitlines()[1:]
    cells = row.split("\t")
    assert (cells[1], cells[2], cells[7]) == (
        job.local_id[-8:],
        "remove_object",
        f"s3://{bucket}/a b+ü",
    )
