"""An upload that is killed before each of its calls to bucket and ledger goes on, or is whole.

After the next start, and the end of the upload, its file is there once, with all of its bytes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import frozen
from cattrs import structure
from helpers import kill_s3
from helpers.engines.buckets import Bucket
from helpers.kill_s3 import MIDDLE

pytestmark = pytest.mark.timeout(180)

LEAST_KILLS = {"parts": 22, "one": 16, "whole": 4}


@frozen
class Report:
    """What the next start found: bytes that were kept, or that the file was stored; and the end."""

    kept: int | None
    stored: bool
    files: dict[str, str]
    recorded: dict[str, str]
    begun: int
    unfinished: int


def killed(bucket: Bucket, folder: Path, on_conflict: str, way: str) -> list[Report]:
    settings = bucket.settings(folder, prefix="files/") | {"folder": str(folder / "state")}
    ended = subprocess.run(
        [sys.executable, kill_s3.__file__, json.dumps(settings), on_conflict, way],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert lines.pop() == {"completed": True}
    reports = [structure(line, Report) for line in lines]
    assert len(reports) > LEAST_KILLS[way]
    assert {report.stored for report in reports} == {True, False}
    return reports


@pytest.mark.parametrize(
    ("on_conflict", "way"),
    [("rename", "parts"), ("replace", "one"), ("rename", "whole"), ("replace", "whole")],
)
def test_after_a_kill_nothing_is_lost_nor_stored_twice(
    bucket: Bucket, tmp_path: Path, on_conflict: str, way: str
) -> None:
    name = "a.bin" if on_conflict == "replace" else "a (1).bin"
    expected = {"anna/a.bin": "old", f"anna/{name}": "new"}
    reports = killed(bucket, tmp_path, on_conflict, way)
    for report in reports:
        assert report.files == report.recorded == expected
        assert (report.begun, report.unfinished) == (0, 0)
    kept = [report.kept or 0 for report in reports if not report.stored]
    if way != "whole":  # from when it was interrupted, not even its tail is lost
        assert min(kept[kept.index(MIDDLE[way]) :]) == MIDDLE[way]
