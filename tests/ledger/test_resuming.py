"""The contract for uploads that may be resumed: each implementation passes these tests."""

from collections.abc import Callable

import pytest
from helpers.clocks import FakeClock
from helpers.ledgers import allow, begin, keep, names, owed, resumable

from galileod.ledger.base import (
    AlreadyUsedError,
    KeptUpload,
    Ledger,
    LedgerError,
    SingleUse,
    StoredUpload,
)
from galileod.policy.quota import Holding

pytestmark = pytest.mark.timeout(60)

Open = Callable[[], Ledger]
"""Opens the same ledger each time."""


class RefusedError(Exception):
    """Refuses a reservation."""


def refuse(_everybody: Holding, _mine: Holding) -> None:
    raise RefusedError


# Kept.


async def test_a_resumable_upload_counts_as_any_other_while_it_runs(ledger: Ledger) -> None:
    await begin(ledger, "u1")
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    assert await ledger.find("key of u1") is None
    await ledger.commit("u1", "a.txt")
    assert ledger.holdings() == {"anna": Holding(bytes=100, files=1)}


async def test_a_kept_upload_counts_by_what_it_has_and_not_by_what_it_will_have(
    ledger: Ledger,
) -> None:
    await keep(ledger, "u1", offset=40)
    await keep(ledger, "u2", offset=7)
    await keep(ledger, "u3", "bert", offset=0, durable=0)
    await begin(ledger, "u4")
    anna = Holding(reserved=100, uploads=1, kept=47, kept_uploads=2)
    bert = Holding(kept=0, kept_uploads=1)
    assert ledger.holdings() == {"anna": anna, "bert": bert}
    assert await ledger.holdings_from("bert", 1) == {"bert": bert}
    assert await ledger.total() == Holding(reserved=100, uploads=1, kept=47, kept_uploads=3)


async def test_a_kept_upload_is_found_by_its_key_as_it_was_begun_and_kept(
    reopen: Open, clock: FakeClock
) -> None:
    ledger, began = reopen(), clock.now
    about = resumable("k", authenticated=False, full=False)
    await ledger.reserve("u1", "10.0.0.1", 100, allow, resumable=about)
    clock.now += 5
    await ledger.keep("u1", 40, 30, 60, 16)
    expected = KeptUpload("u1", "10.0.0.1", 100, about, 40, 30, began, clock.now + 60)
    assert await ledger.find("k") == expected
    assert await ledger.find("K") is None
    ledger.close()
    assert await reopen().find("k") == expected


@pytest.mark.parametrize("begun", [None, "classic", "kept", "stored"])
async def test_only_a_running_resumable_upload_can_be_kept(
    ledger: Ledger, begun: str | None
) -> None:
    if begun == "classic":
        await ledger.reserve("u1", "anna", 100, allow)
    elif begun == "kept":
        await keep(ledger, "u1")
    elif begun == "stored":
        await begin(ledger, "u1")
        await ledger.commit("u1", "a.txt")
    before = ledger.holdings()
    with pytest.raises(LedgerError, match="no running upload"):
        await ledger.keep("u1", 50, 50, 60, 16)
    assert ledger.holdings() == before


async def test_what_was_promised_is_withdrawn_when_the_upload_is_kept(ledger: Ledger) -> None:
    await begin(ledger, "u1")
    await ledger.promise("u1", "7", "{}")
    await ledger.keep("u1", 100, 100, 60, 16)
    assert list(ledger.promised()) == []
    await ledger.resume("u1", allow)
    await ledger.commit("u1", "a.txt")
    assert await owed(ledger) == []


async def test_the_oldest_kept_uploads_of_a_user_beyond_the_most_are_dropped(
    ledger: Ledger, clock: FakeClock
) -> None:
    await keep(ledger, "u0", "bert")
    for upload in ("u3", "u2", "u1"):
        await keep(ledger, upload)
        clock.now += 1
    await begin(ledger, "u4")
    first, second = await ledger.keep("u4", 5, 5, 60, 2)
    assert (first.upload, first.offset, second.upload) == ("u3", 40, "u2")
    assert await ledger.find("key of u3") is None
    assert ledger.holdings() == {
        "anna": Holding(kept=45, kept_uploads=2),
        "bert": Holding(kept=40, kept_uploads=1),
    }


