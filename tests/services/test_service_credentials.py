"""Credentials by reference."""

from __future__ import annotations

import os
import select
import sys
import threading

import pytest
from servicing import docs

from tracker import clock
from tracker.errors import CallFailed, ConfigError
from tracker.services import secret
from tracker.services.credentials import HeaderCredential, read_auth
from tracker.tables import Table


def credential(auth: dict, folder: str = ".") -> HeaderCredential:
    return HeaderCredential((read_auth(Table("services.docs.auth", auth), folder),))


def command(code: str) -> str:
    return f'command:{sys.executable} -c "{code}"'


def test_every_form_of_auth(monkeypatch):
    """bearer, basic and header make the headers that services expect."""
    monkeypatch.setenv("KEY", "k1")
    assert credential({"bearer": "env:KEY"}).headers() == {"Authorization": "Bearer k1"}
    raw = credential({"header": "X-Api-Key", "value": "env:KEY"})
    assert raw.headers() == {"X-Api-Key": "k1"}
    prefixed = credential({"header": "Authorization", "value": "env:KEY", "prefix": "Key "})
    assert prefixed.headers() == {"Authorization": "Key k1"}
    basic = {"Authorization": "Basic bWU6azE="}
    assert credential({"basic": {"user": "me", "password": "env:KEY"}}).headers() == basic
    monkeypatch.setenv("WHO", "me")
    assert credential({"basic": {"user": "env:WHO", "password": "env:KEY"}}).headers() == basic
    assert credential({"basic": {"user": "env:KEY"}}).headers() == {"Authorization": "Basic azE6"}


def test_files_and_commands(tmp_path, monkeypatch):
    """A file's and a command's trailing line break is no part of the secret."""
    (tmp_path / "token").write_bytes(b"from-file\r\n")
    expected = {"Authorization": "Bearer from-file"}
    assert credential({"bearer": "file:token"}, str(tmp_path)).headers() == expected
    monkeypatch.setenv("HOME", str(tmp_path))
    assert credential({"bearer": "file:~/token"}, "/nowhere").headers() == expected
    made = credential({"bearer": command("print('from-command')")}).headers()
    assert made == {"Authorization": "Bearer from-command"}


def test_expiring_tokens(tmp_path, monkeypatch):
    """A command may say how long its token lives; it is asked again shortly before that."""
    now = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    count = tmp_path / "count"
    count.write_text("")
    code = (
        f"p=r'{count}';open(p,'a').write('x');n=len(open(p).read());"
        "import json;print(json.dumps(dict(token='t%d'%n,expires_in=100)))"
    )
    found = credential({"bearer": command(code)})
    assert found.headers() == {"Authorization": "Bearer t1"}
    now[0] = 89.0
    assert found.headers() == {"Authorization": "Bearer t1"}
    now[0] = 90.5
    assert found.headers() == {"Authorization": "Bearer t2"}


def test_what_is_at_hand(tmp_path, monkeypatch):
    """Headers that are known and good are had without asking and without waiting for who asks."""
    now = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    code = "import json;print(json.dumps(dict(token='t',expires_in=100)))"
    found = credential({"bearer": command(code)})
    assert found.at_hand() is None
    assert found.headers() == found.at_hand() == {"Authorization": "Bearer t"}
    with found._lock:
        assert found.at_hand() is None
    now[0] = 90.5
    assert found.at_hand() is None


def test_renewal(monkeypatch):
    """After a 401 the provider is asked once; calls that used the old headers see the new ones."""
    monkeypatch.setenv("KEY", "old")
    found = credential({"bearer": "env:KEY"})
    used = dict(found.headers())
    assert found.renew(used) is False
    monkeypatch.setenv("KEY", "new")
    assert found.headers() == used
    assert found.renew(used) is True
    assert found.headers() == {"Authorization": "Bearer new"}
    monkeypatch.setenv("KEY", "newer")
    assert found.renew(used) is True, "another call has renewed already"
    assert found.headers() == {"Authorization": "Bearer new"}
    monkeypatch.delenv("KEY")
    assert found.renew(dict(found.headers())) is False
    with pytest.raises(CallFailed, match="env:KEY is not set"):
        found.headers()


