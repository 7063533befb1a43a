"""Budgets by kind of call, and services that say how much is left of theirs (B3)."""

from __future__ import annotations

from service import Answer

from tracker import clock

LEFT = {
    "pacing": {
        "exhausted": "headers.\"x-left\" == '0'",
        "retry_after": [{"value": 'headers."x-reset"', "unit": "s"}],
    }
}


def added(project, count: int) -> list[str]:
    """So many running jobs, all due."""
    return [project.add(f"srv-{number}") for number in range(count)]


def due(project) -> None:
    """Make all running jobs due."""
    project.write("UPDATE processing_jobs SET next_poll_at = '2020-01-01T00:00:00.000Z'")


def test_creates_have_a_rate_of_their_own(project, service):
    """A slow rate for creates holds no poll up: jobs are polled while creates wait their turn."""
    project.configure({"rate": "unlimited", "rates": {"creates": "1/h"}})
    added(project, 3)
    for _ in range(3):
        project.record()
    project.ok("poll", "--for", "1")
    assert service.count("POST") == 1 and service.count("GET") >= 3
    one = project.json("services", "list")[0]
    assert one["budgets"]["creates"]["seconds_between_calls"] == 3600
    assert one["budgets"]["creates"]["calls_left_this_second"] == 0
    assert one["seconds_between_calls"] is None
    assert "docs (creates)" in project.ok("services", "list").out


def test_too_many_creates_pause_creates(project, service):
    """A 429 to a create pauses the creates, where they have a budget of their own: polls go on,
    and `explain` says what each job waits for."""
    project.configure({"rates": {"creates": "100/s"}})
    service.creates = [Answer(b"", 429, {"Retry-After": "60"})]
    waiting, running = project.record(), project.add()
    project.poll()
    due(project)
    project.poll()
    assert service.count("POST") == 1 and service.count("GET") == 2
    assert "429" in project.json("explain", waiting)["why"]
    assert "paused" not in project.json("explain", running)["why"]
    [paused] = project.json("health", code=1)["paused"]
    assert (paused["service"], paused["calls"]) == ("docs", "creates")


def test_a_person_pauses_all(project, service):
    """`pause SERVICE` holds every kind of its calls, `resume SERVICE` lets them go."""
    project.configure({"rates": {"creates": "100/s", "lists": "1/s"}})
    project.record()
    project.add()
    project.ok("pause", "docs")
    project.poll()
    assert service.seen == []
    project.ok("resume", "docs")
    project.poll()
    assert service.count("POST") == 1 and service.count("GET") == 1


def test_none_left(project, service):
    """After a good reply that says that no calls are left, no call goes out until the service says;
    no job's `retry_count` grows, and no probe goes first afterwards."""
    service.statuses = [Answer({"status": "running"}, 200, {"X-Left": "0", "X-Reset": "60"})]
    project.configure({**LEFT, "concurrency": 1, "rate": "100/s"})
    jobs = added(project, 5)
    project.poll()
    assert service.count("GET") == 1
    [one] = project.json("services", "list")
    assert "no calls are left" in one["paused_why"] and one["calls_left_this_second"] == 0
    assert [project.json("show", job)["retry_count"] for job in jobs] == [0] * 5
    project.ok("resume", "docs")
    service.statuses = [Answer({"status": "running"}, 200, {"X-Left": "7", "X-Reset": "60"})]
    project.poll()
    assert service.count("GET") == 5


def test_a_reset_that_is_over(project, service):
    """Headers that contradict each other, none left until a moment ago, pause nothing; a reset that
    is a year away pauses for `retry_after_cap`."""
    service.statuses = [Answer({"status": "running"}, 200, {"X-Left": "0", "X-Reset": "-5"})]
    project.configure({**LEFT, "retry_after_cap": "20s"})
    added(project, 3)
    project.poll()
    assert service.count("GET") == 3
    far = {"X-Left": "0", "X-Reset": "31536000"}
    service.statuses = [Answer({"status": "running"}, 200, far)]
    due(project)
    project.poll()
    [one] = project.json("services", "list")
    assert one["paused_until"] is not None
    told = project.json("health", code=1)["paused"][0]
    assert told["until"] < clock.to_text(clock.now() + 30)
