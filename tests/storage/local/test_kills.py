"""An upload killed before each of its calls to the disk is stored as a whole, or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import kill_steps
from helpers.kill_steps import NEW, OLD

pytestmark = pytest.mark.timeout(180)

LEAST_KILLS = 10


@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
@pytest.mark.parametrize("way", ["renamed", "linked", "unnamed", "whole"])
def test_a_kill_before_any_call_leaves_a_whole_file_with_its_owner_and_receipt_or_none(
    tmp_path: Path, on_conflict: str, way: str
) -> None:
    ended = subprocess.run(
        [sys.executable, kill_steps.__file__, tmp_path / "files", on_conflict, way],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    *reports, last, completed = [
        json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")
    ]
    old, new = OLD.decode(), NEW.decode()
    name = "a.bin" if on_conflict == "replace" else "a (1).bin"
    stored = {
        "files": {"a.bin": old} | {name: new},
        "holdings": {"anna": 1} if on_conflict == "replace" else {"": 1, "anna": 1},
        "receipts": [f"anna/{name}"],
        "spool": [],
        "counted": sorted({"anna/a.bin", f"anna/{name}"}),
    }
    absent = {
        "files": {"a.bin": old},
        "holdings": {"": 1},
        "receipts": [],
        "spool": [],
        "counted": ["anna/a.bin"],
    }
    assert completed == {"completed": True}
    assert last == stored
    assert len(reports) > LEAST_KILLS
    assert all(report in (absent, stored) for report in reports), reports
    # Once a file is there, it stays; and some kills came before that, some after.
    assert [report == stored for report in reports] == sorted(r == stored for r in reports)
    assert absent in reports
    assert stored in reports
