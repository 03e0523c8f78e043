"""HAProxy, as a process for the time of a test."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.daemon import DEADLINE, poll
from helpers.missing import find, leave_out


@contextmanager
def running_haproxy(text: str, folder: Path, port: int) -> Iterator[None]:
    """With this configuration; it listens on `port` once the block begins."""
    program = find("haproxy")
    if program is None:
        leave_out("needs haproxy: install Debian's package haproxy")
    config, log = folder / "haproxy.cfg", folder / "haproxy.log"
    config.write_text(text)
    with (
        log.open("wb") as written,
        subprocess.Popen(
            [program, "-db", "-f", config],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        ) as process,
    ):

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), DEADLINE).close()
            except OSError:  # not yet
                return False
            return True

        try:
            poll("haproxy", listens, log.read_text)
            yield
        finally:
            process.kill()
