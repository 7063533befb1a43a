"""`tracker.toml`: where it is found, what it may say, and how slips are told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracker
from tracker import config, places
from tracker.config import CleanupPolicy, Config, NotifyConfig, StorageConfig
from tracker.errors import ConfigError
from tracker.tables import Table, parse_duration, parse_rate, parse_size


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A user without any configuration, in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("TRACKER_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def test_without_a_file(empty):
    """Without any file everything has its default, and the ledger is in the user's data folder."""
    assert config.load() == Config(database=str(empty / "data/tracker/tracker.db"))
    assert config.load().path is None and config.load().folder is None


def test_the_order_of_places(empty, monkeypatch):
    """--config goes before TRACKER_CONFIG, that before ./tracker.toml, that before the user's."""
    user = empty / "config/tracker/tracker.toml"
    user.parent.mkdir(parents=True)
    names = [user, Path("tracker.toml"), empty / "env.toml", empty / "explicit.toml"]
    for name in names:
        name.write_text(f'user_id = "{name.stem}-{name.parent.name}"')
        if name.stem == "env":
            monkeypatch.setenv("TRACKER_CONFIG", str(name))
        loaded = config.load(str(name) if name.stem == "explicit" else None)
        assert loaded.path == name.absolute()
        assert loaded.database == str(name.absolute().parent / "tracker.db")


def test_a_named_file_must_be_there(empty, monkeypatch):
    """A missing file that was asked for is an error, not a reason to look elsewhere."""
    Path("tracker.toml").write_text("")
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file"):
        config.load("nowhere.toml")
    monkeypatch.setenv("TRACKER_CONFIG", str(empty / "gone.toml"))
    with pytest.raises(ConfigError, match=r"gone\.toml: no such file"):
        config.load()
    monkeypatch.setenv("TRACKER_CONFIG", "")
    assert config.load().path == Path("tracker.toml").absolute()


def test_home_folders(empty, monkeypatch):
    """Without XDG settings, or with relative ones, the folders are those of the platform."""
    for value in (None, "relative"):
        for kind in ("CONFIG", "DATA"):
            name = f"XDG_{kind}_HOME"
            monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "platform", "linux")
        home = empty / "home"
        assert places.user_folder("CONFIG", ".config") == str(home / ".config/tracker")
        assert places.default_database() == str(home / ".local/share/tracker/tracker.db")
        monkeypatch.setattr(sys, "platform", "darwin")
        mac = str(home / "Library/Application Support/tracker")
        assert places.user_folder("CONFIG", ".config") == mac


def refused(empty, content: bytes | None, match: str) -> str:
    name = empty / "bad.toml"
    name.mkdir() if content is None else name.write_bytes(content)
    with pytest.raises(ConfigError, match=match) as caught:
        config.load(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = ", "bad.toml: line 1, column 5: invalid value"),
        (b'a = 1\n\nb = "x', "bad.toml: line 3, column 7: "),
        (b"a = 1\na = 2", "bad.toml: line 2, column "),
        (b"a = " + b"1" * 9000, "bad.toml: "),
        (b"a = " + b"[" * 9000, "bad.toml: nested too deeply"),
        (b"a = 1\n\xff", r"bad.toml: not UTF-8 \(byte 6\)"),
        (None, "bad.toml: is a folder"),
    ],
)
def test_files_that_are_no_toml(empty, content, message):
    """What cannot be parsed is one line with file, line and column."""
    refused(empty, content, message)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files(empty):
    """A file without permission is one line."""
    name = empty / "secret.toml"
    name.write_text("")
    name.chmod(0)
    with pytest.raises(ConfigError, match=r"secret\.toml: cannot be read: Permission denied"):
        config.load(str(name))


def test_a_bom_and_windows_lines(empty):
    """Files from Windows editors are read."""
    Path("tracker.toml").write_bytes(b'\xef\xbb\xbfuser_id = "me"\r\n[log]\r\nlevel = "debug"\r\n')
    assert (config.load().user_id, config.load().log_level) == ("me", "debug")


