"""The preview of a cleanup says exactly what goes."""

from __future__ import annotations

import random
import shutil

import pytest

DAY = 86400.0
ROUNDS = 1
"""Mixtures for each set of arguments; 20 for each take a minute and a half, and hold as well."""
RETENTION = {"older_than": "7d", "failed": "3d"}
SLOW = {"older_than": "20d", "failed": "1d"}
ASKED = {"request": {"path": "/jobs/cleanup", "json": {"ids": "{server_ids}"}}}


def mixed(project, s3, bucket, rnd):
    """Jobs of three services and all ages, that share objects and files; some of them still run,
    some of the objects are not owned."""
    spool = project.path / "tracker.db.files" / "spool"
    spool.mkdir(parents=True)
    places = []
    for number in range(25):
        content = b"x" * rnd.randrange(1, 99)
        if rnd.random() < 0.3:
            (spool / f"{number}").write_bytes(content)
            places.append((spool / f"{number}").as_uri())
        else:
            s3.put(bucket, f"{number} ü+", content)
            places.append(f"s3://{bucket}/{number} ü+")
    with project.tracker() as tracker:
        for number in range(30):
            used = rnd.sample(places, rnd.randrange(4))
            job = tracker.add(rnd.choice(["docs", "slow", "own"]), str(number), objects=used)
            if rnd.random() < 0.85:
                rnd.choice([tracker.complete, tracker.fail])(job)
            ended = f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{rnd.uniform(0, 25)} days')"
            where = "local_id = ? AND completed_at NOTNULL"
            project.write(
                f"UPDATE processing_jobs SET completed_at = {ended} WHERE {where}", job.local_id
            )
    for (key, version_id, size), owned in zip(
        s3.versions(bucket), rnd.choices([False, True, True], k=25), strict=False
    ):
        project.write(
            "UPDATE objects SET owned = ?, version_id = ?, size = ? WHERE key = ?",
            *(owned, version_id, size, key),
        )
    project.write("UPDATE objects SET owned = ? WHERE scheme = 'file' AND id % 3 > 0", True)


def state(project, s3, bucket):
    """The jobs there are, and the places with their versions."""
    jobs = {row["local_id"] for row in project.rows("SELECT local_id FROM processing_jobs")}
    files = project.path.glob("tracker.db.files/**/*")
    places = {(f"s3://{bucket}/{key}", version) for key, version, _ in s3.versions(bucket)}
    return jobs, places | {(str(path), "") for path in files if path.is_file()}


def foreseen(receipt):
    """What a preview says that goes, as `state` has it."""
    places = [(one["place"], one["version_id"] or "") for one in receipt.places]
    assert len(set(places)) == len(places) == receipt.objects.requested + receipt.files.requested
    return {one["local_id"] for one in receipt.jobs}, set(places)


def services(project, **own):
    """Three services: an ordinary one, one with ages of its own, one that is asked to clean up."""
    base = {
        "base_url": project.url,
        "status": {"request": {"path": "/jobs/{server_id}"}, "state": "body.status"},
        "states": {"completed": ["done"]},
    }
    return {"slow": {**base, "cleanup": SLOW}, "own": {**base, "cleanup": {**ASKED, **own}}}


@pytest.mark.parametrize(
    ("arguments", "keep", "instead"),
    [
        ({}, None, False),
        ({}, 8, False),
        ({"older_than": 0.0}, None, False),
        ({"older_than": 10 * DAY, "statuses": ["failed"]}, None, False),
        ({"older_than": 5 * DAY}, 15, False),
        ({"older_than": 0.0}, None, True),
    ],
)
def test_what_a_preview_says_is_what_goes(
    project,
    s3,
    arguments,
    keep,
    instead,
):
    """Of whatever mixture, a preview names exactly the jobs, objects with their versions and files
    that the same cleanup then takes, with the same figures; and it changes nothing at all."""
    bucket = project.upload_to(
        s3,
        cleanup=RETENTION | ({} if keep is None else {"keep": keep}),
        services=services(project, instead=instead),
    )
    for seed in range(ROUNDS):
        mixed(project, s3, bucket, random.Random(f"{seed} {arguments} {keep} {instead}"))
        before, dump = state(project, s3, bucket), project.dump()
        with project.tracker() as tracker:
            told = tracker.cleanup(**arguments, dry_run=True)
            assert (state(project, s3, bucket), project.dump()) == (before, dump)
            done = tracker.cleanup(**arguments)
        after = state(project, s3, bucket)
        assert foreseen(told) == (before[0] - after[0], before[1] - after[1])
        assert 0 < told.rows_deleted == done.rows_deleted <= len(before[0])
        for one, other in ((told.objects, done.objects), (told.files, done.files)):
            assert one.requested == other.requested == other.removed
            assert one.bytes_freed == other.bytes_freed
        assert told.services_asked == done.services_asked
        for table in ("processing_jobs", "objects", "job_objects", "operations"):
            project.write(f"DELETE FROM {table}")
        shutil.rmtree(project.path / "tracker.db.files")
        for key, version_id, _ in s3.versions(bucket):
            s3.client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
