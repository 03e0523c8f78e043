"""One engine of a kind for all tests of a run, in all of its processes."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import pytest

from .engine import POLL, START_SECONDS, Engine, EngineError, Server

E = TypeVar("E", bound=Engine)

WAIT_SECONDS: Final = 2 * START_SECONDS
"""Maximum time to wait for an engine that this process or another one starts."""

TESTS: Final = Path(__file__).parents[2]


def attach(kind: type[E], factory: pytest.TempPathFactory) -> E:
    """The run's engine of this kind; the first process that needs it has it started.

    It ends with the run. Raises EngineError, also if another process has tried in vain.
    """
    kind.require()
    base, controller = factory.getbasetemp(), os.getpid()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base, controller = base.parent, os.getppid()
    state = base / f"{kind.name}.json"
    with _locked(base / f"{kind.name}.lock"):
        if not state.exists():
            _start(kind, state, controller)
    told = json.loads(state.read_text())
    if "error" in told:
        raise EngineError(told["error"])
    return kind.attached(Path(told["folder"]), Server(**told["server"]))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    end = time.monotonic() + WAIT_SECONDS
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise EngineError(f"{path} is held for {WAIT_SECONDS:g} s") from None
            time.sleep(POLL)
        yield


def _start(kind: type[Engine], state: Path, controller: int) -> None:
    """Start the guardian, and wait until it has written the state."""
    log = state.with_suffix(".log")
    with log.open("wb") as output:
        guardian = subprocess.Popen(
            [sys.executable, "-m", "helpers.engines.guardian", kind.name, state, str(controller)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            start_new_session=True,  # Ctrl-C is for the tests
        )
    end = time.monotonic() + WAIT_SECONDS
    while not state.exists():
        if guardian.poll() is not None and not state.exists():
            raise EngineError(f"{kind.name} does not start: {log.read_text()}")
        if time.monotonic() > end:
            guardian.terminate()
            raise EngineError(f"{kind.name} does not start within {WAIT_SECONDS:g} s")
        time.sleep(POLL)
    guardian.returncode = 0  # it outlives this process: nobody is to wait for it