def test_every_setting_arrives():
    """Each key ends in its field, durations as seconds, paths absolute."""
    text = """
    database = "db/jobs.db"
    folder = "~/kept"
    user_id = "me"
    concurrency = 7
    legacy_zone = "Europe/Berlin"
    [log]
    level = "warning"
    format = "json"
    [cleanup]
    older_than = "12h"
    completed = "30d"
    failed = 0
    cancelled = "90s"
    keep = 100
    automatic = false
    every = "10m"
    [storage]
    bucket = "scans"
    prefix = "tracker/é/"
    endpoint_url = "https://minio.example.com:9000/"
    region = "eu-west-1"
    regions = { old = "us-east-1" }
    path_style = false
    allowed_buckets = ["scans", "old"]
    presign = "15m"
    part_size = "64MiB"
    concurrency = 2
    timeout = "20s"
    [notify]
    command = ["notify-send", "done"]
    url = "https://hooks.example.com/x?y=1"
    auth = { bearer = "env:HOOK" }
    timeout = "5s"
    [services.docs]
    base_url = "https://x"
    """
    found = config.parse(text, "/etc/t/tracker.toml")
    assert found == Config(
        database="/etc/t/db/jobs.db",
        file="/etc/t/tracker.toml",
        folder_name=str(Path("~/kept").expanduser()),
        user_id="me",
        concurrency=7,
        log_level="warning",
        log_format="json",
        cleanup=CleanupPolicy(
            older_than=43200.0,
            ages={"completed": 2592000.0, "failed": 0.0, "cancelled": 90.0},
            keep=100,
            automatic=False,
            every=600.0,
        ),
        storage=StorageConfig(
            bucket="scans",
            prefix="tracker/é/",
            endpoint_url="https://minio.example.com:9000/",
            region="eu-west-1",
            regions={"old": "us-east-1"},
            path_style=False,
            allowed_buckets=("scans", "old"),
            presign=900.0,
            part_size=64 * 2**20,
            concurrency=2,
            timeout=20.0,
        ),
        notify=NotifyConfig(
            ("notify-send", "done"),
            "https://hooks.example.com/x?y=1",
            {"bearer": "env:HOOK"},
            5.0,
        ),
        legacy_zone="Europe/Berlin",
        services={"docs": {"base_url": "https://x"}},
        fingerprint=found.fingerprint,
    )


def test_fingerprints():
    """What was checked once is known again: the same text has the same fingerprint, any other text
    has another, and none has another still."""
    texts = ["", "\n", "concurrency = 7", "concurrency = 8"]
    found = {config.parse(text, "/t.toml").fingerprint for text in texts} | {Config("").fingerprint}
    assert len(found) == 5 and all(one.startswith(f"{tracker.__version__} ") for one in found)
    assert config.parse(texts[2], "/t.toml").fingerprint in found


