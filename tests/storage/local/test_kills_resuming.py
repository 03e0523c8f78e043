"""A resumed upload that is killed before each of its calls to the disk goes on, or is whole.

Nothing that was published is ever changed, and what is recovered is never wrong.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import frozen
from cattrs import structure
from helpers import kill_resuming
from helpers.kill_resuming import CONTENT, MIDDLE

pytestmark = pytest.mark.timeout(180)

LEAST_KILLS = 40


@frozen
class Record:
    """What was recorded before the kill: bytes written and durable, and the file's identity."""

    written: int
    durable: int
    identity: str | None


@frozen
class Report:
    """What the next start found, and the files before it and after the upload was ended."""

    record: Record
    offset: int | None
    identified: bool
    found: list[str]
    before: dict[str, str]
    after: dict[str, str]
    spool: list[str]

    @property
    def published(self) -> bool:
        return "new" in self.before.values()


def killed(directory: Path, on_conflict: str, way: str, crash: str) -> list[Report]:
    ended = subprocess.run(
        [sys.executable, kill_resuming.__file__, directory, on_conflict, way, crash],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    reports = [structure(json.loads(line), Report) for line in lines]
    assert len(reports) > LEAST_KILLS
    # Some kills came before the file was published, some after.
    assert {report.published for report in reports} == {True, False}
    for report in reports:
        assert {*report.before.values(), *report.after.values()} <= {"old", "new"}
        assert report.spool == []
    return reports


@pytest.mark.parametrize("way", ["renamed", "linked", "uncounted", "unnamed"])
def test_after_a_kill_of_the_process_nothing_is_lost_nor_stored_twice(
    tmp_path: Path, way: str
) -> None:
    reports = killed(tmp_path / "files", "rename", way, "process")
    for report in reports:
        assert report.after == {"a.bin": "old", "a (1).bin": "new"}
        assert report.published == (report.found == ["anna/a (1).bin"])
        if not report.published and way != "unnamed":
            being_published = way == "uncounted" and report.record.identity is not None
            assert being_published or (report.offset or 0) >= report.record.written
    offsets = {report.offset for report in reports if not report.published}
    assert offsets == ({None} if way == "unnamed" else {None, MIDDLE, len(CONTENT)})
    assert any(report.identified for report in reports) == (way == "linked")


@pytest.mark.parametrize(
    ("way", "crash"),
    [("restarted", "process"), ("settled", "machine"), ("settled-linked", "process")],
)
def test_a_file_is_found_whatever_step_of_its_way_to_another_node_was_the_last(
    tmp_path: Path, way: str, crash: str
) -> None:
    reports = killed(tmp_path / "files", "rename", way, crash)
    for report in reports:
        assert report.after["a.bin"] == "old"
        assert report.after["a (1).bin"] == "new"
        if not report.published:
            certain = report.record.written if crash == "process" else report.record.durable
            assert (report.offset or 0) >= certain
    assert MIDDLE in {report.offset for report in reports}


def test_a_file_that_replaces_another_is_published_once(tmp_path: Path) -> None:
    for report in killed(tmp_path / "files", "replace", "renamed", "process"):
        assert report.before in ({"a.bin": "old"}, {"a.bin": "new"})
        assert report.after == {"a.bin": "new"}
        assert report.published == (report.found == ["anna/a.bin"])


@pytest.mark.parametrize("way", ["renamed", "linked"])
def test_after_a_power_failure_an_upload_goes_on_with_what_was_durable(
    tmp_path: Path, way: str
) -> None:
    reports = killed(tmp_path / "files", "rename", way, "machine")
    for report in reports:
        assert report.before["a.bin"] == report.after["a.bin"] == "old"
        assert report.after["a (1).bin"] == "new"
        if not report.published:
            assert (report.offset or 0) == report.record.durable
        # Even though the record of it is lost, a file that has its second name is found.
        assert not report.identified or report.found == ["anna/a (1).bin"]
        assert len(report.after) == 2 or (report.published and report.offset is None)
    assert any(report.identified for report in reports) == (way == "linked")