def test_a_slow_provider_is_not_asked_by_every_call(tmp_path, monkeypatch):
    """Many calls that meet a 401, or no credentials, run the command once in five seconds."""
    now = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    count = tmp_path / "count"
    code = f"open(r'{count}','a').write('x');print('same')"
    found = credential({"bearer": command(code)})
    used = dict(found.headers())
    threads = [threading.Thread(target=found.renew, args=(used,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.read_text() == "xx"
    now[0] = 6.0
    found.renew(used)
    assert count.read_text() == "xxx"
    failing = credential({"bearer": command(f"open(r'{count}','a').write('y');exit(3)")})
    for _ in range(3):
        with pytest.raises(CallFailed, match="failed with exit code 3"):
            failing.headers()
    assert count.read_text() == "xxxy"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"s3cret\nsecond", "a line break"),
        (b"s3cret\xe2\x82\xac", "not Latin-1"),
        (b"s3cret\xff", "not UTF-8"),
        (b"s3cret" * 20000, "longer than"),
    ],
)
def test_bad_files_are_named_and_never_shown(tmp_path, content, message):
    """A secret that cannot be used is an error that names the reference, not the secret."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(CallFailed, match=message) as caught:
        credential({"bearer": "file:token"}, str(tmp_path)).headers()
    assert "file:token" in str(caught.value) and "s3cret" not in str(caught.value)
    assert "services.docs.auth.bearer" in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    """A folder is no secret."""
    with pytest.raises(CallFailed, match="is no file"):
        credential({"bearer": f"file:{tmp_path}"}).headers()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (command("pass"), "printed nothing"),
        (command("print('s3cret');exit(1)"), "failed with exit code 1"),
        (command("print('s3cret\\\\nb')"), "a line break"),
        (command("print('{\\\\x22x\\\\x22: \\\\x22s3cret\\\\x22}')"), "without a token"),
        ("command:/no/such/program", "cannot be started"),
    ],
)
def test_bad_commands(reference, message):
    """A command that brings no secret is an error without its output."""
    with pytest.raises(CallFailed, match=message) as caught:
        credential({"bearer": reference}).headers()
    text = str(caught.value).replace(reference, "")
    assert "s3cret" not in text


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux only")
def test_a_hanging_command_is_killed_with_its_children(monkeypatch, tmp_path):
    """A command, or a child that holds its output, cannot stop the tracker, and none is left."""
    monkeypatch.setattr(secret, "COMMAND_SECONDS", 0.3)
    pid = tmp_path / "pid"
    with pytest.raises(CallFailed, match=r"took longer than 0\.3 s"):
        credential({"bearer": f"command:sh -c 'sleep 60 & echo $! > {pid}; wait'"}).headers()
    try:
        child = os.pidfd_open(int(pid.read_text()))
    except ProcessLookupError:
        return
    assert select.select([child], [], [], 5)[0], "the child still runs"
    os.close(child)


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({"bearer": "s3cret"}, "auth.bearer: expected a reference"),
        ({"bearer": 123456789}, "auth.bearer: expected a string"),
        ({"bearer": ""}, "auth.bearer: must not be empty"),
        ({"bearer": "env:a b"}, "environment variable"),
        ({"bearer": "command:'x"}, "cannot be split"),
        ({"bearer": "plain:s3cret"}, "expected a reference"),
        ({"basic": {"user": "me", "password": "s3cret"}}, "auth.basic.password: expected a ref"),
        ({"basic": {"user": "a:b"}}, "colon"),
        ({"header": "X-Key"}, "header needs a value"),
        ({"header": "X Key", "value": "env:A"}, "not a header name"),
        ({"bearer": "env:A", "header": "X"}, "one of bearer, basic, header"),
        ({"bearer": "env:A", "value": "env:B"}, "go with header"),
        ({}, "one of bearer, basic, header"),
        ({"bearr": "env:A"}, "auth.bearr: unknown key.*'bearer'"),
    ],
)
def test_literal_secrets_and_slips_are_refused(auth, message):
    """A secret in the file, and every misspelling, is a ConfigError that shows no value."""
    with pytest.raises(ConfigError, match=message) as caught:
        read_auth(Table("services.docs.auth", auth), ".")
    assert "s3cret" not in str(caught.value) and "123456789" not in str(caught.value)


def test_secret_headers(monkeypatch):
    """A service's header may be a reference; it then travels with the credential only."""
    monkeypatch.setenv("KEY", "k")
    service = docs('headers = { X-Key = "env:KEY", X-Version = "2" }')
    assert service.headers == {"X-Version": "2"}
    assert service.credential.headers() == {"X-Key": "k"}
    for bad in (
        'headers = { Authorization = "Bearer s3cret" }',
        'auth = { header = "X-Key", value = "env:KEY" }\nheaders = { x-key = "1" }',
        'headers = { X-Key = "a\\nb" }',
        "headers = { X-Key = 1 }",
    ):
        with pytest.raises(ConfigError, match=r"services\.docs\.headers") as caught:
            docs(bad)
        assert "s3cret" not in str(caught.value)


def test_nothing_prints_a_secret(monkeypatch):
    """Neither the credential nor what it read shows the secret in its repr."""
    monkeypatch.setenv("KEY", "s3cret")
    service = docs('auth = { bearer = "env:KEY" }')
    service.credential.headers()
    assert "s3cret" not in repr(service) + repr(secret.Read("s3cret"))
