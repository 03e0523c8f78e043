"""The contract of a ledger for files that are complete: many of them in one transaction."""

from collections.abc import Callable
from functools import partial

import pytest
import trio
from attrs import evolve
from helpers.clocks import FakeClock
from helpers.ledgers import allow, keep, owed, resumable

from galileod.ledger.base import (
    AlreadyUsedError,
    KeptUpload,
    Ledger,
    LedgerError,
    SingleUse,
    StoredUpload,
    UnknownUploadError,
    WholeEntry,
)
from galileod.ledger.records import Commit
from galileod.policy.quota import Holding, QuotaFault, check_quota
from galileod.policy.settings import Quota
from galileod.protocol.errors import Fault
from galileod.units import Size

pytestmark = pytest.mark.timeout(60)

Open = Callable[[], Ledger]
"""Opens the same ledger each time."""

RECEIPT = '{"id": "1"}'


def entry(upload: str, user: str = "anna", size: int = 100) -> WholeEntry:
    return WholeEntry(upload, user, size, allow)


async def test_entries_are_reserved_then_become_files(ledger: Ledger) -> None:
    assert await ledger.enter_whole([entry("u1"), entry("u2", "bert"), entry("u3")]) == [None] * 3
    assert ledger.holdings() == {
        "anna": Holding(reserved=200, uploads=2),
        "bert": Holding(reserved=100, uploads=1),
    }
    assert (
        await ledger.commit_whole([Commit("u1", "a"), Commit("u2", "b"), Commit("u3", "c")])
        == [None] * 3
    )
    assert ledger.holdings() == {
        "anna": Holding(bytes=200, files=2),
        "bert": Holding(bytes=100, files=1),
    }


async def test_no_entry_and_no_commit_is_nothing(ledger: Ledger) -> None:
    assert await ledger.enter_whole([]) == []
    assert await ledger.commit_whole([]) == []
    await ledger.release_whole([])
    assert ledger.holdings() == {}


async def test_what_is_released_gives_back_what_it_held(ledger: Ledger) -> None:
    await ledger.enter_whole([entry("u1"), entry("u2"), entry("u3")])
    await ledger.commit("u2", "b")
    await ledger.release_whole(["u1", "u2", "never"])
    assert ledger.holdings() == {"anna": Holding(100, 1, reserved=100, uploads=1)}


async def test_a_commit_of_what_was_never_reserved_fails_alone(ledger: Ledger) -> None:
    await ledger.enter_whole([entry("u1"), entry("u3")])
    first, second, third = await ledger.commit_whole(
        [Commit("u1", "a"), Commit("u2", "b"), Commit("u3", "c")]
    )
    assert (first, third) == (None, None)
    assert isinstance(second, UnknownUploadError)
    assert ledger.holdings() == {"anna": Holding(bytes=200, files=2)}


async def test_a_file_of_the_same_batch_may_take_the_place_of_another(ledger: Ledger) -> None:
    await ledger.enter_whole([entry("u1", size=7), entry("u2", "bert", size=30)])
    assert await ledger.commit_whole([Commit("u1", "a"), Commit("u2", "a")]) == [None, None]
    assert ledger.holdings() == {"bert": Holding(bytes=30, files=1)}


async def test_an_entry_is_refused_by_what_those_before_it_hold(ledger: Ledger) -> None:
    seen = list[tuple[Holding, Holding]]()
    quota = Quota(user_bytes=Size(100), total_files=3)

    def decide(size: int, everybody: Holding, mine: Holding) -> None:
        seen.append((everybody, mine))
        check_quota(quota, size, everybody, mine)

    sizes = [("u1", "anna", 60), ("u2", "anna", 50), ("u3", "anna", 40), ("u4", "bert", 1)]
    sizes.append(("u5", "carla", 1))
    results = await ledger.enter_whole(
        [WholeEntry(upload, user, size, partial(decide, size)) for upload, user, size in sizes]
    )
    assert [result and type(result) for result in results] == [
        None, QuotaFault, None, None, QuotaFault,
    ]  # fmt: skip
    assert seen == [
        (Holding(), Holding()),
        (Holding(reserved=60, uploads=1), Holding(reserved=60, uploads=1)),
        (Holding(reserved=60, uploads=1), Holding(reserved=60, uploads=1)),
        (Holding(reserved=100, uploads=2), Holding()),
        (Holding(reserved=101, uploads=3), Holding()),
    ]
    assert ledger.holdings() == {
        "anna": Holding(reserved=100, uploads=2),
        "bert": Holding(reserved=1, uploads=1),
    }


async def test_files_of_all_kinds_count_for_a_batch(ledger: Ledger) -> None:
    await keep(ledger, "kept", offset=40)
    await ledger.enter_whole([entry("u1", size=7)])
    await ledger.commit("u1", "a")
    seen = list[tuple[Holding, Holding]]()
    await ledger.enter_whole([WholeEntry("u2", "bert", 1, lambda *both: seen.append(both))])
    assert seen == [(Holding(bytes=7, files=1, kept=40, kept_uploads=1), Holding())]


