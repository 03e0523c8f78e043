"""The contract of a ledger: each implementation passes these tests.

A further one needs an entry in `helpers.ledgers.OPENERS`.
"""

from collections.abc import Callable
from functools import partial

import pytest
import trio
from helpers.clocks import FakeClock
from helpers.ledgers import allow, keep, owed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galileod.ledger.base import (
    UNKNOWN_USER,
    AlreadyUsedError,
    Ledger,
    LedgerError,
    SingleUse,
    UnknownUploadError,
)
from galileod.policy.quota import Holding, check_quota
from galileod.policy.settings import Quota
from galileod.protocol.errors import Fault
from galileod.units import Size

pytestmark = pytest.mark.timeout(60)

Open = Callable[[], Ledger]
"""Opens the same ledger each time."""

RECEIPT = '{"id": "1"}'

# Uploads.


async def test_an_upload_is_reserved_then_becomes_a_file(ledger: Ledger) -> None:
    await ledger.reserve("u1", "anna", 100, allow)
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    await ledger.commit("u1", "a.txt")
    assert ledger.holdings() == {"anna": Holding(bytes=100, files=1)}


async def test_an_upload_that_ends_otherwise_gives_back_what_it_held(ledger: Ledger) -> None:
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.release("u1")
    assert ledger.holdings() == {}


async def test_a_release_after_the_commit_changes_nothing(ledger: Ledger) -> None:
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.commit("u1", "a.txt")
    await ledger.release("u1")
    assert ledger.holdings() == {"anna": Holding(bytes=100, files=1)}


async def test_a_release_of_what_was_never_reserved_changes_nothing(ledger: Ledger) -> None:
    await ledger.release("u1")
    assert ledger.holdings() == {}


async def test_a_file_that_takes_the_place_of_another_frees_what_that_one_held(
    ledger: Ledger,
) -> None:
    for upload, user, size in (("u1", "anna", 100), ("u2", "bert", 30)):
        await ledger.reserve(upload, user, size, allow)
        await ledger.commit(upload, "a.txt")
    assert ledger.holdings() == {"bert": Holding(bytes=30, files=1)}


async def test_an_upload_that_was_never_reserved_cannot_become_a_file(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="not in the ledger"):
        await ledger.commit("u1", "a.txt")
    assert ledger.holdings() == {}


async def test_only_an_upload_that_is_reserved_can_be_promised(ledger: Ledger) -> None:
    await keep(ledger, "kept")
    await ledger.reserve("stored", "anna", 100, allow)
    await ledger.commit("stored", "a.txt")
    for upload in ("never", "kept", "stored"):
        with pytest.raises(UnknownUploadError):
            await ledger.promise(upload, "7", RECEIPT)
    assert list(ledger.promised()) == []


async def test_of_promises_at_the_same_time_only_those_without_a_reservation_fail(
    ledger: Ledger,
) -> None:
    for upload in ("0", "1", "3"):
        await ledger.reserve(upload, "anna", 1, allow)
    failed = list[str]()

    async def promise(upload: str) -> None:
        try:
            await ledger.promise(upload, f"id of {upload}")
        except UnknownUploadError:
            failed.append(upload)

    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(promise, f"{number}")
    assert sorted(failed) == ["2", "4"]
    assert set(ledger.promised()) == {"id of 0", "id of 1", "id of 3"}


async def test_what_is_entered_survives_the_process(reopen: Open) -> None:
    ledger = reopen()
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.commit("u1", "a.txt")
    await ledger.reserve("u2", "bert", 30, allow)
    ledger.close()
    assert reopen().holdings() == {
        "anna": Holding(bytes=100, files=1),
        "bert": Holding(reserved=30, uploads=1),
    }


async def test_a_check_passes_and_changes_nothing(ledger: Ledger) -> None:
    await ledger.reserve("u1", "anna", 100, allow)
    for _ in range(2):
        await ledger.check()
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    await ledger.commit("u1", "a.txt")


