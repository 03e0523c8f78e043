"""A client under test that is a command."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import trio

from galileod.conformance.commands import Running, running, split
from galileod.conformance.run import Outcome, Run

FILES: Final = "{files}"
"""The word that is replaced by the paths of all files, each one a word."""


def parse_command(command: str) -> tuple[str, ...]:
    """The words of a command with `{url}`, and `{file}` or the word `{files}`.

    Raises ValueError where one is missing.
    """
    words = split(command)
    if not any("{url}" in word for word in words):
        raise ValueError("the command does not contain {url}")
    if FILES not in words and not any("{file}" in word for word in words):
        raise ValueError("the command does not contain {file} or the word {files}")
    return tuple(words)


def offers(words: Sequence[str]) -> frozenset[str]:
    """What cases may need that a command has."""
    return frozenset({"command", "files"} if FILES in words else {"command"})


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
        paths = [str(self._file(name, run.content, run.size))]
        paths += [str(self._file(name, content)) for name, content in run.further]
        words = list(self._replaced(paths))
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

    def _replaced(self, paths: Sequence[str]) -> Iterator[str]:
        for word in self.words:
            if word == FILES:
                yield from paths
            else:
                yield word.replace("{url}", self.url).replace("{file}", paths[0])

    def _file(self, name: str, content: bytes, size: int | None = None) -> Path:
        path = self.directory / name
        whole = (content, size)
        # What the client has made of the file is not looked at: it may be a pipe by now.
        if self._files.get(name) != whole:
            path.unlink(missing_ok=True)
            with path.open("xb") as file:
                file.write(content)
                if size is not None:
                    file.truncate(size)
            self._files[name] = whole
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
