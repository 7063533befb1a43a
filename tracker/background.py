"""First attempts right after `submit`, without keeping its caller (I1)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

log = logging.getLogger("tracker.sync")

Attempt = Callable[[Sequence[str]], object]


class Background:
    """One thread that attempts what it is handed, in order, as many at once as have gathered.

    Its outcome only reaches the log and the jobs' events: what fails here stays owed in the
    ledger.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def hand(self, local_id: str) -> None:
        """Have this job's operations attempted soon."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tracker-sync", daemon=True)
                self._thread.start()
        self._waiting.put(local_id)

    def close(self, timeout: float, stop: Callable[[], None]) -> None:
        """Finish what was handed over, for up to `timeout` seconds; what takes longer is told to
        `stop`, and what it owes stays owed."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self._waiting.put(None)
        thread.join(timeout)
        if thread.is_alive():
            stop()
            thread.join(2 * timeout)

    def _work(self) -> None:
        going = True
        while going:
            gathered = [self._waiting.get()]
            while not self._waiting.empty():
                gathered.append(self._waiting.get())
            going = None not in gathered
            local_ids = [local_id for local_id in gathered if local_id is not None]
            if not local_ids:
                continue
            try:
                self._attempt(local_ids)
            except Exception:
                log.exception("the first attempt for %d jobs was cut short", len(local_ids))
