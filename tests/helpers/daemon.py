"""A real galileod in a process of its own, for tests that look at it from outside."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import tomli_w
from helpers.forks import Fork, run_fork
from helpers.processes import kill_sessions
from helpers.rounds import SOAK

GALILEOD: Final = Path(sys.executable).with_name("galileod")

DEADLINE: Final = 30.0
"""Seconds for anything that is sure to happen; only a broken daemon takes so long."""

POLL: Final = 0.005

PASSING: Final = """
import os, sys
end = sys.argv.index("--")
for number in sys.argv[1:end]:
    os.set_inheritable(int(number), False)
# Out of the way first: a descriptor may be among those that are written over.
copies = [os.dup(int(number)) for number in sys.argv[1:end]]
while copies and min(copies) < 3 + len(copies):
    copies = [os.dup(copy) for copy in copies]
for number, copy in enumerate(copies, 3):
    os.dup2(copy, number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(copies))}
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
"""
"""Starts a program as systemd does, with sockets as its descriptors from 3 on."""

MAIN: Final = """
from galileod.cli.daemon import main
main()
"""

Settings = Mapping[str, Mapping[str, object]]
LogLine = dict[str, Any]
T = TypeVar("T")
Process = subprocess.Popen[bytes] | Fork


def poll(what: str, probe: Callable[[], T], explain: Callable[[], str] = str) -> T:
    """Ask until the answer is true, and give it; fail after the deadline."""
    end = time.monotonic() + DEADLINE
    while not (answer := probe()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}\n{explain()}")
        time.sleep(POLL)
    return answer


def free_port() -> int:
    """One that nobody listens on; somebody may before it is used."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without what could change the daemon, or slow its start down."""
    dropped = ("GALILEOD_", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, **(extra or {})}