async def test_an_entry_that_is_refused_leaves_nothing_of_it(
    ledger: Ledger, clock: FakeClock
) -> None:
    ticket = SingleUse("t1", clock() + 60)
    refusing = WholeEntry(
        "u1", "anna", 2, partial(check_quota, Quota(total_files=0), 2), ticket, resumable("k")
    )
    results = await ledger.enter_whole([refusing, entry("u2"), entry("u2")])
    assert isinstance(results[0], Fault)
    assert results[1] is None
    assert isinstance(results[2], LedgerError)  # a reservation has this name
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    # Neither its ticket nor its key was used.
    allowed = WholeEntry("u3", "anna", 2, allow, ticket, resumable("k"))
    assert await ledger.enter_whole([allowed]) == [None]


async def test_a_ticket_is_used_once_in_a_batch(ledger: Ledger, clock: FakeClock) -> None:
    ticket, expired = SingleUse("t1", clock() + 60), SingleUse("t2", clock())
    first = WholeEntry("u1", "anna", 1, allow, ticket)
    results = await ledger.enter_whole(
        [first, evolve(first, upload="u2"), WholeEntry("u3", "anna", 1, allow, expired)]
    )
    assert [result and type(result) for result in results] == [
        None,
        AlreadyUsedError,
        AlreadyUsedError,
    ]
    assert ledger.holdings() == {"anna": Holding(reserved=1, uploads=1)}


async def test_an_upload_that_was_stored_is_given_by_its_key(ledger: Ledger) -> None:
    first = WholeEntry("u1", "anna", 100, allow, resumable=resumable("k"), identity="7")
    assert await ledger.enter_whole([first]) == [None]
    assert await ledger.commit_whole([Commit("u1", "a", 60)]) == [None]
    again = evolve(first, upload="u2", receipt=RECEIPT)
    assert await ledger.enter_whole([again, entry("u3")]) == [
        StoredUpload("metadata of k", "a"),
        None,
    ]
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1, reserved=100, uploads=1),
    }
    assert list(ledger.promised()) == []


async def test_a_stored_upload_is_forgotten_when_its_time_is_over(
    ledger: Ledger, clock: FakeClock
) -> None:
    first = WholeEntry("u1", "anna", 100, allow, resumable=resumable("k"))
    await ledger.enter_whole([first])
    await ledger.commit_whole([Commit("u1", "a", 60)])
    clock.now += 60
    assert await ledger.enter_whole([evolve(first, upload="u2")]) == [None]


async def test_one_that_is_not_to_be_remembered_is_not(ledger: Ledger) -> None:
    first = WholeEntry("u1", "anna", 100, allow, resumable=resumable("k"))
    await ledger.enter_whole([first])
    await ledger.commit_whole([Commit("u1", "a")])
    assert await ledger.enter_whole([evolve(first, upload="u2")]) == [None]


async def test_a_kept_upload_with_the_key_is_given_and_stays(ledger: Ledger) -> None:
    await keep(ledger, "u1", offset=40)
    again = WholeEntry("u2", "anna", 100, allow, resumable=resumable("key of u1"), identity="7")
    (found,) = await ledger.enter_whole([again])
    assert isinstance(found, KeptUpload)
    assert (found.upload, found.offset) == ("u1", 40)
    assert ledger.holdings() == {"anna": Holding(kept=40, kept_uploads=1)}
    await ledger.release("u1")
    assert await ledger.enter_whole([again]) == [None]
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}


async def test_a_reservation_with_the_key_that_was_not_released_is_replaced(ledger: Ledger) -> None:
    first = WholeEntry("u1", "anna", 100, allow, resumable=resumable("k"))
    results = await ledger.enter_whole([first, evolve(first, upload="u2", size=7)])
    assert results == [None, None]
    assert ledger.holdings() == {"anna": Holding(reserved=7, uploads=1)}


async def test_one_of_the_entries_with_a_ticket_uses_it_and_one_that_is_refused_does_not(
    ledger: Ledger, clock: FakeClock
) -> None:
    once, other = SingleUse("t1", clock() + 60), SingleUse("t2", clock() + 60)
    refuse = partial(check_quota, Quota(total_files=0), 1)
    results = await ledger.enter_whole(
        [
            WholeEntry("u1", "anna", 1, refuse, once),
            WholeEntry("u2", "anna", 1, allow, once),
            WholeEntry("u3", "bert", 1, allow, once),
            WholeEntry("u4", "bert", 1, allow, other, resumable("k")),
            WholeEntry("u5", "bert", 1, allow, other, resumable("other")),
            WholeEntry("u6", "bert", 1, allow, SingleUse("t3", clock())),
            entry("u7", size=1),
        ]
    )
    assert [result and type(result) for result in results] == [
        QuotaFault, None, AlreadyUsedError, None, AlreadyUsedError, AlreadyUsedError, None,
    ]  # fmt: skip
    for ticket in (once, other):
        with pytest.raises(AlreadyUsedError):
            await ledger.reserve("u8", "anna", 1, allow, ticket)
    await ledger.reserve("u4 again", "bert", 2, allow, other, resumable("k"))
    assert ledger.holdings() == {
        "anna": Holding(reserved=2, uploads=2),
        "bert": Holding(reserved=2, uploads=1),
    }


