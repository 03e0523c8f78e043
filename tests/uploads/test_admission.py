"""Admission: quota, disk space and tickets, held while an upload runs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from typing import Any

import pytest
import structlog
import trio
import trio.testing
from attrs import define, evolve, field
from helpers.clocks import FakeClock
from helpers.ledgers import keep, open_inline_ledger
from helpers.memory_store import MemoryStore
from helpers.uploading import raising, sleeping
from structlog.testing import capture_logs

from galileod.auth.grant import Grant
from galileod.config.model import Config
from galileod.files.check import Checker
from galileod.files.publication import PublicationLock
from galileod.files.quota_check import QuotaCheck
from galileod.ledger.base import KeptUpload, LedgerError, UncertainError
from galileod.ledger.sqlite import SqliteLedger
from galileod.metrics import Metrics
from galileod.policy.quota import Holding
from galileod.policy.settings import Quota
from galileod.protocol.errors import Fault
from galileod.protocol.messages import Metadata
from galileod.storage.errors import StorageError
from galileod.storage.finished import Space
from galileod.storage.settings import Storage
from galileod.units import Size
from galileod.uploads.admission import EXHAUSTED_SECONDS, Admission
from galileod.uploads.keeper import Keeper
from galileod.uploads.reservation import Reservation
from galileod.uploads.upload import Upload, about, resume

LOG = structlog.get_logger()
SHA1 = "a9993e364706816aba3e25717850c26c9cd0d89d"
ANNA = Grant("anna")


class Disk(MemoryStore):
    """A store with so much space left; None if it knows of no limit."""

    space: int | None = 1000
    error: StorageError | None = None

    async def free(self) -> int | None:
        await trio.lowlevel.checkpoint()
        if self.error:
            raise self.error
        return self.space


@define
class Scene:
    config: Config = field(factory=lambda: Config(storage=Storage(min_free=Size(100))))
    disk: Disk = field(factory=Disk)
    clock: FakeClock = field(factory=FakeClock)
    ledger: SqliteLedger = field(init=False)
    keeper: Keeper = field(init=False)
    admission: Admission = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ledger = open_inline_ledger(self.clock)
        self.keeper = Keeper(self.disk, self.ledger, PublicationLock(), Metrics())
        checker = Checker(self.disk, self.ledger, PublicationLock())
        quota_check = QuotaCheck(self.ledger, checker)
        self.admission = Admission(
            self.disk, self.ledger, self.keeper, lambda: self.config, quota_check
        )

    def admit(
        self, number: str, path: str, grant: Grant, size: int, remaining: Callable[[], int]
    ) -> AbstractAsyncContextManager[Reservation]:
        """Admit an upload that cannot be resumed."""
        metadata = Metadata(path, size)
        upload = Upload(number, metadata, grant, self.config, path, LOG, about(metadata, grant))
        return self.admission.admit(upload, remaining)

    async def refused(self, size: int, grant: Grant = ANNA) -> str:
        """The code of the fault with which an upload is refused."""
        with pytest.raises(Fault) as refused:
            async with self.admit("refused", "a.bin", grant, size, lambda: size):
                pass
        return str(refused.value.code)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    with closing(scene.ledger):
        yield scene


async def test_an_upload_holds_its_size_until_it_is_stored(scene: Scene) -> None:
    async with (
        scene.admit("1", "a.bin", ANNA, 100, lambda: 0) as reservation,
        await scene.disk.create("1", "a") as sink,
    ):
        assert scene.admission.running == {reservation}
        assert scene.ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
        await reservation.commit(await sink.commit(), SHA1)
    assert scene.admission.running == set()
    assert scene.ledger.holdings() == {"anna": Holding(bytes=100, files=1)}


async def test_an_upload_that_fails_gives_back_what_it_held(scene: Scene) -> None:
    async def fail() -> None:
        async with scene.admit("1", "a.bin", ANNA, 100, lambda: 100):
            raise KeyError("odd")

    with pytest.raises(KeyError):
        await fail()
    assert (scene.admission.running, scene.ledger.holdings()) == (set(), {})


async def test_an_upload_that_is_cancelled_gives_back_what_it_held(scene: Scene) -> None:
    with trio.CancelScope() as scope:
        async with scene.admit("1", "a.bin", ANNA, 100, lambda: 100):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert (scene.admission.running, scene.ledger.holdings()) == (set(), {})


async def test_space_is_what_the_disk_has_without_what_running_uploads_still_send(
    scene: Scene,
) -> None:
    left = 600
    async with scene.admit("1", "a.bin", ANNA, 600, lambda: left):
        assert await scene.refused(301) == "no_space"
        async with scene.admit("2", "a.bin", ANNA, 300, lambda: 300):
            assert await scene.refused(1) == "no_space"
        # What has come is on the disk, and so not free.
        left, scene.disk.space = 0, 400
        assert await scene.refused(301) == "no_space"
        async with scene.admit("3", "a.bin", ANNA, 300, lambda: 300):
            pass
    assert scene.admission.running == set()


async def test_only_uploads_to_the_same_filesystem_share_its_space(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def free_at(path: str) -> Space:
        folder, _, _ = path.rpartition("/")
        return Space(folder, 1000)

    monkeypatch.setattr(scene.disk, "free_at", free_at)
    async with (
        scene.admit("1", "a.bin", ANNA, 800, lambda: 800),
        scene.admit("2", "anna/a.bin", ANNA, 800, lambda: 800),
    ):
        assert await scene.refused(200) == "no_space"


async def test_a_store_without_a_limit_refuses_nothing(scene: Scene) -> None:
    scene.disk.space = None
    async with scene.admit("1", "a.bin", ANNA, 2**60, lambda: 2**60):
        pass


async def test_uploads_that_come_at_once_are_not_refused_for_each_other_s_sake(
    scene: Scene,
) -> None:
    outcomes: list[str] = []

    async def upload(number: int) -> None:
        try:
            async with scene.admit(f"{number}", "a.bin", ANNA, 500, lambda: 500):
                outcomes.append("admitted")
                await trio.testing.wait_all_tasks_blocked()
        except Fault as fault:
            outcomes.append(str(fault.code))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(upload, number)
    assert sorted(outcomes) == ["admitted"] + ["no_space"] * 4


async def test_a_store_that_fails_admits_nothing(scene: Scene) -> None:
    scene.disk.error = StorageError("on fire")
    with pytest.raises(StorageError):
        async with scene.admit("1", "a.bin", ANNA, 1, lambda: 1):
            pass
    assert (scene.admission.running, scene.ledger.holdings()) == (set(), {})


async def test_the_quota_in_force_decides_and_a_user_s_own_in_its_place(scene: Scene) -> None:
    scene.config = evolve(scene.config, quota=Quota(user_bytes=Size(100)))
    assert await scene.refused(101) == "quota_exceeded"
    large = Grant("anna", quota=Size(200))
    async with scene.admit("1", "a.bin", large, 101, lambda: 101) as reservation:
        scene.config = evolve(scene.config, quota=Quota(total_files=0))
        assert await scene.refused(1, large) == "quota_exceeded"
        assert scene.admission.running == {reservation}
        assert scene.ledger.holdings() == {"anna": Holding(reserved=101, uploads=1)}


async def test_a_ticket_for_one_upload_is_refused_when_it_comes_again(scene: Scene) -> None:
    ticket = Grant("anna", once="1", until=scene.clock.now + 60)
    async with scene.admit("1", "a.bin", ticket, 1, lambda: 1):
        assert await scene.refused(1, ticket) == "unauthorized"
    assert await scene.refused(1, Grant("anna", once="2", until=scene.clock.now)) == "unauthorized"


async def test_a_receipt_is_promised_for_the_file_of_the_sink(scene: Scene) -> None:
    async with (
        scene.admit("1", "a.bin", ANNA, 4, lambda: 0) as reservation,
        await scene.disk.create("1", "a") as sink,
    ):
        await sink.write([b"data"])
        await reservation.promise(sink, "{}", SHA1)
        await sink.commit()
        # A crash here.
        found = scene.disk.scan(scene.ledger.promised())
        scene.ledger.reconcile(found.sizes, found.names)
    assert scene.ledger.holdings() == {"anna": Holding(bytes=4, files=1)}
    assert [one.name for one in await scene.ledger.outbox.first(9)] == ["a"]


async def test_a_file_that_is_stored_stays_so_when_the_ledger_fails(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise LedgerError("disk I/O error")

    monkeypatch.setattr(scene.ledger, "commit_whole", fail)

    async def store_and_fail() -> None:
        async with (
            scene.admit("1", "a.bin", ANNA, 4, lambda: 0) as reservation,
            await scene.disk.create("1", "a") as sink,
        ):
            await reservation.commit(await sink.commit(), SHA1)
            raise KeyError("odd")

    with capture_logs() as logs, pytest.raises(KeyError):
        await store_and_fail()
    told = [(line["event"], line["log_level"]) for line in logs]
    assert told == [("ledger.behind", "warning")]  # what was published is not released
    assert scene.ledger.holdings() == {"anna": Holding(reserved=4, uploads=1)}


async def test_what_could_not_be_released_is_released_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise LedgerError("the database cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(scene.ledger, "release_whole", fail)
        with capture_logs() as logs, pytest.raises(KeyError):
            async with scene.admit("1", "a.bin", ANNA, 4, lambda: 0):
                raise KeyError("odd")
        assert [line["event"] for line in logs] == ["ledger.behind"]
        with pytest.raises(LedgerError):
            await scene.keeper.find("key")
    assert scene.ledger.holdings() == {"anna": Holding(reserved=4, uploads=1)}
    assert await scene.keeper.find("key") is None
    assert scene.ledger.holdings() == {}


async def test_a_reservation_that_may_have_been_made_is_released_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = scene.ledger.reserve

    async def lose(*args: Any) -> None:  # noqa: ANN401  those of `reserve`
        await reserve(*args)
        raise UncertainError("the connection to the database is lost")

    with monkeypatch.context() as patch:
        patch.setattr(scene.ledger, "reserve", lose)
        with pytest.raises(UncertainError):
            async with scene.admit("1", "a.bin", ANNA, 4, lambda: 0):
                pass
    assert scene.ledger.holdings() == {"anna": Holding(reserved=4, uploads=1)}
    await scene.keeper.find("key")
    assert scene.ledger.holdings() == {}


@pytest.mark.parametrize("effective", [True, False])
async def test_an_upload_that_was_perhaps_to_go_on_is_kept_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, *, effective: bool
) -> None:
    await keep(scene.ledger, "1", offset=40)
    kept = await scene.keeper.find("key of 1")
    assert isinstance(kept, KeptUpload)
    upload = resume(Metadata("a.bin", 100), ANNA, scene.config, kept, LOG)
    resumed = scene.ledger.resume

    async def lose(*args: Any) -> None:  # noqa: ANN401  those of `resume`
        if effective:
            await resumed(*args)
        raise UncertainError("the connection to the database is lost")

    with monkeypatch.context() as patch:
        patch.setattr(scene.ledger, "resume", lose)
        with pytest.raises(UncertainError):
            async with scene.admission.admit(upload, lambda: 60):
                pass
    assert await scene.keeper.find("key of 1") is not None
    assert scene.ledger.holdings() == {"anna": Holding(kept=40, kept_uploads=1)}


async def test_a_limit_that_refuses_every_upload_is_logged_with_its_key(scene: Scene) -> None:
    scene.disk.space = 101
    with capture_logs() as logs:
        await scene.admission.log_exhausted()
        assert logs == []
        scene.disk.space = 100
        await scene.admission.log_exhausted()
        scene.disk.space = None
        scene.config = evolve(scene.config, quota=Quota(total_files=0))
        await scene.admission.log_exhausted()
    assert [(line["event"], line["log_level"], line["key"]) for line in logs] == [
        ("server.exhausted", "warning", "storage.min_free"),
        ("server.exhausted", "warning", "quota.total_files"),
    ]
    assert "100 bytes" in logs[0]["reason"]


async def test_the_search_for_such_a_limit_fails_silently_and_is_bounded(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    with capture_logs() as logs:
        scene.disk.error = StorageError("on fire")
        await scene.admission.log_exhausted()
        scene.disk.error = None
        monkeypatch.setattr(scene.ledger, "total", raising(LedgerError("disk I/O error")))
        await scene.admission.log_exhausted()
        monkeypatch.setattr(scene.ledger, "total", sleeping(9999))
        began = trio.current_time()
        await scene.admission.log_exhausted()
        assert trio.current_time() == pytest.approx(began + EXHAUSTED_SECONDS)
    assert logs == []
