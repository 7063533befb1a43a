"""Where a secret is read from: the environment, a file, a command."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker import clock
from tracker.errors import CallFailed, ConfigError

if TYPE_CHECKING:
    import subprocess

COMMAND_SECONDS = 10.0
LARGEST = 64 * 1024
_REFERENCE = re.compile(r"(env|file|command):\s*(.*\S)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Read:
    """A secret as it was read; ``lives`` is for how many seconds and ``who`` whose it is, None when
    nobody said."""

    value: str
    lives: float | None = None
    who: str | None = None

    def __repr__(self) -> str:
        return "Read(***)"


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference to a secret, as it stands in the configuration; ``slow`` is a command."""

    reference: str
    key: str
    source: Callable[[], str]
    slow: bool = False

    def read(self) -> Read:
        """The secret, now. Raises CallFailed naming the reference."""
        text = self.source().rstrip("\r\n")
        found = _from_json(text) if self.slow and text.lstrip().startswith("{") else None
        if found is None:
            found = Read(text)
        elif not found.value:
            raise self.failure("printed JSON without a token", 'expected {"token": "…"}')
        if not found.value.strip():
            raise self.failure("is empty")
        if not found.value.isprintable():
            raise self.failure("holds a line break or another control character")
        try:
            found.value.encode("latin-1")
        except UnicodeEncodeError:
            raise self.failure(
                "holds characters that a header cannot carry (not Latin-1)"
            ) from None
        return found

    def failure(self, problem: str, hint: str = "") -> CallFailed:
        """The error that says which reference brought nothing, and why."""
        return failure(self.reference, self.key, problem, hint)


def failure(reference: str, key: str, problem: str, hint: str = "") -> CallFailed:
    """See `Secret.failure`."""
    return CallFailed(f"no credentials: {reference} {problem}", hint or f"see {key}")


def is_reference(text: str) -> bool:
    """Whether `text` says where a secret is."""
    return _REFERENCE.fullmatch(text) is not None


def read_reference(text: str, key: str, folder: str) -> Secret:
    """The secret that `text` refers to; relative files start at `folder`. Raises ConfigError."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{key}: expected a reference to the secret, not the secret itself",
            'write "env:NAME", "file:PATH" or "command:CMD"',
        )
    kind, rest = match[1], match[2]
    if kind == "env":
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", rest):
            raise ConfigError(f"{key}: expected env: and the name of an environment variable")
        return Secret(text, key, lambda: _from_environment(rest, text, key))
    if kind == "file":
        path = Path(folder, Path(rest).expanduser()) if rest[0] == "~" else Path(folder, rest)
        return Secret(text, key, lambda: _from_file(path, text, key))
    import shlex

    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise ConfigError(f"{key}: the command cannot be split into words: {error}") from None
    if not words:
        raise ConfigError(f"{key}: expected command: and a command")
    return Secret(text, key, lambda: _from_command(words, text, key), slow=True)


def _from_environment(name: str, reference: str, key: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise failure(reference, key, "is not set")
    return value


def _from_file(path: Path, reference: str, key: str) -> str:
    try:
        if not path.is_file():
            # Opening a pipe would wait for whoever writes into it.
            raise failure(reference, key, "is no file" if path.exists() else "does not exist")
        with path.open("rb") as file:
            return _text(file.read(LARGEST + 1), reference, key)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise failure(reference, key, f"cannot be read: {reason}") from None


def _text(data: bytes, reference: str, key: str) -> str:
    if len(data) > LARGEST:
        raise failure(reference, key, f"is longer than {LARGEST} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise failure(reference, key, "is not UTF-8") from None


def _from_command(words: list[str], reference: str, key: str) -> str:
    import subprocess

    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a command"
        raise failure(reference, key, f"cannot be started: {reason}") from None
    try:
        output = _output(process, COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise failure(reference, key, f"took longer than {COMMAND_SECONDS:g} s") from None
    except BaseException:
        _kill(process)
        raise
    if len(output) > LARGEST:
        _kill(process)
        raise failure(reference, key, f"is longer than {LARGEST} bytes")
    if process.returncode != 0:
        hint = "run it by hand to see why"
        raise failure(reference, key, f"failed with exit code {process.returncode}", hint)
    if not output.strip():
        raise failure(reference, key, "printed nothing")
    return _text(output, reference, key)


def _output(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """What it prints until it ends, or a little more than `LARGEST` of it. Raises
    subprocess.TimeoutExpired."""
    import subprocess
    import threading

    assert process.stdout is not None
    pipe, output = process.stdout.fileno(), bytearray()

    def read() -> None:
        with suppress(OSError):
            while len(output) <= LARGEST and (piece := os.read(pipe, 8192)):
                output.extend(piece)

    reader = threading.Thread(target=read, daemon=True)
    latest = clock.monotonic() + seconds
    reader.start()
    reader.join(seconds)
    if reader.is_alive():
        raise subprocess.TimeoutExpired(process.args, seconds)
    if len(output) <= LARGEST:
        process.wait(max(latest - clock.monotonic(), 0.1))
        process.stdout.close()
    return bytes(output)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the command and its children, which may hold its output open for ever."""
    import signal

    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()
    if process.stdout is not None:
        process.stdout.close()
    process.wait()


def _from_json(text: str) -> Read | None:
    """The token in what a command printed; None when it is no JSON object."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    token, lives = data.get("token", data.get("access_token")), data.get("expires_in")
    if not isinstance(lives, (int, float)) or isinstance(lives, bool) or not 0 < lives < 1e9:
        lives = None
    who = data.get("account")
    return Read(
        token if isinstance(token, str) else "", lives, who if isinstance(who, str) else None
    )
