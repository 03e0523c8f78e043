"""The server under test as the command line describes it."""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

import attrs
import trio

from galileod.conformance.address import Address, open_websocket
from galileod.conformance.commands import run, run_and_leave
from galileod.conformance.handshake import HandshakeError, Headers, Refused
from galileod.conformance.judge import KitError

MAX_STORED: Final = 256 * 1024 * 1024
"""Bytes of the largest stored file that is read."""
MAX_LISTED: Final = 100_000
"""Names of the longest listing."""
COMMAND_SECONDS: Final = 30.0
"""Seconds that a command of the command line may take, and the server to come back."""
RETRY_SECONDS: Final = 0.1
"""Seconds between two attempts to connect to a server that was restarted."""

_SERVER_ERROR: Final = 500


@attrs.frozen
class Directory:
    """Stored files are read from a directory."""

    path: Path

    async def read(self, name: str) -> bytes | None:
        """The content of a stored file; None where there is no such file. Raises KitError."""
        try:
            return await trio.to_thread.run_sync(self._read, self.path / name)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise KitError(f"cannot read {name!r} below {self.path}: {error}") from None

    async def names(self) -> frozenset[str]:
        """The paths of all files, without hidden ones. Raises KitError."""
        try:
            return await trio.to_thread.run_sync(self._names)
        except OSError as error:
            raise KitError(f"cannot list {self.path}: {error}") from None

    async def strays(self, mark: str) -> frozenset[str]:
        """The paths outside of the directory whose last part contains `mark`.

        Only the directories above it, and that for temporary files, are looked into.
        """
        return await trio.to_thread.run_sync(self._strays, mark)

    def _strays(self, mark: str) -> frozenset[str]:
        found: set[str] = set()
        directory = self.path.resolve()
        for above in {*directory.parents, Path(tempfile.gettempdir()).resolve()} - {directory}:
            try:
                found.update(entry.path for entry in os.scandir(above) if mark in entry.name)
            except OSError:
                pass  # one that the kit may not read: it cannot tell
        return frozenset(found)

    def _read(self, path: Path) -> bytes:
        # Not blocking, so that a named pipe is an error and no wait.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise KitError(f"{path} is not a regular file")
            content = file.read(MAX_STORED + 1)
        if len(content) > MAX_STORED:
            raise KitError(f"{path} has more than {MAX_STORED} bytes")
        return content

    def _names(self) -> frozenset[str]:
        names: set[str] = set()
        for path in self.path.rglob("*"):
            relative = path.relative_to(self.path)
            if not any(part.startswith(".") for part in relative.parts) and path.is_file():
                names.add(str(relative))
            if len(names) > MAX_LISTED:
                raise KitError(f"{self.path} has more than {MAX_LISTED} files")
        return frozenset(names)


@attrs.frozen
class Command:
    """Stored files are written to standard output by a command that gets the name."""

    words: tuple[str, ...]

    async def read(self, name: str) -> bytes | None:
        """The content of a stored file; None where the command fails. Raises KitError."""
        words = [*self.words, name]
        status, program = await run(words, COMMAND_SECONDS, limit=MAX_STORED, errors=False)
        if status != 0:
            return None
        if not program.complete:
            raise KitError(f"the stored {name!r} has more than {MAX_STORED} bytes")
        return program.content


@attrs.frozen
class Target:
    """How the server under test is reached, looked into, and restarted."""

    address: Address
    stored: Directory | Command
    restart: tuple[str, ...] | None = None
    """A command that restarts the server in order."""
    kill: tuple[str, ...] | None = None
    """A command that kills the server and starts it again."""
    tokens: tuple[str, ...] = ()
    """Tokens of up to two users."""

    @property
    def offers(self) -> frozenset[str]:
        """What a case may need: `listing`, `restart`, `kill`, `token`, `other_token`."""
        has = {
            "listing": isinstance(self.stored, Directory),
            "restart": self.restart is not None,
            "kill": self.kill is not None,
            "token": bool(self.tokens),
            "other_token": len(self.tokens) > 1,
        }
        return frozenset(need for need, given in has.items() if given)

    async def connect(self, headers: Headers, within: float) -> tuple[trio.abc.Stream, bytes]:
        """A connection after its handshake, and the bytes behind it.

        Raises Refused, HandshakeError and KitError.
        """
        return await open_websocket(self.address, headers, within)

    async def run(self, words: tuple[str, ...]) -> None:
        """Run a command, then wait until the server accepts connections. Raises KitError."""
        status, output = await run_and_leave(words, COMMAND_SECONDS)
        if status != 0:
            why = f": {output}" if output else ""
            raise KitError(f"{words[0]} ended with status {status}{why}")
        await self.until_up()

    async def until_up(self) -> None:
        """Wait until the server answers a handshake. Raises KitError after COMMAND_SECONDS."""
        last = "no answer"
        with trio.move_on_after(COMMAND_SECONDS):
            while True:
                try:
                    stream, _ = await self.connect((), COMMAND_SECONDS)
                except (KitError, HandshakeError) as error:
                    last = str(error)
                except Refused as error:
                    if error.status < _SERVER_ERROR:
                        return
                    last = str(error)  # a proxy in front of a server that is not up yet
                else:
                    await trio.aclose_forcefully(stream)
                    return
                await trio.sleep(RETRY_SECONDS)
        raise KitError(f"the server is not up within {COMMAND_SECONDS:g} s: {last}")
