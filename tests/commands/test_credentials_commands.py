"""Credentials that a command brings, or does not, as somebody at a shell meets them"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest
from service import Answer

TOKEN = "tok-4711-which-nobody-may-read"
OTHER = "tok-4712-which-nobody-may-read"
ALL = {
    "update": {"request": {"method": "POST", "path": "/jobs/{server_id}", "json": "{changes}"}},
    "delete": {"request": {"path": "/jobs/{server_id}"}},
    "list": {
        "request": {"path": "/jobs/all"},
        "items": "body.jobs",
        "server_id": "body.id",
        "fields": {"pages": "body.pages"},
    },
}


class Provider:
    """A command that is a credentials provider; how often it ran is in a file."""

    def __init__(self, project, folder):
        self.project = project
        self.script = folder / "provider.py"
        self.ran = folder / "ran"
        self.ran.write_text("")
        self.says = folder / "says"

    def does(self, body, **docs):
        """Have it run this Python, and the service use it."""
        noted = f"open({str(self.ran)!r}, 'a').write('x')\n"
        self.script.write_text(f"import sys, time, os, json\n{noted}{body}\n")
        reference = f"command:{sys.executable} {self.script}"
        self.project.configure({**ALL, "auth": {"bearer": reference}, **docs})

    def prints(self, text, **docs):
        """Have it print what a file says, which is this at first."""
        self.says.write_text(text)
        self.does(f"sys.stdout.write(open({str(self.says)!r}).read())", **docs)

    @property
    def count(self):
        """How often it ran."""
        return len(self.ran.read_text())


@pytest.fixture
def provider(project, tmp_path):
    """See `Provider`."""
    return Provider(project, tmp_path)


def sent(service):
    """The credentials that came with each request."""
    return [one.headers.get("authorization") for one in service.requests()]


def everything(project, *done):
    """All that is kept in the folder, byte for byte, and on a server, and all that was said."""
    kept = b"".join(one.read_bytes() for one in project.path.rglob("*") if one.is_file())
    told = "".join(one.out + one.err for one in done)
    return kept.decode("latin-1") + "".join(project.dump()) + told


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit(3)", "failed with exit code 3"),
        ("os.kill(os.getpid(), 9)", "failed with exit code -9"),
        ("", "printed nothing"),
        ("print(' ')", "printed nothing"),
        ("print('{}')", "without a token"),
        ("""print('{"token": ""}')""", "without a token"),
        ("""print('{"token": 5}')""", "without a token"),
        ("""print('{"token": null, "expires_in": 60}')""", "without a token"),
        ("print('a\\nb')", "control character"),
        ("sys.stdout.buffer.write(bytes([255, 254]))", "is not UTF-8"),
        ("print('x' * 100_000)", "is longer than"),
        ("print('\\u20ac-token')", "not Latin-1"),
    ],
)
def test_a_command_that_brings_nothing(project, service, provider, body, why):
    """Without credentials nobody is called and no attempt is burnt; what is owed is on record, the
    command succeeds, and `services check` names the reference and the reason: exit 1."""
    provider.does(body)
    job = project.ok("submit", "docs", "-p", "pages:=1").line
    assert service.seen == []
    [owed] = project.json("outbox", "--job", job)
    assert (owed["state"], owed["attempts"]) == ("pending", 0)
    [told] = project.json("services", "check", code=1)
    assert why in told["credentials"] and "provider.py" in told["credentials"]


def test_nothing_is_said_of_what_was_printed(project, provider):
    """What a failing or a babbling command printed is in no message."""
    for body in (
        f"print({TOKEN!r}); sys.stderr.write({TOKEN!r}); sys.exit(1)",
        f"print({TOKEN!r} + chr(10) + 'second line')",
        f"""print('{{"tokken": "{TOKEN}"}}')""",
        f"print({TOKEN!r} + chr(0x20ac))",
    ):
        provider.does(body)
        done = [
            project.run("-vv", "services", "check"),
            project.run("-vv", "submit", "docs"),
            project.run("-vv", "poll"),
            project.run("health"),
        ]
        assert done[0].code == 1 and TOKEN not in everything(project, *done)


def test_a_command_that_hangs(project, service, provider, tmp_path):
    """A command that never ends is ended with its children after ten seconds: the submission is on
    record, nobody was called, and nothing of the command is left."""
    pids = tmp_path / "pids"
    provider.does(
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    began = time.monotonic()
    job = project.ok("submit", "docs").line
    print(f"submit took {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 20
    assert service.seen == [] and project.row(job)["status"] == "pending"

    def ended(pid):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    project.until(lambda: all(ended(pid) for pid in pids.read_text().split()))


def test_a_command_that_prints_without_end(project, service, provider, tmp_path):
    """Of a command that prints more than any secret has no more is taken than that."""
    taken = tmp_path / "taken"
    provider.does(
        "for number in range(1, 1025):\n"
        "    os.write(1, b'x' * 65536)\n"
        f"    open({str(taken)!r}, 'a').write(f'{{number}} ')"
    )
    [told] = project.json("services", "check", code=1)
    assert "is longer than" in told["credentials"]
    assert len(taken.read_text().split()) < 16


def test_it_is_asked_once(project, service, provider):
    """One answer serves all calls of a process while it is good."""
    provider.prints(json.dumps({"token": TOKEN, "expires_in": 3600}))
    for number in range(20):
        project.add(f"srv-{number}")
    project.ok("poll")
    assert provider.count == 1 and set(sent(service)) == {f"Bearer {TOKEN}"}
    assert len(sent(service)) > 20


def test_one_that_expires_soon(project, service, provider):
    """A token that says how long it lives is asked for again by itself, without a 401."""
    handed_out = []
    provider.does(
        "print(json.dumps({'token': f'token-{time.time()}', 'expires_in': 0.5}))",
        poll={"first": "0s", "every": "100ms", "max_per_minute": 6000},
    )

    def looked_at(seen):
        made = float(seen.headers["authorization"].removeprefix("Bearer token-"))
        handed_out.append(time.time() - made)
        return "running"

    service.statuses = [looked_at]
    project.add()
    command = project.start("run", "--quiet")
    service.wait_for(12, "GET", "/jobs/srv-1$")
    command.signal(2)
    command.end()
    assert provider.count >= 2
    assert len(set(sent(service))) >= 2
    print(f"oldest token {max(handed_out):.2f} s of 0.5 s")


@pytest.mark.parametrize("says", ["0", "-5", '"soon"', "null", "1e400", "true", "[]"])
def test_odd_lives(project, service, provider, says):
    """A life that is no number of seconds to come keeps the token until a 401."""
    provider.prints(f'{{"token": "{TOKEN}", "expires_in": {says}}}')
    project.add()
    project.ok("poll")
    assert set(sent(service)) == {f"Bearer {TOKEN}"} and provider.count == 1


def test_a_401_with_a_token_that_changed(project, service, provider):
    """After a 401 the command is asked again, once; with the new token all goes on, and no attempt
    is burnt."""
    provider.prints(TOKEN)

    def guarded(seen):
        if seen.headers["authorization"] == f"Bearer {OTHER}":
            return "accepted"
        provider.says.write_text(OTHER)
        return Answer({"error": "expired"}, 401)

    service.creates = [guarded]
    job = project.ok("submit", "docs").line
    assert project.row(job)["status"] == "processing"
    assert sent(service) == [f"Bearer {TOKEN}", f"Bearer {OTHER}"] and provider.count == 2


def test_a_401_with_the_same_token(project, service, provider):
    """Where the command brings the same again the call is not repeated: the service is paused for
    everybody, and nothing is burnt."""
    provider.prints(TOKEN)
    service.creates = [Answer({"error": "who are you"}, 401)]
    jobs = [project.record() for _ in range(20)]
    project.ok("poll")
    assert service.count("POST") < len(jobs) and provider.count == 2
    owed = project.json("outbox")
    assert {(one["state"], one["attempts"]) for one in owed if one["kind"] == "create"} == {
        ("pending", 0)
    }
    assert "401" in project.json("services", "list")[0]["paused_why"]
    assert project.run("health").code == 1


def test_a_401_whatever_the_token(project, service, provider):
    """Where each answer of the command is another token and all are refused, a call is repeated
    once and no more, and nothing is burnt."""
    provider.does("print(f'token-{time.time_ns()}')")
    service.creates = [Answer({"error": "no"}, 401)]
    job = project.ok("submit", "docs").line
    assert service.count("POST") == 2 and len(set(sent(service))) == 2 and provider.count == 2
    [owed] = project.json("outbox", "--job", job)
    assert (owed["state"], owed["attempts"]) == ("pending", 0)


@pytest.mark.parametrize("source", ["env", "command"])
def test_the_secret_is_nowhere(project, service, provider, tmp_path, source):
    """A service that repeats its credentials wherever it can gets them into no output, no log, no
    event, and no byte of the database, from submission to deletion."""
    (tmp_path / "token").write_text(TOKEN)
    provider.prints(TOKEN)
    reference = {
        "env": "env:DOCS_TOKEN",
        "file": f"file:{tmp_path / 'token'}",
        "command": f"command:cat {tmp_path / 'token'}",
    }[source]
    project.configure({**ALL, "auth": {"bearer": reference}})
    project.env["DOCS_TOKEN"] = TOKEN
    bad = {"error": {"message": f"Bearer {TOKEN} is bad"}, "message": f"x{TOKEN}x", "detail": TOKEN}
    service.creates = [Answer(bad, 500), Answer(f"<p>{TOKEN}</p>", 502), "accepted"]
    service.statuses = [
        Answer(bad, 401),
        Answer(bad, 422),
        {"status": TOKEN},
        {"status": "error", "error": {"message": f"not with {TOKEN}"}},
    ]
    service.scripts["all"] = [Answer(bad, 400), {"jobs": [{"id": "a"}], "next": TOKEN}]
    done = [project.run("-vv", "submit", "docs", "-p", "pages:=1", "--json")]
    job = done[0].json["local_id"]
    for arguments in (
        *[["poll"]] * 6,
        ["update", job, "-p", "pages:=2"],
        ["refresh", "--force"],
        ["refresh", "--force"],
        ["show", job],
        ["show", job, "--refresh"],
        ["explain", job],
        ["events"],
        ["outbox", "--json"],
        ["health", "--json"],
        ["services", "check"],
        ["services", "list"],
        ["list", "--json"],
        ["delete", job],
        ["poll"],
    ):
        done.append(project.run("-vv", *arguments))
    assert sum(f"Bearer {TOKEN}" == one for one in sent(service)) > 3
    said = everything(project, *done)
    assert "is bad" in said
    assert TOKEN not in said


@pytest.mark.parametrize("place", ["id", "status", "pages"])
def test_a_listing_that_repeats_the_secret(project, service, place):
    """Credentials that a listing repeats, as an id, a state or a field, are not kept."""
    project.configure({**ALL, "auth": {"bearer": "env:DOCS_TOKEN"}})
    project.env["DOCS_TOKEN"] = TOKEN
    service.scripts["all"] = [{"jobs": [{"id": "a", "pages": 1, place: TOKEN}]}]
    done = [project.run("-vv", "refresh"), project.run("list", "--json")]
    assert sent(service) != [] and TOKEN not in everything(project, *done)


@pytest.mark.parametrize("padding", [0, 50, 90, 150, 180, 195, 290, 490, 990, 1990])
def test_no_part_of_the_secret(project, service, padding):
    """Where a service's words are cut, no part of the credentials is left at the cut."""
    project.configure({**ALL, "auth": {"bearer": "env:DOCS_TOKEN"}})
    project.env["DOCS_TOKEN"] = TOKEN
    service.creates = [Answer({"error": {"message": "y" * padding + TOKEN * 3}}, 400)]
    done = project.run("-vv", "submit", "docs")
    assert service.count("POST") == 1
    assert re.search("y{40}|[*]{3}", everything(project, done)) is not None
    assert TOKEN[:12] not in everything(project, done)


def test_a_short_path(project, service, provider):
    """The command is no shell line: nothing in it is expanded, and no file is made."""
    project.configure({**ALL, "auth": {"bearer": "command:echo $HOME; touch made > also"}})
    project.add()
    project.ok("poll")
    assert set(sent(service)) == {"Bearer $HOME; touch made > also"}
    assert not {"made", "also"} & {one.name for one in project.path.iterdir()}
