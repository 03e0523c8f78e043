"""Uploads that run at one node, and are wanted at another."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

import pytest
import trio
from helpers.engines.postgresql import Postgresql
from helpers.ledger_nodes import LedgerNodes, elsewhere_of
from helpers.ledgers import allow, begin, resumable

from galileod.ledger.base import (
    AlreadyUsedError,
    KeptUpload,
    KeyTakenError,
    LedgerError,
    RunningUpload,
    SingleUse,
    StoredUpload,
    WholeEntry,
)
from galileod.ledger.elsewhere import Elsewhere

pytestmark = pytest.mark.timeout(60)

KEY = "key of u1"
RUNNING = RunningUpload("u1", f"metadata of {KEY}", "one")
T = TypeVar("T")

FAR = 4e9
"""A time in the future."""


@pytest.fixture
def nodes(ledger_url: str) -> Iterator[LedgerNodes]:
    with ExitStack() as opened:
        yield LedgerNodes(ledger_url, opened)


def age(seconds: float) -> Callable[[], float]:
    return lambda: seconds


async def hear(elsewhere: Elsewhere) -> set[str]:
    """The keys of the next message."""
    heard = set[str]()
    with trio.fail_after(30):
        while not heard:
            heard.update(await elsewhere.listen())
    return heard


async def retry(step: Callable[[], Awaitable[T]]) -> T:
    """What a step returns once the database is there again."""
    with trio.fail_after(30):
        while True:
            try:
                return await step()
            except LedgerError:
                await trio.sleep(0.1)


async def listen_for_ever(elsewhere: Elsewhere) -> None:
    with trio.fail_after(30):
        while True:
            await elsewhere.listen()


async def test_what_one_node_runs_is_found_by_others_and_not_by_itself(nodes: LedgerNodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    await begin(one, "u1")
    assert await one.find(KEY) is None
    assert await two.find(KEY) == RUNNING
    await one.keep("u1", 40, 40, 60, 16)
    assert isinstance(await two.find(KEY), KeptUpload)
    await two.resume("u1", allow)
    assert await one.find(KEY) == RunningUpload("u1", RUNNING.metadata, "two")
    assert await two.find(KEY) is None


async def test_what_an_earlier_process_has_left_is_found_until_it_is_settled(
    nodes: LedgerNodes,
) -> None:
    one = nodes.start("one")
    await begin(one, "u1")
    again = nodes.start("one")
    assert await again.find(KEY) == RUNNING
    assert await elsewhere_of(again).asked() == []


async def test_a_reservation_does_not_replace_that_of_another_node(nodes: LedgerNodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    await begin(one, "u1")
    with pytest.raises(KeyTakenError):
        await two.reserve("u2", "anna", 100, allow, resumable=resumable(KEY))
    await one.keep("u1", 40, 40, 60, 16)
    with pytest.raises(KeyTakenError):
        await two.reserve("u2", "anna", 100, allow, resumable=resumable(KEY))
    await one.resume("u1", allow)
    await one.commit("u1", "a", remember=60)
    with pytest.raises(KeyTakenError):
        await two.reserve("u2", "anna", 100, allow, resumable=resumable(KEY))
    assert await two.find(KEY) == StoredUpload(RUNNING.metadata, "a")
    assert (await two.total()).uploads == 0


async def test_a_reservation_replaces_one_that_this_node_could_not_release(
    nodes: LedgerNodes,
) -> None:
    one = nodes.start("one")
    await begin(one, "u1")
    await one.reserve("u2", "anna", 100, allow, resumable=resumable(KEY))
    assert (await one.total()).uploads == 1


async def test_a_whole_file_finds_what_another_node_runs_and_its_neighbours_are_entered(
    nodes: LedgerNodes,
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    await begin(one, "u1")
    ticket = SingleUse("ticket", FAR)
    entries = [
        WholeEntry("u2", "anna", 100, allow, resumable=resumable(KEY), identity="2"),
        WholeEntry("u3", "anna", 100, allow, resumable=resumable("other"), identity="3"),
        WholeEntry("u4", "anna", 100, allow, ticket, resumable(KEY), identity="4"),
    ]
    assert await two.enter_whole(entries) == [RUNNING, None, RUNNING]
    with pytest.raises(AlreadyUsedError):  # it is that of the upload with the key
        await two.reserve("u5", "anna", 100, allow, ticket)
    assert (await two.total()).uploads == 2


async def test_a_node_hears_what_is_asked_of_it_and_the_other_what_has_become_of_it(
    nodes: LedgerNodes,
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    holder, asker = elsewhere_of(one), elsewhere_of(two)
    await begin(one, "u1")
    await holder.listen()
    await asker.listen()
    await asker.ask(KEY, "asker", age(3))
    (asked,) = await holder.asked()
    assert (asked.upload, asked.key, asked.metadata, asked.asker) == (
        "u1", KEY, RUNNING.metadata, "asker",
    )  # fmt: skip
    assert 3 <= asked.age < 30
    assert await asker.asked() == []
    answer = await asker.look(KEY, "asker")
    assert (answer.upload, answer.waits) == (RUNNING, True)
    await one.keep("u1", 40, 40, 60, 16)
    assert await hear(asker) == {KEY}
    assert await holder.asked() == []
    answer = await asker.look(KEY, "asker")
    assert isinstance(answer.upload, KeptUpload)
    await two.resume("u1", allow)
    await two.commit("u1", "a")
    assert await hear(asker) == {KEY}
    await asker.withdraw(KEY, "asker")
    assert not (await asker.look(KEY, "asker")).waits


@pytest.mark.parametrize("silent", ["withdrawn", "other"])
async def test_nobody_is_told_of_what_nobody_asks_for(nodes: LedgerNodes, silent: str) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    asker = elsewhere_of(two)
    await asker.listen()
    await begin(one, "u1")
    await asker.ask(KEY if silent == "withdrawn" else "other", "asker", age(0))
    await asker.withdraw(KEY, "asker")
    await one.keep("u1", 40, 40, 60, 16)
    await one.release("u1")
    assert await asker.listen() == set()


async def test_a_message_ends_the_wait_of_the_node_that_is_asked(nodes: LedgerNodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    await begin(one, "u1")
    holder = elsewhere_of(one)
    await holder.listen()
    ends = list[float]()

    async def listen() -> None:
        began = trio.current_time()
        while not await holder.asked():
            await holder.listen()
        ends.append(trio.current_time() - began)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await elsewhere_of(two).ask(KEY, "asker", age(0))
    assert ends


async def test_of_several_claims_only_the_newest_waits(nodes: LedgerNodes) -> None:
    one, two, three = nodes.start("one"), nodes.start("two"), nodes.start("three")
    await begin(one, "u1")
    second, third = elsewhere_of(two), elsewhere_of(three)
    await second.ask(KEY, "newer", age(1))
    await third.ask(KEY, "older", age(2))
    assert (await second.look(KEY, "newer")).waits
    assert not (await third.look(KEY, "older")).waits
    await third.withdraw(KEY, "older")
    await third.ask(KEY, "newest", age(0))
    assert not (await second.look(KEY, "newer")).waits
    assert [one.asker for one in await elsewhere_of(one).asked()] == ["newest"]


async def test_a_claim_that_nobody_has_withdrawn_is_forgotten(nodes: LedgerNodes) -> None:
    elsewhere = elsewhere_of(nodes.start("one"))
    await elsewhere.ask("left", "asker", age(3700))
    await elsewhere.ask("other", "asker", age(0))
    assert not (await elsewhere.look("left", "asker")).waits
    assert (await elsewhere.look("other", "asker")).waits


async def test_only_what_this_node_runs_is_dropped(nodes: LedgerNodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    await begin(one, "u1")
    await elsewhere_of(two).drop("u1")
    assert await two.find(KEY) == RUNNING
    await one.keep("u1", 40, 40, 60, 16)
    await elsewhere_of(one).drop("u1")
    assert isinstance(await two.find(KEY), KeptUpload)
    await one.resume("u1", allow)
    await elsewhere_of(one).drop("u1")
    assert await two.find(KEY) is None


async def test_a_node_knows_which_files_others_have_promised_and_not_recorded(
    nodes: LedgerNodes,
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    await begin(one, "u1")
    await begin(two, "u2")
    await one.promise("u1", "id 1")
    asked = ["id 1", "id 2", "id 3"]
    assert await elsewhere_of(two).promised(asked) == {"id 1"}
    await two.promise("u2", "id 2")
    assert await elsewhere_of(two).promised(asked) == {"id 1", "id 2"}
    await one.commit("u1", "a")
    assert await elsewhere_of(two).promised(asked) == {"id 2"}


async def test_names_are_held_by_one_node_at_a_time_and_all_or_none(nodes: LedgerNodes) -> None:
    one, two = elsewhere_of(nodes.start("one")), elsewhere_of(nodes.start("two"))
    assert await one.hold(["a", "b", "a"])
    assert not await two.hold(["b", "c"])
    assert await one.hold(["c"])
    await two.give_back(["a", "c"])  # which it does not hold
    assert not await two.hold(["a"])
    assert not await two.hold(["c"])
    await one.give_back(["a", "b"])
    assert await two.hold(["a", "b"])
    assert not await one.hold(["b"])


async def test_what_a_node_holds_ends_with_its_lease(nodes: LedgerNodes) -> None:
    one, two = elsewhere_of(nodes.start("one")), elsewhere_of(nodes.start("two"))
    assert await one.hold(["a"])
    assert not await two.hold(["a"])
    nodes.start("one")
    assert await two.hold(["a"])


async def test_names_are_given_back_later_if_the_ledger_fails(
    nodes: LedgerNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = nodes.start("one")
    one, two = elsewhere_of(ledger), elsewhere_of(nodes.start("two"))
    assert await one.hold(["a", "b"])

    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise LedgerError("it fails")

    with monkeypatch.context() as failing:
        failing.setattr(ledger.database, "write", fail)
        await one.give_back(["a"])
        await one.give_back(["b"])
    assert await one.hold(["b"])
    await one.listen()
    assert await two.hold(["a"])
    assert not await two.hold(["b"])


async def test_a_node_hears_again_after_the_server_was_away(own_postgresql: Postgresql) -> None:
    with ExitStack() as opened:
        nodes = LedgerNodes(own_postgresql.new_database(), opened)
        one, two = nodes.start("one"), nodes.start("two")
        asker = elsewhere_of(two)
        await begin(one, "u1")
        await asker.listen()
        own_postgresql.kill("server")
        with pytest.raises(LedgerError):
            await listen_for_ever(asker)
        own_postgresql.spawn_server()
        heard = await retry(asker.listen)
        assert heard == set()
        await retry(lambda: asker.ask(KEY, "asker", age(0)))
        await retry(lambda: one.keep("u1", 40, 40, 60, 16))
        assert await hear(asker) == {KEY}


async def test_uploads_of_other_nodes_are_listed_a_page_at_a_time(nodes: LedgerNodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    for upload in ("u1", "u2", "u3"):
        await begin(one, upload)
    await begin(two, "u4")
    await one.reserve("u5", "anna", 7, allow)
    await one.keep("u2", 40, 40, 100, 9)
    await one.checkpoint("u1", 30)
    elsewhere = elsewhere_of(two)
    first, second = await elsewhere.running_from("", 2)
    assert (first.upload, first.node, first.durable, second.upload) == ("u1", "one", 30, "u3")
    assert first.began is not None
    (third,) = await elsewhere.running_from("u3\0", 2)
    assert (third.upload, third.user, third.size, third.began) == ("u5", "anna", 7, None)
    (mine,) = await elsewhere_of(one).running_from("", 9)
    assert (mine.upload, mine.node) == ("u4", "two")


@pytest.mark.parametrize("discards", [True, False])
async def test_the_node_that_runs_an_upload_is_asked_to_discard_it_and_answers(
    nodes: LedgerNodes, *, discards: bool
) -> None:
    one, two = map(elsewhere_of, (nodes.start("one"), nodes.start("two")))
    await begin(nodes_ledger := nodes.start("three"), "u1")
    three = elsewhere_of(nodes_ledger)
    found = await one.ask_to_discard("u1")
    assert found is not None
    assert found.node == "three"
    assert await three.to_discard() == ["u1"]
    assert await two.to_discard() == []
    assert await one.look_at_discard("u1") == "running"
    await three.answer("u1", discards=discards)
    await nodes_ledger.release("u1")
    assert await one.look_at_discard("u1") == ("discarded" if discards else "complete")
    assert await three.to_discard() == []
    await one.withdraw_discard("u1")
    assert await one.look_at_discard("u1") == "ended"
    assert await one.ask_to_discard("u1") is None


async def test_nobody_is_asked_to_discard_what_is_kept_or_runs_here(nodes: LedgerNodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    await begin(one, "u1")
    assert await elsewhere_of(one).ask_to_discard("u1") is None
    assert await elsewhere_of(two).ask_to_discard("u1") is not None
    await one.keep("u1", 40, 40, 100, 9)
    assert await elsewhere_of(two).look_at_discard("u1") == "ended"
    assert await elsewhere_of(two).ask_to_discard("u1") is None
    assert await elsewhere_of(one).to_discard() == []


async def test_a_node_hears_at_once_that_it_is_to_discard_an_upload(nodes: LedgerNodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    await begin(one, "u1")
    await elsewhere_of(one).listen()  # it is connected from then on
    await elsewhere_of(two).ask_to_discard("u1")
    connection = elsewhere_of(one)._connection
    assert connection is not None
    with trio.fail_after(30):
        await trio.lowlevel.wait_readable(connection.fileno())
    assert await elsewhere_of(one).to_discard() == ["u1"]
