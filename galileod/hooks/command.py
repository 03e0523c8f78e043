"""The hook as a command: the receipt is its standard input, its exit status the result."""

import errno
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Final, cast

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from .settings import HookError

TERM_SECONDS: Final = 2.0
"""Seconds from SIGTERM to SIGKILL, and the time limit for the process to end after that."""

OUTPUT_SECONDS: Final = 0.5
"""Seconds in which the rest of the output is read after the command has ended."""

MAX_OUTPUT: Final = 1024
"""Bytes of the command's output that are kept, from its end; the rest is read and discarded."""

READ: Final = 64 * 1024
"""Bytes of output that are read at once: the size of a pipe's buffer."""

ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "TZ")
"""The variables that a command inherits from the daemon. Others may be secret."""

Pipes = tuple[trio.abc.SendStream, trio.abc.ReceiveStream]

_log: FilteringBoundLogger = structlog.get_logger()


async def run_command(
    command: Sequence[str], receipt: bytes, directory: str, timeout: float
) -> None:
    """Run the command in `directory`. Raises HookError unless it exits with status 0 in time.

    After `timeout` seconds, or if this is cancelled, its process group is terminated.
    """
    try:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            start_new_session=True,
        )
    except OSError as error:
        # The text of the error itself contains the path, which may be long or secret.
        reason = os.strerror(error.errno or errno.EIO)
        raise HookError(f"the command cannot be started: {reason}") from None
    stdin, stdout = cast(Pipes, (process.stdin, process.stdout))
    output = bytearray()
    try:
        async with stdin, stdout, trio.open_nursery() as nursery:
            nursery.start_soon(_feed, stdin, receipt)
            nursery.start_soon(_drain, stdout, output)
            with trio.move_on_after(timeout) as limit:
                await process.wait()
            # Background processes that it started may hold the pipes open for ever.
            output_seconds = 0 if limit.cancelled_caught else OUTPUT_SECONDS
            nursery.cancel_scope.deadline = trio.current_time() + output_seconds
    finally:
        if process.returncode is None:
            await _terminate(process)
        if output:
            _log.debug("hook.output", output=output.decode(errors="replace"))
    if limit.cancelled_caught:
        raise HookError(f"the command did not end within {timeout:g} seconds")
    if process.returncode:
        raise HookError(_status(process.returncode))


async def _feed(stdin: trio.abc.SendStream, receipt: bytes) -> None:
    try:
        await stdin.send_all(receipt)
    except trio.BrokenResourceError:
        pass  # a command need not read its input; the status alone is the result
    await stdin.aclose()


async def _drain(stdout: trio.abc.ReceiveStream, output: bytearray) -> None:
    while data := await stdout.receive_some(READ):
        output += data
        del output[:-MAX_OUTPUT]


async def _terminate(process: trio.Process) -> None:
    """Send SIGTERM, then SIGKILL, to the process group, which has no other processes."""
    with trio.CancelScope(shield=True):
        _signal_group(process.pid, signal.SIGTERM)
        with trio.move_on_after(TERM_SECONDS):
            await process.wait()
        # Even if the command has ended: its children may still run.
        _signal_group(process.pid, signal.SIGKILL)
        with trio.move_on_after(TERM_SECONDS):  # a process that is stuck in the kernel does not end
            await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass  # the whole group has ended


def _status(returncode: int) -> str:
    if returncode < 0:
        return f"the command was ended by signal {-returncode}"
    return f"the command ended with status {returncode}"
