"""tracker init"""

from __future__ import annotations

import tomllib

from postgres import in_file


@in_file
def test_it_writes_what_the_other_commands_read(project):
    """`init` writes a tracker.toml that parses, creates the database and says what comes next."""
    project.toml.unlink()
    told = project.ok("init").out
    assert "wrote tracker.toml" in told and "next:" in told
    assert tomllib.loads(project.toml.read_text()) == {}
    assert project.db.exists()
    assert project.json("list") == []


def test_its_examples_work(project, service):
    """The commented example of `init` is a configuration that works once it is uncommented."""
    project.toml.unlink()
    project.ok("init")
    lines = project.toml.read_text().splitlines()
    start = lines.index("# [services.docs]")
    text = "\n".join(line.removeprefix("# ").removeprefix("#") for line in lines[start:])
    project.toml.write_text(text.replace("https://api.example.com/v1", service.url))
    assert project.json("services", "list")[0]["service"] == "docs"
    assert project.ok("services", "check", DOCS_TOKEN="token-of-docs").code == 0


@in_file
def test_into_a_new_folder(project):
    """`init FOLDER` makes the folder and puts both files into it."""
    project.ok("init", "new/folder")
    assert (project.path / "new/folder/tracker.toml").exists()
    assert (project.path / "new/folder/tracker.db").exists()
    assert not project.db.exists()


def test_nothing_is_overwritten(project):
    """An existing tracker.toml stays as it is: exit 5, and what to do."""
    before = project.toml.read_bytes()
    error = project.refused(5, "init")
    assert "tracker.toml exists already" in error and "name another folder" in error
    assert project.toml.read_bytes() == before
    assert not project.db.exists()


def test_a_folder_that_cannot_be(project):
    """A folder that cannot be made is one line with the reason."""
    (project.path / "file").write_text("")
    error = project.run("init", "file/folder")
    assert error.code in (1, 2)
    assert "file/folder" in error.error


@in_file
def test_json(project):
    """`init --json` names both files, and nothing else."""
    project.toml.unlink()
    assert project.json("init") == {"config": str(project.toml), "database": str(project.db)}
