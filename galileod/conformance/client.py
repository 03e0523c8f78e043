"""The client under test, as a case sees it."""

from collections.abc import AsyncIterator
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
        """Make the client send `run.content` as `name`; stop it at the end.

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
        async with self.starter.start(run, name):
            try:
                yield run
            except CaseEnded:
                await run.finish()
                raise
            else:
                await run.finish()
