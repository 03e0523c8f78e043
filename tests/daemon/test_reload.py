"""A reload: all of the configuration is put in force, or nothing, whatever its files do."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from attrs import define, evolve
from helpers.certificates import make_certificate
from helpers.wire import Wire, serving
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.auth.settings import Auth, Modes
from galileod.config.file import Reading
from galileod.config.model import Config, ConfigError
from galileod.daemon.reload import MAX_READERS, READ_SECONDS, Read, Reloader, reload_on_signals
from galileod.logs.settings import Log
from galileod.net.settings import Server, Tls
from galileod.policy.settings import Limits
from galileod.storage.local import LocalStore
from galileod.storage.settings import S3, Storage
from galileod.units import Size

pytestmark = pytest.mark.timeout(20)

SOURCE = "/etc/x.toml"


@define
class Running:
    """A daemon as far as a reload concerns it, with the configuration that it began with."""

    wire: Wire
    began: Config

    @property
    def config(self) -> Config:
        """What is in force."""
        return self.wire.context.config

    def reloader(self, read: Read) -> Reloader:
        return Reloader(read, self.wire.context, self.wire.server)

    async def reload(self, config: Config) -> None:
        await self.reloader(lambda: Reading(config, SOURCE)).reload()


@asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[Running]:
    config = Config(storage=Storage(directory=str(folder / "uploads"), durability="none"))
    with closing(LocalStore.open(config.storage)) as store:
        async with serving(store, config) as wire:
            yield Running(wire, wire.context.config)


async def test_what_may_change_is_put_in_force_and_what_may_not_stays(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        new = evolve(running.began, limits=Limits(max_file_size=Size(5)), log=Log(format="json"))
        with capture_logs() as logs:
            reloaded = await running.reloader(lambda: Reading(new, SOURCE)).reload()
        assert running.config == evolve(new, log=Log())
    told, kept = logs
    assert told["event"] == "config.reloaded"
    assert told["config"] == reloaded.source == SOURCE
    assert told["changed"] == reloaded.changed == ["limits.max_file_size"]
    assert reloaded.restart_needed == ["log.format"]
    assert kept["event"] == "config.restart_needed"
    assert (kept["key"], kept["in_force"]) == ("log.format", "auto")


async def test_a_key_of_the_object_storage_stays_and_the_part_size_changes(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        s3 = S3(bucket="other", part_size=Size(6 << 20))
        new = evolve(running.began, storage=evolve(running.began.storage, s3=s3))
        reloaded = await running.reloader(lambda: Reading(new, SOURCE)).reload()
        assert running.config.storage.s3 == S3(part_size=Size(6 << 20))
    assert reloaded.changed == ["storage.s3.part_size"]
    assert reloaded.restart_needed == ["storage.s3.bucket"]


async def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        reloaded = await running.reloader(lambda: Reading(running.began, SOURCE)).reload()
        assert running.config == running.began
    assert not reloaded.changed
    assert not reloaded.restart_needed


async def test_all_parts_of_the_daemon_have_the_new_configuration(tmp_path: Path) -> None:
    request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
    async with daemon(tmp_path) as running:
        context = running.wire.context
        slowdown = context.authenticator.slowdown
        assert (await running.wire.request(request)).startswith(b"HTTP/1.1 200 ")
        storage = evolve(running.began.storage, on_conflict="replace")
        auth = Auth(Modes(("token",)), str(tmp_path / "tokens"))
        new = evolve(running.began, server=Server(page=False), storage=storage, auth=auth)
        await running.reload(new)
        assert not (await running.wire.request(request)).startswith(b"HTTP/1.1 200 ")
        async with await context.store.create("1", "a") as sink:
            assert sink.replaces
        assert not context.authenticator.is_open
        assert context.authenticator.slowdown is slowdown, "a reload ends no delay"


async def test_a_file_that_cannot_be_used_keeps_everything_as_it_was(tmp_path: Path) -> None:
    key = str(tmp_path / "missing")
    async with daemon(tmp_path) as running:
        authenticator = running.wire.context.authenticator
        new = evolve(
            running.began,
            limits=Limits(max_file_size=Size(5)),
            auth=Auth(Modes(("token",)), str(tmp_path / "tokens")),
            tls=Tls(certificate=str(make_certificate(tmp_path).chain), key=key),
        )
        with capture_logs() as logs, pytest.raises(ConfigError) as rejected:
            await running.reload(new)
        assert running.config == running.began
        assert running.wire.context.authenticator is authenticator
    reason = f"{SOURCE}: tls.key: {key}: cannot be read: No such file or directory"
    assert str(rejected.value) == reason
    assert [(line["event"], line["reason"]) for line in logs] == [("config.rejected", reason)]


async def test_a_defect_of_the_daemon_is_logged_and_changes_nothing(tmp_path: Path) -> None:
    def read() -> Reading:
        raise ZeroDivisionError

    async with daemon(tmp_path) as running:
        with capture_logs() as logs, pytest.raises(ConfigError, match="internal error"):
            await running.reloader(read).reload()
        assert running.config == running.began
    (told,) = logs
    assert (told["event"], told["log_level"]) == ("config.rejected", "error")
    assert told["exc_info"]


async def test_without_a_file_there_is_nothing_to_reload(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        with pytest.raises(ConfigError, match="there is no configuration file"):
            await running.reloader(lambda: Reading(Config(), None)).reload()


async def test_what_needs_a_restart_is_in_force_as_before(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        elsewhere = evolve(running.began, storage=Storage(directory="elsewhere"))
        reloaded = await running.reloader(lambda: Reading(elsewhere, SOURCE)).reload()
        assert running.config.storage.directory == running.began.storage.directory
    assert reloaded.restart_needed == ["storage.directory"]
    assert "storage.directory" not in reloaded.changed


async def test_reloads_are_done_one_at_a_time(tmp_path: Path) -> None:
    release, begun = threading.Event(), list[int]()

    def read() -> Reading:
        begun.append(1)
        release.wait(10)
        return Reading(Config(), SOURCE)

    async with daemon(tmp_path) as running, trio.open_nursery() as nursery:
        reloader = running.reloader(read)
        for _ in range(3):
            nursery.start_soon(reloader.reload)
        while not begun:
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        assert len(begun) == 1
        release.set()
    assert len(begun) == 3


async def test_a_reload_that_is_cancelled_changes_nothing(tmp_path: Path) -> None:
    release, begun = threading.Event(), threading.Event()
    changed = Config(limits=Limits(max_file_size=Size(5)))

    def read() -> Reading:
        begun.set()
        release.wait(10)
        return Reading(changed, SOURCE)

    async with daemon(tmp_path) as running:
        reloader = running.reloader(read)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reloader.reload)
                await trio.to_thread.run_sync(begun.wait)
                nursery.cancel_scope.cancel()
        finally:
            release.set()
        assert running.config == running.began
        await reloader.reload()
        assert running.config.limits == changed.limits


async def reload_at_each(running: Running, read: Read, signals: int) -> list[dict[str, object]]:
    """What is logged at so many signals, each sent when nothing runs."""
    send, receive = trio.open_memory_channel[int](signals)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload_on_signals, receive, running.reloader(read))
            async with send:
                for number in range(signals):
                    await send.send(number)
                    await wait_all_tasks_blocked()
    return [dict(line) for line in logs]


async def test_a_signal_reloads_and_one_after_a_rejection_does_too(tmp_path: Path) -> None:
    answers = [
        Reading(Config()),
        Reading(Config(limits=Limits(max_file_size=Size(5))), SOURCE),
    ]

    async with daemon(tmp_path) as running:
        told = await reload_at_each(running, lambda: answers.pop(0), 2)
        assert running.config.limits.max_file_size == 5
    events = [line["event"] for line in told]
    assert events[:2] == ["config.rejected", "config.reloaded"]


async def test_files_that_do_not_answer_are_given_up_and_hold_a_few_threads(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    answering, readers = threading.Event(), list[int]()

    def read() -> Reading:
        readers.append(threading.get_ident())
        answering.wait(10)
        return Reading(Config(), SOURCE)

    times = MAX_READERS + 2
    async with daemon(tmp_path) as running:
        try:
            logs = await reload_at_each(running, read, times)
        finally:
            answering.set()
        assert running.config == running.began
        assert trio.current_time() == pytest.approx(times * READ_SECONDS)
    # On a busy machine the clock may jump before the first has begun.
    assert len(readers) <= MAX_READERS
    assert [line["reason"] for line in logs] == [
        "the files could not be read within 10 seconds"
    ] * times


async def test_a_file_that_answers_is_read_although_one_before_it_never_did(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    begun, answering = threading.Event(), threading.Event()

    def read() -> Reading:
        if not begun.is_set():
            begun.set()
            answering.wait(10)
        return Reading(Config(), SOURCE)

    async def wait_no_longer() -> None:
        await trio.to_thread.run_sync(begun.wait)
        mock_clock.jump(READ_SECONDS)

    send, signals = trio.open_memory_channel[int](2)
    async with daemon(tmp_path) as running:
        try:
            with capture_logs() as logs:
                async with trio.open_nursery() as nursery, send:
                    nursery.start_soon(wait_no_longer)
                    nursery.start_soon(reload_on_signals, signals, running.reloader(read))
                    await send.send(1)
                    await send.send(2)
        finally:
            answering.set()
    assert [line["event"] for line in logs[:2]] == ["config.rejected", "config.reloaded"]
