"""The client under test, as a case sees it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import attrs

from galileod.conformance.handshake import Answer, accept_upgrade
from galileod.conformance.judge import CaseEnded
from galileod.conformance.run import Run
from galileod.conformance.trial import Trial

DEFAULT_NAME: Final = "conformance.bin"


class Starter(Protocol):
    """Makes the client under test send files: a command, or a page in a browser."""

    def start(self, run: Run, name: str) -> AbstractAsyncContextManager[None]:
        """Make the client send `run.content` as `name`, and `run.further`; stop it at the end.

        Calls `run.serve` or `run.offer` with each connection, and `run.conclude` once. May raise
        KitError.
        """
        ...


@attrs.frozen
class Client:
    """The client under test."""

    starter: Starter
    trial: Trial

    @asynccontextmanager
    async def send(
        self,
        content: bytes,
        name: str = DEFAULT_NAME,
        *,
        size: int | None = None,
        answer: Answer = accept_upgrade,
    ) -> AsyncIterator[Run]:
        """Make the client send a file; at the end its connections are closed, and it is stopped.

        Within one case, the same content under the same name is the same file, unchanged, at the
        same address. With `size`, the file is continued by zeros to so many bytes, which take no
        space on the disk; the case must need `command` then. `answer` answers the handshakes.
        """
        run = Run(self.trial, content, size, answer)
        async with self._started(run, name):
            yield run

    @asynccontextmanager
    async def send_many(self, files: Sequence[tuple[str, bytes]]) -> AsyncIterator[Run]:
        """Make the client send files, names and contents, at once; otherwise like `send`.

        The client may take them in any order. The outcome is success where all of them are stored.
        The case must need `files`.
        """
        (name, content), *further = files
        run = Run(self.trial, content, further=further)
        async with self._started(run, name):
            yield run

    @asynccontextmanager
    async def _started(self, run: Run, name: str) -> AsyncIterator[None]:
        async with self.starter.start(run, name):
            try:
                yield
            except CaseEnded:
                await run.finish()
                raise
            else:
                await run.finish()
