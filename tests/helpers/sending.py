"""`galileo-send` as tests run it, and what it is given to send."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from helpers.daemon import DEADLINE
from helpers.forks import run_fork
from helpers.rounds import SOAK

from galileod.client.command.main import main

GALILEO_SEND: Final = Path(sys.executable).with_name("galileo-send")


class Command:
    """`galileo-send` in this process; its output is taken from `capfd`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Its exit status, and what it wrote to standard output and error."""
        self._capfd.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["galileo-send", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        output = self._capfd.readouterr()
        assert "Traceback" not in output.err
        return ended.value.code, output.out, output.err


Process = Callable[..., "subprocess.CompletedProcess[bytes]"]


def run_process(
    *arguments: str | Path, stdin: bytes | None = None, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """`galileo-send` as a process of its own."""
    if stdin is None and environ is None and not SOAK:
        return run_fork([GALILEO_SEND, *arguments], os.environ, Path.cwd(), DEADLINE)
    return subprocess.run(
        [GALILEO_SEND, *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=DEADLINE,
        env={**os.environ, **(environ or {})},
        check=False,
    )


def files_in(folder: Path, *names: str) -> list[Path]:
    """Files of these names, each with another content."""
    folder.mkdir(exist_ok=True)
    paths = [folder / name for name in names]
    for path in paths:
        path.write_bytes(f"content of {path.name}".encode("utf-8", "surrogateescape"))
    return paths


def objects(output: str | bytes) -> list[dict[str, Any]]:
    """The lines of `--json`."""
    return [json.loads(line) for line in output.splitlines()]


def shell(line: str, *arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    """The command, which is `"$@"` in the line."""
    run = ["sh", "-c", line, "sh", GALILEO_SEND, *arguments]
    return subprocess.run(run, capture_output=True, timeout=DEADLINE, check=False)


def slow_sending(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    """The command as a process, with a limit on its rate."""
    return subprocess.Popen(
        [GALILEO_SEND, "--limit-rate", "20kB", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


async def parts(*pieces: bytes) -> AsyncIterator[bytes]:
    """An async iterator, for the library."""
    for piece in pieces:
        await trio.lowlevel.checkpoint()
        yield piece
