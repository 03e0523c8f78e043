"""A booted Debian, with a systemd of its own, in a network of its own."""

import ctypes
import os
import socket
import subprocess
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Final, Self

from helpers.daemon import DEADLINE, poll

COMMAND_SECONDS: Final = 120
"""Seconds for any command inside; pip is the slowest of them."""

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET, of setns(2)."""


class Container:
    """Boots the Debian at `root`, and leaves no trace in it: what is written is kept in memory.

    `seen` are folders of this machine, by where they stand inside, which may be read there.
    """

    def __init__(self, root: Path, console: Path, seen: dict[str, Path]) -> None:
        name = f"galileod-test-{os.getpid()}"
        binds = [f"--bind-ro={path}:{inside}" for inside, path in seen.items()]
        # Without a systemd outside there is nobody to make a unit for it.
        booted = os.path.isdir("/run/systemd/system")
        self._console = console
        with console.open("wb") as output:
            self._nspawn = subprocess.Popen(
                [
                    "systemd-nspawn", "--quiet", "--boot", "--register=no", "--settings=no",
                    *([] if booted else ["--keep-unit"]), f"--machine={name}",
                    f"--directory={root}", "--volatile=overlay", "--private-network",
                    "--resolv-conf=off", "--timezone=off", "--link-journal=no",
                    "--console=pipe", *binds,
                ],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self._leader = 0

    def __enter__(self) -> Self:
        try:
            self._leader = poll("the container's first process", self._find_leader, self._said)
            poll("the end of its boot", self._is_up, self._said)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._nspawn.terminate()  # shuts down in order
        try:
            self._nspawn.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()

    def _said(self) -> str:
        return self._console.read_text(errors="replace")

    def _find_leader(self) -> int:
        assert self._nspawn.poll() is None, self._said()
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # It is ready to be entered once it is the first process of a space of its own.
        try:
            ready = children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd"
        except (FileNotFoundError, ProcessLookupError):
            return 0  # a child that ended meanwhile; another becomes the container's first
        return int(children[0]) if ready else 0

    def _is_up(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).strip()
        return state in ("running", "degraded")

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside as root, for all that it prints."""
        ended = self.start(*command)
        said, _ = ended.communicate(timeout=COMMAND_SECONDS)
        assert not check or ended.returncode == 0, f"{command}: {ended.returncode}\n{said}"
        return said

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """The same, without waiting for its end."""
        return subprocess.Popen(
            ["nsenter", f"--target={self._leader}", "--all", "--", *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"},
        )  # fmt: skip

    def path(self, inside: str) -> Path:
        """Where a path inside stands for us."""
        return Path(f"/proc/{self._leader}/root{inside}")

    def dial(self, address: tuple[str, int] | str) -> socket.socket:
        """Connect to an address inside. Raises OSError."""
        if isinstance(address, str):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(DEADLINE)
            connection.connect(str(self.path(address)))
            return connection
        return dial_in(self._leader, address)


def dial_in(pid: int, address: tuple[str, int]) -> socket.socket:
    """Connect to an address in the network of a process. Raises OSError."""
    found: list[socket.socket | OSError] = []

    def connect() -> None:
        # A thread may enter a network by itself, and a socket belongs to that of its birth.
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{pid}/ns/net") as network:
            if libc.setns(network.fileno(), _NEW_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        try:
            found.append(socket.create_connection(address, DEADLINE))
        except OSError as error:
            found.append(error)

    thread = Thread(target=connect)
    thread.start()
    thread.join()
    (result,) = found
    if isinstance(result, OSError):
        raise result
    return result