def test_databases():
    """A database is a path or a PostgreSQL URL, which stays as it is."""
    url = "postgresql://me@db/jobs?sslmode=require"
    assert config.parse(f'database = "{url}"', "/t.toml").database == url
    assert config.parse('database = "/abs/x.db"', "/t.toml").database == "/abs/x.db"
    assert config.parse("", "/t.toml").database == "/tracker.db"
    with pytest.raises(ConfigError) as caught:
        config.parse('database = "mysql://me:pw@db"', "/t.toml")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("databse = 1", r"^databse: unknown key \(did you mean 'database'\?\)"),
        ("database = 1", "^database: expected a string, got 1"),
        ('database = ""', "^database: must not be empty"),
        ('database = "a\\u0000b"', "^database: a path cannot hold a NUL"),
        ("concurrency = 1001", "^concurrency: expected a whole number from 1 to 1000, got 1001"),
        ("concurrency = 1.5", "^concurrency: expected a whole number"),
        ('[log]\nlevel = "debgu"', "^log.level: expected one of .*'debug'"),
        ("log = []", "^log: expected a table, got an array"),
        ("[log]\nformt = 1", "^log.formt: unknown key .*'format'"),
        ('[cleanup]\nolder_than = "7 days"', "^cleanup.older_than: expected a duration"),
        ("[cleanup]\nkeep = -1", "^cleanup.keep: expected a whole number of at least 0, got -1"),
        ('legacy_zone = "Mars/Base"', "^legacy_zone: expected a zone"),
        ('legacy_zone = "../../etc/passwd"', "^legacy_zone: expected a zone"),
        ('legacy_zone = "Europe"', "^legacy_zone: expected a zone"),
        ("[notify]", "^notify: expected a command or a url"),
        ('[notify]\nurl = "ftp://x"', "^notify.url: expected an http"),
        ('[notify]\nurl = "https://me:pw@x"', "^notify.url: expected an http"),
        ("[notify]\ncommand = []", "^notify.command: expected a command"),
        ('[notify]\ncommand = "a \'b"', "^notify.command: cannot be split"),
        ("[notify]\ncommand = 5", "^notify.command: expected a command, got 5"),
        ("[services]\ndocs = 1", "^services.docs: expected a table, got 1"),
    ],
)
def test_slips_are_named(text, message):
    """A wrong value is told with its full path, what it is and what was expected."""
    with pytest.raises(ConfigError, match=message) as caught:
        config.parse(text, "/tracker.toml")
    assert "\n" not in str(caught.value) and "pw@" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20s", 20),
        ("1m", 60),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("7d", 604800),
        ("2w", 1209600),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("1m500ms", 60.5),
        ("0s", 0),
        ("20", 20),
        (20, 20),
        (0.5, 0.5),
    ],
)
def test_durations(text, seconds):
    """A duration is a number of seconds or units from large to small."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "bad",
    [
        *["", "s", "-5s", "20 parsecs", "1s1m", "1s1s", "1e3s", "٣s", "nan", "inf", "1h-5m"],
        *["99999999d", -1, float("nan"), float("inf"), 10**400, True, None, [], {}],
    ],
)
def test_bad_durations(bad):
    """Everything else is an error that shows what was there."""
    with pytest.raises(ValueError, match='expected a duration such as "20s", got'):
        parse_duration(bad)


@given(st.integers(0, 9), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(days, hours, minutes, seconds):
    """The parts of a duration are added."""
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    assert parse_duration(text) == days * 86400 + hours * 3600 + minutes * 60 + seconds


@given(st.one_of(st.text(max_size=20), st.floats(), st.integers(), st.text("0123456789dhms. ")))
def test_durations_are_finite_or_refused(value):
    """Whatever is written, the outcome is a finite number of seconds or a ValueError."""
    try:
        assert 0 <= parse_duration(value) <= 36500 * 86400
    except ValueError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "distance"),
    [
        ("10/s", 0.1),
        ("600/m", 0.1),
        ("5/h", 720),
        ("1/d", 86400),
        ("0.5/s", 2),
        ("unlimited", None),
    ],
)
def test_rates(text, distance):
    """A rate is the least distance between two calls, in seconds."""
    assert parse_rate(text) == distance


@pytest.mark.parametrize(
    "bad", ["0/s", "-1/s", "10", "10/y", "/s", "", 10, None, "0.000000000001/d"]
)
def test_bad_rates(bad):
    """Everything else is an error."""
    with pytest.raises(ValueError, match='expected a rate such as "10/s"'):
        parse_rate(bad)


def test_sizes():
    """Sizes are bytes; MB is decimal, MiB binary."""
    assert [parse_size(v) for v in ("8MB", "8MiB", "1.5 kB", 7)] == [8 * 10**6, 8 * 2**20, 1500, 7]
    for bad in ("0", 0, -1, "8XB", "MB", True, 1.5, "9999GB", None):
        with pytest.raises(ValueError, match="expected a size"):
            parse_size(bad)


def test_tables_hide_secrets():
    """A wrong value under a secret key is not shown."""
    with pytest.raises(ConfigError) as caught:
        Table("x", {"token": 12345}).optional_string("token", secret=True)
    assert "12345" not in str(caught.value)


def test_what_the_configuration_imports():
    """Reading the configuration brings in nothing that takes milliseconds to import."""
    code = (
        "import sys, tracker.config as config\n"
        "config.parse('[log]\\nlevel = \"debug\"', '/tracker.toml')\n"
        "heavy = {'pathlib', 'jmespath', 'msgspec', 'requests', 'difflib', 'zoneinfo', 'shlex',\n"
        "         'urllib.parse', 'subprocess', 'json', 'tracker.services', 'tracker.model'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    path = [str(Path(tracker.__file__).parent.parent), *sys.path]
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"],
        check=True,
    )
