"""`galileo-send` as tests run it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from helpers.daemon import DEADLINE

from galileod.client.command.main import main

GALILEO_SEND: Final = Path(sys.executable).with_name("galileo-send")


class Command:
    """`galileo-send` in this process; its output is taken from `capsys`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Its exit status, and what it wrote to standard output and error."""
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["galileo-send", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        output = self._capsys.readouterr()
        assert "Traceback" not in output.err
        return ended.value.code, output.out, output.err


Process = Callable[..., "subprocess.CompletedProcess[bytes]"]


def run_process(
    *arguments: str | Path, stdin: bytes | None = None, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """`galileo-send` as a process of its own."""
    return subprocess.run(
        [GALILEO_SEND, *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=DEADLINE,
        env={**os.environ, **(environ or {})},
        check=False,
    )
