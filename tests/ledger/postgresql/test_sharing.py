"""Two ledgers of one database, as of two nodes: what only several connections can get wrong."""

from collections.abc import Awaitable
from functools import partial
from typing import TypeVar

import pytest
import trio
from helpers.at_once import at_once
from helpers.clocks import FakeClock
from helpers.ledgers import allow, keep
from helpers.objects import PART, part, tail

from galileod.ledger.base import (
    Allow,
    AlreadyUsedError,
    KeptUpload,
    Ledger,
    LedgerError,
    SingleUse,
    WholeEntry,
)
from galileod.ledger.objects import Claim, NameTakenError
from galileod.ledger.outbox import Outbox
from galileod.ledger.records import Commit, FileEntry, Removal
from galileod.policy.quota import Holding

pytestmark = pytest.mark.timeout(60)

T = TypeVar("T")

HOLD = 600.0
"""Longer than a test takes."""


class QuotaError(Exception):
    """There is no room for another upload."""


async def tried(call: Awaitable[T]) -> T | str:
    """What a call returns, or the name of its error."""
    try:
        return await call
    except (LedgerError, NameTakenError, AlreadyUsedError, QuotaError) as error:
        return type(error).__name__


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


async def test_a_name_that_is_in_doubt_at_one_node_is_not_completed_at_the_other(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, other = (ledger.objects for ledger in nodes)
    for number in range(10):
        first, second, name = f"first {number}", f"second {number}", f"{number}"
        await one.begin(first, 1, 1)
        await other.begin(second, 1, 1)
        await one.claim(first, name, "replace")
        await one.completing(first)
        _, claimed = await at_once(
            partial(one.doubt, first, 5.0),
            partial(tried, other.claim(second, name, "replace")),
        )
        assert claimed in (name, "UnsettledError")
        if claimed == name:  # before the first was in doubt
            assert await tried(other.completing(second)) == "UnsettledError"


async def test_an_object_that_may_be_removed_is_held_by_one_upload(
    nodes: tuple[Ledger, Ledger],
) -> None:
    for number in range(10):
        for ledger in nodes:  # the first yields before the second claims its name
            upload = f"{number} of {nodes.index(ledger)}"
            await ledger.objects.begin(upload, 1, 1)
            await ledger.objects.claim(upload, f"{number}", "rename")
            await ledger.objects.doubt(upload, 5.0)
            await ledger.objects.abandon(upload, yields=True)
        held = await at_once(
            *(
                partial(ledger.objects.hold, f"{number} of {node}", 5.0, 6.0)
                for node, ledger in enumerate(nodes)
            )
        )
        assert sorted(held) == [False, True]


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


# Reservations, and uploads that are kept.


def at_most(uploads: int, of_user: int) -> Allow:
    def allow_some(everybody: Holding, mine: Holding) -> None:
        if everybody.uploads >= uploads or mine.uploads >= of_user:
            raise QuotaError

    return allow_some


async def test_all_nodes_together_reserve_what_the_quota_permits(
    nodes: tuple[Ledger, Ledger],
) -> None:
    results = await at_once(
        *(
            partial(
                tried, ledger.reserve(f"{node} {n}", f"user {n % 2}", 5, at_most(15, of_user=10))
            )
            for n in range(20)
            for node, ledger in enumerate(nodes)
        )
    )
    assert sorted(map(str, results)) == ["None"] * 15 + ["QuotaError"] * 25
    total = await nodes[0].total()
    assert total == Holding(reserved=75, uploads=15)
    assert {held.uploads for held in nodes[1].holdings().values()} <= {5, 6, 7, 8, 9, 10}


async def test_a_ticket_is_used_at_one_node(nodes: tuple[Ledger, Ledger], clock: FakeClock) -> None:
    for number in range(10):
        ticket = SingleUse(f"{number}", clock.now + 60)
        used = await at_once(
            *(
                partial(tried, ledger.reserve(f"{node} {number}", "anna", 1, allow, ticket))
                for node, ledger in enumerate(nodes)
            )
        )
        assert sorted(map(str, used)) == ["AlreadyUsedError", "None"]


async def test_an_upload_is_entered_once_although_both_nodes_try(
    nodes: tuple[Ledger, Ledger],
) -> None:
    for number in range(10):
        await nodes[0].reserve(f"{number}", "anna", 1, allow)
        await nodes[0].promise(f"{number}", "id", "{}")
        entered = await at_once(
            *(partial(tried, ledger.commit(f"{number}", f"{number}")) for ledger in nodes)
        )
        assert sorted(map(str, entered)) == ["None", "UnknownUploadError"]
    assert await nodes[0].outbox.count() == 10
    assert await nodes[0].total() == Holding(bytes=10, files=10)


async def test_a_kept_upload_is_continued_at_one_node(nodes: tuple[Ledger, Ledger]) -> None:
    for number in range(10):
        await keep(nodes[number % 2], f"{number}")
        continued = await at_once(
            *(partial(tried, ledger.resume(f"{number}", allow)) for ledger in nodes)
        )
        assert sorted(map(str, continued)) == ["None", "UnknownUploadError"]
    assert await nodes[0].total() == Holding(reserved=1000, uploads=10)


@pytest.mark.parametrize("way", ["expire", "give way"])
async def test_a_kept_upload_is_dropped_by_one_node(
    nodes: tuple[Ledger, Ledger], clock: FakeClock, way: str
) -> None:
    for number in range(20):
        await keep(nodes[0], f"{number:02}")
    clock.now += 100

    async def drop_all(ledger: Ledger) -> list[str]:
        dropped = list[KeptUpload]()
        while True:
            if way == "expire":
                more = await ledger.expire(3)
            else:
                one = await ledger.give_way(None, authenticated=True)
                more = [] if one is None else [one]
            if not more:
                return [one.upload for one in dropped]
            dropped += more

    dropped = await at_once(*(partial(drop_all, ledger) for ledger in nodes))
    assert sorted(dropped[0] + dropped[1]) == [f"{number:02}" for number in range(20)]
    assert await nodes[0].total() == Holding()


async def store_and_remove(ledger: Ledger, prefix: str) -> None:
    """Uploads to object storage from their beginning until their files are removed."""
    objects = ledger.objects
    for number in range(6):
        upload = f"{prefix} {number}"
        await ledger.reserve(upload, prefix[-1], 7, allow)
        await objects.begin(upload, 3 * PART, PART)
        name = await objects.claim(upload, "d/a", "rename")
        await objects.created(upload, f"multipart of {upload}")
        await objects.set_tail(upload, tail(0, 5, upload))
        for each in (2, 1, 3):
            await objects.add_part(upload, part(each))
        await objects.completing(upload)
        await ledger.promise(upload, f"id of {upload}", "{}")
        await ledger.commit(upload, name, made=["d"])
        (entry,) = (await ledger.entries([name])).values()
        removals = [Removal(entry, "{}")]
        await ledger.promise_removals(removals)
        await ledger.remove_files(removals)


async def deliver_at_the_second_attempt(outbox: Outbox) -> None:
    while True:
        for owed in await outbox.first(4, hold=HOLD):
            if owed.attempts:
                await outbox.delivered(owed.number)
            else:
                await outbox.postpone(owed.number, 0)


async def test_no_step_fails_while_both_nodes_store_deliver_and_remove(
    nodes: tuple[Ledger, Ledger],
) -> None:
    # No transaction may lock out another one, neither of its own node nor of the other.
    async with trio.open_nursery() as delivering:
        for ledger in nodes:
            delivering.start_soon(deliver_at_the_second_attempt, ledger.outbox)
        await at_once(
            *(
                partial(store_and_remove, ledger, f"{node} {worker}")
                for node, ledger in enumerate(nodes)
                for worker in range(4)
            )
        )
        with trio.fail_after(20):
            while await nodes[0].outbox.count():
                pass
        delivering.cancel_scope.cancel()
    assert await nodes[0].total() == Holding()
    assert nodes[1].holdings() == {}
    assert list(nodes[1].objects.all()) == []
