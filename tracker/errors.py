"""What can go wrong, each kind with the exit code that a command ends with."""


class TrackerError(Exception):
    """Root of every error that a caller of this package may meet.

    ``message`` says what happened and to which job or key, ``hint`` what to do about it.
    Neither ever holds a credential.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class CallFailed(TrackerError):
    """A job failed, or a call to a service did (exit 1)."""


class UsageError(TrackerError):
    """The command or the caller asked for something that makes no sense (exit 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """``tracker.toml`` is wrong; the message names the key's full path (exit 2)."""


class WaitTimeout(TrackerError):
    """The time given to a wait is over (exit 3)."""

    exit_code = 3


class NotFound(TrackerError):
    """No such job, service or operation (exit 4)."""

    exit_code = 4


class Impossible(TrackerError):
    """Not possible in the state that the job or operation is in (exit 5)."""

    exit_code = 5


class DatabaseError(TrackerError):
    """The database is missing, locked, full, read-only, damaged or too new (exit 6)."""

    exit_code = 6


class DatabaseBusy(DatabaseError):
    """Another process held the database for longer than one waits (exit 6)."""


def did_you_mean(word: str, known: list[str]) -> str:
    """``did you mean 'x'?`` for the nearest of `known`, or ``""`` when none is near."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{near[0]}'?" if near else ""
