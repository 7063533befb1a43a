"""Whatever jobs and cleanups do: no object is orphaned, and none of a living job goes."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import (
    BROKEN,
    EPOCH,
    RULES,
    TABLES,
    claim_operations,
    clean_up,
    end,
    everything,
    in_s3,
    planned,
    remove,
    running,
    spooled,
    sql,
    submitted,
)

from tracker import lifecycle
from tracker.errors import Impossible
from tracker.ids import new_id
from tracker.model import ACTIVE, FINISHED, REMOVALS, UPLOADS
from tracker.objects import ObjectChange, ObjectState
from tracker.store.cleaning import Farewell

KEYS = st.sampled_from(["a", "b", "c"])
ACTS = st.one_of(
    st.tuples(st.just("adopt"), st.lists(KEYS, max_size=3), st.booleans()),
    st.tuples(st.just("submit"), KEYS, st.booleans()),
    st.tuples(st.just("upload"), st.sampled_from(["there", "begun", "failed", "stale"]), KEYS),
    st.tuples(st.just("end"), st.integers(0, 9), KEYS),
    st.tuples(st.just("reopen"), st.integers(0, 9), KEYS),
    st.tuples(st.just("clean up"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("claim removals"), KEYS, KEYS),
    st.tuples(st.just("remove"), st.booleans(), KEYS),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(ACTS, max_size=25))
def test_nothing_is_orphaned_and_nothing_of_a_living_job_goes(store, acts):
    """P9: whatever jobs and cleanups do, in whatever order: each object has a job or an operation,
    none that a job uses is about to be removed, and only what is owned ever is."""
    for table in TABLES:
        sql(store, f"DELETE FROM {table}")
    world = World(store)
    for act, one, two in acts:
        getattr(world, act.replace(" ", "_"))(one, two)
        world.check()
    world.finish()


class World:
    """What happens to a ledger, act by act."""

    def __init__(self, store) -> None:
        self.store = store
        self.held: list = []
        self.owned: set[str] = set()

    def adopt(self, keys, owned) -> None:
        self.owned |= set(keys) if owned else set()
        with suppress(Impossible):
            running(self.store, "docs", *(in_s3(key, owned=owned) for key in keys))

    def submit(self, key, _) -> None:
        self.owned.add(key)
        with suppress(Impossible):
            submitted(self.store, file=spooled(new_id()), target=planned(key))

    def upload(self, how, key) -> None:
        operations = claim_operations(self.store, 1, service=UPLOADS)
        results = {
            "there": ObjectChange(ObjectState.PRESENT, version_id=f"v-{key}", upload_id=""),
            "begun": ObjectChange(ObjectState.UPLOADING, upload_id="u"),
            "failed": BROKEN,
            "stale": ObjectChange(ObjectState.PRESENT, version_id="v-late", upload_id=""),
        }
        for operation in operations:
            operation.lease -= how == "stale"
            attempted = lifecycle.after_upload(operation, results[how], RULES.retry)
            self.store.settle([attempted])
        sql(self.store, f"UPDATE operations SET next_attempt_at = '{EPOCH}', claimed_by = NULL, "
            "lease_until = NULL WHERE kind = 'upload_input'")  # fmt: skip

    def end(self, number, _) -> None:
        jobs = self.store.list_jobs(statuses=list(ACTIVE))
        if jobs:
            end(self.store, jobs[number % len(jobs)].local_id)

    def reopen(self, number, _) -> None:
        jobs = self.store.list_jobs(statuses=list(FINISHED))
        if jobs:
            local_id = jobs[number % len(jobs)].local_id
            self.store.act(local_id, lifecycle.reopened(self.store.job_in_hand(local_id)))

    def clean_up(self, limit, instead) -> None:
        wishes = {"docs": Farewell(asks=True, instead=instead)}
        clean_up(self.store, limit=limit, farewells=wishes)

    def claim_removals(self, *_) -> None:
        self.held += claim_operations(self.store, 2, service=REMOVALS)

    def remove(self, well, _) -> None:
        result = ObjectChange(None) if well else BROKEN
        outcomes = [lifecycle.after_removal(one, result) for one in self.held]
        assert self.store.settle(outcomes).void == 0
        self.held = []

    def check(self) -> None:
        read = self.store.database.read
        lost = "SELECT * FROM objects AS o WHERE NOT EXISTS (SELECT 1 FROM job_objects AS j "
        lost += "WHERE j.object_id = o.id) AND NOT EXISTS (SELECT 1 FROM operations AS p "
        lost += "WHERE p.object_id = o.id)"
        assert read(lost) == []
        doomed = "SELECT * FROM operations AS p JOIN job_objects AS j USING (object_id) "
        assert read(doomed + "WHERE p.kind = 'remove_object'") == []
        gone = "SELECT o.key FROM operations AS p JOIN objects AS o ON o.id = p.object_id "
        gone += "WHERE p.kind = 'remove_object' AND o.scheme = 's3'"
        assert {key for (key,) in read(gone)} <= self.owned
        dangling = "SELECT * FROM {} WHERE object_id IS NOT NULL AND object_id NOT IN "
        for table in ("operations", "job_objects"):
            assert read(dangling.format(table) + "(SELECT id FROM objects)") == []
        assert read("SELECT * FROM job_objects WHERE local_id NOT IN "
                    "(SELECT local_id FROM processing_jobs)") == []  # fmt: skip
        twice = "SELECT object_id FROM operations WHERE kind = 'remove_object' "
        assert read(twice + "GROUP BY object_id HAVING count(*) > 1") == []

    def finish(self) -> None:
        """Everything comes to its end: nothing is left."""
        self.remove(True, "")
        for _ in range(3):
            sql(self.store, "DELETE FROM operations WHERE kind IN ('create', 'upload_input')")
            for job in self.store.list_jobs(statuses=list(ACTIVE)):
                end(self.store, job.local_id)
            clean_up(self.store)
            sql(self.store, f"UPDATE operations SET next_attempt_at = '{EPOCH}'")
            remove(self.store)
        sql(self.store, "DELETE FROM operations WHERE kind = 'clean_up'")
        left = everything(self.store)
        assert left.pop("job_events") is not None and not any(left.values())
