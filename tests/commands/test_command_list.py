"""tracker list"""

from __future__ import annotations

import pytest
from contract import JOB, has_keys


@pytest.fixture
def jobs(project, service):
    """Five jobs of every kind, by what they are; oldest first."""
    service_of = {"base_url": service.url, "status": {
        "request": {"path": "/jobs/{server_id}"}, "state": "body.status"}}  # fmt: skip
    project.configure(services={"other": {**service_of, "states": {"completed": ["done"]}}})
    found = {
        "completed": project.ended("a", project="spring", document_id="d1"),
        "failed": project.ended("b", failed=True, session_id="s1"),
        "running": project.add("c", project="spring", job_type="ocr"),
        "pending": project.record(session_id="s1"),
    }
    with project.tracker() as tracker:
        found["other"] = tracker.add("other", "a", document_id="d1").local_id
    return found


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], "other pending running failed completed"),
        (["--status", "active"], "other pending running"),
        (["--status", "finished"], "failed completed"),
        (["--status", "failed", "--status", "pending"], "pending failed"),
        (["--status", "cancelled"], ""),
        (["--service", "other"], "other"),
        (["--service", "nobody"], ""),
        (["--type", "ocr"], "running"),
        (["--project", "spring"], "running completed"),
        (["--project", "spring", "--status", "active"], "running"),
        (["--session", "s1"], "pending failed"),
        (["--document", "d1"], "other completed"),
        (["--newer-than", "1h"], "other pending running failed"),
        (["--older-than", "1h"], "completed"),
        (["--older-than", "2d", "--newer-than", "3d"], ""),
        (["--limit", "2"], "other pending"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_filters(project, jobs, filters, expected):
    """Each filter, alone and with others, lists exactly the jobs that it says, newest first."""
    project.write(
        "UPDATE processing_jobs SET created_at = '2020-01-01T00:00:00.000Z' WHERE local_id = ?",
        jobs["completed"],
    )
    names = {job: name for name, job in jobs.items()}
    listed = project.json("list", *filters)
    ages = [*("--newer-than", "--older-than")]
    if filters and filters[0] in ages and "2d" in filters:
        listed = [job for job in listed if job["created_at"] > "2021"]
    assert " ".join(names[job["local_id"]] for job in listed) == expected


def test_json(project, jobs):
    """`list --json` is a list of jobs, each with exactly the keys of every job; no job, no item."""
    listed = project.json("list")
    assert all(has_keys(job, JOB) for job in listed)
    assert {job["local_id"] for job in listed} == set(jobs.values())
    assert project.json("list", "--project", "nobody") == []


def test_the_table(project, service):
    """In a pipe the table is a heading and a tab-separated line for each job, with its progress
    and the reason why it is not further."""
    service.statuses = [{"status": "running", "progress": 42}]
    job = project.add("a", document_id="my\tdocument")
    project.poll()
    heading, row = project.ok("list").out.splitlines()
    assert heading == "JOB\tSERVICE\tTYPE\tSTATUS\tSTATE\tPROGRESS\tDOCUMENT\tAGE\tNOTE"
    cells = row.split("\t")
    assert cells[:7] == [job[-8:], "docs", "", "processing", "running", "42%", "my document"]
    assert "\x1b" not in row


def test_pages(project):
    """--before goes through all jobs page by page, each once; a full page says how to go on."""
    with project.tracker() as tracker:
        added = [tracker.add("docs", f"srv-{number}").local_id for number in range(7)]
    seen, before = [], []
    for _ in range(3):
        done = project.ok("list", "--limit", "3", *before)
        rows = [line.split("\t")[0] for line in done.out.splitlines()[1:]]
        seen += rows
        before = ["--before", rows[-1]]
        told = f"more: tracker list --before {rows[-1]}\n" if len(rows) == 3 else ""
        assert done.err == told
    assert seen == [job[-8:] for job in reversed(added)]


def test_what_cannot_be_listed(project):
    """An unknown status is exit 2 with those there are; an unknown --before is exit 4."""
    project.add()
    error = project.refused(2, "list", "--status", "done")
    assert "status 'done' is none of pending, processing" in error
    assert "no job 'ffffffff'" in project.refused(4, "list", "--before", "ffffffff")
    assert "20 parsecs" in project.refused(2, "list", "--newer-than", "20 parsecs")
