"""What a poller did, in counts and in one line."""

from __future__ import annotations

from dataclasses import dataclass, field

from tracker.model import Json


@dataclass(slots=True)
class Summary:
    """What a run did.

    ``cleaned_up`` counts jobs that were deleted because they had ended long ago. Objects are those
    in S3, files the tracker's own: ``…_already_gone`` were not there any more, ``…_failed`` counts
    attempts to remove one that failed.
    ``errors`` counts calls without a usable reply, ``void`` outcomes that no longer counted
    because somebody else had settled the job. ``paused`` is whether all polling is turned off,
    ``refreshed`` has the counts of each listing that was merged, by service;
    ``stepped_back_for`` is another poller (host and process id) that made this one unnecessary.
    """

    polled: int = 0
    submitted: int = 0
    retrieved: int = 0
    notified: int = 0
    uploaded: int = 0
    cleaned_up: int = 0
    objects_removed: int = 0
    objects_already_gone: int = 0
    objects_failed: int = 0
    object_bytes_freed: int = 0
    files_removed: int = 0
    files_already_gone: int = 0
    files_failed: int = 0
    file_bytes_freed: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    errors: int = 0
    void: int = 0
    duration_seconds: float = 0.0
    stopped: bool = False
    paused: bool = False
    stepped_back_for: str | None = None
    refreshed: dict[str, dict[str, Json]] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """How many jobs reached their end."""
        return self.completed + self.failed + self.cancelled

    @property
    def sentence(self) -> str:
        """The one line that says what was done."""
        counts = (
            (self.submitted, "submitted"),
            (self.polled, "polled"),
            (self.completed, "completed"),
            (self.failed, "failed"),
            (self.cancelled, "cancelled"),
            (self.uploaded, "uploaded"),
            (len(self.refreshed), "listed"),
            (self.cleaned_up, "cleaned up"),
            (self.objects_removed, "objects removed"),
            (self.files_removed, "files removed"),
            (self.objects_failed + self.files_failed, "not removed"),
            (self.errors, "without a usable reply"),
        )
        if self.stepped_back_for:
            return f"nothing done: another poller is at work ({self.stepped_back_for})"
        parts = [f"{count} {what}" for count, what in counts if count]
        quiet = "all polling is paused (see: tracker resume)" if self.paused else "nothing due"
        return ", ".join(parts) or quiet
