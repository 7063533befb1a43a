"""Polls of a service with ETags: what has not changed is not sent again."""

from __future__ import annotations

from service import Answer

CONDITIONAL = {
    "status": {
        "request": {
            "path": "/jobs/{server_id}",
            "headers": {"If-None-Match": "{vars.etag?}"},
        },
        "state": "body.status",
        "capture": {"etag": "headers.etag"},
        "http": {"304": "unchanged"},
    },
    "states": {"processing": ["running", "unchanged"], "completed": ["done"]},
}


def test_a_304_is_a_reading(project, service):
    """A 304 keeps the job running and counts as no failure; the tag that the last full reply had is
    sent along until another one comes."""
    service.statuses = [
        Answer({"status": "running"}, 200, {"ETag": 'W/"1"'}),
        Answer(b"", 304, {"ETag": 'W/"1"'}),
        Answer({"status": "done"}, 200, {"ETag": '"2"'}),
    ]
    project.configure(CONDITIONAL)
    job = project.add()
    seen = []
    for _ in range(3):
        project.write("UPDATE processing_jobs SET next_poll_at = '2020-01-01T00:00:00.000Z'")
        project.poll()
        found = project.json("show", job)
        seen.append((found["status"], found["retry_count"]))
    assert seen == [("processing", 0), ("processing", 0), ("completed", 0)]
    asked = [one for one in service.requests("GET") if not one.path.endswith("/result")]
    assert [one.headers.get("if-none-match") for one in asked] == [None, 'W/"1"', 'W/"1"']
