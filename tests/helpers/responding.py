"""A process that responds on the control socket in place of the daemon."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from galileod.storage.state import control_path


@contextmanager
def responding(
    directory: Path, reply: bytes | None, request: bytes = b"POST /reload"
) -> Iterator[None]:
    """A control socket that sends `reply` to the first request, or nothing at all for None."""
    path = Path(control_path(str(directory)))
    path.parent.mkdir(parents=True)

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(4096).startswith(request + b" HTTP/1.1\r\n")
            if reply is None:
                left.wait(10)
            else:
                connection.sendall(reply)

    left = threading.Event()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            left.set()
            thread.join()