async def test_of_those_kept_at_the_same_moment_the_first_by_name_is_the_oldest(
    ledger: Ledger,
) -> None:
    for upload in ("u2", "u1", "u3"):
        await keep(ledger, upload)
    await begin(ledger, "u0")
    assert names(await ledger.keep("u0", 5, 5, 60, 2)) == ["u0", "u1"]


async def test_a_known_user_named_like_an_address_is_not_its_clients(ledger: Ledger) -> None:
    await keep(ledger, "u1", "10.0.0.1")
    about = resumable("k", authenticated=False)
    await ledger.reserve("u2", "10.0.0.1", 100, allow, resumable=about)
    assert await ledger.keep("u2", 40, 40, 60, 1) == []
    assert [one.upload for one in await ledger.kept_from("", 9)] == ["u1", "u2"]


async def test_a_kept_upload_is_released_as_a_running_one_is(ledger: Ledger) -> None:
    await keep(ledger, "u1")
    await ledger.release("u1")
    assert ledger.holdings() == {}
    assert await ledger.find("key of u1") is None


async def test_a_key_serves_again_after_its_upload_was_released(ledger: Ledger) -> None:
    await keep(ledger, "u1")
    with pytest.raises(LedgerError):
        await ledger.reserve("u2", "anna", 5, allow, resumable=resumable("key of u1"))
    await ledger.release("u1")
    await ledger.reserve("u2", "anna", 5, allow, resumable=resumable("key of u1"))
    assert ledger.holdings() == {"anna": Holding(reserved=5, uploads=1)}


# Resumed.


async def test_a_resumed_upload_reserves_its_whole_size_and_is_not_kept_any_more(
    ledger: Ledger,
) -> None:
    await keep(ledger, "u1", offset=40)
    await ledger.resume("u1", allow)
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    assert await ledger.find("key of u1") is None
    assert await ledger.kept_from("", 9) == []
    await ledger.commit("u1", "a.txt")
    assert ledger.holdings() == {"anna": Holding(bytes=100, files=1)}


async def test_an_upload_that_goes_on_is_decided_without_what_it_holds_itself(
    ledger: Ledger,
) -> None:
    asked: list[tuple[Holding, Holding]] = []
    for upload, user in (("u1", "anna"), ("u2", "anna"), ("u3", "bert")):
        await keep(ledger, upload, user)
    await ledger.resume("u1", lambda everybody, mine: asked.append((everybody, mine)))
    assert asked == [(Holding(kept=80, kept_uploads=2), Holding(kept=40, kept_uploads=1))]


async def test_a_refusal_leaves_the_upload_kept_and_passes_through(ledger: Ledger) -> None:
    await keep(ledger, "u1")
    before = await ledger.find("key of u1")
    with pytest.raises(RefusedError):
        await ledger.resume("u1", refuse)
    assert await ledger.find("key of u1") == before
    assert ledger.holdings() == {"anna": Holding(kept=40, kept_uploads=1)}


@pytest.mark.parametrize("begun", [None, "classic", "running"])
async def test_only_a_kept_upload_can_be_resumed(ledger: Ledger, begun: str | None) -> None:
    if begun == "classic":
        await ledger.reserve("u1", "anna", 100, allow)
    elif begun == "running":
        await begin(ledger, "u1")
    with pytest.raises(LedgerError, match="not kept"):
        await ledger.resume("u1", refuse)


async def test_a_kept_upload_cannot_become_a_file_before_it_is_resumed(ledger: Ledger) -> None:
    await keep(ledger, "u1")
    with pytest.raises(LedgerError, match="not in the ledger"):
        await ledger.commit("u1", "a.txt")
    assert ledger.holdings() == {"anna": Holding(kept=40, kept_uploads=1)}


