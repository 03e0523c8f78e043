"""A client under test that is a command."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import trio

from galileod.conformance.commands import Running, running, split
from galileod.conformance.run import Outcome, Run

PLACEHOLDERS: Final = ("{url}", "{file}")


def parse_command(command: str) -> tuple[str, ...]:
    """The words of a command with `{url}` and `{file}`. Raises ValueError where one is missing."""
    words = split(command)
    for placeholder in PLACEHOLDERS:
        if not any(placeholder in word for word in words):
            raise ValueError(f"the command does not contain {placeholder}")
    return tuple(words)


@attrs.define(eq=False)
class CommandStarter:
    """Runs the command for each file. It listens on one port of the loopback for a whole case."""

    words: Sequence[str]
    directory: Path
    _listener: trio.SocketListener
    _files: dict[str, tuple[bytes, int | None]] = attrs.field(factory=dict, init=False)
    """Content and size of each file that was written."""

    @property
    def url(self) -> str:
        """Where the client is told to connect."""
        return f"ws://127.0.0.1:{self._listener.socket.getsockname()[1]}/upload"

    @asynccontextmanager
    async def start(self, run: Run, name: str) -> AsyncIterator[None]:
        """Run the command; kill it at the end. Raises KitError where it cannot be started."""
        file = self._file(name, run)
        words = [w.replace("{url}", self.url).replace("{file}", str(file)) for w in self.words]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, run)
            async with running(words) as program:
                nursery.start_soon(_conclude, run, program)
                yield
            nursery.cancel_scope.cancel()

    async def _serve(self, run: Run) -> None:
        # Not by trio.serve_listeners, which closes the listener with the first run.
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(_serve_stream, run, await self._listener.accept())

    def _file(self, name: str, run: Run) -> Path:
        path = self.directory / name
        content = (run.content, run.size)
        # What the client has made of the file is not looked at: it may be a pipe by now.
        if self._files.get(name) != content:
            path.unlink(missing_ok=True)
            with path.open("xb") as file:
                file.write(run.content)
                if run.size is not None:
                    file.truncate(run.size)
            self._files[name] = content
        return path


@asynccontextmanager
async def command_starter(words: Sequence[str]) -> AsyncIterator[CommandStarter]:
    """What one case needs to run the command: a directory for its files, and a port."""
    with TemporaryDirectory(prefix="galileo-conformance-") as directory:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            yield CommandStarter(words, Path(directory), listener)


async def _serve_stream(run: Run, stream: trio.SocketStream) -> None:
    try:
        await run.serve(stream)
    finally:
        await trio.aclose_forcefully(stream)


async def _conclude(run: Run, program: Running) -> None:
    status = await program.wait()
    run.trial.transcript.note(f"the client ended with status {status}")
    run.conclude(Outcome(success=status == 0, output=program.output))
