"""The seam between the loop and each kind of due work."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from tracker.lifecycle import Rules
from tracker.model import Failure, Job, Operation
from tracker.outcomes import Outcome
from tracker.spool import Folder
from tracker.storage import Storage
from tracker.storage.signing import Signer
from tracker.transports.base import Call, Reply

Item = TypeVar("Item", Job, Operation, contravariant=True)


class Executed(NamedTuple):
    """What came of one call: an outcome for each item, and the call's failure, if it was one."""

    outcomes: Sequence[Outcome]
    failure: Failure | None = None


class Executor(Protocol[Item]):
    """One kind of due work for one service. It never touches the store."""

    @property
    def most(self) -> int:
        """How many items one call may carry."""

    def together(self, item: Item) -> Hashable:
        """Items for which this is the same may share a call."""

    def prepare(self, items: Sequence[Item]) -> Call | list[Outcome]:
        """The call to make; or, where none is needed any more, the outcomes at once.

        Raises `tracker.errors.TrackerError` when the call cannot be built.
        """

    def settle(self, items: Sequence[Item], reply: Reply) -> Executed:
        """What the reply means for each item. A call that could not be built arrives as a reply
        with `tracker.model.Fault.INVALID` that was not sent."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What an executor may need besides its service: the ``rules`` of its jobs' lives, the
    tracker's own ``folder``, S3 (``storage``, ``signer``), and ``bound``, which shortens create
    calls to so many seconds for an attempt that somebody waits for."""

    rules: Rules
    storage: Storage
    folder: Folder
    signer: Signer
    bound: float | None = None


BEGINS = "begins"
"""In a create's payload: the job was accepted, and a second call has it begin."""


class OneByOne:
    """A call for each item: how most executors work."""

    most = 1

    def together(self, item: Job | Operation) -> Hashable:
        """No two items share a call; see `Executor`."""
        return None


@dataclass(frozen=True, slots=True)
class Lane:
    """One service and account as the loop sees it; or, where some of its kinds of call have a rate
    of their own, those of one kind (``calls``).

    ``distance`` is the least number of seconds between two calls (None: no limit);
    ``concurrency`` bounds calls in flight; ``timeout`` is the longest call's, in seconds.
    ``polls`` serves its jobs, ``operations`` each kind of operation. Kinds in ``unrepeatable``
    are put on record as sent before they are. For an ``impatient`` lane each poller begins with
    one call although its service could not be reached lately: that may be over. ``rests`` says for
    how many seconds a reply wants no more calls; ``alone`` is whether no other lane serves the same
    service. ``place`` is whose budget its calls use.
    """

    name: str
    account: str
    distance: float | None
    concurrency: int
    timeout: float
    transport: str
    polls: Executor[Job] | None
    operations: Mapping[str, Executor[Operation]]
    unrepeatable: frozenset[str] = frozenset()
    impatient: bool = False
    calls: str = ""
    rests: Callable[[Reply], float] | None = None
    alone: bool = True
    place: tuple[str, str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", (self.name, self.account, self.calls))

    @property
    def kinds(self) -> list[str] | None:
        """The kinds of operation to look for; None: any, as no other lane serves this service."""
        return None if self.alone else list(self.operations)

    def sends_once(self, item: Job | Operation) -> bool:
        """Whether a call for `item` that was lost is not made again."""
        if isinstance(item, Job):
            return False
        return item.kind in self.unrepeatable and BEGINS not in item.payload

    @property
    def bundles(self) -> list[tuple[int, list[str]]]:
        """Its kinds of operation by how many one call may carry, small ones first."""
        found: dict[int, list[str]] = {}
        for kind, executor in self.operations.items():
            found.setdefault(executor.most, []).append(kind)
        return sorted(found.items())
