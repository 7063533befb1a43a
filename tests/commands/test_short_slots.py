"""A poller whose slots are all taken by calls that do not come back."""

from __future__ import annotations

import time
from pathlib import Path

from service import Hang

IDLE = {"status": {"request": {"path": "/x"}, "state": "body.x"}, "states": {"completed": ["done"]}}
TICKS = 100  # a second of the processor's time, as the kernel counts


def test_it_waits_and_leaves_one_slot(project, service):
    """While calls hang a poller waits for them without using the processor, and one slot stays free
    for a service that has none under way."""
    service.statuses = [Hang()]
    project.configure(
        {"rate": "unlimited"}, services={"idle": {"base_url": service.url, **IDLE}}, concurrency=4
    )
    for number in range(12):
        project.add(f"srv-{number}")
    running = project.start("run")
    service.wait_for(3, "GET")
    used = Path(f"/proc/{running.process.pid}/stat")
    before = used.read_text().split()[13:15]
    time.sleep(1.5)  # nothing happens: that is what is looked at
    after = used.read_text().split()[13:15]
    assert sum(map(int, after)) - sum(map(int, before)) < 0.5 * TICKS
    assert service.count("GET") == 3
    service.release()
    running.signal(15)
    running.end()
