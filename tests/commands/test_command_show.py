"""tracker show"""

from __future__ import annotations

from contract import CONTENT, JOB, OBJECT, OPERATION, has_keys
from service import Answer


def test_json(project, service, tmp_path):
    """`show --json` is the job with all that belongs to it, with exactly these keys."""
    service.statuses = ["done"]
    file = tmp_path / "report.txt"
    file.write_text("text")
    job = project.attempted(file=file)
    shown = project.json("show", project.record())
    [operation] = shown["operations"]
    assert has_keys(operation, OPERATION)
    assert (operation["kind"], operation["state"]) == ("create", "pending")
    project.poll()
    shown = project.json("show", job)
    assert has_keys(shown, JOB, "operations contents objects events")
    [content], [file_object] = shown["contents"], shown["objects"]
    assert has_keys(content, CONTENT)
    assert has_keys(file_object, OBJECT)
    assert (file_object["name"], file_object["role"]) == ("report.txt", "input")
    assert all(has_keys(event, "seq at type data") for event in shown["events"])
    assert [event["type"] for event in shown["events"]][-1] == "job:finalized"


def test_for_people(project, service):
    """`show` tells the state, what is owed and the timeline, and leaves out what is empty."""
    service.statuses = [{"status": "error", "error": {"message": "too many pages"}}]
    job = project.attempted({"language": "en"}, document_id="d1")
    project.poll()
    told = project.ok("show", job).out
    for part in ("failed", "too many pages", "d1", '{"language": "en"}', "timeline",
                 "job:finalized"):  # fmt: skip
        assert part in told
    assert "cancel_requested_at" not in told


def test_by_any_of_its_names(project):
    """A job is found by its id, the end or beginning of it in any case, and service:server_id."""
    job = project.add("4711/b?c")
    for name in (job, job.upper(), job[-8:], job[-4:], job[:20], f" {job} ", "docs:4711/b?c"):
        assert project.json("show", name)["local_id"] == job


def test_a_result(project, service):
    """`--result` writes the kept result, byte by byte, and nothing else."""
    content = bytes(range(256)) * 400
    service.statuses = ["done"]
    service.results = [Answer(content, headers={"Content-Type": "application/octet-stream"})]
    job = project.attempted()
    project.poll()
    target = project.path / "result.bin"
    with project.tracker() as tracker:
        assert tracker.result(job) == content
    running = project.start("show", job, "--result")
    out, err = running.process.communicate(timeout=20)
    assert (out, err, running.process.returncode) == (content, b"", 0)
    assert not target.exists()


def test_no_result(project, service):
    """Without a result `--result` is exit 4; with one whose file has gone it is exit 5."""
    assert "has no result" in project.refused(4, "show", project.ended("a"), "--result")
    service.statuses = ["done"]
    service.results = [Answer(b"x" * 100_000)]
    job = project.add("b")
    project.poll()
    [kept] = (project.path / "tracker.db.files/results").iterdir()
    kept.unlink()
    assert "cannot be read: No such file" in project.refused(5, "show", job, "--result")


def test_unknown_jobs(project):
    """A job that there is not is exit 4; so is a name too short to mean one."""
    project.add()
    for name in ("ffffffff", "docs:nothing", "", "____%", "a" * 5000):
        assert project.refused(4, "show", name).endswith("(see: tracker list)")
