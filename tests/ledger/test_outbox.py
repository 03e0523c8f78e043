"""The contract of the outbox: each implementation passes these tests."""

from collections.abc import Callable

import pytest
import trio
from helpers.clocks import FakeClock
from helpers.ledgers import allow, owed, store

from galileod.ledger.base import Ledger
from galileod.policy.backoff import LONGEST

pytestmark = pytest.mark.timeout(60)

Open = Callable[[], Ledger]
"""Opens the same ledger each time."""

RECEIPT = '{"id": "1"}'


async def test_what_was_promised_is_owed_once_the_file_is_entered_and_not_before(
    ledger: Ledger,
) -> None:
    for upload in ("u1", "u2"):
        await ledger.reserve(upload, "anna", 100, allow)
    await ledger.promise("u1", "7", RECEIPT)
    assert await owed(ledger) == []
    await ledger.commit("u1", "a.txt")
    await ledger.commit("u2", "b.txt")
    assert await owed(ledger) == [("a.txt", RECEIPT, 0)]


async def test_a_promise_ends_with_an_upload_that_ends_otherwise(ledger: Ledger) -> None:
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", "7", RECEIPT)
    await ledger.release("u1")
    ledger.reconcile({"a.txt": 100}, {"7": "a.txt"})
    assert await owed(ledger) == []


async def test_what_is_owed_is_counted_also_what_was_given_up(ledger: Ledger) -> None:
    outbox, counts = ledger.outbox, list[int]()
    for name in "abc":
        await store(ledger, name, receipt=name)
        counts.append(await outbox.count())
    first, second, _ = await outbox.first(10)
    await outbox.delivered(first.number)
    await outbox.postpone(second.number, None)
    assert (*counts, await outbox.count()) == (1, 2, 3, 2)


async def test_receipts_come_in_the_order_of_their_due_times(
    ledger: Ledger, clock: FakeClock
) -> None:
    outbox = ledger.outbox
    await store(ledger, "a", "b", receipt=RECEIPT)
    clock.now += 1
    await store(ledger, "c", receipt=RECEIPT)
    a, b, c = await outbox.first(10)
    assert [(one.name, one.attempts, one.wait) for one in (a, b, c)] == [
        ("a", 0, 0.0), ("b", 0, 0.0), ("c", 0, 0.0),
    ]  # fmt: skip
    await outbox.postpone(a.number, 50)
    await outbox.postpone(b.number, 20)
    clock.now += 10
    assert [(one.name, one.attempts, one.wait) for one in await outbox.first(2)] == [
        ("c", 0, 0.0), ("b", 1, 10.0),
    ]  # fmt: skip
    clock.now += 100
    assert [(one.name, one.wait) for one in await outbox.first(10)] == [
        ("c", 0.0), ("b", 0.0), ("a", 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("set_back", "wait"), [(0, 60), (10, 70), (LONGEST - 60, LONGEST), (LONGEST, 0), (1e9, 0)]
)
async def test_no_wait_is_longer_than_the_longest_after_the_clock_was_set_back(
    reopen: Open, clock: FakeClock, set_back: float, wait: float
) -> None:
    ledger = reopen()
    await store(ledger, "a", receipt=RECEIPT)
    (one,) = await ledger.outbox.first(1)
    await ledger.outbox.postpone(one.number, 60)
    ledger.close()
    clock.now -= set_back
    (one,) = await reopen().outbox.first(1)
    assert (one.wait, one.attempts) == (wait, 1)


async def test_the_start_makes_due_what_was_put_off_and_what_was_given_up(
    ledger: Ledger, clock: FakeClock
) -> None:
    outbox = ledger.outbox
    await store(ledger, "a", "b", "c", receipt=RECEIPT)
    first, second, _ = await outbox.first(10)
    await outbox.postpone(first.number, LONGEST)
    await outbox.postpone(second.number, None)
    assert await owed(ledger) == [("c", RECEIPT, 0), ("a", RECEIPT, 1)]
    assert await outbox.count() == 3
    clock.now = 0.0
    ledger.reconcile({}, {})
    assert await owed(ledger) == [("a", RECEIPT, 0), ("b", RECEIPT, 0), ("c", RECEIPT, 0)]
    assert {one.wait for one in await outbox.first(10)} == {0.0}
    await outbox.delivered(first.number)
    assert await owed(ledger) == [("b", RECEIPT, 0), ("c", RECEIPT, 0)]


async def test_a_commit_wakes_the_task_that_waits_for_receipts(ledger: Ledger) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.outbox.wait)
            await store(ledger, "a", receipt=RECEIPT)


async def test_a_task_is_woken_also_by_what_came_before_it_waited(ledger: Ledger) -> None:
    with trio.fail_after(20):
        ledger.outbox.notify()
        await ledger.outbox.wait()
        with trio.move_on_after(0) as scope:
            await ledger.outbox.wait()
        assert scope.cancelled_caught, "once for each time"


async def test_receipts_of_one_kind_are_found_and_counted_alone(ledger: Ledger) -> None:
    outbox = ledger.outbox
    await store(ledger, "a", "b", receipt=RECEIPT)
    assert [one.name for one in await outbox.first(10, ["stored"])] == ["a", "b"]
    assert [one.kind for one in await outbox.first(10)] == ["stored"] * 2
    assert (await outbox.first(10, ["removed"]), await outbox.first(10, [])) == ([], [])
    assert await outbox.count(["stored"]) == 2
    assert (await outbox.count(["removed"]), await outbox.count([])) == (0, 0)
