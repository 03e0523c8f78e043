"""The hook as a command: real scripts, and processes that do not want to end."""

import os
from pathlib import Path

import pytest
import trio
from helpers.daemon import poll
from helpers.hooks import Script
from helpers.processes import alive
from structlog.testing import capture_logs

from galileod.hooks import command
from galileod.hooks.command import MAX_OUTPUT, run_command
from galileod.hooks.settings import HookError

RECEIPT = b'{"id": "1"}'
PATIENCE = 30.0


async def run(folder: Path, text: str, timeout: float = PATIENCE, receipt: bytes = RECEIPT) -> None:
    with trio.fail_after(PATIENCE):
        await run_command([str(Script(folder, text).path)], receipt, str(folder), timeout)


async def test_a_command_gets_the_receipt_on_its_standard_input(tmp_path: Path) -> None:
    await run(tmp_path, "cat > got")
    assert (tmp_path / "got").read_bytes() == RECEIPT


async def test_it_runs_in_the_directory_with_little_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALILEO_TOKEN", "secret")
    monkeypatch.setenv("TZ", "UTC")
    await run(tmp_path, "env > environment; pwd > directory")
    names = {line.partition("=")[0] for line in (tmp_path / "environment").read_text().split()}
    assert {"PATH", "TZ"} <= names
    assert names <= {"PATH", "HOME", "LANG", "TZ", "PWD", "OLDPWD", "SHLVL", "_"}
    assert (tmp_path / "directory").read_text() == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 3", "the command ended with status 3"),
        ("kill -9 $$", "the command was ended by signal 9"),
    ],
)
async def test_another_status_than_0_is_a_failure(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(HookError, match=reason):
        await run(tmp_path, text)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nonexistent/hook", "No such file"), ("/etc", "Permission denied")],
)
async def test_a_command_that_cannot_be_started_is_a_failure(
    tmp_path: Path, path: str, reason: str
) -> None:
    with pytest.raises(HookError, match=f"cannot be started: {reason}"):
        await run_command([path, "--token", "secret"], RECEIPT, str(tmp_path), PATIENCE)


async def test_a_file_that_is_no_program_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(HookError, match="Exec format error"):
        await run_command([str(tmp_path / "text")], RECEIPT, str(tmp_path), PATIENCE)


async def test_a_command_need_not_read_what_it_is_told(tmp_path: Path) -> None:
    await run(tmp_path, "exec <&-; exit 0", receipt=bytes(1_000_000))


async def test_input_that_nobody_reads_does_not_hold_up_the_delivery(tmp_path: Path) -> None:
    await run(tmp_path, "sleep 1000 <&0 & echo $! > child", receipt=bytes(1_000_000))
    os.kill(int((tmp_path / "child").read_text()), 9)


async def test_gigabytes_of_output_neither_block_it_nor_fill_memory(tmp_path: Path) -> None:
    with capture_logs() as logs:
        await run(tmp_path, "head -c 200000000 /dev/zero; echo the end")
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("hook.output", "debug")
    assert line["output"].endswith("the end\n")
    assert len(line["output"]) == MAX_OUTPUT


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
async def test_one_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    monkeypatch.setattr(command, "TERM_SECONDS", 0.3)
    text = (
        f"({trap} sleep 1000 & echo $! > child; wait) & {trap} echo $$ > parent; wait; sleep 1000"
    )
    with pytest.raises(HookError, match=r"did not end within 0\.5 seconds"):
        await run(tmp_path, text, timeout=0.5)
    pids = [int((tmp_path / name).read_text()) for name in ("child", "parent")]
    poll("the end of both", lambda: not any(map(alive, pids)))


async def test_one_that_is_cancelled_is_ended_with_its_children(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "child")

    async def cancel_when_it_runs(scope: trio.CancelScope) -> int:
        # Whoever opens a FIFO waits for the other side.
        pid = await trio.to_thread.run_sync((tmp_path / "child").read_text)
        scope.cancel()
        return int(pid)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, tmp_path, "sleep 1000 & echo $! > child; wait")
        pid = await cancel_when_it_runs(nursery.cancel_scope)
    poll("the end of the child", lambda: not alive(pid))


async def test_what_it_leaves_running_does_not_hold_up_the_delivery(tmp_path: Path) -> None:
    await run(tmp_path, "sleep 1000 & echo $! > child")
    pid = int((tmp_path / "child").read_text())
    assert alive(pid)
    os.kill(pid, 9)


async def test_nothing_stays_open(tmp_path: Path) -> None:
    await run(tmp_path, "exit 0")
    before = len(os.listdir("/proc/self/fd"))
    for text in ("exit 0", "cat", "echo hello"):
        await run(tmp_path, text)
    with pytest.raises(HookError):
        await run_command(["/nonexistent"], RECEIPT, str(tmp_path), PATIENCE)
    assert len(os.listdir("/proc/self/fd")) == before
