"""Looks at other processes through /proc."""

import os
import signal
import subprocess
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that it has started and not waited for, and those that it has inherited."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(one) for task in threads for one in (task / "children").read_text().split()]


def state(pid: int) -> str:
    """The letter that ps gives; X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def is_zombie(pid: int) -> bool:
    """Whether it has ended, and its parent has not waited for it."""
    return state(pid) == "Z"


def kill_sessions(pid: int) -> None:
    """Kill the process groups that its children lead; the process itself is left stopped.

    It must be a child that nobody has waited for.
    """
    os.kill(pid, signal.SIGSTOP)  # it starts no other while its children are looked for
    while state(pid) not in "TZ":
        time.sleep(0.001)
    if state(pid) == "T":
        for child in children(pid):
            if os.getpgid(child) == child:
                os.killpg(child, signal.SIGKILL)


def blocks(pid: int, number: signal.Signals) -> bool:
    """Whether the signal is blocked in its main thread."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("SigBlk:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def mappings(pid: int) -> int:
    """How much it has mapped: the count grows with its imports. 0 if it has ended."""
    try:
        return len(Path(f"/proc/{pid}/maps").read_text().splitlines())
    except (FileNotFoundError, ProcessLookupError):
        return 0


def can_unshare(*namespaces: str) -> bool:
    """Whether this user may create such namespaces."""
    command = ("unshare", *namespaces, "--fork", "true")
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for yet is dead all the same."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
