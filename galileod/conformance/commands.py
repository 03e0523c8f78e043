"""Running other programs, bounded in time and output."""

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from galileod.conformance.judge import KitError

MAX_OUTPUT: Final = 64 * 1024
"""Bytes of a program's output that are kept: the first ones."""
_READ: Final = 65_536


@attrs.define(eq=False)
class Running:
    """A program that was started in a process group of its own."""

    process: trio.Process
    limit: int
    _output: bytearray = attrs.field(factory=bytearray, init=False)
    _left_out: int = attrs.field(default=0, init=False)
    _read: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def wait(self) -> int:
        """Wait for the program and for the end of its output; return its exit status."""
        status = await self.process.wait()
        with trio.move_on_after(1):  # a child that it left behind may hold the output open
            await self._read.wait()
        return status

    @property
    def content(self) -> bytes:
        """The output, up to `limit` bytes."""
        return bytes(self._output)

    @property
    def complete(self) -> bool:
        """Whether `content` is the whole output until now."""
        return not self._left_out

    @property
    def output(self) -> str:
        """The output as text, with a note where some was left out."""
        text = bytes(self._output[:MAX_OUTPUT]).decode("utf-8", "backslashreplace")
        more = self._left_out + max(0, len(self._output) - MAX_OUTPUT)
        return f"{text}\n[{more} more bytes]" if more else text

    async def collect(self, stream: trio.abc.ReceiveStream) -> None:
        """Read the output to its end; keep `limit` bytes."""
        async for data in stream:
            room = self.limit - len(self._output)
            self._output += data[:room]
            self._left_out += max(0, len(data) - room)
        self._read.set()


def split(command: str) -> list[str]:
    """The words of a command line. Raises ValueError where there are none, or quotes are open."""
    words = shlex.split(command)
    if not words:
        raise ValueError("the command is empty")
    return words


@asynccontextmanager
async def running(
    words: Sequence[str], *, limit: int = MAX_OUTPUT, errors: bool = True
) -> AsyncIterator[Running]:
    """Start a program; at the end, kill it and what it started. Raises KitError.

    `errors`: whether standard error belongs to the output; it is dropped otherwise.
    """
    process = await _start(words, subprocess.PIPE, errors=errors)
    if process.stdout is None:
        raise AssertionError("a pipe was asked for")
    program = Running(process, limit)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.collect, process.stdout)
            yield program
            nursery.cancel_scope.cancel()
    finally:
        _kill_group(process.pid)
        with trio.CancelScope(shield=True):
            await process.wait()  # it was killed: this takes no time
            await process.stdout.aclose()


async def run(
    words: Sequence[str], within: float, *, limit: int = MAX_OUTPUT, errors: bool = True
) -> tuple[int, Running]:
    """Run a program to its end; return its exit status. Raises KitError after `within` seconds."""
    async with running(words, limit=limit, errors=errors) as program:
        with trio.move_on_after(within):
            return await program.wait(), program
    raise KitError(f"{shlex.join(words)} has not ended within {within:g} s: {program.output}")


async def run_and_leave(words: Sequence[str], within: float) -> tuple[int, str]:
    """Run a program to its end, and leave what it started in the background running.

    Returns its exit status and its output, up to MAX_OUTPUT bytes. Raises KitError after `within`
    seconds. The output goes into a file: the end of a pipe would stop a server that writes to it.
    """
    with tempfile.TemporaryFile() as output:
        process = await _start(words, output.fileno(), errors=True)
        with trio.move_on_after(within) as scope:
            try:
                status = await process.wait()
            except trio.Cancelled:
                _kill_group(process.pid)
                with trio.CancelScope(shield=True):
                    await process.wait()  # it was killed: this takes no time
                raise
        text = os.pread(output.fileno(), MAX_OUTPUT, 0).decode("utf-8", "backslashreplace")
    if scope.cancelled_caught:
        raise KitError(f"{shlex.join(words)} has not ended within {within:g} s: {text}")
    return status, text


async def _start(words: Sequence[str], output: int, *, errors: bool) -> trio.Process:
    """Start a program in a process group of its own. Raises KitError."""
    try:
        return await trio.lowlevel.open_process(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise KitError(f"cannot run {words[0]!r}: {error}") from None


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended, and so has all that it started