async def test_entries_with_an_identity_are_promised(reopen: Open) -> None:
    ledger = reopen()
    await ledger.enter_whole(
        [
            evolve(entry("u1"), identity="id1", receipt=RECEIPT),
            evolve(entry("u2"), identity="id2"),
            entry("u3"),
            evolve(entry("u4"), identity="id4", resumable=resumable("k")),
        ]
    )
    assert set(ledger.promised()) == {"id1", "id2", "id4"}
    ledger.close()
    ledger = reopen()
    ledger.reconcile({"a": 100, "d": 100}, {"id1": "a", "id4": "d"})
    assert ledger.holdings() == {"anna": Holding(bytes=200, files=2)}
    assert [(name, receipt) for name, receipt, _ in await owed(ledger)] == [("a", RECEIPT)]


async def test_an_upload_with_a_reservation_is_only_promised(ledger: Ledger) -> None:
    def refuse(*_: object) -> None:
        raise KeyError("not asked")

    await ledger.reserve("u1", "anna", 100, allow, resumable=resumable("k"))
    only_promised = WholeEntry(
        "u1", "anna", 100, refuse, None, resumable("k"), "id1", RECEIPT, reserved=True
    )
    assert await ledger.enter_whole([only_promised]) == [None]
    assert list(ledger.promised()) == ["id1"]
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    await ledger.commit_whole([Commit("u1", "a")])
    assert [(name, receipt) for name, receipt, _ in await owed(ledger)] == [("a", RECEIPT)]


async def test_of_a_batch_only_what_has_a_reservation_is_promised(ledger: Ledger) -> None:
    for upload in ("u1", "lost", "u2"):
        await ledger.reserve(upload, "anna", 100, allow)
    await keep(ledger, "kept")
    await ledger.release("lost")  # as after a failover to a database that lacks its row
    reserved = [
        evolve(entry(upload), identity=f"id of {upload}", reserved=True)
        for upload in ("u1", "lost", "kept", "u2")
    ]
    results = await ledger.enter_whole([*reserved, evolve(entry("u3"), identity="id of u3")])
    unknown = UnknownUploadError
    assert [result and type(result) for result in results] == [None, unknown, unknown, None, None]
    assert set(ledger.promised()) == {"id of u1", "id of u2", "id of u3"}


@pytest.mark.parametrize("among", [0, 2])
async def test_an_upload_whose_file_is_gone_ends_as_others_without_an_entry(
    ledger: Ledger, among: int
) -> None:
    await ledger.enter_whole([entry("u0")])
    await ledger.commit("u0", "a")
    others = [f"other{number}" for number in range(among)]
    gone = evolve(entry("u1"), identity="id1", receipt=RECEIPT, resumable=resumable("k"))
    await ledger.enter_whole([gone, *map(entry, others)])
    commits = [Commit("u1", "a", 60, gone=True), *(Commit(one, one) for one in others)]
    assert await ledger.commit_whole(commits) == [None] * (1 + among)
    entries = await ledger.entries(["a", *others])
    assert {name: each.upload for name, each in entries.items()} == {
        "a": "u0",
        **dict(zip(others, others, strict=True)),
    }
    assert [(name, receipt) for name, receipt, _ in await owed(ledger)] == [("a", RECEIPT)]
    assert await ledger.find("k") == StoredUpload("metadata of k", "a")
    assert (await ledger.total()).uploads == 0


async def test_a_receipt_that_becomes_due_wakes_the_delivery(ledger: Ledger) -> None:
    await ledger.enter_whole([evolve(entry("u1"), identity="id1", receipt=RECEIPT)])
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.outbox.wait)
            await ledger.commit_whole([Commit("u1", "a")])


async def test_batches_and_single_steps_of_many_tasks_are_exact(ledger: Ledger) -> None:
    async def batch(turn: int) -> None:
        names = [f"{turn}-{number}" for number in range(20)]
        await ledger.enter_whole([entry(name, f"user {turn % 3}", 1) for name in names])
        await ledger.commit_whole([Commit(name, name) for name in names[:15]])
        await ledger.release_whole(names)

    async def single(turn: int) -> None:
        await ledger.reserve(f"{turn}", "anna", 1, allow)
        await ledger.commit(f"{turn}", f"{turn}")

    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            for turn in range(9):
                nursery.start_soon(batch, turn)
                nursery.start_soon(single, turn)
    assert ledger.holdings() == {
        "anna": Holding(bytes=9, files=9),
        **{f"user {user}": Holding(bytes=45, files=45) for user in range(3)},
    }


async def test_a_closed_ledger_refuses_a_batch(ledger: Ledger) -> None:
    ledger.close()
    with pytest.raises(LedgerError):
        await ledger.enter_whole([entry("u1")])
    with pytest.raises(LedgerError):
        await ledger.commit_whole([Commit("u1", "a")])
    with pytest.raises(LedgerError):
        await ledger.release_whole(["u1"])
