"""The command line: each command parses, calls the facade, prints. None contains a rule."""

from __future__ import annotations

import errno
import os
import sys

FULL = (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF)
"""What writing to an output that takes no more ends with."""


def main() -> None:
    """Run the command line; every error ends in one line and its documented exit code."""
    import click

    from tracker.commands.cli import cli
    from tracker.errors import TrackerError

    try:
        # What click's own `main` does besides is to end broken pipes and Ctrl-C in its own way.
        with cli.make_context("tracker", sys.argv[1:]) as context:
            code = cli.invoke(context)
        sys.stdout.flush()
    except TrackerError as error:
        code = _say(str(error), error.exit_code)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.UsageError as error:
        help_at = f"; see: {error.ctx.command_path} --help" if error.ctx else ""
        code = _say(error.format_message().rstrip(".") + help_at, 2)
    except click.ClickException as error:
        code = _say(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        code = _say("interrupted; what was recorded is safe", 130)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing to tell, and nowhere to tell it.
        _close_output()
        code = 0
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        _close_output()
        code = _say(f"cannot write the output: {error.strerror}", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"tracker: {line}\n")
    return code
