"""What systemd hears while the daemon runs, in simulated time."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import cast

import pytest
import trio
from attrs import define, field
from helpers.memory_store import MemoryStore
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.daemon.status import report_to
from galileod.daemon.systemd import Manager
from galileod.ledger.lease import Lease
from galileod.ledger.sqlite import SqliteLedger
from galileod.storage.errors import StorageError
from galileod.uploads.context import Context
from galileod.uploads.memory import MemoryPool
from galileod.uploads.reservation import Reservation

WATCHDOG = 30.0


class SickStore(MemoryStore):
    """Fails, or hangs for so many seconds, when it is asked how it is."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.hangs = 0.0

    async def check(self) -> None:
        await trio.sleep(self.hangs)
        if self.fails:
            raise StorageError("no room")


@define
class Inbox:
    """What a manager has heard."""

    socket: socket.socket
    store: SickStore
    context: Context
    manager: Manager
    heard: list[str] = field(factory=list)

    def listen(self) -> None:
        try:
            while True:
                self.heard += self.socket.recv(4096, socket.MSG_DONTWAIT).decode().split("\n")
        except BlockingIOError:
            pass  # that was all

    def read(self) -> list[str]:
        """All that came since the last time."""
        self.listen()
        heard, self.heard = self.heard, []
        return heard

    async def keep_reading(self) -> None:
        """As a manager does: the kernel holds but a few of what it was told."""
        while True:
            self.listen()
            await trio.sleep(0.25)

    def run_upload(self) -> object:
        """One more upload, as far as this room looks at it."""
        upload = cast("Reservation", object())
        self.context.admission.running.add(upload)
        return upload


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    store = SickStore()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(tmp_path / "notify"))
        ledger = SqliteLedger.open(str(tmp_path / "ledger"))
        context = Context(Config(), store, ledger, MemoryPool(1 << 20, 1 << 16))
        manager = Manager(watchdog=WATCHDOG, notify_socket=str(tmp_path / "notify"))
        yield Inbox(listening, store, context, manager)
        ledger.close()


@asynccontextmanager
async def reporting(inbox: Inbox) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to, inbox.manager, inbox.context)
        nursery.start_soon(inbox.keep_reading)
        yield
        nursery.cancel_scope.cancel()


async def test_the_watchdog_is_fed_three_times_in_its_time(
    inbox: Inbox, autojump_clock: MockClock
) -> None:
    async with reporting(inbox):
        await trio.sleep(10 * WATCHDOG - 1)
    assert inbox.read().count("WATCHDOG=1") == 30


async def test_a_storage_that_fails_is_alive(inbox: Inbox, autojump_clock: MockClock) -> None:
    inbox.store.fails = True
    async with reporting(inbox):
        await trio.sleep(WATCHDOG)
    assert "WATCHDOG=1" in inbox.read()


async def test_a_storage_that_hangs_lets_the_watchdog_bite(
    inbox: Inbox, autojump_clock: MockClock
) -> None:
    async with reporting(inbox):
        await trio.sleep(1)
        assert "WATCHDOG=1" in inbox.read()
        inbox.store.hangs = 10 * WATCHDOG
        await trio.sleep(5 * WATCHDOG)
        assert "WATCHDOG=1" not in inbox.read()


async def test_without_a_watchdog_none_is_fed(inbox: Inbox, autojump_clock: MockClock) -> None:
    inbox.manager = Manager(notify_socket=inbox.manager.notify_socket)
    async with reporting(inbox):
        await trio.sleep(WATCHDOG)
    assert inbox.read() == ["STATUS=0 uploads running"]


async def test_what_a_busy_manager_did_not_take_it_is_told_a_second_later(
    inbox: Inbox, autojump_clock: MockClock
) -> None:
    inbox.manager = Manager(notify_socket=inbox.manager.notify_socket)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as other:
        other.connect(inbox.socket.getsockname())
        other.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                other.send(b"STATUS=of another process")
    inbox.manager.notify("READY=1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to, inbox.manager, inbox.context)
        await trio.sleep(0.5)
        assert set(inbox.read()) == {"STATUS=of another process"}
        await trio.sleep(1)
        assert inbox.read() == ["READY=1", "STATUS=0 uploads running"]
        nursery.cancel_scope.cancel()


async def test_the_status_is_told_once_a_second_and_only_when_it_changed(
    inbox: Inbox, autojump_clock: MockClock
) -> None:
    inbox.manager = Manager(notify_socket=inbox.manager.notify_socket)
    async with reporting(inbox):
        await trio.sleep(3.5)
        assert inbox.read() == ["STATUS=0 uploads running"]
        inbox.run_upload()
        await trio.sleep(0.1)
        inbox.run_upload()
        await trio.sleep(5)
        assert inbox.read() == ["STATUS=2 uploads running"]
        inbox.context.admission.running.pop()
        await trio.sleep(1)
        assert inbox.read() == ["STATUS=1 upload running"]


async def test_a_daemon_that_drains_asks_for_more_time_and_goes_on_asking(
    inbox: Inbox, autojump_clock: MockClock
) -> None:
    inbox.run_upload()
    async with reporting(inbox):
        await trio.sleep(0.5)
        inbox.read()
        inbox.context.shutdown.no_new_uploads.fire()
        await trio.sleep(60)
    heard = inbox.read()
    assert heard.count("STATUS=Draining, 1 upload running") == 1
    assert heard.count("EXTEND_TIMEOUT_USEC=30000000") == 60
    assert "WATCHDOG=1" in heard


async def test_without_a_manager_nothing_is_done(inbox: Inbox, autojump_clock: MockClock) -> None:
    with trio.fail_after(1):
        await report_to(Manager(), inbox.context)


async def test_the_status_tells_that_the_lease_of_the_node_has_run_out(
    inbox: Inbox, autojump_clock: MockClock
) -> None:
    inbox.manager = Manager(notify_socket=inbox.manager.notify_socket)
    inbox.context.lease = Lease(trio.current_time)
    async with reporting(inbox):
        await trio.sleep(0.5)
        assert inbox.read() == [
            "STATUS=Waiting for the database to renew the lease, 0 uploads running"
        ]
        inbox.context.lease.renewed(trio.current_time())
        await trio.sleep(1)
        assert inbox.read() == ["STATUS=0 uploads running"]
