"""tracker resume"""

from __future__ import annotations


def test_twice(project):
    """Both say when there was nothing to change, exit 0, and each change is one event."""
    said = [project.ok(name).line for name in ("resume", "pause", "pause", "resume", "resume")]
    assert said == ["it was not paused", "paused", "it was paused already", "resumed",
                    "it was not paused"]  # fmt: skip
    events = [row["type"] for row in project.rows("SELECT type FROM job_events ORDER BY seq")]
    assert events == ["ledger:paused", "ledger:resumed"]


def test_what_came_meanwhile(project, service):
    """What was recorded while all was paused is due as soon as it is resumed."""
    project.ok("pause")
    job = project.ok("submit", "docs").line
    project.ok("resume")
    assert "1 submitted" in project.ok("poll").line
    assert project.row(job)["status"] == "processing"
    assert service.count("POST") == 1


def test_json(project):
    """`resume --json` says how it is now and whether that is new, and nothing else."""
    assert project.json("resume") == {"paused": False, "changed": False}
    project.ok("pause")
    assert project.json("resume") == {"paused": False, "changed": True}
