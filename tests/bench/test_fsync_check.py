"""bench/fsync_check.py finds a file that was confirmed before it was durable."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from helpers.missing import find, leave_out

BENCH: Final = Path(__file__).resolve().parents[2] / "bench"
DEADLINE: Final = 60.0

SPOOL, UP = "12</up/.galileod/spool>", "8</up>"
TO_CLIENT: Final = "18<TCP:[127.0.0.1:8750->127.0.0.1:4711]>"

WRITE_A: Final = r'7 writev(19</up/.galileod/spool/1>, [{iov_base="\0\"", iov_len=2}], 1) = 2'
SYNC_A: Final = "7 fsync(19</up/.galileod/spool/1>) = 0"
NAME_A: Final = f'7 renameat2({SPOOL}, "1", {UP}, "a", RENAME_NOREPLACE) = 0'
WRITE_B: Final = '8 write(20</up/.galileod/spool/#77>(deleted), "x", 1) = 1'
SYNC_B: Final = "8 fdatasync(20</up/.galileod/spool/#77>(deleted)) = 0"
FAILED_B: Final = SYNC_B.replace("= 0", "= -1 EIO (Input/output error)")
NAME_B: Final = f'8 linkat(AT_FDCWD</>, "/proc/self/fd/20", {UP}, "\\142", AT_SYMLINK_FOLLOW) = 0'
SYNC_UP: Final = f"9 fsync({UP}) = 0"
CLOSE: Final = (
    rf'7 sendto({TO_CLIENT}, "\201\17{{\"close\": true}}'
    rf'\201\32{{\"close\": true, \"file\": 1}}", 45, 0, NULL, 0) = 45'
)
DURABLE: Final = (WRITE_A, SYNC_A, NAME_A, WRITE_B, SYNC_B, NAME_B, SYNC_UP, CLOSE)

NO_FILE: Final = "no fsync between its last write and its `close`"
NO_NAME: Final = "no fsync of the directory between its name and its `close`"


def judge(*lines: str) -> Any:  # noqa: ANN401  # bench is no package
    violations = runpy.run_path(str(BENCH / "fsync_trace.py"))["violations"]
    return violations("\n".join(lines), "/up", {(4711, 0): "a", (4711, 1): "b"})


def without(line: str) -> list[str]:
    return [each for each in DURABLE if each != line]


def test_files_that_were_synced_before_their_close_are_durable() -> None:
    assert judge(*DURABLE) == []


def test_a_sync_of_the_filesystem_counts_for_files_and_names() -> None:
    assert judge(WRITE_A, NAME_A, WRITE_B, NAME_B, f"9 syncfs({UP}) = 0", CLOSE) == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (without(SYNC_A), [f"a: {NO_FILE}"]),
        (without(SYNC_B), [f"b: {NO_FILE}"]),
        (without(SYNC_UP), [f"a: {NO_NAME}", f"b: {NO_NAME}"]),
        (without(NAME_A), [f"a: {NO_FILE}"]),
        (without(WRITE_A), [f"a: {NO_FILE}"]),
        (without(CLOSE), ["a: there is no `close`", "b: there is no `close`"]),
        ([*without(CLOSE), CLOSE.replace("= 45", "= 17")], ["b: there is no `close`"]),
        ([SYNC_A, *without(SYNC_A)], [f"a: {NO_FILE}"]),
        ([*without(SYNC_UP), SYNC_UP], [f"a: {NO_NAME}", f"b: {NO_NAME}"]),
        ([SYNC_UP, *without(SYNC_UP)], [f"a: {NO_NAME}", f"b: {NO_NAME}"]),
        ([FAILED_B if line == SYNC_B else line for line in DURABLE], [f"b: {NO_FILE}"]),
    ],
)  # fmt: skip
def test_what_was_not_synced_in_time_is_found(lines: list[str], expected: list[str]) -> None:
    assert judge(*lines) == expected


def test_a_call_lasts_until_it_is_resumed() -> None:
    began = SYNC_UP.replace(") = 0", " <unfinished ...>")
    ended = "9 <... fsync resumed>) = 0"
    others = without(SYNC_UP)
    assert judge(*others[:-1], began, ended, CLOSE) == []
    late = [f"a: {NO_NAME}", f"b: {NO_NAME}"]
    assert judge(*others[:-1], began, CLOSE, ended) == late
    assert judge(began, *others[:-1], ended, CLOSE) == late


def test_galileod_syncs_each_file_before_its_close(tmp_path: Path) -> None:
    if find("strace") is None:
        leave_out("needs strace")
    command: list[str | Path] = [sys.executable, BENCH / "fsync_check.py"]
    done = subprocess.run(
        [*command, "--files", "24", "--disk", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert done.stdout.splitlines() == [
        "classic: 24 of 24 files were durable before their `close`",
        "next: 24 of 24 files were durable before their `close`",
    ], done.stderr
    assert done.returncode == 0
