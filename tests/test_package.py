"""What is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_has_one_top_level_name(tmp_path: Path) -> None:
    """`commands` and `schema` would break other people's imports: a wheel holds only `tracker`,
    with the SQL files and the marker of its types."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", tmp_path, ROOT],
        check=True,
        cwd=tmp_path,
    )
    [wheel] = tmp_path.glob("tracker_jobs-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tracker"}
    assert {
        "tracker/py.typed",
        "tracker/schema/sqlite/tables.sql",
        "tracker/schema/sqlite/queries.sql",
        "tracker/schema/sqlite/0001_ledger.sql",
        "tracker/schema/sqlite/0002_objects.sql",
        "tracker/services/presets/openai-batch.toml",
        "tracker/storage/definition.py",
        "tracker/commands/poll.py",
    } <= set(names)


def test_the_command_works_from_any_folder(tmp_path: Path) -> None:
    """The installed command needs nothing of the checkout."""
    command = Path(sys.executable).with_name("tracker")
    done = subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("tracker")
