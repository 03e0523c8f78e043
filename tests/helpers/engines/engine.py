"""What the engines have in common: a folder, processes with logs, and an address."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Self

from attrs import frozen
from helpers.missing import SEARCHED, find, leave_out
from helpers.ports import reserve

START_SECONDS: Final = 60.0
"""Maximum time for an engine to start; it takes a tenth of that on an idle machine."""

STEP_SECONDS: Final = 30.0
"""Maximum time for a command that sets an engine up."""

LOG_BYTES: Final = 4000
"""What an error has of the end of each log."""

POLL: Final = 0.05


class EngineError(Exception):
    """An engine does not start; the text has the end of its logs."""


@frozen
class Server:
    """Where an engine serves, and as whom: in object stores, the owner of all buckets."""

    url: str
    access_key: str = "AKIDAKIDAKIDAKIDAKID"
    secret_key: str = "secretsecretsecretsecret"  # noqa: S105  this is what tests know it by
    region: str = "us-east-1"


class Engine(ABC):
    """An engine in a folder of its own, while its `with` runs. Its processes end with this one."""

    name: ClassVar[str]
    programs: ClassVar[Sequence[str]]
    needs: ClassVar[str]
    server: Server

    def __init__(self) -> None:
        # The paths of its unix sockets must be short.
        self.folder = Path(tempfile.mkdtemp(prefix=f"galileod-{self.name}-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._reserved: list[socket.socket] = []

    @classmethod
    def attached(cls, folder: Path, server: Server) -> Self:
        """The engine that another process runs in a folder."""
        engine = cls.__new__(cls)
        engine.folder = folder
        engine.server = server
        engine._processes = {}
        engine._reserved = []
        return engine

    @classmethod
    def require(cls) -> None:
        """Leave the test out where a program is missing; in CI that is a failure."""
        if missing := [program for program in cls.programs if not cls.program(program)]:
            leave_out(f"needs {', '.join(missing)}: install {cls.needs}")

    @classmethod
    def program(cls, name: str) -> str | None:
        """The path of one of the programs; None if it is not installed."""
        return find(name) or shutil.which(name, path=str(Path(sys.executable).parent))

    @abstractmethod
    def start(self) -> Server:
        """Start it; returns once it serves requests. Raises EngineError."""

    def __enter__(self) -> Self:
        try:
            self.server = self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill its processes, and remove all that it has stored."""
        for name in list(self._processes):
            self.kill(name)
        for sock in self._reserved:
            sock.close()
        shutil.rmtree(self.folder, ignore_errors=True)  # what is left, the system removes

    def port(self) -> int:
        """A port that stays the engine's, also while nothing listens on it."""
        self._reserved.append(reserve())
        port: int = self._reserved[-1].getsockname()[1]
        return port

    def spawn(self, name: str, *command: str | Path, cwd: Path | None = None) -> None:
        """Start a process, which ends with this one; its log is `name`.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command(*command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd or self.folder,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C is for the tests
            )

    def pid(self, name: str) -> int:
        """The id of a process."""
        return self._processes[name].pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one of its processes: SIGSTOP makes it hang, until SIGCONT."""
        self._processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """End a process as a crash does. `spawn` may start it again."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(STEP_SECONDS)

    def end(self, name: str) -> None:
        """End one of its processes in order. `spawn` may start it again."""
        self.signal(name, signal.SIGTERM)
        self._processes.pop(name).wait(STEP_SECONDS)

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """The output of a command that sets the engine up. Raises EngineError if it fails."""
        try:
            done = subprocess.run(
                self._command(*command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                cwd=cwd or self.folder,
                env=self.environment(),
                timeout=STEP_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self.failure(f"{command[0]} takes more than {STEP_SECONDS:g} s") from None
        if done.returncode:
            raise self.failure(f"{' '.join(map(str, command))}: {done.stderr}")
        return done.stdout

    def environment(self) -> Mapping[str, str]:
        """No home but the folder, and a configuration only where it says so."""
        return {"PATH": SEARCHED, "HOME": str(self.folder)}

    def await_true(self, what: str, probe: Callable[[], bool]) -> None:
        """Wait until `probe` is true, and its processes live. Raises EngineError."""
        end = time.monotonic() + START_SECONDS
        while not probe():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise self.failure(f"{name} has ended with status {process.returncode}")
            if time.monotonic() > end:
                raise self.failure(f"{what}: not within {START_SECONDS:g} s")
            time.sleep(POLL)

    def await_port(self, port: int) -> None:
        """Wait until something listens there. Raises EngineError."""
        self.await_true(f"port {port}", lambda: _listens(port))

    def failure(self, reason: str) -> EngineError:
        """The error with this reason, and the end of all logs."""
        parts = [f"{self.name} does not start: {reason}"]
        for log in sorted(self.folder.glob("*.log")):
            text = log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
            parts.append(f"--- {log.name}\n{text}")
        return EngineError("\n".join(parts))

    def _command(self, program: str | Path, *arguments: str | Path) -> Sequence[str | Path]:
        path = self.program(str(program))
        if path is None:
            raise EngineError(f"{program} is not installed")
        return [path, *arguments]


def user() -> str:
    """Who runs the tests, for programs that ask as whom they are to run."""
    import pwd  # noqa: PLC0415

    return pwd.getpwuid(os.getuid()).pw_name


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=STEP_SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True