async def test_a_closed_ledger_cannot_be_used(ledger: Ledger) -> None:
    ledger.close()
    with pytest.raises(LedgerError):
        await ledger.check()
    with pytest.raises(LedgerError):
        await ledger.total()
    with pytest.raises(LedgerError):
        await ledger.reserve("u1", "anna", 1, allow)
    with pytest.raises(LedgerError):
        ledger.holdings()
    with pytest.raises(LedgerError):
        await ledger.holdings_from("", 1)


async def test_holdings_are_given_by_pages_as_well(ledger: Ledger) -> None:
    assert await ledger.holdings_from("", 2) == {}
    for user in ("carla", "", "bert", "anna", "gone"):
        await ledger.reserve(user, user, 1, allow)
    await ledger.release("gone")
    expected = ledger.holdings()
    assert list(expected) == ["", "anna", "bert", "carla"]
    held = Holding(reserved=1, uploads=1)
    assert await ledger.holdings_from("", 2) == {"": held, "anna": held}
    assert list(await ledger.holdings_from("anna", 2)) == ["anna", "bert"]
    assert list(await ledger.holdings_from("anna\0", 3)) == ["bert", "carla"]
    assert await ledger.holdings_from("", 100) == expected


# Quota.


async def test_a_refusal_enters_nothing_and_passes_through(ledger: Ledger) -> None:
    with pytest.raises(Fault):
        await ledger.reserve("u1", "anna", 2, partial(check_quota, Quota(total_files=0), 2))
    assert ledger.holdings() == {}
    await ledger.reserve("u1", "anna", 2, allow)


async def test_a_reservation_is_decided_by_what_all_hold_and_what_its_user_holds(
    ledger: Ledger,
) -> None:
    asked: list[tuple[Holding, Holding]] = []

    def ask(everybody: Holding, mine: Holding) -> None:
        asked.append((everybody, mine))

    for upload, user, size in (("u1", "anna", 100), ("u2", "bert", 30), ("u3", "anna", 5)):
        await ledger.reserve(upload, user, size, ask)
    await ledger.commit("u1", "a.txt")
    await ledger.reserve("u4", "anna", 1, ask)
    assert asked == [
        (Holding(), Holding()),
        (Holding(reserved=100, uploads=1), Holding()),
        (Holding(reserved=130, uploads=2), Holding(reserved=100, uploads=1)),
        (
            Holding(bytes=100, files=1, reserved=35, uploads=2),
            Holding(bytes=100, files=1, reserved=5, uploads=1),
        ),
    ]


async def test_the_total_is_that_of_all_users(ledger: Ledger) -> None:
    assert await ledger.total() == Holding()
    for upload, user in (("u1", "anna"), ("u2", "bert")):
        await ledger.reserve(upload, user, 100, allow)
    await ledger.commit("u1", "a.txt")
    assert await ledger.total() == Holding(bytes=100, files=1, reserved=100, uploads=1)


async def test_uploads_that_race_never_pass_the_limit_nor_stop_short_of_it(reopen: Open) -> None:
    ledgers = [reopen() for _ in range(4)]
    quota, outcomes = Quota(total_bytes=Size(1000)), []

    async def race(number: int) -> None:
        try:
            ledger = ledgers[number % 4]
            await ledger.reserve(f"u{number}", "anna", 100, partial(check_quota, quota, 100))
        except Fault as fault:
            outcomes.append(str(fault.code))
        else:
            outcomes.append("reserved")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(race, number)
    assert outcomes.count("reserved") == 10
    assert outcomes.count("quota_exceeded") == 30


# Tickets.


async def test_a_ticket_is_used_up_by_an_upload_that_is_entered(
    reopen: Open, clock: FakeClock
) -> None:
    ledger = reopen()
    ticket = SingleUse("1", clock.now + 60)
    full = partial(check_quota, Quota(total_files=0), 1)
    with pytest.raises(Fault):
        await ledger.reserve("u1", "anna", 1, full, ticket)
    await ledger.reserve("u1", "anna", 1, allow, ticket)
    ledger.close()
    ledger = reopen()
    with pytest.raises(AlreadyUsedError):
        await ledger.reserve("u2", "anna", 1, allow, ticket)
    await ledger.reserve("u3", "anna", 1, allow, SingleUse("2", clock.now + 60))
    assert ledger.holdings() == {"anna": Holding(reserved=2, uploads=2)}


