"""The lock around publications: alone or shared, in the order of arrival."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import trio
from attrs import define, field
from helpers.shared_ledger import Shared
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.files.publication import WAIT_SECONDS, NameLock, PublicationLock
from galileod.storage.errors import StorageBusyError


@define
class Publications:
    """Tasks that hold one lock, and what they did in which order."""

    lock: PublicationLock = field(factory=PublicationLock)
    events: list[str] = field(factory=list)
    holding: list[bool] = field(factory=list)

    async def publish(self, name: str, *, replaces: bool, seconds: float = 1) -> None:
        async with self.lock.hold([], replaces=replaces):
            self.holding.append(replaces)
            # One that replaces is alone; the others may be together.
            assert len(self.holding) == 1 or not any(self.holding)
            self.events.append(f"{name} began")
            await trio.sleep(seconds)
            self.events.append(f"{name} ended")
            self.holding.remove(replaces)


@pytest.fixture
def publications() -> Publications:
    return Publications()


def starter(nursery: trio.Nursery, publications: Publications) -> Callable[..., None]:
    """Starts a publication: one that replaces has a name in capitals."""

    def start(name: str) -> None:
        async def publish() -> None:
            await publications.publish(name, replaces=name.isupper())

        nursery.start_soon(publish)

    return start


async def run_in_order(publications: Publications, names: str) -> list[str]:
    async with trio.open_nursery() as nursery:
        start = starter(nursery, publications)
        for name in names:
            start(name)
            await wait_all_tasks_blocked()
    return publications.events


async def test_files_that_replace_none_are_published_together(
    publications: Publications, autojump_clock: MockClock
) -> None:
    await run_in_order(publications, "abc")
    assert publications.events[:3] == ["a began", "b began", "c began"]
    assert trio.current_time() == 1


async def test_files_that_replace_others_are_published_one_after_the_other(
    publications: Publications, autojump_clock: MockClock
) -> None:
    await run_in_order(publications, "ABC")
    assert publications.events == [f"{n} {what}" for n in "ABC" for what in ("began", "ended")]
    assert trio.current_time() == 3


async def test_nobody_overtakes_after_a_reload_when_there_are_both_kinds(
    publications: Publications, autojump_clock: MockClock
) -> None:
    await run_in_order(publications, "abCdE")
    began = [event for event in publications.events if event.endswith("began")]
    assert began == [f"{name} began" for name in "abCdE"]
    assert publications.events[4:6] == ["C began", "C ended"]
    assert trio.current_time() == 4


@given(st.text(st.sampled_from("aB"), max_size=12))
def test_one_that_replaces_is_alone_whatever_comes_in_which_order(names: str) -> None:
    publications = Publications()
    trio.run(run_in_order, publications, names, clock=MockClock(autojump_threshold=0))
    began = [event[0] for event in publications.events if event.endswith("began")]
    assert "".join(began) == names
    assert not publications.holding


@pytest.mark.parametrize("names", ["aB", "Ab", "AB"])
async def test_one_that_is_cancelled_while_it_waits_holds_up_nobody(
    publications: Publications, autojump_clock: MockClock, names: str
) -> None:
    first, second = tuple(names)
    async with trio.open_nursery() as nursery:
        start = starter(nursery, publications)
        start(first)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.5) as scope:
            await publications.publish(second, replaces=second.isupper())
        assert scope.cancelled_caught
        start("x")
        await wait_all_tasks_blocked()
        start("Y")
    began = [event[0] for event in publications.events if event.endswith("began")]
    assert began == [first, "x", "Y"]


@pytest.mark.parametrize("replaces", [False, True])
async def test_one_that_fails_or_is_cancelled_in_the_block_lets_others_in(
    publications: Publications, autojump_clock: MockClock, *, replaces: bool
) -> None:
    async def fail() -> None:
        async with publications.lock.hold([], replaces=replaces):
            raise KeyError("odd")

    with pytest.raises(KeyError):
        await fail()
    with trio.move_on_after(0.5):
        async with publications.lock.hold([], replaces=replaces):
            await trio.sleep_forever()
    with trio.fail_after(10):
        assert await run_in_order(publications, "A") == ["A began", "A ended"]
        publications.events.clear()
        assert await run_in_order(publications, "a") == ["a began", "a ended"]


async def test_in_a_store_where_names_are_claimed_only_files_of_one_name_are_kept_apart(
    autojump_clock: MockClock,
) -> None:
    lock, began = NameLock(), dict[str, float]()
    start = trio.current_time()

    async def publish(names: str, *, replaces: bool = True) -> None:
        async with lock.hold(list(names), replaces=replaces):
            began[names] = trio.current_time() - start
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for names in ("ab", "cd", "ba", "dd"):
            nursery.start_soon(publish, names)
            await wait_all_tasks_blocked()
        await publish("abcd", replaces=False)
    assert began == {"ab": 0, "cd": 0, "abcd": 0, "ba": 1, "dd": 1}
    assert not lock._locks


async def test_a_name_whose_holder_is_cancelled_or_fails_is_free(autojump_clock: MockClock) -> None:
    lock = NameLock()

    async def hold(seconds: float, *names: str) -> None:
        with trio.move_on_after(seconds):
            async with lock.hold(names, replaces=True):
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, 2, "a")
        await wait_all_tasks_blocked()
        await hold(1, "b", "a")
        assert list(lock._locks) == ["a"]
    assert not lock._locks


@pytest.fixture
def shared() -> Iterator[Shared]:
    shared = Shared()
    with closing(shared.database):
        yield shared


async def test_what_one_node_replaces_no_other_one_replaces_meanwhile(
    shared: Shared, autojump_clock: MockClock
) -> None:
    one, two = (NameLock(shared.node(name).elsewhere) for name in ("one", "two"))
    ends = list[float]()

    async def publish(lock: PublicationLock, *names: str) -> None:
        async with lock.hold(names, replaces=True):
            await trio.sleep(10)
        ends.append(trio.current_time() - began)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish, one, "a", "b")
        await wait_all_tasks_blocked()
        nursery.start_soon(publish, two, "b", "c")
    assert ends[0] == 10
    assert 20 <= ends[1] <= 21
    assert shared.names == {}


async def test_a_node_waits_only_so_long_for_the_names_of_another(
    shared: Shared, autojump_clock: MockClock
) -> None:
    one, two = (NameLock(shared.node(name).elsewhere) for name in ("one", "two"))
    began = trio.current_time()
    async with one.hold(["a"], replaces=True):
        with pytest.raises(StorageBusyError):
            async with two.hold(["b", "a"], replaces=True):
                pass
        assert WAIT_SECONDS <= trio.current_time() - began <= WAIT_SECONDS + 2
        async with two.hold(["a"], replaces=False):
            pass
    async with two.hold(["a"], replaces=True):
        assert shared.names == {"a": "two"}
    assert shared.names == {}