async def test_an_upload_is_kept_anew_from_the_time_it_broke_off_again(
    ledger: Ledger, clock: FakeClock
) -> None:
    await keep(ledger, "u1", offset=40)
    began = clock.now
    clock.now += 50
    await ledger.resume("u1", allow)
    await ledger.keep("u1", 70, 60, 60, 16)
    found = await ledger.find("key of u1")
    assert found == KeptUpload(
        "u1", "anna", 100, resumable("key of u1"), 70, 60, began, clock.now + 60
    )
    assert ledger.holdings() == {"anna": Holding(kept=70, kept_uploads=1)}


# Stored, and remembered.


async def test_a_stored_upload_is_found_until_its_time_is_over(
    ledger: Ledger, clock: FakeClock
) -> None:
    await begin(ledger, "u1")
    await ledger.commit("u1", "a (1).txt", remember=60)
    clock.now += 59
    stored = StoredUpload("metadata of key of u1", "a (1).txt")
    assert await ledger.find("key of u1") == stored
    clock.now += 1
    assert await ledger.find("key of u1") is None
    clock.now -= 1
    assert await ledger.find("key of u1") == stored
    clock.now += 1
    await ledger.expire(100)
    clock.now -= 1
    assert await ledger.find("key of u1") is None


async def test_a_stored_upload_is_remembered_only_if_asked_for_and_only_with_a_key(
    ledger: Ledger,
) -> None:
    await begin(ledger, "u1")
    await ledger.commit("u1", "a.txt")
    assert await ledger.find("key of u1") is None
    await ledger.reserve("u2", "anna", 100, allow)
    await ledger.commit("u2", "b.txt", remember=60)
    assert ledger.holdings() == {"anna": Holding(bytes=200, files=2)}


async def test_a_stored_upload_is_remembered_beyond_the_process(reopen: Open) -> None:
    ledger = reopen()
    await begin(ledger, "u1")
    await ledger.commit("u1", "a.txt", remember=60)
    ledger.close()
    assert await reopen().find("key of u1") == StoredUpload("metadata of key of u1", "a.txt")


async def test_a_key_that_is_used_again_finds_the_newer_upload(
    ledger: Ledger, clock: FakeClock
) -> None:
    for upload, name in (("u1", "a.txt"), ("u2", "b.txt")):
        await ledger.reserve(upload, "anna", 1, allow, resumable=resumable("k"))
        await ledger.commit(upload, name, remember=60)
        clock.now += 50
    assert await ledger.find("k") == StoredUpload("metadata of k", "b.txt")
    await ledger.reserve("u3", "anna", 1, allow, resumable=resumable("k"))
    await ledger.keep("u3", 1, 1, 60, 16)
    found = await ledger.find("k")
    assert isinstance(found, KeptUpload)
    assert found.upload == "u3"


# Dropped.


async def test_only_what_is_kept_is_discarded(ledger: Ledger) -> None:
    await keep(ledger, "u1", offset=40)
    await begin(ledger, "u2")
    assert await ledger.discard("u2") is None
    assert await ledger.discard("u3") is None
    found = await ledger.discard("u1")
    assert found is not None
    assert (found.upload, found.offset) == ("u1", 40)
    assert await ledger.discard("u1") is None
    assert await ledger.find("key of u1") is None
    assert await ledger.total() == Holding(reserved=100, uploads=1)


@pytest.mark.parametrize("remembered", [0, 10])
async def test_a_ticket_serves_its_upload_until_that_is_stored_and_no_longer(
    ledger: Ledger, clock: FakeClock, remembered: float
) -> None:
    ticket, about = SingleUse("1", clock.now + 60), resumable("k")
    for upload in ("u1", "u2"):
        await ledger.reserve(upload, "anna", 100, allow, ticket, about)
    await ledger.commit("u2", "a.txt", remembered)
    clock.now += 20  # the upload is forgotten, and the ticket is still valid
    with pytest.raises(AlreadyUsedError):
        await ledger.reserve("u3", "anna", 100, allow, ticket, about)


