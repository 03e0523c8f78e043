"""SIGKILL at any moment, with clients that resume: each file arrives once, whole."""

import json
import random
import threading
import time
from contextlib import AbstractContextManager
from typing import Final

import pytest
from attrs import define, field
from helpers.clients import some_bytes
from helpers.crashing import sha1, workers
from helpers.daemon import DEADLINE, Daemon, Daemons, poll, run_galileod
from helpers.resuming import ResumingClient, push, read_ledger
from helpers.rounds import report, rounds

KILLS: Final = rounds(3, 50)
SEEDS: Final = 4
SIZES: Final = (0, 70_000, 1_300_000, 3_000_000, 8_000_000)
CONTENTS: Final = [some_bytes(size) for size in SIZES]

pytestmark = pytest.mark.timeout(rounds(120, 1200))


@define
class Senders:
    """Threads that send one file after the other; each until it is stored, with one key."""

    daemon: Daemon
    stored: dict[str, str] = field(factory=dict)
    attempts: int = 0
    up: threading.Event = field(factory=threading.Event)
    over: threading.Event = field(factory=threading.Event)

    def running(self) -> AbstractContextManager[None]:
        return workers(self.run, self.up, self.over)

    def run(self, worker: int) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            data = CONTENTS[(worker + number) % len(CONTENTS)]
            client = ResumingClient("", data, f"{worker}-{number}.bin")
            while (result := self.push(client)) != "stored":
                # A kill ends a connection. What was lost with it is answered so by the next one.
                assert result in ("lost", "shutting_down", "busy", "storage_failed"), result
            self.stored[client.name] = sha1(data)

    def push(self, client: ResumingClient) -> str:
        assert self.up.wait(DEADLINE)
        self.attempts += 1
        return push(client.at(self.daemon.url))

    def wait_for_work(self) -> None:
        before = self.attempts
        poll("work", lambda: self.attempts > before)

    def check_files(self) -> None:
        """What is visible is whole, and what was confirmed is visible."""
        confirmed = set(self.stored)
        names = self.daemon.visible()
        assert confirmed <= names.keys(), confirmed - names.keys()
        for name, path in names.items():
            worker, _, number = name.removesuffix(".bin").partition("-")
            data = CONTENTS[(int(worker) + int(number)) % len(CONTENTS)]
            assert sha1(path.read_bytes()) == sha1(data), name


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_file_arrives_once_whatever_is_killed(daemon: Daemons, seed: int) -> None:
    moments = random.Random(seed)
    host = daemon(start=False)
    senders = Senders(host)
    resumed = kept = 0
    with senders.running():
        for _ in range(KILLS):
            host.start()
            senders.up.set()
            senders.wait_for_work()
            time.sleep(moments.uniform(0.02, 0.4))  # the moment of the kill is what is tested
            resumed += sum(line["event"] == "upload.resumed" for line in host.log())
            host.kill()
            senders.up.clear()
            kept += len(host.spooled())
            senders.check_files()
        host.start()
        senders.up.set()
        senders.over.set()
    senders.check_files()
    assert senders.stored.keys() == host.visible().keys()
    poll("an empty spool", lambda: not host.spooled())
    usage = json.loads(run_galileod("usage", "--json", "--config", host.config).stdout)["users"]
    held = sum(path.stat().st_size for path in host.visible().values())
    assert [
        (user["files"], user["bytes"], user["uploads"], user["reserved"], user["kept"])
        for user in usage
    ] == [(len(senders.stored), held, 0, 0, 0)]
    assert host.stop() == 0
    assert read_ledger(host, "SELECT count(*) FROM uploads") == [(0,)]
    report(f"{KILLS} kills, {kept} files in the spool at them, {resumed} resumed")
    assert kept
