"""tracker submit --batch"""

from __future__ import annotations

import json

import pytest


def lines(*payloads):
    """A batch, as a file has it."""
    return "".join(f"{json.dumps(one)}\n" for one in payloads)


def test_each_line_is_a_job(project, service):
    """A job for each line, in their order, with what `-p` and the labels say of all of them; their
    ids are printed in that order, and the service has them when the command ends."""
    (project.path / "jobs.jsonl").write_text(
        lines({"page": 1}, {"page": 2, "language": "fr"}) + "\n" + lines({"page": 3})
    )
    done = project.ok(
        "submit", "docs", "--batch", "jobs.jsonl", "-p", "language=en", "--project", "spring"
    )
    jobs = [project.row(local_id) for local_id in done.out.split()]
    payloads = [{"page": page, "language": "en"} for page in (1, 2, 3)]
    assert [json.loads(job["payload"]) for job in jobs] == payloads
    assert {job["project"] for job in jobs} == {"spring"}
    assert {job["sync_status"] for job in jobs} == {"synced"}
    keys = {seen.headers["idempotency-key"] for seen in service.requests("POST")}
    assert keys == {job["local_id"] for job in jobs}
    created = project.rows("SELECT local_id FROM job_events WHERE type = 'job:created'")
    assert [one["local_id"] for one in created] == done.out.split()


def test_more_than_a_transaction_of_them(project):
    """Of 1,201 lines on standard input each is on record once; --json has all jobs."""
    batch = lines(*({"page": page} for page in range(1201))).encode()
    told = project.ok("submit", "docs", "--batch", "-", "--no-sync", "--json", stdin=batch).json
    assert [job["payload"]["page"] for job in told] == list(range(1201))
    assert (
        project.rows("SELECT count(*) AS n FROM operations WHERE kind = 'create'")[0]["n"] == 1201
    )


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ('{"page": ', "--batch, line 3: is not JSON"),
        ("[1]", "--batch, line 3: expected a JSON object"),
        ('{"page": NaN}', "--batch, line 3: "),
        ('{"page": "\\ud800"}', "--batch, line 3: "),
    ],
)
def test_a_bad_line(project, bad, why):
    """The line is named, and nothing is recorded, not even the lines before it."""
    (project.path / "jobs.jsonl").write_text(f"{lines({'page': 1}, {})}{bad}\n{lines({})}")
    project.ok("list")
    assert why in project.refused(2, "submit", "docs", "--batch", "jobs.jsonl")
    assert project.rows("SELECT * FROM processing_jobs") == []


def test_what_does_not_go_together(project):
    """--batch brings the payloads: it goes with neither a file nor a payload."""
    for more in (["a.pdf"], ["--payload", "{}"]):
        error = project.refused(2, "submit", "docs", "--batch", "-", *more)
        assert "--batch goes without a FILE and without --payload" in error


def test_a_service_that_is_away(project):
    """All jobs are on record, and one line says that they are not accepted yet; exit 0."""
    project.configure({"base_url": "http://127.0.0.1:1"})
    (project.path / "jobs.jsonl").write_text(lines({"page": 1}, {"page": 2}))
    done = project.ok("submit", "docs", "--batch", "jobs.jsonl")
    assert len(done.out.split()) == 2
    assert "this attempt got 0 of 2 accepted, pollers go on with the rest" in done.err
