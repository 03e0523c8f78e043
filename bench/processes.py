"""Starts and ends server processes, and reads their CPU time and memory."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

TIMEOUT = 30
"""Time limit in seconds for a process to listen, and to end after SIGTERM."""

TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def running(command: Sequence[str | Path], log: Path, port: int) -> Iterator[int]:
    """Run a process that listens on `port`; yields its id. Raises RuntimeError if it does not."""
    with ExitStack() as stack:
        with log.open("ab") as output, _uninterrupted():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C signals only the benchmark, which then ends its processes.
                start_new_session=True,
            )
            stack.callback(_end, process)
        _wait_for(process, port, log)
        yield process.pid


def _end(process: subprocess.Popen[bytes]) -> None:
    with _uninterrupted():
        process.terminate()
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM, so that no process is left running."""
    deferred: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: deferred.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for received in deferred:
            signal.raise_signal(received)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(" ".join(last) or "no output") from None
            time.sleep(0.02)
        else:
            return


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """CPU time in seconds of a process and its descendants, ended ones included."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process has ended
        number = int(stat.parent.name)
        parents[number] = int(fields[1])
        ticks[number] = sum(map(int, fields[11:15]))

    def of_tree(root: int) -> int:
        children = [number for number, parent in parents.items() if parent == root]
        return ticks.get(root, 0) + sum(map(of_tree, children))

    return of_tree(pid) / TICKS


def peak_memory(pid: int) -> float:
    """Peak resident memory of a process in MiB, since its start or `reset_peak_memory`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def reset_peak_memory(pid: int) -> None:
    """Reset the peak that `peak_memory` reads."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM
