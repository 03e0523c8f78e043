"""The hook as a command: the receipt on its standard input, its exit status as the answer."""

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

GRACE: Final = 2.0
"""Seconds from SIGTERM to SIGKILL, and at most so long again until a killed process is gone."""

LINGER: Final = 0.5
"""Seconds for the end of the output, once the command has ended."""

KEPT_OUTPUT: Final = 1024
"""Bytes of the command's output that are kept, from its end; the rest is read and forgotten."""

READ: Final = 64 * 1024
"""Bytes of it that are read at once: what a pipe holds."""

PASSED_ON: Final = ("PATH", "HOME", "LANG", "TZ")
"""Of the daemon's environment, what a command gets. The rest may be secret."""

Pipes = tuple[trio.abc.SendStream, trio.abc.ReceiveStream]

_log: FilteringBoundLogger = structlog.get_logger()


async def run_command(
    command: Sequence[str], receipt: bytes, directory: str, timeout: float
) -> None:
    """Run it in `directory`; raises HookError unless it ends with status 0 within the time.

    One that takes longer, or is cancelled, is ended with all of its process group.
    """
    try:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
            start_new_session=True,
        )
    except OSError as error:
        # Not the error's own text: it has the whole of a path that may be long.
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
            # What it left running in the background may hold the pipes open for ever.
            linger = 0 if limit.cancelled_caught else LINGER
            nursery.cancel_scope.deadline = trio.current_time() + linger
    finally:
        if process.returncode is None:
            await _end(process)
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
        pass  # a command need not read what it does not want; its status is what counts
    await stdin.aclose()


async def _drain(stdout: trio.abc.ReceiveStream, output: bytearray) -> None:
    while data := await stdout.receive_some(READ):
        output += data
        del output[:-KEPT_OUTPUT]


async def _end(process: trio.Process) -> None:
    """SIGTERM and SIGKILL to the process group; it is the command's own, so nobody else is hit."""
    with trio.CancelScope(shield=True):
        _signal_group(process.pid, signal.SIGTERM)
        with trio.move_on_after(GRACE):
            await process.wait()
        # Also where the command has ended by now: its children may have not.
        _signal_group(process.pid, signal.SIGKILL)
        with trio.move_on_after(GRACE):  # one that hangs in the kernel cannot be waited for
            await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass  # all of it has ended


def _status(returncode: int) -> str:
    if returncode < 0:
        return f"the command was ended by signal {-returncode}"
    return f"the command ended with status {returncode}"
