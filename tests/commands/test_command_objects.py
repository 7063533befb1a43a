"""tracker objects"""

from __future__ import annotations

import pytest
from contract import OBJECT, has_keys

COLUMNS = "ROLE\tSTATE\tOWNED\tBYTES\tVERSION\tPLACE"


def test_what_a_job_uses(project, s3):
    """`objects` lists what a job uses: as what, in what state, whose, how large, which version and
    where; `--json` has the same with exactly these keys."""
    bucket = project.upload_to(s3)
    version = s3.put(bucket, "a b\té", b"12345")
    file = project.path / "mine.txt"
    file.write_text("mine")
    with project.tracker() as tracker:
        job = tracker.add("docs", "1", objects=[f"input=s3://{bucket}/a b\té"], owned=True)
        other = tracker.add("docs", "2", objects=[f"result={file.as_uri()}"])
    heading, row = project.ok("objects", job.local_id).out.splitlines()
    assert heading == COLUMNS
    assert row.split("\t") == ["input", "present", "yes", "5", version, f"s3://{bucket}/a b é"]
    [found] = project.json("objects", job.short_id)
    assert has_keys(found, OBJECT)
    assert (found["owned"], found["version_id"], found["key"]) == (True, version, "a b\té")
    assert project.ok("objects", other.local_id).out.splitlines()[1].split("\t") == [
        *("result", "present", "no", "4", "", str(file)),
    ]


def test_a_job_without_any(project):
    """A job that uses nothing has a heading, or an empty list; exit 0."""
    job = project.add()
    assert project.ok("objects", job).out.splitlines() == [COLUMNS]
    with project.tracker() as tracker:
        assert tracker.objects(job) == []


@pytest.mark.parametrize(
    ("code", "arguments", "told"),
    [
        (4, ["docs:nowhere"], "no job 'docs:nowhere'"),
        (2, [], "Missing argument 'JOB'"),
    ],
)
def test_slips(project, code, arguments, told):
    """A job that there is not is exit 4, none at all exit 2; one line each."""
    project.create()
    assert told in project.refused(code, "objects", *arguments)
