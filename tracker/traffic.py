"""What is on the road: calls that wait for their turn, calls in flight, and who may send how much.

A lane is a service; each keeps its own queue, so a slow or paused one stands in nobody's way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tracker import clock, schedule
from tracker.executors.base import Lane
from tracker.model import SERVICE_FAULTS, Failure, Fault, Job, Operation
from tracker.outcomes import Attempted, Claim, Outcome, Released, Running, Transition
from tracker.roads import Road, shares
from tracker.store import Store
from tracker.store.budgets import HORIZON_SECONDS, Budget, budget_of
from tracker.transports.base import Call, Reply, Transport
from tracker.work import Work

FAILING_JOBS = 5
"""So many different jobs failing in a row mean that the service is ill, not they."""

EMPTY_CLAIM_SECONDS = 0.05

HEED_SECONDS = 0.05
"""How often it is looked whether other pollers were told to pause."""

PROBE_SECONDS = 30.0
"""For so long a service that was paused waits for the result of the one call that goes out first;
its sender may have died."""


class Traffic:
    """All roads, and the transports under them."""

    def __init__(
        self,
        store: Store,
        lanes: Sequence[Lane],
        transports: Mapping[str, Callable[[int], Transport]],
        concurrency: int,
        *,
        poller: str,
        once: bool = False,
    ) -> None:
        self._store = store
        self._poller = poller
        self._once = once
        self._roads = {lane.place: Road(lane) for lane in lanes}
        for road in self._roads.values():
            road.same = [one for one in self._roads.values() if one.lane.name == road.lane.name]
        self._makers = transports
        self._transports: dict[str, Transport] = {}
        self._concurrency = concurrency
        self._heed_at = 0.0
        self._seen_change = -1
        self._read_budgets()
        for road in self._roads.values():
            road.may_try = road.lane.impatient and road.budget.fault == Fault.UNREACHABLE

    @property
    def names(self) -> list[str]:
        """The services served."""
        return list(dict.fromkeys(road.lane.name for road in self._roads.values()))

    @property
    def in_flight(self) -> int:
        """Calls sent and not received."""
        return sum(len(road.in_flight) for road in self._roads.values())

    @property
    def busy(self) -> bool:
        """Whether anything waits to be sent or to come back."""
        return any(road.load for road in self._roads.values())

    @property
    def more_is_due(self) -> bool:
        """Whether the next claim is known to bring something."""
        now = clock.monotonic()
        return any(road.is_due(now) for road in self._roads.values())

    # What to claim.

    def wanting(self, only: Sequence[str] | None) -> list[tuple[Lane, int]]:
        """Which lanes have something due and room for it, and for how many calls."""
        now = clock.monotonic()
        found = []
        for road in self._roads.values():
            limit = self._room(road, now)
            if limit <= 0:
                continue
            if road.stale:
                lane = road.lane
                due = self._store.earliest_due(
                    [lane.name], only, polls=lane.polls is not None or lane.alone, kinds=lane.kinds
                )
                road.due_at = None if due is None else now + due
                road.stale = False
            if road.is_due(now) and self._has_leave(road):
                found.append((road.lane, limit))
        return found

    def _room(self, road: Road, now: float) -> int:
        if now < road.paused_until and not road.may_try:
            return 0
        if road.budget.pause_count:
            return 1 if road.load == 0 else 0  # one probe at a time
        return road.room

    def _has_leave(self, road: Road) -> bool:
        """Whether a call may go out: after a pause a single probe does, whoever sends it."""
        if not road.budget.pause_count or road.may_try:
            return True
        lane = road.lane
        if self._store.take_probe(lane.place, min(lane.timeout, PROBE_SECONDS)):
            road.may_try = road.probing = True
            return True
        self._read_budgets()
        return False

    def _give_up_probe(self, road: Road) -> None:
        if road.probing:
            road.may_try = road.probing = False
            self._store.give_up_probe(road.lane.place)
            self._read_budgets()

    def note_claimed(self, lane: Lane, count: int, more: bool) -> None:
        """A claim brought `count` items; without `more`, that was all that is due."""
        road = self._roads[lane.place]
        road.note_claimed(clock.monotonic(), full=more)
        if count == 0:
            self._give_up_probe(road)
            # Another poller was faster; or, in a single pass, what is due became so after it began.
            road.due_at = None if self._once else clock.monotonic() + EMPTY_CLAIM_SECONDS
        elif not more:
            road.stale = True

    def note_settled(self, outcomes: Sequence[Outcome]) -> None:
        """What was settled may be due again, or may have made something else due."""
        if self._once and all(isinstance(one, Running) for one in outcomes):
            return
        touched: set[str] | None = set()
        for one in outcomes:
            touched = None if touched is None else _touched(one, touched)
        for road in self._roads.values():
            road.stale = road.stale or touched is None or road.lane.name in touched

    def refresh(self) -> None:
        """Look again at what is due and who is paused."""
        self._read_budgets()
        for road in self._roads.values():
            road.stale = True

    def heed(self) -> list[Released]:
        """Look, once in a while, whom others have paused meanwhile; what waits for its turn there
        is given back, and so is what a claim brought that was under way when this one paused it."""
        now = clock.monotonic()
        if now < self._heed_at or not self.busy:
            return []
        self._heed_at = now + HEED_SECONDS
        before, self._seen_change = self._seen_change, self._store.foreign_change_count()
        if before != self._seen_change:
            self._read_budgets()
        return [
            released
            for road in self._roads.values()
            if road.ready and now < road.paused_until and not road.may_try
            for released in road.give_back()
        ]

    def next_due(self) -> float:
        """When something is due again that may be called, by the monotonic clock."""
        times = [
            max(road.due_at, 0.0 if road.may_try else road.paused_until)
            for road in self._roads.values()
            if road.due_at is not None
        ]
        return min(times, default=float("inf"))

    def _read_budgets(self) -> None:
        budgets = self._store.budgets()
        now = clock.monotonic()
        for road in self._roads.values():
            road.budget = budget_of(budgets, road.lane.place)
            road.paused_until = now + road.budget.paused_for if road.budget.paused_for else 0.0
            road.clean = road.budget == Budget()

    # Out and in.

    def queue(self, work: Work, call: Call) -> None:
        """Have `call` sent when its turn comes."""
        call.tag = work
        self._roads[work.lane.place].ready.append((work, call))

    def dispatch(self) -> None:
        """Send what may go out now."""
        for road, share in self._shares():
            # Before a token is taken: the first one may need a tenth of a second to be there.
            self._transport(road.lane.transport)
            sending = self._next_calls(road, share)
            if not sending:
                continue
            try:
                sending = self._with_intent(road.lane, sending)
            except BaseException:
                road.ready.extendleft(reversed(sending))
                raise
            ways: dict[str, list[Call]] = {}
            for work, call in sending:
                road.in_flight.add(work)
                ways.setdefault(call.transport or road.lane.transport, []).append(call)
            for way, calls in ways.items():
                self._transport(way).send(*calls)

    def _shares(self) -> list[tuple[Road, int]]:
        now = clock.monotonic()
        able = [road for road in self._roads.values() if road.may_send(now)]
        return shares(able, self._concurrency - self.in_flight, self._concurrency)

    def _next_calls(self, road: Road, wanted: int) -> list[tuple[Work, Call]]:
        """Up to so many of those that wait: all, or the next one whose turn it is."""
        now = clock.monotonic()
        road.trying, road.may_try = road.may_try or road.trying, False
        if road.lane.distance is None:
            return [road.ready.popleft() for _ in range(wanted)]
        if road.slots and now - road.slots[0] > HORIZON_SECONDS:
            road.forget_tokens()
        if not road.slots and now >= road.ask_again_at:
            slots, again = self._store.take_tokens(road.lane.place, wanted, road.lane.distance)
            road.slots.extend(now + slot for slot in slots)
            road.ask_again_at = now + again
        if now < road.next_turn:
            return []
        road.slots.popleft()
        road.last_sent = now
        return [road.ready.popleft()]

    def _with_intent(self, lane: Lane, sending: list[tuple[Work, Call]]) -> list[tuple[Work, Call]]:
        """Those of `sending` that may go out: all, but for creates that cannot be repeated and
        whose claim was lost before their intent was on record."""
        once = [
            operation
            for work, _ in sending
            for operation in work.items
            if isinstance(operation, Operation) and lane.sends_once(operation)
        ]
        if not once:
            return sending
        kept = self._store.record_intent(once, self._poller)
        lost = {operation.id for operation in once} - kept
        return [
            (work, call)
            for work, call in sending
            if not any(isinstance(one, Operation) and one.id in lost for one in work.items)
        ]

    def receive(self, timeout: float) -> list[tuple[Work, Reply]]:
        """What came back, waiting up to `timeout` seconds, or until the next call may go out."""
        timeout = 0.0 if self._shares() else min(timeout, self._next_turn())
        waiting = [one for one in self._transports.values() if one.in_flight]
        timeout = max(timeout, 0.0)
        if not waiting:
            clock.sleep(min(timeout, 0.05))
            return []
        if len(waiting) > 1:
            timeout = min(timeout, 0.02)
        received: list[tuple[Work, Reply]] = []
        for transport in waiting:
            for call, reply in transport.receive(0.0 if received else timeout):
                work: Work = call.tag
                self._roads[work.lane.place].in_flight.discard(work)
                received.append((work, reply))
        return received

    def _next_turn(self) -> float:
        """In how many seconds the next call may go out that has to wait for its turn alone."""
        now = clock.monotonic()
        turns = [road.next_turn - now for road in self._roads.values() if road.ready]
        return min((turn for turn in turns if turn > 0), default=float("inf"))

    def note(self, work: Work, reply: Reply, failure: Failure | None) -> list[Released]:
        """Let the service's budget know how a call went (the failure table), and where its reply
        says that no calls are left. Where that pauses the service, the claims that had not been
        called yet are given back."""
        released = self._note_result(work, failure)
        return released if work.lane.rests is None else released + self._note_rest(work, reply)

    def _note_result(self, work: Work, failure: Failure | None) -> list[Released]:
        place = work.lane.place
        road = self._roads[place]
        if failure is None or failure.fault is Fault.REFUSED or failure.again:
            if not road.clean:
                self._store.note_success(place, ends_pause=road.trying)
                self._read_budgets()
            road.trying = road.probing = False
            return []
        if failure.fault is Fault.INVALID:
            self._give_up_probe(road)
            return []
        probed = road.probing
        road.trying = road.probing = False
        if failure.fault in SERVICE_FAULTS or road.budget.pause_count:
            why, asked = failure.message, failure.retry_after or 0.0
        else:
            if not work.first_failures:
                return []
            road.clean = False
            failing = self._store.note_failing_jobs(place, work.first_failures)
            if failing < FAILING_JOBS:
                return []
            why, asked = f"{failing} jobs in a row failed: {failure.message}", 0.0
        self._store.pause_service(
            place, why, schedule.service_pauses(), asked, failure.fault, probed=probed
        )
        self._read_budgets()
        return road.give_back()

    def _note_rest(self, work: Work, reply: Reply) -> list[Released]:
        lane = work.lane
        seconds = lane.rests(reply) if lane.rests is not None else 0.0
        if seconds <= 0:
            return []
        self._store.rest_service(lane.place, seconds, "the service says that no calls are left")
        self._read_budgets()
        return self._roads[lane.place].give_back()

    def give_back(self) -> list[Released]:
        """Give back all claims that have not been called yet."""
        return [released for road in self._roads.values() for released in road.give_back()]

    def extend_leases(self, lease_seconds: Callable[[Lane], float]) -> None:
        """Keep every claim that is still on the road."""
        for road in self._roads.values():
            items = road.held
            if items:
                self._store.extend_leases(
                    [item for item in items if isinstance(item, Job)],
                    [item for item in items if isinstance(item, Operation)],
                    lease_seconds(road.lane),
                )

    def held(self) -> list[Claim]:
        """All claims that are on the road."""
        items = [item for road in self._roads.values() for item in road.held]
        return [Claim(isinstance(item, Job), item.id, item.lease) for item in items]

    def wake(self) -> None:
        """Have a waiting `receive` return."""
        for transport in list(self._transports.values()):
            transport.wake()

    def close(self) -> None:
        """Drop all connections."""
        for transport in self._transports.values():
            transport.close()

    def _transport(self, name: str) -> Transport:
        if name not in self._transports:
            self._transports[name] = self._makers[name](self._concurrency)
        return self._transports[name]


def _touched(outcome: Outcome, before: set[str]) -> set[str] | None:
    """Lanes that may have something due by an outcome, and those of `before`; None: any may."""
    match outcome:
        case Running():
            return before | {outcome.job.service}
        case Attempted():
            change = outcome.transition
            owed = [*outcome.operations, *(change.operations if change is not None else [])]
            if outcome.becomes is not None:
                owed.append(outcome.becomes)
            own = {outcome.operation.service, outcome.operation.job.service}
            return None if outcome.erase else before | own | {one.service for one in owed}
        case Transition() | Released():
            return None
