"""One reload, step by step: all of it is put in place, or nothing, whatever the file does."""

import threading
from collections.abc import Callable
from typing import cast

import pytest
import trio
from attrs import define, evolve
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.config import Config, ConfigError, Limits, Log, Storage
from galileod.house import House
from galileod.reload import READ_SECONDS, Read, Step, reload_at
from galileod.units import Size

pytestmark = pytest.mark.timeout(20)

NEW = Config(limits=Limits(max_file_size=Size(5)), log=Log(format="json"))


@define
class Holder:
    """What a reload needs of the house."""

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
            house = cast("House", holder)
            nursery.start_soon(reload_at, signals, house, read, (adopting, *more))
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
    assert (told["event"], told["reason"]) == ("config.rejected", "tls.key: no key")


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


async def test_a_file_that_does_not_answer_holds_one_thread_and_is_given_up(
    autojump_clock: MockClock,
) -> None:
    answering, readers = threading.Event(), list[int]()

    def read() -> tuple[Config, str | None]:
        readers.append(threading.get_ident())
        answering.wait(10)
        return right()

    try:
        config, logs = await reload(read, times=3)
    finally:
        answering.set()
    assert trio.current_time() == pytest.approx(3 * READ_SECONDS)
    assert config == Config()
    # On a busy machine the clock may jump before even that one has begun.
    assert len(readers) <= 1
    assert [line["reason"] for line in logs] == ["the file could not be read within 10 seconds"] * 3
