"""One reload, step by step: all of it is put in place, or nothing, whatever the file does."""

import threading
from collections.abc import Callable
from typing import cast

import pytest
import trio
from attrs import define, evolve
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.config.model import Config, ConfigError
from galileod.daemon.reload import MAX_READERS, READ_SECONDS, Read, Reloader, Step, reload_at
from galileod.logs.settings import Log
from galileod.policy.settings import Limits
from galileod.storage.settings import Storage
from galileod.units import Size
from galileod.uploads.context import Context

pytestmark = pytest.mark.timeout(20)

NEW = Config(limits=Limits(max_file_size=Size(5)), log=Log(format="json"))


@define
class Holder:
    """What a reload needs of the context."""

    config: Config


def right() -> tuple[Config, str | None]:
    return NEW, "/etc/x.toml"


async def reload(read: Read, *more: Step, times: int = 1) -> tuple[Config, list[dict[str, object]]]:
    """What is in force after so many signals, and what was logged."""
    holder = Holder(Config())

    def adopting(config: Config) -> Callable[[], None]:
        return lambda: setattr(holder, "config", config)

    send, signals = trio.open_memory_channel[int](times)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            context = cast("Context", holder)
            reloader = Reloader(context, read, (adopting, *more))
            nursery.start_soon(reload_at, signals, reloader)
            async with send:
                for number in range(times):
                    await send.send(number)
                    await wait_all_tasks_blocked()
    return holder.config, [dict(line) for line in logs]


async def test_what_may_change_is_put_in_place_and_what_may_not_stays() -> None:
    config, (told, kept) = await reload(right)
    assert config == evolve(NEW, log=Log())
    assert told["event"] == "config.reloaded"
    assert told["config"] == "/etc/x.toml"
    assert told["changed"] == ["limits.max_file_size"]
    assert kept["event"] == "config.restart_needed"
    assert (kept["key"], kept["in_force"]) == ("log.format", "auto")


async def test_the_same_again_changes_nothing() -> None:
    config, (told,) = await reload(lambda: (Config(), "x"))
    assert (config, told["changed"]) == (Config(), [])


async def test_a_step_that_cannot_be_made_keeps_all_others_from_being_put_in_place() -> None:
    def impossible(config: Config) -> Callable[[], None]:
        assert config.limits.max_file_size == 5
        raise ConfigError("tls.key: no key")

    config, (told,) = await reload(right, impossible)
    assert config == Config()
    assert (told["event"], told["reason"]) == ("config.rejected", "/etc/x.toml: tls.key: no key")


async def test_a_mistake_of_ours_is_told_and_changes_nothing() -> None:
    def broken(config: Config) -> Callable[[], None]:
        raise ZeroDivisionError(config.storage.directory)

    config, (told,) = await reload(right, broken)
    assert config == Config()
    assert (told["event"], told["log_level"]) == ("config.rejected", "error")
    assert told["exc_info"]


async def test_steps_are_made_for_what_will_be_in_force() -> None:
    seen = []

    def look(config: Config) -> Callable[[], None]:
        seen.append(config.storage.directory)
        return lambda: None

    await reload(lambda: (Config(storage=Storage(directory="elsewhere")), "x"), look)
    assert seen == ["uploads"]


async def test_files_that_do_not_answer_are_given_up_and_hold_a_few_threads(
    autojump_clock: MockClock,
) -> None:
    answering, readers = threading.Event(), list[int]()

    def read() -> tuple[Config, str | None]:
        readers.append(threading.get_ident())
        answering.wait(10)
        return right()

    times = MAX_READERS + 2
    try:
        config, logs = await reload(read, times=times)
    finally:
        answering.set()
    assert trio.current_time() == pytest.approx(times * READ_SECONDS)
    assert config == Config()
    # On a busy machine the clock may jump before the first has begun.
    assert len(readers) <= MAX_READERS
    assert [line["reason"] for line in logs] == [
        "the file could not be read within 10 seconds"
    ] * times


async def test_a_file_that_answers_is_read_although_one_before_it_never_did(
    mock_clock: MockClock,
) -> None:
    begun, answering = threading.Event(), threading.Event()

    def read() -> tuple[Config, str | None]:
        if not begun.is_set():
            begun.set()
            answering.wait(10)
        return right()

    async def wait_no_longer() -> None:
        await trio.to_thread.run_sync(begun.wait)
        mock_clock.jump(READ_SECONDS)

    holder = Holder(Config())
    send, signals = trio.open_memory_channel[int](2)
    try:
        with capture_logs() as logs:
            async with trio.open_nursery() as nursery, send:
                nursery.start_soon(wait_no_longer)
                reloader = Reloader(cast("Context", holder), read, ())
                nursery.start_soon(reload_at, signals, reloader)
                await send.send(1)
                await send.send(2)
    finally:
        answering.set()
    assert [line["event"] for line in logs[:2]] == ["config.rejected", "config.reloaded"]
