"""Starts, restarts, kills and stops a server that is judged by galileo-conformance.

    control.py start STATE PORT COMMAND...   start COMMAND, wait until 127.0.0.1:PORT accepts
    control.py restart STATE                 SIGTERM, wait, start again
    control.py kill STATE                    SIGKILL, start again
    control.py stop STATE                    SIGTERM, wait

STATE is a directory for the process id and the server's output. So `--restart` and `--kill` are
`python tests/conformance/control.py restart STATE` and the same with `kill`.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

SECONDS: Final = 25
"""Seconds for a start or an end: the kit waits for 30."""


def start(state: Path, port: int, command: list[str]) -> None:
    """Start the command in a session of its own, and wait until it accepts connections."""
    with (state / "output").open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    (state / "server.json").write_text(
        json.dumps({"pid": process.pid, "port": port, "command": command})
    )
    limit = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < limit:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            process.returncode = 0  # it goes on without this process, which would warn
            return
    sys.exit(f"the server is not up after {SECONDS} s; see {state / 'output'}")


def end(pid: int, how: signal.Signals) -> None:
    """Send a signal to a process, and wait for its end."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # it has ended already
    signal.pidfd_send_signal(descriptor, how)
    ended, _, _ = select.select([descriptor], [], [], SECONDS)
    os.close(descriptor)
    if not ended:
        sys.exit(f"the server has not ended {SECONDS} s after {how.name}")


def stop(state: Path, how: signal.Signals = signal.SIGTERM) -> None:
    """End the server."""
    end(json.loads((state / "server.json").read_text())["pid"], how)


def main() -> None:
    """See the docstring of the module."""
    action, state = sys.argv[1], Path(sys.argv[2])
    if action == "start":
        state.mkdir(parents=True, exist_ok=True)
        start(state, int(sys.argv[3]), sys.argv[4:])
        return
    stop(state, signal.SIGKILL if action == "kill" else signal.SIGTERM)
    if action in {"restart", "kill"}:
        server = json.loads((state / "server.json").read_text())
        start(state, server["port"], server["command"])


if __name__ == "__main__":
    main()