async def test_uploads_whose_time_is_over_are_dropped_the_oldest_first(
    ledger: Ledger, clock: FakeClock
) -> None:
    for upload in ("u3", "u2", "u1", "u0"):
        await keep(ledger, upload)
        clock.now += 1
    await begin(ledger, "u4")
    clock.now += 58  # u0 has one second left
    assert names(await ledger.expire(2)) == ["u3", "u2"]
    assert names(await ledger.expire(2)) == ["u1"]
    assert await ledger.expire(2) == []
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1, kept=40, kept_uploads=1)}


async def test_the_user_with_the_most_kept_bytes_gives_way_first(
    ledger: Ledger, clock: FakeClock
) -> None:
    for upload, user, offset in (
        ("u1", "anna", 60), ("u2", "bert", 50), ("u3", "bert", 20), ("u4", "carla", 10),
    ):  # fmt: skip
        await keep(ledger, upload, user, offset=offset)
        clock.now += 1
    dropped = []
    while (one := await ledger.give_way(None, authenticated=True)) is not None:
        dropped.append(one.upload)
    assert dropped == ["u2", "u1", "u3", "u4"]
    assert ledger.holdings() == {}


async def test_of_one_user_the_upload_that_was_kept_for_the_longest_time_gives_way(
    ledger: Ledger, clock: FakeClock
) -> None:
    await keep(ledger, "u0", "bert", offset=90)
    for upload in ("u3", "u1", "u2"):
        await keep(ledger, upload)
        clock.now += 1
    await begin(ledger, "u4")
    dropped = []
    while (one := await ledger.give_way("anna", authenticated=True)) is not None:
        dropped.append(one)
    assert names(dropped) == ["u3", "u1", "u2"]
    assert dropped[0].offset == 40
    assert ledger.holdings() == {
        "anna": Holding(reserved=100, uploads=1),
        "bert": Holding(kept=90, kept_uploads=1),
    }


async def test_an_authenticated_user_gives_way_only_for_another_one(ledger: Ledger) -> None:
    await keep(ledger, "u1", "anna", offset=90)
    await keep(ledger, "u2", "10.0.0.1", offset=5, authenticated=False)
    assert await ledger.kept_bytes(authenticated=False) == 5
    assert await ledger.kept_bytes(authenticated=True) == 95
    assert await ledger.give_way("anna", authenticated=False) is None
    anonymous = await ledger.give_way(None, authenticated=False)
    assert anonymous is not None
    assert anonymous.upload == "u2"
    assert await ledger.give_way(None, authenticated=False) is None
    assert await ledger.kept_bytes(authenticated=False) == 0
    one = await ledger.give_way("anna", authenticated=True)
    assert one is not None
    assert one.upload == "u1"


async def test_running_uploads_never_give_way_and_have_no_kept_bytes(ledger: Ledger) -> None:
    await begin(ledger, "u1")
    await ledger.reserve("u2", "anna", 5, allow)
    assert await ledger.kept_bytes(authenticated=True) == 0
    assert await ledger.give_way(None, authenticated=True) is None
    assert await ledger.give_way("anna", authenticated=True) is None


async def test_kept_uploads_are_given_by_pages(ledger: Ledger) -> None:
    for upload in ("u3", "u1", "u4", "u2"):
        await keep(ledger, upload)
    await ledger.resume("u4", allow)
    assert names(await ledger.kept_from("", 2)) == ["u1", "u2"]
    assert names(await ledger.kept_from("u2", 2)) == ["u2", "u3"]
    assert names(await ledger.kept_from("u2\0", 9)) == ["u3"]
    assert await ledger.kept_from("u1", 1) == [await ledger.find("key of u1")]


async def test_a_closed_ledger_says_so(ledger: Ledger) -> None:
    ledger.close()
    with pytest.raises(LedgerError):
        await begin(ledger, "u1")
    with pytest.raises(LedgerError):
        await ledger.keep("u1", 1, 1, 1, 1)
    with pytest.raises(LedgerError):
        await ledger.find("k")
    with pytest.raises(LedgerError):
        await ledger.kept_bytes(authenticated=True)
    with pytest.raises(LedgerError):
        ledger.interrupted()
