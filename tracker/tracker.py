"""Tracker: what commands, servers and users call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tracker import config
from tracker.background import Background
from tracker.changing import Changing
from tracker.config import Config
from tracker.errors import TrackerError
from tracker.keeping import Keeping
from tracker.maintenance import ledger_place
from tracker.model import Json
from tracker.places import default_folder
from tracker.recording import Recording
from tracker.serving import ATTEMPT_SECONDS
from tracker.spool import Folder
from tracker.store import Store, open_store

if TYPE_CHECKING:
    from tracker.poller import Poller
    from tracker.services import Services, Sink
    from tracker.storage import Storage


class Tracker(Recording, Changing, Keeping):
    """One ledger and the services it knows. A context manager; safe to share between threads.

    >>> with Tracker("tracker.toml") as tracker:          # doctest: +SKIP
    ...     job = tracker.submit("docs", {"language": "en"}, file="report.pdf")
    ...     tracker.wait(job, timeout=600)
    ...     print(tracker.result(job))

    Every method raises `tracker.errors.TrackerError` subclasses: ConfigError and UsageError (what
    was asked makes no sense), NotFound, Impossible (not in this state), DatabaseError.
    """

    def __init__(
        self,
        configuration: str | Path | Config | None = None,
        *,
        database: str | Path | None = None,
    ) -> None:
        """`configuration` is a tracker.toml (default: found as the command does), `database` the
        path or the URL of the ledger, where it is not the configuration's."""
        if not isinstance(configuration, Config):
            configuration = config.load(None if configuration is None else str(configuration))
        self.config = configuration
        place = ledger_place(str(database or configuration.database))
        self.store: Store = open_store(place, zone=configuration.legacy_zone)
        # A URL may hold a password.
        self.database = place if isinstance(place, Path) else self.store.database.name
        self.folder = Folder(
            configuration.folder
            or (
                place.with_name(place.name + ".files")
                if isinstance(place, Path)
                else Path(default_folder())
            )
        )
        self._services: Services | None = None
        self._sinks: list[Sink] | None = None
        self._lock = Lock()
        self._background = Background(self._attempt_quietly)
        self._attempting: Poller | None = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let first attempts that are under way end (after 10 s they are told to) and close the
        ledger."""
        self._background.close(ATTEMPT_SECONDS, self._stop_attempting)
        self.close_s3()
        self.store.close()

    def _attempt_quietly(self, local_ids: Sequence[str]) -> None:
        def keep(poller: Poller) -> None:
            self._attempting = poller

        self.attempt(local_ids, keep)

    def _stop_attempting(self) -> None:
        if self._attempting is not None:
            self._attempting.stop()

    @property
    def services(self) -> Services:
        """The services of the configuration, checked. Raises ConfigError."""
        with self._lock:
            if self._services is None:
                from tracker.services import load_services

                self._services = load_services(self.config)
            return self._services

    @property
    def sinks(self) -> list[Sink]:
        """Who is told when a job ends. Raises ConfigError."""
        with self._lock:
            if self._sinks is None:
                from tracker.services import load_sinks

                self._sinks = load_sinks(self.config)
            return self._sinks

    @property
    def storage(self) -> Storage:
        """Where objects are kept, by the configuration's ``[storage]``."""
        from tracker.storage import Storage

        return Storage(self.config.storage)

    def presets(self) -> list[dict[str, Json]]:
        """The definitions that are brought along: ``preset`` (a name), ``title``, ``base_url``
        (of AWS's services ``aws:`` and boto3's name)."""
        from tracker.services.preset import preset_names, read_preset

        names = {name: read_preset(name) for name in preset_names()}
        return [
            {
                "preset": name,
                "title": found["title"],
                "base_url": found.get("base_url") or f"aws:{found['aws']['client']}",
            }
            for name, found in names.items()
        ]

    def preset(self, name: str) -> tuple[str, dict[str, Json]]:
        """One of them, as it is written and as tables. Raises NotFound."""
        from tracker.services.preset import preset_text, read_preset

        return preset_text(name), read_preset(name)

    def examined(self, service: str) -> dict[str, Json]:
        """How a definition reads its own examples: ``definition`` in words, ``examples`` (how many)
        and ``problems``, a list for each example that is read otherwise than it is meant."""
        from tracker.services.examples import problems

        found = self.services.find(service)
        wrong = {one.name: told for one in found.examples if (told := problems(found, one))}
        count = len(found.examples)
        words = f"ok, {count} examples" if count else "ok"
        if wrong:
            words = f"{len(wrong)} of {count} examples are read otherwise"
        return {"definition": words, "examples": count, "problems": wrong}

    def try_reply(
        self,
        name: str,
        body: bytes,
        *,
        call: str = "status",
        http: int = 200,
        headers: Mapping[str, str] | None = None,
        server_id: str | None = None,
    ) -> dict[str, Json]:
        """What a service of the configuration, or a preset, reads in a saved reply. Raises
        NotFound."""
        from tracker.services.examples import Example, described, read_as
        from tracker.services.loading import load_preset

        service = self.services[name] if name in self.services else load_preset(name)
        example = Example("try", call, http, headers or {}, body, service.base_url, server_id)
        return described(read_as(service, example), call)

    def signed_in(self, service: str) -> dict[str, Json]:
        """Who is signed in at a service, never the secret: ``account`` as the configuration or the
        provider names it, ``credentials`` (``ok``, ``none needed``, or why they cannot be had),
        ``from`` which references, ``expires_in`` seconds (None: nobody said)."""
        found = self.services.find(service)
        credential = found.credential
        told: dict[str, Json] = {"account": found.account, "credentials": "none needed"}
        if credential is not None:
            try:
                credential.headers()
                told["credentials"] = "ok"
            except TrackerError as error:
                told["credentials"] = str(error)
            told["account"] = credential.who or found.account
        elif found.transport == "aws":
            from tracker.transports.aws import whose

            told |= whose()
            return told
        told["from"] = [] if credential is None else credential.sources
        told["expires_in"] = None if credential is None else credential.lives
        return told
