"""A process that has imported galileod and galileo-send, and forks others that run them.

A program: `template.py DESCRIPTOR`. The descriptor is a socket: each message is a request as JSON,
each gets one integer as its answer. `{"run": ...}` starts a process, with the three descriptors
that come with it as its standard streams, and gives its id; `{"reap": pid}` gives the status of
one that has ended, as waitpid does. Ends when the other end of the socket is closed.
"""

import gc
import json
import os
import socket
import sys
from typing import Any, Final

from galileod.cli import daemon, send
from galileod.cli import main as _daemon  # noqa: F401  what takes the time
from galileod.client.command import main as _client  # noqa: F401  likewise

LONGEST: Final = 1 << 20
"""Bytes of a request, which has the environment in it."""


def next_process(control: socket.socket) -> dict[str, Any] | None:
    """Answer until asked to run something. In the process that runs it, give what is to be run."""
    while True:
        message, streams, _, _ = socket.recv_fds(control, LONGEST, 3)
        if not message:
            return None
        request = json.loads(message)
        if "reap" in request:
            answer = os.waitpid(request["reap"], 0)[1]
        else:
            answer = os.fork()
            if answer == 0:
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
            for stream in streams:
                os.close(stream)
            if answer == 0:
                return dict(request["run"])
        control.send(json.dumps(answer).encode())


def run(arguments: list[str], environ: dict[str, str], folder: str, before: str) -> None:
    """Become the program that the first argument names, as if it had been executed.

    The name -c, as with `python -c`, stands for the code alone.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = arguments
    exec(before, {})  # noqa: S102  a test's own code
    match os.path.basename(arguments[0]):
        case "galileod":
            daemon.main()
        case "galileo-send":
            send.main()


def main() -> None:
    # What is there now is the same in each process: it need not be looked at, nor copied for it.
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        try:
            process = next_process(control)
        except KeyboardInterrupt:
            return
    if process is not None:
        run(**process)


if __name__ == "__main__":
    main()
