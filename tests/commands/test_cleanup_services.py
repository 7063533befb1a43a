"""tracker cleanup with services that want to be asked"""

from __future__ import annotations

import pytest
from service import Answer, Broken

GO = ("cleanup", "--older-than", "0s")
ASK = {"path": "/jobs/cleanup", "json": {"job_ids": "{server_ids}"}}
LONG_AGO = "2020-01-01T00:00:00.000Z"


def asked(service):
    """The requests that asked the service to clean up."""
    return [one for one in service.requests() if one.path.endswith("/cleanup")]


def owed(project):
    return project.rows("SELECT * FROM operations WHERE kind = 'clean_up' ORDER BY id")


def make_due(project):
    project.write("UPDATE operations SET next_attempt_at = ?", LONG_AGO)
    project.write("UPDATE budgets SET paused_until = ? WHERE paused_until NOTNULL", LONG_AGO)


def complete(project, job):
    with project.tracker() as tracker:
        tracker.complete(job)


def fail(project, job):
    with project.tracker() as tracker:
        tracker.fail(job)


def cleaned(project, **options):
    """The receipt of a cleanup that takes all that has ended."""
    with project.tracker() as tracker:
        return tracker.cleanup(older_than=-1, **options)


def ended(project, count):
    """So many finished jobs at `docs`, which calls them 0, 1, …"""
    for number in range(count):
        project.ended(f"{number}")


def test_many_jobs_in_one_call(project, service):
    """A service with a `cleanup.request` is asked to clean up by the ids that it gave, for up to
    `most` jobs at once; jobs that it never accepted are not among them."""
    project.configure({"cleanup": {"request": ASK, "most": 2}})
    ended(project, 5)
    project.ok("fail", project.record())
    receipt = project.json(*GO)
    assert (receipt["rows_deleted"], receipt["services_asked"]) == (6, 5)
    ids = [one.json["job_ids"] for one in asked(service)]
    assert sorted(len(one) for one in ids) == [1, 2, 2]
    assert sorted(one for together in ids for one in together) == ["0", "1", "2", "3", "4"]
    assert {one.method for one in asked(service)} == {"POST"} and owed(project) == []
    assert "services asked to clean up" not in project.ok(*GO).out


def test_one_job_in_a_call(project, service):
    """A request about a single job goes out for each, built from what its row had: id, variables,
    payload."""
    request = {
        "method": "DELETE",
        "path": "/jobs/{server_id}/cleanup",
        "json": {"project": "{vars.project?}", "language": "{payload.language?}"},
    }
    project.configure({"cleanup": {"request": request}})
    job = project.attempted({"language": "en"})
    complete(project, job)
    project.ended("a/b", variables={"project": "spring"})
    assert "services asked to clean up: jobs 2" in project.ok(*GO).out.splitlines()
    assert {(one.method, one.path): one.json for one in asked(service)} == {
        ("DELETE", "/jobs/srv-1/cleanup"): {"language": "en"},
        ("DELETE", "/jobs/a%2Fb/cleanup"): {"project": "spring"},
    }
    assert len(asked(service)) == 2


@pytest.mark.parametrize(
    ("answer", "attempts"),
    [(Answer(b"", 503), 1), (Broken(), 1), (Answer(b"", 429), 0)],
    ids=["503", "broken", "429"],
)
def test_a_service_in_trouble(project, service, answer, attempts):
    """A service that cannot be asked now keeps no job: the rows go, the call stays owed and
    a later poll makes it; a 429 burns no attempt."""
    service.scripts["cleanup"] = [answer, {}]
    project.configure({"cleanup": {"request": ASK}}, cleanup={"automatic": False})
    ended(project, 2)
    assert cleaned(project).rows_deleted == 2
    assert [one["attempts"] for one in owed(project)] == [attempts] * 2
    make_due(project)
    project.poll()
    assert owed(project) == []
    assert sorted(asked(service)[-1].json["job_ids"]) == ["0", "1"]


def test_a_service_that_refuses(project, service):
    """A 404 says that nothing is left to do; another refusal is tried again as often as the
    service's `retry` says, and is then a dead letter with the service's words."""
    service.scripts["cleanup"] = [Answer(b"", 404)]
    project.configure({"cleanup": {"request": ASK}}, cleanup={"automatic": False})
    ended(project, 1)
    cleaned(project)
    assert owed(project) == []
    service.scripts["cleanup"] = [Answer({"error": {"message": "not while it is audited"}}, 403)]
    ended(project, 1)
    project.ok(*GO)
    for _ in range(4):
        make_due(project)
        project.poll()
    [dead] = project.json("outbox", "--state", "dead")
    assert (dead["kind"], dead["last_http_status"]) == ("clean_up", 403)
    assert "not while it is audited" in dead["last_error"]
    assert len(asked(service)) == 1 + dead["attempts"] <= 4


@pytest.mark.parametrize("instead", [False, True])
def test_as_well_or_instead(project, service, s3, instead):
    """The tracker removes its S3 objects besides, or, with `instead`, leaves them to the service;
    its own files go in either case."""
    bucket = project.upload_to(s3, {"cleanup": {"request": ASK, "instead": instead}})
    file = project.path / "input.txt"
    file.write_text("text")
    complete(project, project.attempted(file=file))
    receipt = cleaned(project)
    assert receipt.objects.requested == (0 if instead else 1)
    assert len(s3.versions(bucket)) == (1 if instead else 0)
    assert receipt.files.removed == 1 and receipt.services_asked == 1
    assert [one.json for one in asked(service)] == [{"job_ids": ["srv-1"]}]
    assert project.rows("SELECT * FROM objects") == []


def test_instead_is_not_for_what_the_service_never_had(project, s3):
    """With `instead`, the input of a job that the service never accepted is the tracker's to
    remove: nobody else knows of it. The preview says so too."""
    bucket = project.upload_to(s3, {"cleanup": {"request": ASK, "instead": True}})
    file = project.path / "input.txt"
    file.write_text("text")
    job = project.record(file=file)
    s3.interfere(lambda _: fail(project, job), "PutObject")
    project.poll()
    assert len(s3.versions(bucket)) == 1
    assert cleaned(project, dry_run=True).objects.requested == 1
    cleaned(project)
    assert s3.versions(bucket) == []


def test_a_service_that_is_not_there_any_more(project, service):
    """A service that was taken out of tracker.toml is asked nothing; its old jobs go."""
    ended(project, 2)
    project.configure()
    text = project.toml.read_text().replace('"docs"', '"other"')
    project.toml.write_text(text)
    assert cleaned(project).rows_deleted == 2
    assert asked(service) == []
