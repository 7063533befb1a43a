"""`[storage]` and `[cleanup]`: what may stand there, and how slips are told"""

from __future__ import annotations

import pytest

from tracker import config
from tracker.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "path_style", "allowed"),
    [
        ("", False, None),
        ('endpoint_url = "http://minio"', True, None),
        ('endpoint_url = "http://minio"\npath_style = false', False, None),
        ("path_style = true\nallowed_buckets = []", True, ()),
    ],
)
def test_what_follows_for_storage(text, path_style, allowed):
    """Servers of one's own are asked by path unless it is said otherwise; an empty list of buckets
    allows none, no list allows any."""
    storage = config.parse(f"[storage]\n{text}", "/t.toml").storage
    assert (storage.path_style, storage.allowed_buckets) == (path_style, allowed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cleanup]\nkeep = 1.5", "^cleanup.keep: expected a whole number"),
        ("[cleanup]\nfailed = true", "^cleanup.failed: expected a duration"),
        ('[cleanup]\ncompletd = "1d"', "^cleanup.completd: unknown key .*'completed'"),
        ("[cleanup]\nprocessing = 1", "^cleanup.processing: unknown key"),
        ('[cleanup]\nautomatic = "yes"', "^cleanup.automatic: expected true or false"),
        ('[cleanup]\nevery = "0s"', "^cleanup.every: must be longer than 0"),
        ("cleanup = 7", "^cleanup: expected a table, got 7"),
        ('[storage]\nbukcet = "x"', r"^storage.bukcet: unknown key \(did you mean 'bucket'"),
        ('[storage]\nbucket = "a b"', '^storage.bucket: expected the name of a bucket, got "a b"'),
        ('[storage]\nbucket = "s3://abc"', "^storage.bucket: expected the name of a bucket"),
        ('[storage]\nbucket = "a"', "^storage.bucket: expected the name of a bucket"),
        ("[storage]\nbucket = 1", "^storage.bucket: expected a string, got 1"),
        ('[storage]\nbucket = ""', "^storage.bucket: must not be empty"),
        ("[storage]\nprefix = []", "^storage.prefix: expected a string"),
        (f'[storage]\nprefix = "{"é" * 257}"', "^storage.prefix: is longer than 512 bytes"),
        ('[storage]\nendpoint_url = "minio:9000"', "^storage.endpoint_url: expected an http"),
        ('[storage]\nendpoint_url = "http://me:pw@x"', "^storage.endpoint_url: expected an http"),
        ('[storage]\nendpoint_url = "http://x/path"', "^storage.endpoint_url: expected an http"),
        ('[storage]\nregion = ""', "^storage.region: must not be empty"),
        ("[storage]\nregions = { a = 1 }", "^storage.regions.a: expected a string, got 1"),
        ('[storage]\nregions = "eu"', "^storage.regions: expected a table"),
        ("[storage]\npath_style = 1", "^storage.path_style: expected true or false"),
        ('[storage]\nallowed_buckets = "a"', "^storage.allowed_buckets: expected an array"),
        ("[storage]\nallowed_buckets = [1]", "^storage.allowed_buckets: expected an array"),
        (
            '[storage]\nbucket = "abc"\nallowed_buckets = ["abd"]',
            '^storage.bucket: "abc" is not in storage.allowed_buckets',
        ),
        ('[storage]\npresign = "8d"', "^storage.presign: expected from 1 s to 7 days"),
        ('[storage]\npresign = "100ms"', "^storage.presign: expected from 1 s to 7 days"),
        ('[storage]\npart_size = "5MB"', "^storage.part_size: S3 takes parts from 5 MiB"),
        ('[storage]\npart_size = "6GiB"', "^storage.part_size: S3 takes parts from 5 MiB"),
        ("[storage]\nconcurrency = 0", "^storage.concurrency: expected a whole number from 1"),
        ("[storage]\ntimeout = 0", "^storage.timeout: must be longer than 0"),
    ],
)
def test_slips_are_named(text, message):
    """A wrong value is told in one line with its full path, what it is and what was expected; a
    password in it is not shown."""
    with pytest.raises(ConfigError, match=message) as caught:
        config.parse(text, "/tracker.toml")
    assert "\n" not in str(caught.value) and "pw@" not in str(caught.value)


@pytest.mark.parametrize("arguments", [["poll"], ["cleanup"]])
def test_as_a_user_meets_them(project, service, arguments):
    """Whatever command comes upon a wrong setting ends with exit 2 and changes nothing."""
    project.add()
    for table, key, value, told in [
        ("storage", "part_size", "1MB", "storage.part_size: S3 takes parts from 5 MiB to 5 GiB"),
        ("cleanup", "evry", "1h", "cleanup.evry: unknown key (did you mean 'every'?)"),
    ]:
        project.configure(**{table: {key: value}})
        assert project.refused(2, *arguments).startswith(told)
    assert service.seen == []


def test_settings_of_services_as_a_user_meets_them(project):
    """A service's own settings are checked too, whichever service a command is about."""
    project.create()
    for docs, told in [
        ({"cleanup": {"instead": True}}, "services.docs.cleanup.instead: goes with a request"),
        ({"cleanup": {"failed": "x"}}, "services.docs.cleanup.failed: expected a duration"),
        ({"result": {"keep": "s3"}}, "services.docs.result.keep: expected one of"),
        ({"create": {"upload": 1}}, "services.docs.create.upload: expected true or false"),
    ]:
        project.configure(docs)
        assert project.refused(2, "poll").startswith(told)
