"""A job service without idempotency keys, which loses replies and can be asked for what it has.

``POST /jobs`` makes a job; what becomes of the call is a script of `fates`, the last of which is
repeated: ``ok``; ``lost`` (made, then the connection is cut); ``broken`` (made, then HTTP 500);
``never`` (cut before anything was made); ``late`` (made only when the test says `release`); any
other answer of `JobService`. ``GET /jobs?q=NOTE`` tells of all jobs, unless `looks` is a script of
other answers; ``POST /jobs/ID/start`` is answered by the script `starts`.
"""

from __future__ import annotations

import re
from typing import Any

from service import Answer, Broken, Hang, JobService, Script, Seen

LOOKUP: dict[str, Any] = {
    "create": {
        "request": {"path": "/jobs", "json": {"note": "{client_id}"}},
        "idempotency": "lookup",
        "lookup": {
            "request": {"path": "/jobs", "query": {"q": "{client_id}"}},
            "items": "body.jobs",
            "match": "body.note",
            "server_id": "body.job_id",
            "after": "0s",
        },
    }
}
"""What makes a `project` use it."""


class Desk(JobService):
    """The service; `made` are its jobs, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[dict[str, str]] = []
        self.fates: Script = ["ok"]
        self.looks: Script | None = None
        self.starts: Script = [{}]

    @property
    def notes(self) -> list[str]:
        """The local ids of all jobs that were made, sorted."""
        with self._changed:
            return sorted(one["note"] for one in self.made)

    def answer(self, seen: Seen) -> Answer | Broken:
        """What the scripts say to this request."""
        path = seen.path.partition("?")[0]
        if (seen.method, path) == ("POST", "/jobs"):
            return self._fate(seen)
        if re.search(r"^/jobs/[^/]+/start$", path):
            return self._resolve(self._step("start", self.starts), seen, "", None)
        if (seen.method, path) == ("GET", "/jobs"):
            if self.looks is not None:
                return self._resolve(self._step("look", self.looks), seen, "", None)
            with self._changed:
                return Answer({"jobs": list(self.made)})
        return super().answer(seen)

    def _fate(self, seen: Seen) -> Answer | Broken:
        fate = self._step("fate", self.fates)
        if callable(fate):
            fate = fate(seen)
        if fate == "never":
            return Broken()
        if fate == "late":
            self._released.wait(60)
        elif fate not in ("ok", "lost", "broken"):
            return self._resolve(fate, seen, "", None)
        server_id = self.make(str(seen.json["note"]))
        if fate == "broken":
            return Answer({"error": "out of order"}, 500)
        return Answer({"job_id": server_id}, 201) if fate == "ok" else Broken()

    def make(self, note: str) -> str:
        """The id of a new job."""
        with self._changed:
            server_id = f"srv-{len(self.made) + 1}"
            self.made.append({"job_id": server_id, "note": note})
            self._changed.notify_all()
        return server_id


__all__ = ["LOOKUP", "Answer", "Broken", "Desk", "Hang"]