async def test_a_ticket_that_expired_since_it_was_checked_is_refused_not_forgotten(
    ledger: Ledger, clock: FakeClock
) -> None:
    for upload in ("u1", "u2"):  # it must not be taken for a new one after its entry went
        with pytest.raises(AlreadyUsedError):
            await ledger.reserve(upload, "anna", 1, allow, SingleUse("1", clock.now - 1))


async def test_a_ticket_that_was_used_and_has_expired_since_is_not_valid_anew(
    ledger: Ledger, clock: FakeClock
) -> None:
    ticket = SingleUse("1", clock.now + 60)
    await ledger.reserve("u1", "anna", 1, allow, ticket)
    clock.now += 61
    await ledger.reserve("u2", "anna", 1, allow, SingleUse("2", clock.now + 60))
    with pytest.raises(AlreadyUsedError):
        await ledger.reserve("u3", "anna", 1, allow, ticket)


# The start.

FILES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1000))


@given(entered=FILES, on_disk=FILES, cut_off=st.integers(0, 3))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_at_the_start_the_ledger_says_what_the_disk_says(
    ledger: Ledger, entered: dict[str, int], on_disk: dict[str, int], cut_off: int
) -> None:
    ledger.reconcile({}, {})

    async def fill() -> None:
        for number, (name, size) in enumerate(entered.items()):
            await ledger.reserve(f"u{number}", "anna", size, allow)
            await ledger.commit(f"u{number}", name)
        for number in range(cut_off):
            await ledger.reserve(f"x{number}", "anna", 5, allow)

    trio.run(fill)
    ledger.reconcile(on_disk, {})
    annas = {name: size for name, size in on_disk.items() if name in entered}
    others = {name: size for name, size in on_disk.items() if name not in entered}
    expected = {
        user: Holding(bytes=sum(files.values()), files=len(files))
        for user, files in (("anna", annas), (UNKNOWN_USER, others))
        if files
    }
    assert ledger.holdings() == expected


@pytest.mark.parametrize(
    ("on_disk", "found", "entered"),
    [
        ({"a.txt": 100}, {"7": "a.txt"}, {"anna": Holding(bytes=100, files=1)}),
        ({}, {}, {}),
        # An identity that came to another file since.
        ({"b.txt": 3}, {"7": "b.txt"}, {UNKNOWN_USER: Holding(bytes=3, files=1)}),
    ],
)
async def test_a_crash_between_publication_and_entry_loses_neither_user_nor_receipt(
    reopen: Open, on_disk: dict[str, int], found: dict[str, str], entered: dict[str, Holding]
) -> None:
    ledger = reopen()
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", "7", RECEIPT)
    ledger.close()
    ledger = reopen()
    assert list(ledger.promised()) == ["7"]
    ledger.reconcile(on_disk, found)
    assert list(ledger.promised()) == []
    assert ledger.holdings() == entered
    assert await owed(ledger) == ([("a.txt", RECEIPT, 0)] if "anna" in entered else [])


@pytest.mark.parametrize(
    "identity", ["7", "007", "1e3", "7.0", " 7", "", "0x1f", str(2**64), "bucket/key é", "NULL"]
)
async def test_an_identity_comes_back_as_it_was_given(reopen: Open, identity: str) -> None:
    ledger = reopen()
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", identity, RECEIPT)
    ledger.close()
    ledger = reopen()
    assert list(ledger.promised()) == [identity]
    ledger.reconcile({"a.txt": 100}, {identity: "a.txt"})
    assert ledger.holdings() == {"anna": Holding(bytes=100, files=1)}
    assert list(ledger.promised()) == []


def test_a_ledger_knows_where_its_files_are(reopen: Open) -> None:
    ledger = reopen()
    assert ledger.home() is None
    for home in ("s3://bucket/prefix", "", "s3://bucket"):
        ledger.set_home(home)
        ledger.close()
        ledger = reopen()
        assert ledger.home() == home
