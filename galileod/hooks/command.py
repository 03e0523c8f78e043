"""A command as the hook: its standard input is the receipt, its exit status the result.

If it is asked, its standard output is the answer.
"""

import errno
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, cast

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from .settings import HookError

TERM_SECONDS: Final = 2.0
"""Seconds from SIGTERM to SIGKILL, and time limit for the end of the process after SIGKILL."""

OUTPUT_SECONDS: Final = 0.5
"""Time limit in seconds for reading the rest of the output after the command has ended."""

MAX_OUTPUT: Final = 1024
"""Maximum bytes of the command's output that are logged: the last ones. All output is read."""

READ: Final = 64 * 1024
"""Maximum bytes of a read of the output: the size of a pipe's buffer."""

ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "TZ")
"""The environment variables that a command inherits from the daemon. Others may be secret."""

Pipes = tuple[trio.abc.SendStream, trio.abc.ReceiveStream, trio.abc.ReceiveStream | None]

_log: FilteringBoundLogger = structlog.get_logger()


async def run_command(
    command: Sequence[str],
    receipt: bytes,
    directory: str,
    timeout: float,
    most: int | None = None,
) -> bytes:
    """Run the command in `directory`. Raises HookError unless it exits with status 0 in time.

    After `timeout` seconds, or if this is cancelled, its process group is terminated. With `most`,
    its standard output is returned, and may have that many bytes; at the time limit it is killed,
    since a client waits. Otherwise the output is only logged, and nothing is returned.
    """
    try:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if most is None else subprocess.PIPE,
            cwd=directory,
            env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            start_new_session=True,
        )
    except OSError as error:
        # str(error) contains the path, which may be long or secret.
        reason = os.strerror(error.errno or errno.EIO)
        raise HookError(f"the command cannot be started: {reason}") from None
    stdin, stdout, stderr = cast(Pipes, (process.stdin, process.stdout, process.stderr))
    answer, output = bytearray(), bytearray()
    try:
        async with AsyncExitStack() as pipes, trio.open_nursery() as nursery:
            for pipe in filter(None, (stdin, stdout, stderr)):
                await pipes.enter_async_context(pipe)
            nursery.start_soon(_feed, stdin, receipt)
            nursery.start_soon(_drain, stderr or stdout, output)
            if most is not None:
                nursery.start_soon(_take, stdout, answer, most, nursery.cancel_scope)
            with trio.move_on_after(timeout) as limit:
                await process.wait()
            # Background processes of the command may keep the pipes open for ever.
            output_seconds = 0 if limit.cancelled_caught else OUTPUT_SECONDS
            nursery.cancel_scope.deadline = trio.current_time() + output_seconds
    finally:
        if process.returncode is None:
            await _terminate(process, TERM_SECONDS if most is None else 0)
        if output:
            _log.debug("hook.output", output=output.decode(errors="replace"))
    if most is not None and len(answer) > most:
        raise HookError(f"the command printed more than {most} bytes")
    if limit.cancelled_caught:
        raise HookError(f"the command did not end within {timeout:g} seconds")
    if process.returncode:
        raise HookError(_status(process.returncode))
    return bytes(answer)


async def _feed(stdin: trio.abc.SendStream, receipt: bytes) -> None:
    try:
        await stdin.send_all(receipt)
    except trio.BrokenResourceError:
        pass  # a command need not read its input; only its exit status counts
    await stdin.aclose()


async def _drain(stdout: trio.abc.ReceiveStream, output: bytearray) -> None:
    while data := await stdout.receive_some(READ):
        output += data
        del output[:-MAX_OUTPUT]


async def _take(
    stdout: trio.abc.ReceiveStream, answer: bytearray, most: int, scope: trio.CancelScope
) -> None:
    """Read the answer; cancel `scope` if it is longer than `most` bytes."""
    while data := await stdout.receive_some(READ):
        answer += data
        if len(answer) > most:
            scope.cancel()


async def _terminate(process: trio.Process, seconds: float) -> None:
    """Send SIGTERM, and SIGKILL after `seconds`, to the process group of the command."""
    with trio.CancelScope(shield=True):
        if seconds:
            _signal_group(process.pid, signal.SIGTERM)
            with trio.move_on_after(seconds):
                await process.wait()
        # Also if the command has ended, since its children may still run.
        _signal_group(process.pid, signal.SIGKILL)
        with trio.move_on_after(TERM_SECONDS):  # a process in uninterruptible sleep does not end
            await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass  # all processes of the group have ended


def _status(returncode: int) -> str:
    if returncode < 0:
        return f"the command was ended by signal {-returncode}"
    return f"the command ended with status {returncode}"