def run_galileod(
    *arguments: str | Path, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run galileod to its own end, for what it says and with which status."""
    if environ is None and not SOAK:
        run = [GALILEOD, *arguments]
        done = run_fork(run, environment(), cwd or Path.cwd(), DEADLINE)
        said = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(run, done.returncode, *said)
    return subprocess.run(
        [GALILEOD, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment(environ),
        cwd=cwd,
        check=False,
    )


def write_config(path: Path, settings: Settings) -> Path:
    path.write_text(tomli_w.dumps({key: dict(table) for key, table in settings.items()}))
    return path


def log_time() -> str:
    """The time as the log has it, to tell the lines of what follows from older ones."""
    return datetime.now(UTC).isoformat()


class Daemon:
    """One daemon, its directory `files` and its log, all in `folder`.

    As a context manager it leaves no process behind, and checks the log at the end. `program`, if
    given, is executed. Otherwise galileod is executed in a soak, or if it has variables or sockets
    of its own, and else forked from a process that has imported it (helpers.forks). `before` is
    code that each process executes first; another one may be set for the next.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        *,
        flags: Sequence[str] = (),
        program: Sequence[str | Path] | None = None,
        before: str = "",
        environ: Mapping[str, str] | None = None,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.directory = folder / "files"
        tables: dict[str, dict[str, object]] = {
            "server": {"listen": ["127.0.0.1:0"]},
            # However little room the machine has, there is enough for these files.
            "storage": {"directory": str(self.directory), "min_free": 0},
            "log": {"format": "json"},
        }
        for name, table in (settings or {}).items():
            tables.setdefault(name, {}).update(table)
        self.directory = Path(str(tables["storage"]["directory"]))
        self.config = write_config(folder / "galileod.toml", tables)
        self.listen: list[str] = []
        self.descriptors_at_start = 0
        self.memory_at_start = 0
        self._flags = flags
        self._forked = not (program or environ or sockets or SOAK)
        self._program = program
        self.before = before
        self._environ = environ
        self._sockets = [socket.fileno() for socket in sockets]
        self._logs = 0
        self._process: Process | None = None

    @property
    def stderr(self) -> Path:
        """Where the newest process writes its log."""
        return self.folder / f"stderr-{self._logs}.log"

    def spawn(self) -> Self:
        """Start the process, and do not wait for it."""
        self._process = self._popen()
        return self

    def start(self) -> Self:
        """Start the process, and wait until it listens."""
        self.spawn()
        self.listen = self.wait_for("server.started")["listen"]
        self.descriptors_at_start = self.descriptors()
        self.memory_at_start = self.memory()
        return self

    def _popen(self) -> Process:
        self._logs += 1
        arguments: list[str | Path] = ["serve", "--config", self.config, *self._flags]
        variables = environment(self._environ)
        with (self.folder / f"stderr-{self._logs}.log").open("wb") as stderr:
            if self._forked:
                return Fork(
                    [GALILEOD, *arguments],
                    environ=variables,
                    folder=self.folder,
                    output=stderr,
                    errors=stderr,
                    before=self.before,
                )
            changed = (sys.executable, "-c", f"{self.before}{MAIN}") if self.before else None
            program = self._program or changed or (GALILEOD,)
            passing = (sys.executable, "-c", PASSING, *map(str, self._sockets), "--")
            return subprocess.Popen(
                [*(passing if self._sockets else ()), *program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=variables,
                cwd=self.folder,
                pass_fds=self._sockets,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens on TCP; the first of several."""
        host, _, port = next(
            name for name in self.listen if not name.startswith("unix:")
        ).rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def url(self) -> str:
        host, port = self.address
        return f"ws://[{host}]:{port}/upload" if ":" in host else f"ws://{host}:{port}/upload"

    def dial(self) -> socket.socket:
        """A plain connection to it."""
        return socket.create_connection(self.address, timeout=DEADLINE)

    def text(self) -> str:
        """All that this process wrote."""
        return self.stderr.read_text()

    def log(self) -> list[LogLine]:
        """What this process logged so far; each line must be a JSON object."""
        *lines, unfinished = self.text().split("\n")
        assert not unfinished or self.running, f"half a line at the end: {unfinished!r}"
        log = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                raise AssertionError(f"not JSON in the log: {line!r}\n{self.text()}") from None
            assert {"timestamp", "level", "event"} <= entry.keys(), line
            log.append(entry)
        return log

    def find(self, event: str, *, since: str = "", **fields: object) -> LogLine | None:
        """The newest line of this event with these fields, not older than the time `since`."""
        for line in reversed(self.log()):
            if line["event"] == event and fields.items() <= line.items():
                return line if line["timestamp"] >= since else None
        return None

    def wait_for(self, event: str, *, since: str = "", **fields: object) -> LogLine:
        """The same, once it is there. A line is written a moment after what it tells."""

        def probe() -> LogLine | None:
            running = self.running
            line = self.find(event, since=since, **fields)
            assert line or running, f"galileod ended before {event}\n{self.text()}"
            return line

        line = poll(f"{event} {fields}", probe, self.text)
        assert line is not None
        return line

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None, "not started"
        try:
            return self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"galileod does not end\n{self.text()}") from None

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def visible(self) -> dict[str, Path]:
        """What stands in the directory, by name, without the daemon's own state."""
        return {path.name: path for path in self.directory.iterdir() if path.name != ".galileod"}

    def spooled(self) -> list[str]:
        """What is on its way."""
        return os.listdir(self.directory / ".galileod" / "spool")

    def at_rest(self) -> bool:
        """Whether no more is open than when it had just started."""
        return self.descriptors() <= self.descriptors_at_start

    def descriptors(self) -> int:
        """How many files and sockets it holds open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self) -> int:
        """Resident memory, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            kill_sessions(self.pid)  # of hooks
        self.kill()
        if kind is None and self.stderr.exists():
            self.check_log()

    def check_log(self) -> None:
        """Nothing of level error stands in the log, and nothing but JSON."""
        wrong = [line for line in self.log() if line["level"] in ("error", "critical")]
        assert not wrong, wrong


class Daemons:
    """Starts daemons, each in a folder of its own, for as long as the test runs."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._count = 0

    def __call__(
        self,
        settings: Settings | None = None,
        *,
        flags: Sequence[str] = (),
        program: Sequence[str | Path] | None = None,
        environ: Mapping[str, str] | None = None,
        sockets: Sequence[socket.socket] = (),
        start: bool = True,
    ) -> Daemon:
        self._count += 1
        folder = self._folder / f"daemon-{self._count}"
        daemon = self._stack.enter_context(
            Daemon(folder, settings, flags=flags, program=program, environ=environ, sockets=sockets)
        )
        return daemon.start() if start else daemon
