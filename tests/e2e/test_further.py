"""Bursts of files on one connection, and what may happen in the middle of them."""

import json
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from helpers.bursts import Burst, key_of, whole_file
from helpers.clients import check_serves, some_bytes
from helpers.credentials import Office
from helpers.daemon import Daemon, Daemons, poll, run_galileod
from helpers.frames import BINARY, TEXT, frame, frame_header, signal_frame
from helpers.hooks import HookReceiver
from helpers.mounts import tmpfs
from helpers.reloading import reload
from helpers.rounds import report, rounds

pytestmark = pytest.mark.timeout(rounds(120, 3600))

FIN: Final = 0x80
MOST_OPEN: Final = 200
"""Files that a client leaves open at once."""

GROWTH: Final = 64 * 1024 * 1024
"""Bytes of memory that allocators may keep of what all attacks together made us hold for a time."""
SIZES: Final = (0, 1, 100, 4_000, 20_000)


def content(number: int) -> bytes:
    return some_bytes(SIZES[number % len(SIZES)], number)


def usage(daemon: Daemon) -> list[dict[str, Any]]:
    done = run_galileod("usage", "--json", "--config", daemon.config)
    users: list[dict[str, Any]] = json.loads(done.stdout)["users"]
    return users


def check_usage(daemon: Daemon) -> None:
    """The ledger agrees with the disk, and nothing is reserved."""
    held = [path.stat().st_size for path in daemon.visible().values()]
    users = usage(daemon)
    assert sum(user["files"] for user in users) == len(held)
    assert sum(user["bytes"] for user in users) == sum(held)
    assert not any(user["uploads"] or user["reserved"] for user in users)


class Sender:
    """Sends files with keys, one connection after the other, each until it is stored."""

    def __init__(self, daemon: Daemon, worker: int) -> None:
        self.daemon = daemon
        self.worker = worker
        self.stored: set[int] = set()
        self.connections = 0
        self.unanswered = 0

    def name(self, number: int) -> str:
        return f"{self.worker}-{number}.bin"

    def run(self, count: int) -> None:
        """Send what is not stored yet of `count` files, as long as the daemon takes them."""
        left = [number for number in range(count) if number not in self.stored]
        numbers: dict[int, int] = {}
        self.connections += 1
        try:
            burst = Burst(self.daemon, f"first-{self.worker}-{self.connections}")
        except OSError:
            return  # it has ended already
        with closing(burst), suppress(OSError):
            if not burst.begin():
                return
            for number in left:
                while burst.hear_now() and len(numbers) - len(burst.answers) >= MOST_OPEN:
                    if not burst.hear():
                        break
                if {"last": True} in burst.others:
                    break
                name = self.name(number)
                numbers[burst.send_whole(name, content(number), upload=key_of(name))] = number
            while len(burst.answers) < len(numbers) and burst.hear():
                pass
        self.unanswered = len(numbers) - len(burst.answers)
        for at, answer in burst.answers.items():
            assert answer == {"close": True, "path": self.name(numbers[at]), "file": at}, answer
            self.stored.add(numbers[at])

    def check(self) -> None:
        """What was confirmed is there, and nothing in part."""
        visible = self.daemon.visible()
        for number in self.stored:
            assert visible[self.name(number)].read_bytes() == content(number), number


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("how", ["kill", "stop", "stop at once"])
def test_a_daemon_that_ends_in_the_middle_of_a_burst_has_what_it_confirmed(
    daemon: Daemons, how: str, seed: int
) -> None:
    moments = random.Random(seed)
    host = daemon(start=False)
    senders = [Sender(host, worker) for worker in range(2)]
    cut = count = 0
    for at in range(rounds(4, 100)):
        host.start()
        count = 300 * (at + 1)
        with ThreadPoolExecutor(len(senders)) as threads:
            jobs = [threads.submit(sender.run, count) for sender in senders]
            host.wait_for("upload.stored")
            time.sleep(moments.uniform(0, 0.2))  # the moment of the end is what is tested
            if how == "kill":
                host.kill()
            else:
                host.send_signal(signal.SIGTERM)
                if how == "stop at once":
                    host.wait_for("server.draining")
                    host.send_signal(signal.SIGTERM)
                assert host.wait() == 0
                host.check_log()
        for job in jobs:
            job.result()
        if how == "stop":
            assert not any(sender.unanswered for sender in senders)
        cut += sum(len(sender.stored) < count for sender in senders)
        for sender in senders:
            sender.check()
    host.start()
    for sender in senders:
        sender.run(count)
        assert len(sender.stored) == count
        sender.check()
    expected = {sender.name(number) for sender in senders for number in range(count)}
    assert {name for name in host.visible() if not name.startswith("first")} == expected
    check_usage(host)
    assert not host.spooled()
    report(f"{how}: {cut} bursts were cut")
    assert cut


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    timeouts = {"metadata": "700ms", "idle": "1s", "close": "200ms"}
    chunks = {"whole": "64KiB", "room": "256KiB", "memory": "16MiB"}
    with Daemon(
        tmp_path_factory.mktemp("further"), {"timeouts": timeouts, "chunks": chunks}
    ) as host:
        yield host.start()
        assert host.running
        host.check_log()
        assert host.memory() - host.memory_at_start < GROWTH
        poll("closed descriptors", host.at_rest, host.text)
        assert not host.spooled()


