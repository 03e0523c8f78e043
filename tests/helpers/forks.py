"""Processes that run a program of ours, without the half second of CPU time of its imports.

They are forked from one that has imported it, but has run nothing of it yet. All else is as in a
process that was executed: it has an id, signals, descriptors, a memory and an environment of its
own, and runs `main` from its beginning.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Final

from helpers import template

ANSWER_SECONDS: Final = 30.0
"""For the imports and a fork; only a broken process takes so long."""

CODE_SECONDS: Final = 60.0

ANSWER_BYTES: Final = 100


class Template:
    """The process that the others are forked from."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(ANSWER_SECONDS)
        self._asking = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                # UTF-8 mode, so that no process has to execute itself again to get there.
                [sys.executable, "-X", "utf8", template.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            )

    def ask(self, request: object, descriptors: Sequence[int] = ()) -> int:
        with self._asking:
            socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
            answer = self._control.recv(ANSWER_BYTES)
        assert answer, "the process that forks has ended"
        return int(answer)

    def close(self) -> None:
        self._control.close()
        self._process.wait(ANSWER_SECONDS)


@cache
def the_template() -> Template:
    """One for all tests of this process."""
    started = Template()
    atexit.register(started.close)
    return started


class Fork:
    """A process that runs galileod, galileo-send or code; used like a subprocess.Popen."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        environ: Mapping[str, str],
        folder: Path,
        output: IO[bytes],
        errors: IO[bytes],
        before: str = "",
    ) -> None:
        """`before` is code that it executes first."""
        self._name = str(arguments[0])
        self._template = the_template()
        run = {
            "arguments": [str(argument) for argument in arguments],
            "environ": dict(environ),
            "folder": str(folder),
            "before": before,
        }
        with open(os.devnull, "rb") as nothing:
            streams = [nothing.fileno(), output.fileno(), errors.fileno()]
            self.pid = self._template.ask({"run": run}, streams)
        self._descriptor = os.pidfd_open(self.pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._reap(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._reap(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self._name, timeout or 0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        # It is reaped by `poll` and `wait` alone, so the id is not yet another process's.
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self, timeout: float | None) -> int | None:
        if self.returncode is None and self._has_ended(timeout):
            status = self._template.ask({"reap": self.pid})
            self.returncode = os.waitstatus_to_exitcode(status)
            os.close(self._descriptor)
        return self.returncode

    def _has_ended(self, timeout: float | None) -> bool:
        polling = select.poll()
        polling.register(self._descriptor, select.POLLIN)
        return bool(polling.poll(None if timeout is None else timeout * 1000))


def run_fork(
    arguments: Sequence[str | Path],
    environ: Mapping[str, str],
    folder: Path,
    seconds: float,
    before: str = "",
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program to its own end, for what it says and with which status."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        fork = Fork(
            arguments,
            environ=environ,
            folder=folder,
            output=output,
            errors=errors,
            before=before,
        )
        try:
            status = fork.wait(seconds)
        finally:
            fork.kill()
            fork.wait()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, status, output.read(), errors.read())


def run_code(code: str, *arguments: str | Path) -> int:
    """The exit status of `python -c` with this code, which uses modules of galileod."""
    done = run_fork(["-c", *arguments], os.environ, Path.cwd(), CODE_SECONDS, before=code)
    sys.stderr.buffer.write(done.stderr)
    return done.returncode
