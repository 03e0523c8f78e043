"""Runs cases against reference peers in the same process, over streams in memory.

Together with trio's autojump clock, a case that waits for a signal which never comes costs no time.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio
import trio.testing

from galileod.conformance.address import Address
from galileod.conformance.case import CLIENT_NEEDS, ClientCase, ServerCase
from galileod.conformance.client import Client
from galileod.conformance.handshake import Headers, request_upgrade
from galileod.conformance.run import Outcome, Run
from galileod.conformance.runner import run_case
from galileod.conformance.server import Server
from galileod.conformance.target import Directory, Target
from galileod.conformance.trial import Trial
from galileod.conformance.verdicts import Result, Verdict

PATIENCE: Final = 5.0
"""Seconds of the mock clock."""

ADDRESS: Final = Address.parse("ws://reference.example/upload")

Stream = trio.abc.Stream


@attrs.frozen
class Stored(Directory):
    """The files of a reference server, which it keeps in memory."""

    path: Path = attrs.field(default=Path(), init=False)
    files: Mapping[str, bytes]

    async def read(self, name: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self.files.get(name)

    async def names(self) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        return frozenset(self.files)

    async def strays(self, mark: str) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        outside = ("/", "../")
        return frozenset(n for n in self.files if n.startswith(outside) and mark in n)


class ReferenceServer:
    """What a reference server must have; a test's server derives from it.

    `serve` handles one connection, from the first byte of the handshake on. `restart` and `kill`
    end all connections themselves where that matters.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def serve(self, stream: Stream) -> None:
        raise NotImplementedError

    async def restart(self) -> None:
        """Stop in order, and start again."""

    async def kill(self) -> None:
        """End without warning, and start again."""


@attrs.frozen
class _MemoryTarget(Target):
    server: ReferenceServer = attrs.field(kw_only=True)
    nursery: trio.Nursery = attrs.field(kw_only=True)

    @property
    def offers(self) -> frozenset[str]:
        offered = {"listing", "restart", "kill"}
        return frozenset(offered | {"token", "other_token"} if self.tokens else offered)

    async def connect(self, headers: Headers, within: float) -> tuple[Stream, bytes]:
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(_serve, self.server, theirs)
        with trio.fail_after(within):
            rest = await request_upgrade(ours, ADDRESS.authority, ADDRESS.target, headers)
        return ours, rest

    async def run(self, words: tuple[str, ...]) -> None:
        await (self.server.restart() if words == ("restart",) else self.server.kill())


async def _serve(server: ReferenceServer, stream: Stream) -> None:
    async with stream:
        await server.serve(stream)


async def judge_server(
    case: ServerCase, server: ReferenceServer, tokens: tuple[str, ...] = ()
) -> Result:
    """Run a case against a reference server."""
    async with trio.open_nursery() as nursery:
        stored = Stored(server.files)
        target = _MemoryTarget(
            ADDRESS,
            stored,
            ("restart",),
            ("kill",),
            tokens,
            server=server,
            nursery=nursery,
        )

        async def body(trial: Trial) -> None:
            await case.run(Server(target, trial), trial.judge)

        result = await run_case(case, body, target.offers, PATIENCE)
        nursery.cancel_scope.cancel()
    return result


Connect = Callable[[], Awaitable[Stream]]
"""Opens a new connection to the kit, before the handshake."""

Send = Callable[[Connect, bytes, str], Awaitable[bool]]
"""A reference client: sends the content under the name, and returns whether it reports success."""

Files = Sequence[tuple[str, bytes]]
"""Names and contents."""

SendMany = Callable[[Connect, Files], Awaitable[bool]]
"""A reference client: sends all files, and returns whether it reports success for all of them."""


@attrs.frozen
class _FunctionStarter:
    send: SendMany

    @asynccontextmanager
    async def start(self, run: Run, name: str) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:

            async def connect() -> Stream:
                await trio.lowlevel.checkpoint()
                theirs, ours = trio.testing.memory_stream_pair()
                nursery.start_soon(_serve_run, run, ours)
                return theirs

            async def send() -> None:
                # Zeros that nobody reads take no memory.
                content = run.content if run.size is None else bytes(run.size)
                success = await self.send(connect, [(name, content), *run.further])
                run.conclude(Outcome(success=success, output=""))

            nursery.start_soon(send)
            yield
            nursery.cancel_scope.cancel()


async def _serve_run(run: Run, stream: Stream) -> None:
    async with stream:
        await run.serve(stream)


async def judge_client(case: ClientCase, send: Send) -> Result:
    """Run a case against a reference client that sends one file."""

    async def send_one(connect: Connect, files: Files) -> bool:
        [(name, content)] = files
        return await send(connect, content, name)

    return await _judge_client(case, send_one, CLIENT_NEEDS - {"files"})


async def judge_many_client(case: ClientCase, send: SendMany) -> Result:
    """Run a case against a reference client that sends many files at once."""
    return await _judge_client(case, send, CLIENT_NEEDS)


async def _judge_client(case: ClientCase, send: SendMany, offers: frozenset[str]) -> Result:
    async def body(trial: Trial) -> None:
        await case.run(Client(_FunctionStarter(send), trial), trial.judge)

    return await run_case(case, body, offers, PATIENCE)


def failed(result: Result, requirement: str) -> bool:
    """Whether the case says that the requirement does not hold."""
    return result.verdict is Verdict.FAIL and any(
        finding.requirement == requirement and finding.verdict is Verdict.FAIL
        for finding in result.findings
    )
