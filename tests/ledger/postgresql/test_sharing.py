"""Two ledgers of one database, as of two nodes: what only several connections can get wrong."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TypeVar

import pytest
import trio
from helpers.clocks import FakeClock
from helpers.ledgers import allow, store
from helpers.objects import PART, part, tail

from galileod.ledger.base import Ledger, WholeEntry
from galileod.ledger.objects import Claim
from galileod.ledger.outbox import Outbox, Owed
from galileod.ledger.postgresql import Address, PostgresqlLedger
from galileod.ledger.records import Commit, FileEntry, Removal
from galileod.policy.quota import Holding

pytestmark = pytest.mark.timeout(60)

T = TypeVar("T")

HOLD = 600.0
"""Longer than a test takes."""

NO_TIME = 1e-7
"""A hold that is over before the next statement."""


@pytest.fixture
def nodes(address: Address, clock: FakeClock) -> Iterator[tuple[Ledger, Ledger]]:
    with (
        closing(PostgresqlLedger.open(address, clock)) as one,
        closing(PostgresqlLedger.open(address, clock)) as other,
    ):
        yield one, other


async def at_once(*calls: Callable[[], Awaitable[T]]) -> list[T]:
    """The results of calls that are made at the same time."""
    results = dict[int, T]()

    async def run(number: int, call: Callable[[], Awaitable[T]]) -> None:
        results[number] = await call()

    async with trio.open_nursery() as nursery:
        for number, call in enumerate(calls):
            nursery.start_soon(run, number, call)
    return [results[number] for number in range(len(calls))]


async def enter(ledger: Ledger, *names: str, made: tuple[str, ...] = ()) -> list[FileEntry]:
    await ledger.enter_whole([WholeEntry(name, "anna", 1, allow) for name in names])
    await ledger.commit_whole([Commit(name, name, made=made) for name in names])
    entries = await ledger.entries(names)
    return [entries[name] for name in names]


# Names.


async def test_no_name_is_claimed_at_both_nodes(nodes: tuple[Ledger, Ledger]) -> None:
    async def claim(ledger: Ledger, upload: str) -> str:
        await ledger.objects.begin(upload, 1, 1)
        return await ledger.objects.claim(upload, "a", "rename")

    names = await at_once(
        *(
            partial(claim, ledger, f"{node}-{number}")
            for number in range(20)
            for node, ledger in enumerate(nodes)
        )
    )
    assert sorted(names) == sorted(["a", *(f"a ({number})" for number in range(1, 40))])


async def test_whole_files_of_two_nodes_claim_different_names(
    nodes: tuple[Ledger, Ledger],
) -> None:
    claims = [[Claim(f"{node}-{n}", 1, f"{n % 5}", "rename") for n in range(20)] for node in "ab"]
    claimed = await at_once(
        *(
            partial(ledger.objects.claim_whole, batch)
            for ledger, batch in zip(nodes, claims, strict=True)
        )
    )
    assert len({name for names in claimed for name in names}) == 40


async def test_a_name_that_a_file_gets_at_one_node_is_taken_at_the_other(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, other = nodes
    await one.objects.begin("u1", 1, 1)
    await other.objects.begin("u2", 1, 1)
    assert await one.objects.claim("u1", "a", "rename") == "a"
    await one.reserve("u1", "anna", 1, allow)
    await one.commit("u1", "a")
    assert await other.objects.claim("u2", "a", "rename") == "a (1)"


# Uploads that continue at another node.


async def test_an_upload_goes_on_at_another_node_with_all_parts_and_its_tail(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, other = nodes
    await one.objects.begin("u1", 3 * PART, PART)
    await one.objects.claim("u1", "a", "rename")
    await one.objects.created("u1", "multipart")
    for number in (1, 3):
        await one.objects.add_part("u1", part(number))
    await one.objects.set_tail("u1", tail(PART, 5))
    found = await other.objects.resume("u1")
    assert found is not None
    assert (found.name, found.multipart) == ("a", "multipart")
    assert (found.parts, found.tail) == ((part(1),), tail(PART, 5))
    assert await other.objects.add_part("u1", part(2)) == tail(PART, 5)


async def test_parts_that_both_nodes_enter_end_with_one_tail_at_most(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, _ = nodes
    await one.objects.begin("u1", 9 * PART, PART)
    await one.objects.set_tail("u1", tail(0, 8 * PART))
    ended = await at_once(
        *(partial(nodes[number % 2].objects.add_part, "u1", part(number)) for number in range(1, 9))
    )
    # Its object is to be removed once.
    assert [each for each in ended if each is not None] == [tail(0, 8 * PART)]
    found = await one.objects.get("u1")
    assert found is not None
    assert (len(found.parts), found.tail) == (8, None)


# Files.


async def test_a_file_that_both_nodes_remove_is_removed_once(nodes: tuple[Ledger, Ledger]) -> None:
    one, other = nodes
    names = [f"d/{number}" for number in range(50)]
    entries = await enter(one, *names, made=("d",))
    emptied = await at_once(
        *(
            partial(ledger.remove_files, [Removal(entry, f"{entry.name} of {node}")])
            for entry in entries
            for node, ledger in enumerate(nodes)
        )
    )
    assert [list(each) for each in emptied if each] == [["d"]]
    assert sorted(owed.name for owed in await other.outbox.first(1000)) == sorted(names)
    assert await other.total() == Holding()
    assert other.holdings() == {}


async def test_a_file_that_both_nodes_find_is_entered_once(nodes: tuple[Ledger, Ledger]) -> None:
    found = [(f"{number}", number) for number in range(500)]
    backwards = found[::-1]
    entered = await at_once(
        partial(nodes[0].enter_found, found), partial(nodes[1].enter_found, backwards)
    )
    assert sum(entered) == 500
    assert (await nodes[0].total()).files == 500


async def test_a_name_that_both_nodes_store_has_one_record(nodes: tuple[Ledger, Ledger]) -> None:
    async def replace(ledger: Ledger, node: str) -> None:
        for number in range(20):
            upload = f"{node}{number}"
            await ledger.reserve(upload, node, 7, allow)
            await ledger.commit(upload, "a")

    await at_once(partial(replace, nodes[0], "anna"), partial(replace, nodes[1], "bert"))
    (entry,) = (await nodes[0].entries(["a"])).values()
    assert nodes[1].holdings() == {entry.user: Holding(bytes=7, files=1)}
    assert await nodes[1].total() == Holding(bytes=7, files=1)


# Receipts.


async def deliver_all(outbox: Outbox, most: int) -> list[str]:
    """What a node delivers until nothing is left for it."""
    names = list[str]()
    while owed := await outbox.first(most, hold=HOLD):
        for one in owed:
            names.append(one.name)
            await outbox.delivered(one.number)
    return names


async def owed_by(ledger: Ledger) -> list[tuple[str, int]]:
    """Names and failed attempts of what a node may deliver."""
    return [(one.name, one.attempts) for one in await ledger.outbox.first(100)]


async def test_a_receipt_is_delivered_by_one_node(nodes: tuple[Ledger, Ledger]) -> None:
    names = [f"{number:03}" for number in range(100)]
    await store(nodes[0], *names, receipt="{}")
    delivered = await at_once(*(partial(deliver_all, ledger.outbox, 3) for ledger in nodes))
    assert sorted(delivered[0] + delivered[1]) == names
    assert await nodes[0].outbox.count() == 0


async def test_what_a_node_holds_is_left_out_at_the_other_and_not_at_that_one(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, other = (ledger.outbox for ledger in nodes)
    await store(nodes[0], "a", "b", "c", receipt="{}")
    held = await one.first(2, hold=HOLD)
    assert [owed.name for owed in held] == ["a", "b"]
    assert [owed.name for owed in await other.first(9)] == ["c"]
    assert [owed.name for owed in await one.first(9)] == ["a", "b", "c"]
    assert await other.count() == 3


async def test_only_what_is_due_is_held(nodes: tuple[Ledger, Ledger], clock: FakeClock) -> None:
    one, other = (ledger.outbox for ledger in nodes)
    await store(nodes[0], "a", "b", receipt="{}")
    (first, _) = await one.first(2)
    await one.postpone(first.number, 10)
    assert [owed.name for owed in await one.first(2, hold=HOLD)] == ["b", "a"]
    assert [(owed.name, owed.wait) for owed in await other.first(2, hold=HOLD)] == [("a", 10.0)]
    clock.now += 10
    assert [owed.name for owed in await other.first(2, hold=HOLD)] == ["a"]
    assert [owed.name for owed in await one.first(2)] == ["b"]


async def test_a_failed_attempt_lets_any_node_make_the_next(
    nodes: tuple[Ledger, Ledger], clock: FakeClock
) -> None:
    one, other = (ledger.outbox for ledger in nodes)
    await store(nodes[0], "a", receipt="{}")
    (owed,) = await one.first(1, hold=HOLD)
    await one.postpone(owed.number, 5)
    clock.now += 5
    assert await other.first(1) == [Owed(owed.number, "a", "{}", 1, 0.0)]


async def test_what_a_node_held_that_has_died_is_delivered_by_another(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, other = (ledger.outbox for ledger in nodes)
    await store(nodes[0], "a", receipt="{}")
    (owed,) = await one.first(1, hold=NO_TIME)
    assert await other.first(1, hold=HOLD) == [owed]
    # It was only slow. Its failure does not count, since an attempt of the other one runs.
    await one.postpone(owed.number, None)
    assert await one.first(1) == []
    assert await other.first(1) == [owed]
    # But its success does.
    await one.delivered(owed.number)
    assert await other.count() == 0


async def test_the_start_of_a_node_leaves_what_another_one_works_on(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, other = nodes
    await store(one, "a", "b", receipt="{}")
    for owed in await one.outbox.first(2):
        await one.outbox.postpone(owed.number, 0)
    await one.outbox.first(1, hold=HOLD)
    other.reconcile(None, {})
    assert await owed_by(one) == [("b", 0), ("a", 1)]
    assert await owed_by(other) == [("b", 0)]
