"""SIGKILL at any moment: what was confirmed is there, and nothing is there in part."""

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from attrs import define, field
from helpers.clients import CLIENTS, some_bytes
from helpers.daemon import DEADLINE, Daemon, Daemons, poll
from websockets.exceptions import WebSocketException

ROUNDS: Final = 10
UPLOADERS: Final = 4
SIZES: Final = (0, 1, 70_000, 250_000, 400_000, 1_300_000)
CONTENTS: Final = [some_bytes(size) for size in SIZES]


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


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


# Fifty kills; in parts, which run beside each other.
@pytest.mark.parametrize("seed", range(5))
def test_every_confirmed_file_survives_a_kill_and_nothing_partial_does(
    daemon: Daemons, seed: int
) -> None:
    moments = random.Random(seed)
    host = daemon(start=False)
    uploads = Uploads(host)
    checked: set[str] = set()
    cleared = 0
    with ThreadPoolExecutor(UPLOADERS) as threads:
        jobs = [threads.submit(uploads.run, worker) for worker in range(UPLOADERS)]
        try:
            for _ in range(ROUNDS):
                host.start()
                assert not host.spooled()
                cleared += (host.find("spool.cleared") or {}).get("files", 0)
                before = len(uploads.confirmed)
                uploads.up.set()
                host.prepare()
                poll("a confirmation", partial(uploads.more_than, before), host.text)
                # The one sleep of the suite: the moment of the kill is what is tested.
                time.sleep(moments.uniform(0.02, 0.3))
                host.kill()
                uploads.up.clear()
                check_files(host.directory, uploads, checked)
        finally:
            uploads.over.set()
            uploads.up.set()
    for job in jobs:
        job.result()
    check_files(host.directory, uploads, checked)
    # Otherwise the kills met nobody at work.
    assert cleared > 0
    assert len(uploads.confirmed) > 2 * ROUNDS


def check_files(directory: Path, uploads: Uploads, checked: set[str]) -> None:
    """Look at every file that came since the last time."""
    # A client that was told so just before the kill may note it a moment after this line.
    confirmed = set(uploads.confirmed)
    names = {path.name for path in directory.iterdir()} - {".galileod"}
    assert confirmed <= names, f"confirmed and gone: {confirmed - names}"
    for name in names - checked:
        assert name in uploads.offered, f"not a name that was sent: {name}"
        assert sha1((directory / name).read_bytes()) == uploads.offered[name], name
    checked |= names
