"""tracker pause"""

from __future__ import annotations

import signal
import time

OTHER = {
    "status": {"request": {"path": "/other/{server_id}"}, "state": "body.status"},
    "states": {"processing": ["running"], "completed": ["done"]},
}


def test_nothing_is_polled_and_nothing_lost(project, service):
    """After `pause` no poller calls anybody; after `resume` everything that was owed is done."""
    running, recorded = project.add("running"), project.record()
    service.statuses = ["done"]
    assert project.ok("pause").line == "paused"
    project.ok("poll")
    project.ok("poll", "--for", "300ms")
    assert service.seen == []
    assert project.row(running)["status"] == "processing"
    assert project.row(recorded)["status"] == "pending"
    assert project.ok("resume").line == "resumed"
    project.ok("poll")
    project.ok("poll")
    assert project.row(running)["status"] == project.row(recorded)["status"] == "completed"


def test_a_living_poller_obeys(project, service):
    """A `run` that is at work stops calling within two seconds of `pause`, and goes on after
    `resume`."""
    project.add()
    runner = project.start("run")
    service.wait_for(2, "GET")
    project.ok("pause")
    time.sleep(2)  # what is looked for is that nothing happens after it
    count = service.count()
    time.sleep(0.3)
    assert service.count() == count
    project.ok("resume")
    service.wait_for(count + 2, "GET", timeout=5)
    runner.signal(signal.SIGTERM)
    assert runner.end().code == 0


def test_json(project):
    """`pause --json` says how it is now and whether that is new, and nothing else."""
    assert project.json("pause") == {"paused": True, "changed": True}
    assert project.json("pause") == {"paused": True, "changed": False}


def test_one_service(project, service):
    """`pause SERVICE` leaves that one alone and no other, whatever fails or comes back meanwhile;
    `services list` says so; `resume SERVICE` calls it again."""
    project.configure(services={"other": {**OTHER, "base_url": service.url}})
    project.add()
    with project.tracker() as tracker:
        tracker.add("other", "x")
    assert project.ok("pause", "docs").line == "paused"
    assert project.ok("pause", "docs").line == "it was paused already"
    assert project.ok("poll").line == "1 polled" and service.count("GET", "/other/x") == 1
    project.ok("resume")
    assert project.ok("poll").line != "2 polled" and service.count("GET", "/jobs/") == 0
    docs, _ = project.json("services", "list")
    assert docs["paused_why"] == "paused by hand"
    assert project.ok("resume", "docs").line == "resumed"
    project.ok("poll")
    assert service.count("GET", "/jobs/") == 1
    events = [row["type"] for row in project.rows("SELECT type FROM job_events")]
    assert events.count("service:paused") == events.count("service:resumed") == 1
    assert "no service 'dosc'" in project.refused(4, "pause", "dosc")
