"""The server under test, as a case sees it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from galileod.conformance.handshake import Headers
from galileod.conformance.judge import CaseEnded, KitError
from galileod.conformance.server_connection import ServerConnection
from galileod.conformance.server_rules import is_plain
from galileod.conformance.target import Directory, Target
from galileod.conformance.trial import Trial


@attrs.frozen
class Server:
    """The server under test."""

    target: Target
    trial: Trial

    @asynccontextmanager
    async def connect(
        self, *, headers: Headers = (), content: bytes | None = None
    ) -> AsyncIterator[ServerConnection]:
        """A new connection after its handshake; at the end it is closed in order.

        `content` is the file that is sent, for the rules of the dialogue. Raises Refused where the
        server answers the handshake with another status, HandshakeError where the answer is not
        valid, and KitError where it cannot be reached.
        """
        stream, rest = await self.target.connect(headers, self.trial.patience)
        websocket = self.trial.websocket(stream, rest, "server", content)
        connection = ServerConnection(self.trial, websocket, token=self.token)
        try:
            yield connection
        except CaseEnded:
            await connection.finish()
            raise
        else:
            await connection.finish()
        finally:
            await websocket.aclose()

    def name(self, suffix: str = ".bin") -> str:
        """A name that no file had before."""
        return f"conformance-{secrets.token_hex(8)}{suffix}"

    async def stored(self, name: object) -> bytes | None:
        """The content that the server has stored under `name`; None where there is none.

        There is none under a name that is not plain: a server may have stated it, and what it
        leads to is not the server's.
        """
        if not isinstance(name, str) or not is_plain(name) or name in {"", ".", ".."}:
            return None
        return await self.target.stored.read(name)

    async def listing(self) -> frozenset[str]:
        """The paths of all stored files but hidden ones. The case must need `listing`."""
        if not isinstance(self.target.stored, Directory):
            raise KitError("the case does not declare that it needs listing")
        return await self.target.stored.names()

    async def strays(self, mark: str) -> frozenset[str]:
        """The paths of files outside of the directory that the case may look into.

        Those whose last part contains `mark`, a name by `name`. The case must need `listing`.
        """
        if not isinstance(self.target.stored, Directory):
            raise KitError("the case does not declare that it needs listing")
        return await self.target.stored.strays(mark)

    async def restart(self) -> None:
        """Restart the server in order. The case must need `restart`."""
        if self.target.restart is None:
            raise KitError("the case does not declare that it needs restart")
        self.trial.transcript.note("the server is restarted")
        await self.target.run(self.target.restart)

    async def kill(self) -> None:
        """Kill the server and start it again. The case must need `kill`."""
        if self.target.kill is None:
            raise KitError("the case does not declare that it needs kill")
        self.trial.transcript.note("the server is killed, and started again")
        await self.target.run(self.target.kill)

    @property
    def token(self) -> str | None:
        """The token of the first user; None where the server wants none."""
        return self.target.tokens[0] if self.target.tokens else None

    @property
    def other_token(self) -> str:
        """The token of another user. The case must need `other_token`."""
        return self.target.tokens[1]
