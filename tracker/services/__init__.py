"""A service as data: its table makes the calls for its jobs and says what the replies mean."""

from __future__ import annotations

from tracker.services.definition import Service
from tracker.services.loading import Services, known_keys, load_services
from tracker.services.sinks import Sink, load_sinks

__all__ = ["Service", "Services", "Sink", "known_keys", "load_services", "load_sinks"]
