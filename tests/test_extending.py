"""The kind of operation of docs/extending.md, installed as it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from service import Answer

DOC = (Path(__file__).parent.parent / "docs" / "extending.md").read_text("utf-8")
TEXT = DOC.partition("\n## A service that a table cannot describe\n")[0]
GROUP = "tracker.executors"
OWE = """
import json
from tracker import Tracker

with Tracker("tracker.toml") as tracker:
    job = tracker.add("docs", "srv-1")
{owe}
    owed = tracker.store.outbox()
    tracker.poll()
    print(json.dumps([owed, tracker.store.outbox()]))
"""


def blocks(language: str) -> list[str]:
    """The section's blocks of code in this language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def install(folder: Path, module: str) -> None:
    """Put the document's module into `folder`, with the metadata that an installer writes for its
    entry points."""
    [toml] = blocks("toml")
    points = tomllib.loads(toml)["project"]["entry-points"][GROUP]
    [(name, target)] = points.items()
    info = folder / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{target}.py").write_text(module)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {target}\n")


def python(project, folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the project, with `folder` on its path."""
    return subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=project.path,
        env=project.env | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.fixture
def folder(tmp_path):
    """Where the package is installed."""
    return tmp_path / "site"


def program() -> str:
    """A program that owes one as the document does."""
    _, owe = blocks("python")
    [line] = [line for line in owe.splitlines() if "tracker.owe" in line]
    return OWE.format(owe=line)


def run(project, folder: Path) -> list[list[dict[str, object]]]:
    done = python(project, folder, program())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_example_is_attempted_and_done(project, service, folder):
    """A kind of one's own is one file and an entry point: what is owed is attempted once, as the
    file says, and is gone when it is done."""
    install(folder, blocks("python")[0])
    seen = []
    answered = service.answer

    def answer(request):
        if request.path == "/jobs/srv-1/thumbnail":
            seen.append((request.method, request.body))
            return Answer({"ok": True})
        return answered(request)

    service.answer = answer
    [owed], left = run(project, folder)
    assert (owed["kind"], owed["state"], owed["attempts"]) == ("thumbnail", "pending", 0)
    assert seen == [("POST", b"200")]
    assert left == []


def test_the_example_is_tried_again(project, service, folder):
    """An attempt that failed stays owed, with its error and the next date; the job goes on."""
    install(folder, blocks("python")[0])
    [_], [left] = run(project, folder)  # the service answers 404
    assert (left["state"], left["attempts"]) == ("pending", 1)
    assert "404" in left["last_error"]
    assert service.count("POST", "/thumbnail$") == 1
    [job] = project.rows("SELECT status FROM jobs")
    assert job["status"] == "processing"


def test_outbox_shows_it(project, service, folder):
    """`tracker outbox` shows what is owed of a kind that is not the tracker's, and lets it go."""
    install(folder, blocks("python")[0])
    run(project, folder)
    [owed] = project.json("outbox")
    assert owed["kind"] == "thumbnail"
    project.ok("outbox", "discard", str(owed["id"]))
    assert project.json("outbox") == []


def test_without_the_package_it_stays_owed(project, service, folder):
    """Where no executor is installed, what is owed is neither attempted nor lost."""
    folder.mkdir()
    [owed], [left] = run(project, folder)
    assert left == owed
    assert service.count("POST") == 0


@pytest.mark.parametrize("module", ["import nothing_like_it", "serve = 5"])
def test_a_package_that_is_of_no_use(project, folder, module):
    """A package that cannot be imported, or has no `serve`, is named in one clear error."""
    install(folder, module)
    done = project.run("poll", PYTHONPATH=str(folder))
    assert done.code == 2
    assert "executor 'thumbnails' of acme_thumbnails" in done.error
