"""Firefox: Debian's firefox-esr, driven by puppeteer-core, which never downloads one of its own."""

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from helpers.daemon import DEADLINE
from helpers.missing import find, leave_out
from helpers.processes import kill_sessions

PUPPETEER: Final = Path(__file__).with_name("puppeteer")

ANSWER: Final = 3 * DEADLINE
"""Seconds for a scenario: some of its steps may each take all of the script's own deadline."""


def find_firefox() -> str:
    """The program; the test is left out where it, or what drives it, is missing."""
    program = find("firefox-esr")
    if program is None:
        leave_out("needs Firefox: install Debian's package firefox-esr")
    if find("node") is None:
        leave_out("needs Node.js: install Debian's package nodejs")
    if not (PUPPETEER / "node_modules").exists():
        leave_out("needs puppeteer-core: install npm, then `make install-tests`")
    return program


class Firefox:
    """Firefox without a window, and the script that performs scenarios in it, one at a time.

    `folder` has the profile, and whatever else Firefox keeps for a user.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._errors = folder / "stderr.log"
        ours, theirs = socket.socketpair()
        with theirs, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                ["node", PUPPETEER / "firefox.mjs", program],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=errors,
                # Firefox writes there even with a profile of its own, and refuses to run as root
                # in the home directory of another user.
                env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
            )
        ours.settimeout(ANSWER)
        self._socket = ours
        self._answers = ours.makefile("r", encoding="utf-8")
        self._answers_due = 0

    def start(self, scenario: str, base: str, files: Sequence[Path]) -> None:
        """Begin a scenario of the script with the daemon, or the line to it, at `base`."""
        while self._answers_due:  # to a test that has failed before it asked for the answer
            self._next_answer()
        task = {"scenario": scenario, "base": base, "files": [str(path) for path in files]}
        self._socket.sendall(json.dumps(task).encode() + b"\n")
        self._answers_due += 1

    def answer(self) -> dict[str, Any]:
        """The `result` and the `complaints` of the scenario, once it has ended."""
        answer = self._next_answer()
        assert "error" not in answer, f"{answer['error']}\nComplaints: {answer['complaints']}"
        return answer

    def _next_answer(self) -> dict[str, Any]:
        self._answers_due -= 1
        try:
            line = self._answers.readline()
        except ConnectionResetError:  # ended with the task unread
            line = ""
        assert line, f"the script has ended too early\n{self._errors.read_text()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._answers, self._socket:
            self._socket.shutdown(socket.SHUT_WR)
            try:
                self._process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                kill_sessions(self._process.pid)  # Firefox
                self._process.kill()
                self._process.wait()
                raise
