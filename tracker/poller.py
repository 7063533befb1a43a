"""The loop, and nothing but the loop: claim what is due, call, settle what came back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from tracker import clock
from tracker.claiming import MIN_LEASE_SECONDS, Claiming, Share, lease_seconds
from tracker.errors import DatabaseBusy, DatabaseError
from tracker.executors.base import Lane
from tracker.model import WAITED_FOR, Fault
from tracker.outcomes import Outcome
from tracker.pending import Pending
from tracker.presence import BEAT_SECONDS, SILENT_SECONDS, Presence
from tracker.store import Store
from tracker.store.claims import Claimed
from tracker.summary import Summary
from tracker.traffic import Traffic
from tracker.transports.base import Call, Reply, Transport
from tracker.work import Work, grouped

log = logging.getLogger("tracker.poller")

SLEEP_SECONDS = 15.0
"""The loop wakes at the latest after this long (P5)."""

GLANCE_SECONDS = 0.05
"""How often a sleeping loop looks whether another process wrote something."""

PATIENCE_SECONDS = 60.0
"""How long a running loop goes on trying while another process keeps the database locked."""

TIDY_SECONDS = 1.0
"""How long a pass with nothing else to do goes on tidying up."""

OK = 200

GRACE_SECONDS = 10.0
"""How long a stopping poller waits for what is in flight."""


class Poller:
    """Serves lanes until told to stop; one thread, one ledger, any number beside each other.

    With `once` it handles what was due when it began; with `only`, none but these local ids;
    `limit` bounds the number of polls. Each of the `chores` does a little each time it is asked,
    and says whether there is more to do.
    """

    def __init__(
        self,
        store: Store,
        lanes: Sequence[Lane],
        transports: Mapping[str, Callable[[int], Transport]],
        *,
        kind: str,
        once: bool = False,
        concurrency: int = 32,
        only: Sequence[str] | None = None,
        limit: int | None = None,
        chores: Sequence[Callable[[Summary], bool]] = (),
        on_progress: Callable[[Summary], None] | None = None,
    ) -> None:
        self.summary = Summary()
        self._chores = chores
        self._store = store
        self._presence = Presence(store, kind)
        self._traffic = Traffic(
            store, lanes, transports, concurrency, poller=self._presence.id, once=once
        )
        self._once = once
        self._only = only
        self._claiming = Claiming(store, self._presence.id, only, limit)
        self._on_progress = on_progress or (lambda summary: None)
        self._pending: Pending[list[Share]] = Pending(store, self.summary, self._settled)
        self._stopping = False
        self._hurried = False
        self._next_beat = 0.0
        self._next_extension = 0.0
        self._seen_change = -1
        self._judged_change = -1
        self._locked_since: float | None = None

    def stop(self) -> None:
        """Finish what is in flight (10 s at most), settle it, release the rest, return. Safe from
        a signal handler and from other threads."""
        # A plain flag: an Event's own lock may be held by the very code that a signal interrupts.
        self._stopping = True
        self._traffic.wake()

    def hurry(self) -> None:
        """Try services at once that could not be reached or refused the credentials. Safe from a
        signal handler and from other threads."""
        self._hurried = True
        self._traffic.wake()

    def run(
        self,
        *,
        seconds: float | None = None,
        until: Callable[[], bool] | None = None,
        overlap: bool = True,
    ) -> Summary:
        """Serve for `seconds` (None: until `stop`, or the end of a single pass), or until `until`
        says that there is no more to wait for; say what was done. Raises DatabaseError when the
        ledger is out of reach for a minute; everything in flight is then safe in its leases."""
        began, started_at = clock.monotonic(), self._store.now()
        end = None if seconds is None else began + seconds
        try:
            if not overlap and not self._has_the_field(end):
                return self.summary
            self._store.check_clock()
            self._claiming.cutoff = self._store.now() if self._once else None
            self._serve(end, until)
        finally:
            self._leave()
            self.summary.duration_seconds = clock.monotonic() - began
            self.summary.stopped = self._stopping
        if self._presence.registered and self._only is None:
            self._record(started_at)
        return self.summary

    def _has_the_field(self, end: float | None) -> bool:
        """Whether no other poller serves everything; with an `end`, wait for that until then."""
        while others := self._presence.alive():
            now = clock.monotonic()
            if end is None or now >= end or self._stopping:
                self.summary.stepped_back_for = f"pid {others[0].pid} on {others[0].host}"
                return False
            clock.sleep(min(GLANCE_SECONDS, end - now))
        return True

    def _serve(self, end: float | None, until: Callable[[], bool] | None) -> None:
        going = True
        while going and not self._stopping:
            try:
                going = self._step(end, until)
                self._locked_since = None
            except DatabaseBusy as error:
                self._be_patient(error)
        self._drain()

    def _step(self, end: float | None, until: Callable[[], bool] | None) -> bool:
        """Do what can be done now, or wait for it; False when there is no more to do."""
        now = clock.monotonic()
        if end is not None and now >= end:
            return False
        if self._hurried:
            self._hurried = False
            if self._store.probe_now(WAITED_FOR):
                self._traffic.refresh()
        self._keep_house(now)
        if not self._pending.under_way:
            self._pending.add(self._traffic.heed())
        self._turn()
        if until is not None and self._something_changed() and until():
            return False
        if self._traffic.busy:
            self._exchange(end)
        elif self._once and not self._pending:
            return not self._pass_is_over()
        elif not self._pending:
            self._sleep(end)
        return True

    def _something_changed(self) -> bool:
        change = self._store.change_count()
        changed, self._judged_change = change != self._judged_change, change
        return changed

    def _be_patient(self, error: DatabaseBusy) -> None:
        """Wait a little while another process keeps the database locked; in the end, raise."""
        import backoff

        now = clock.monotonic()
        if self._locked_since is None:
            log.warning("the database is locked; trying again for %g s", PATIENCE_SECONDS)
            self._locked_since = now
        if now - self._locked_since >= PATIENCE_SECONDS:
            raise error
        clock.sleep(backoff.full_jitter(1.0))

    # One turn: what came back is settled and what is due is claimed, in one transaction, while
    # calls are under way.

    def _turn(self) -> None:
        if self._pending.under_way:
            if self._traffic.busy and not self._pending.written:
                return
            self._finish_turn()
        settling = self._pending and (
            not self._traffic.busy
            or clock.monotonic() >= self._pending.due_at
            or (self._pending.enough and not self._traffic.more_is_due)
        )
        held_back = self._stopping or self.summary.paused or self._pending.full
        wanting = [] if held_back else self._traffic.wanting(self._only)
        if wanting and not self._presence.registered:
            self._presence.beat()
        if not wanting and not settling:
            return

        def claim() -> list[Share]:
            return [self._claiming.claim(*one) for one in wanting]

        if self._traffic.busy:
            self._pending.begin(claim, self._traffic.wake)
        else:
            self._take(self._pending.settle(claim))

    def _settled(self, outcomes: Sequence[Outcome]) -> None:
        self._traffic.note_settled(outcomes)
        self._on_progress(self.summary)

    def _take(self, shares: Sequence[Share] | None) -> None:
        for lane, claimed, more in shares or ():
            self._traffic.note_claimed(lane, claimed.count, more)
            self._set_out(lane, claimed)

    def _set_out(self, lane: Lane, claimed: Claimed) -> None:
        for unreadable in claimed.read().unreadable:
            [work] = grouped(lane, [unreadable.claimed])
            log.error("job %s: %s", work.local_id, unreadable.why)
            self._conclude(work, Reply(fault=Fault.INVALID, message=unreadable.why, sent=False))
        for work in (*grouped(lane, claimed.operations), *grouped(lane, claimed.jobs)):
            self._prepare(work)

    def _prepare(self, work: Work) -> None:
        prepared = work.prepare()
        if isinstance(prepared, Call):
            self._traffic.queue(work, prepared)
        elif isinstance(prepared, Reply):
            self._conclude(work, prepared)
        else:
            self._pending.add(prepared)

    # Calls out, replies in.

    def _exchange(self, end: float | None) -> None:
        self._traffic.dispatch()
        latest = self._next_beat if end is None else min(end, self._next_beat)
        if not self._pending.under_way:
            latest = min(latest, self._pending.due_at)
        received = self._traffic.receive(latest - clock.monotonic())
        if all(reply.status == OK and work.lane.rests is None for work, reply in received):
            self._traffic.dispatch()  # the services can work on while these are read
        for work, reply in received:
            self._conclude(work, reply)

    def _conclude(self, work: Work, reply: Reply) -> None:
        executed = work.conclude(reply, self._presence.me.kind)
        self.summary.errors += executed.failure is not None
        # The id of a job that is not created twice for one key cannot be asked for again.
        self._pending.add(executed.outcomes, hurry=work.unrepeatable)
        try:
            self._pending.add(self._traffic.note(work, reply, executed.failure))
        except DatabaseBusy as error:
            # The outcome is what counts; the next call will tell the budget the same.
            log.warning("%s: %s", work.lane.name, error)

    # Once a second.

    def _keep_house(self, now: float) -> None:
        if now < self._next_beat:
            return
        if self._next_beat and now - self._next_beat > SILENT_SECONDS - BEAT_SECONDS:
            # This process was stopped for so long that others may have taken what it held.
            self._pending.add(self._traffic.give_back())
        self._next_beat = now + BEAT_SECONDS
        self.summary.paused = self._store.is_paused()
        # Before the beat: it is what `last_now` is compared with.
        self._store.check_clock()
        if self._presence.registered:
            self._presence.beat()
            self._store.fold()
        dead = self._presence.dead()
        if dead:
            services = self._store.services_with_work()
            for poller in dead:
                seen_at = None if self._presence.is_gone(poller) else poller.seen_at
                if self._store.release_dead(poller.id, services, seen_at=seen_at):
                    log.warning("released what poller %s (pid %d) held", poller.id[-8:], poller.pid)
        self._store.doubt_overdue(self._traffic.names)
        if not self.summary.paused and not self._stopping:
            self._do_chores()
        if dead or self._only is None:
            self._traffic.refresh()
        if now >= self._next_extension:
            if self._next_extension:
                self._traffic.extend_leases(lease_seconds)
            self._next_extension = now + MIN_LEASE_SECONDS / 3

    def _pass_is_over(self) -> bool:
        if self.summary.paused or not self._traffic.wanting(self._only):
            if not self._presence.suspects():
                return self.summary.paused or not self._tidied()
            # Somebody may have died with due jobs in hand: at most 4 s tell.
            clock.sleep(GLANCE_SECONDS)
        return False

    def _do_chores(self) -> bool:
        more = [chore(self.summary) for chore in self._chores]  # each has its turn
        return any(more)

    def _tidied(self) -> bool:
        """Whether a chore did something that may have made more due."""
        began, busy = clock.monotonic(), False
        while self._do_chores():
            busy = True
            if self._stopping or clock.monotonic() - began >= TIDY_SECONDS:
                break
        if busy:
            self._traffic.refresh()
        return busy and bool(self._traffic.wanting(self._only))

    def _sleep(self, end: float | None) -> None:
        wake = clock.monotonic() + SLEEP_SECONDS
        wake = min(wake, self._next_beat, self._traffic.next_due(), *([end] if end else []))
        while not self._stopping and not self._hurried and clock.monotonic() < wake:
            change = self._store.change_count()
            if change != self._seen_change:
                self._seen_change = change
                self._traffic.refresh()
                return
            clock.sleep(min(GLANCE_SECONDS, wake - clock.monotonic()))

    # The end.

    def _drain(self) -> None:
        latest = clock.monotonic() + GRACE_SECONDS
        self._patiently(self._finish_turn)
        while self._traffic.in_flight and clock.monotonic() < latest:
            self._patiently(lambda: self._keep_house(clock.monotonic()))
            self._finish(min(0.2, latest - clock.monotonic()))
        # What came in while a locked database kept this process waiting past its time.
        self._finish(0.0)

    def _finish_turn(self) -> None:
        self._take(self._pending.finish())

    def _finish(self, timeout: float) -> None:
        for work, reply in self._traffic.receive(timeout):
            self._conclude(work, reply)
        while self._pending:
            self._patiently(self._pending.settle)

    def _leave(self) -> None:
        with suppress(DatabaseError):
            self._finish_turn()
        self._traffic.close()
        if self._presence.registered:
            self._patiently(self._say_goodbye)

    def _say_goodbye(self) -> None:
        held = [*self._traffic.held(), *self._pending.claims]
        self._store.say_goodbye(self._presence.id, held)

    def _patiently(self, act: Callable[[], object]) -> None:
        while True:
            try:
                act()
            except DatabaseBusy as error:
                self._be_patient(error)
            else:
                self._locked_since = None
                return

    def _record(self, started_at: float) -> None:
        summary = self.summary
        self._store.record_run(
            self._presence.id,
            self._presence.me.kind,
            started_at,
            summary.duration_seconds,
            polled=summary.polled,
            completed=summary.completed,
            failed=summary.failed,
            errors=summary.errors,
        )
