"""Clients that upload while the daemon is killed, and a check of what is then on disk."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from attrs import define, field
from helpers.clients import CLIENTS, some_bytes
from helpers.daemon import DEADLINE, Daemon, poll
from websockets.exceptions import WebSocketException

UPLOADERS: Final = 4
SIZES: Final = (0, 1, 70_000, 250_000, 400_000, 1_300_000)
CONTENTS: Final = [some_bytes(size) for size in SIZES]


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@contextmanager
def workers(
    run: Callable[[int], None], up: threading.Event, over: threading.Event
) -> Iterator[None]:
    """UPLOADERS threads that `run` during the block; then `over` is set, and `up`."""
    with ThreadPoolExecutor(UPLOADERS) as threads:
        jobs = [threads.submit(run, worker) for worker in range(UPLOADERS)]
        try:
            yield
        finally:
            over.set()
            up.set()
    for job in jobs:
        job.result()


@define
class Uploads:
    """Client threads that upload one file after the other, whatever becomes of the daemon."""

    daemon: Daemon
    offered: dict[str, str] = field(factory=dict)
    confirmed: list[str] = field(factory=list)
    up: threading.Event = field(factory=threading.Event)
    over: threading.Event = field(factory=threading.Event)

    def more_than(self, count: int) -> bool:
        return len(self.confirmed) > count

    def wait_for(self, count: int) -> None:
        """Return once so many more are confirmed."""
        until = len(self.confirmed) + count - 1
        poll("confirmations", partial(self.more_than, until), self.daemon.text)

    def running(self) -> AbstractContextManager[None]:
        """The threads run for the block; they send while `up` is set."""
        return workers(self.run, self.up, self.over)

    def run(self, worker: int) -> None:
        number = 0
        while not self.over.is_set():
            if not self.up.wait(DEADLINE):
                return
            number += 1
            content = CONTENTS[(worker + number) % len(CONTENTS)]
            kind = CLIENTS[number % len(CLIENTS)]
            client = kind(self.daemon.url, content, f"{worker}-{number}.bin")
            self.offered[client.name] = sha1(content)
            try:
                outcome = client.run()
            except (OSError, EOFError, WebSocketException):
                continue  # no daemon to talk to, or it died during the handshake
            if outcome.ending == "stored":
                self.confirmed.append(client.name)

    def check_files(self, directory: Path, checked: set[str]) -> None:
        """Look at every file in the directory that is not in `checked`, and add it there."""
        # A client that was told so just before the kill may note it a moment after this line.
        confirmed = set(self.confirmed)
        # A hidden file, unlike one that is visible, may be in part.
        names = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
        assert confirmed <= names, f"confirmed and gone: {confirmed - names}"
        for name in names - checked:
            assert name in self.offered, f"not a name that was sent: {name}"
            assert sha1((directory / name).read_bytes()) == self.offered[name], name
        checked |= names