def announced(length: int) -> bytes:
    return frame_header(FIN | BINARY, length)


SMALL: Final = whole_file("small", b"1")
LARGE: Final = 100_000

ATTACKS: Final = {
    "metadata without end": signal_frame(name="a", size=5) * 3000,
    "metadata of large files without end": signal_frame(name="a", size=LARGE) * 3000,
    "metadata of empty files without end": signal_frame(name="a", size=0) * 3000,
    "metadata that are not valid without end": signal_frame(name=5, size=5) * 3000,
    "finished without end": signal_frame(finished=True) * 3000,
    "empty chunks without end": frame(BINARY) * 3000,
    "a file within a file": signal_frame(name="a", size=5) + SMALL,
    "a chunk larger than whole": signal_frame(name="a", size=5) + announced(LARGE),
    "chunks beyond the room": (signal_frame(name="a", size=60_000) + announced(60_000)) * 2,
    "a large file in one go": whole_file("a", bytes(LARGE)),
    "a huge chunk": signal_frame(name="a", size=5) + announced(1 << 62),
    "a chunk between files": SMALL + frame(BINARY, b"1234") + SMALL,
    "one byte of a whole file": signal_frame(name="a", size=50_000) + announced(50_000) + b"1",
    "a whole file in single bytes": signal_frame(name="a", size=500) + frame(BINARY, b"1") * 500,
    "abandon without end": signal_frame(abandon=True, file=1) * 3000,
    "files abandoned without end": b"".join(
        signal_frame(name="a", size=LARGE) + signal_frame(abandon=True, file=number)
        for number in range(1, 300)
    ),
    "long metadata": b"".join(
        signal_frame(name="a" * 16_000, size=5, folder="b" * 14_000) for _ in range(300)
    ),
    "unfinished files with long metadata": b"".join(
        signal_frame(name=f"{n}", size=0, token="a" * 30_000) + signal_frame(finished=True)
        for n in range(300)
    ),
    "text that is no signal": SMALL + frame(TEXT, b"no"),
    "many small files and silence": SMALL * 200,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_further_files_end_their_connection_and_harm_no_other(
    hostile: Daemon, attack: bytes
) -> None:
    burst = Burst(hostile, "first", can=("next",))
    burst.begin()
    with suppress(ConnectionError):  # the daemon ends it before all was sent
        burst.send(attack)
    while burst.next_signal() is not None:
        pass
    burst.close()
    check_serves(hostile)
    poll("closed descriptors", hostile.at_rest, hostile.text)
    check_usage(hostile)


def test_files_that_take_one_name_in_a_burst_are_counted_once(daemon: Daemons) -> None:
    for on_conflict, left in (("replace", 1), ("reject", 1), ("rename", 40)):
        host = daemon({"storage": {"on_conflict": on_conflict}})
        burst = Burst(host, "first")
        burst.begin()
        numbers = [burst.send_whole("a", b"%d" % number) for number in range(40)]
        burst.hear_all(numbers)
        stored = [number for number in numbers if burst.answers[number].get("close")]
        assert len(stored) == (1 if on_conflict == "reject" else 40)
        assert len(host.visible()) == left + 1
        for number in stored if on_conflict != "replace" else ():
            name = burst.answers[number].get("name", "a")
            assert host.visible()[name].read_bytes() == b"%d" % (number - 1)
        burst.close()
        check_usage(host)


class Filled(Daemon):
    """A daemon whose ledger may have no space left; its log has no other errors."""

    def check_log(self) -> None:
        wrong = [line for line in self.log() if line["level"] in ("error", "critical")]
        assert {(line["event"], line.get("code")) for line in wrong} <= {
            ("upload.failed", "storage_failed")
        }, wrong


def test_a_disk_that_fills_up_in_a_burst_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with (
        tmpfs(tmp_path / "disk", "size=4m") as disk,
        Filled(tmp_path / "daemon", {"storage": {"directory": str(disk / "files")}}) as host,
    ):
        host.start()
        burst = Burst(host, "first")
        burst.begin()
        data = some_bytes(100_000)
        for at in range(10):
            burst.hear_all([burst.send_whole(f"{at}-{number}", data) for number in range(10)])
        stored = [number for number, each in burst.answers.items() if each.get("close")]
        codes = {each.get("code") for each in burst.answers.values()} - {None}
        assert 10 < len(stored) < 40
        assert codes <= {"no_space", "storage_failed"}
        for name in ("0-1", "1-1", "first"):
            host.visible()[name].unlink()
        for path in list(host.visible().values())[:10]:
            path.unlink()
        burst.hear_all([number := burst.send_whole("again", data)])
        assert burst.answers[number].get("close"), burst.answers[number]
        burst.close()
        names = host.visible()
        assert all(names[name].read_bytes() in (data, b"") for name in names)
        assert not host.spooled()
        host.stop()


def test_a_token_that_is_revoked_uploads_no_further_file(tmp_path: Path) -> None:
    office = Office(tmp_path / "office", "token")
    with office.host as host:
        host.start()
        token = office.token("anna")
        burst = Burst(host, "first", {"token": token})
        burst.begin()
        burst.hear_all([burst.send_whole("a", b"1", token=token)])
        office.revoke("anna")
        burst.send_whole("b", b"2", token=token)
        assert burst.hear()
        assert burst.answers[2]["code"] == "unauthorized"
        assert not burst.hear()
        burst.close()
        assert host.visible().keys() == {"first", "a"}


def test_a_reload_in_the_middle_of_a_connection_applies_to_further_files(daemon: Daemons) -> None:
    host = daemon()
    burst = Burst(host, "first")
    burst.begin()
    burst.hear_all([burst.send_whole("a", b"1")])
    reload(
        host,
        {
            "chunks": {"whole": 0, "room": 0, "next": 1, "memory": "1MiB"},
            "quota": {"user_files": 3},
            "storage": {"durability": "none"},
        },
    )
    # The limits that the client was told remain.
    data = some_bytes(200_000)
    numbers = [burst.send_whole(f"{number}", data) for number in range(5)]
    burst.hear_all(numbers)
    codes = Counter(burst.answers[number].get("code") for number in numbers)
    assert codes == {None: 1, "quota_exceeded": 4}
    burst.close()
    check_usage(host)


def test_the_hook_is_told_once_of_each_file_of_a_burst(daemon: Daemons) -> None:
    with HookReceiver() as receiver:
        host = daemon({"hooks": {"stored": receiver.origin}})
        burst = Burst(host, "first", can=("next",))
        assert burst.begin()
        names = [f"{number}" for number in range(60)]
        numbers = [burst.send_whole(name, b"1") for name in names]
        numbers.append(burst.send_whole("..", b"1"))
        burst.hear_all(numbers)
        burst.close()
        poll("receipts", lambda: len(receiver.posted) > len(names), host.text)
        assert host.stop() == 0
    told = [posted.receipt for posted in receiver.posted]
    assert sorted(each["name"] for each in told) == sorted([*names, "first"])
    assert len({each["id"] for each in told}) == len(told)


def test_a_folder_that_is_removed_during_bursts_comes_again_with_the_next_file(
    daemon: Daemons,
) -> None:
    host = daemon({"storage": {"layout": "{date}/{name}"}})
    burst = Burst(host, "first")
    assert burst.begin()
    over = threading.Event()

    def remove() -> None:
        while not over.is_set():
            for folder in host.visible().values():
                shutil.rmtree(folder, ignore_errors=True)

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for at in range(20):
            burst.hear_all([burst.send_whole(f"{at}-{n}", b"12") for n in range(20)])
    finally:
        over.set()
        remover.join()
    codes = {each.get("code") for each in burst.answers.values()} - {None}
    assert codes <= {"storage_failed"}
    burst.hear_all([number := burst.send_whole("last", b"12")])
    assert burst.answers[number].get("close")
    (folder,) = host.visible().values()
    assert (folder / "last").read_bytes() == b"12"
    assert not host.spooled()
    burst.close()
    assert host.stop() == 0
    wrong = {line["code"] for line in host.log() if line["level"] == "error"}
    assert wrong <= {"storage_failed"}
    host.stderr.write_text("")  # looked at
