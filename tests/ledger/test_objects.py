"""The contract for uploads to object storage: each ledger passes these tests."""

from collections.abc import Callable, Mapping, Sequence

import pytest
import trio
from helpers.ledgers import allow, keep
from helpers.objects import MIB, PART, part, tail

from galileod.ledger.base import Ledger, LedgerError, Recovery, UnknownUploadError
from galileod.ledger.objects import Claim, NameTakenError, Objects, ObjectUpload, UnsettledError
from galileod.ledger.records import Removal
from galileod.policy.publication import OnConflict

pytestmark = pytest.mark.timeout(60)

Open = Callable[[], Ledger]
"""Opens the same ledger each time."""


@pytest.fixture
def objects(ledger: Ledger) -> Objects:
    return ledger.objects


async def begin(objects: Objects, *uploads: str) -> None:
    for upload in uploads:
        await objects.begin(upload, 20 * MIB, PART)


async def known(objects: Objects, upload: str = "u1") -> ObjectUpload:
    one = await objects.get(upload)
    assert one is not None
    return one


async def enter_file(ledger: Ledger, name: str, upload: str = "earlier") -> None:
    await ledger.reserve(upload, "anna", 1, allow)
    await ledger.commit(upload, name)


def told(claiming: Sequence[str | NameTakenError]) -> list[str | None]:
    return [None if isinstance(one, NameTakenError) else one for one in claiming]


async def abandoned(objects: Objects) -> list[str]:
    return list(await objects.abandoned("", 100))


# What is known.


async def test_what_was_entered_is_known_until_it_is_dropped(reopen: Open) -> None:
    ledger = reopen()
    objects = ledger.objects
    await begin(objects, "u1")
    assert await objects.get("u1") == ObjectUpload("u1", 20 * MIB, PART)
    await objects.claim("u1", "folder/a.bin", "rename")
    await objects.created("u1", "multipart-1")
    await objects.add_part("u1", part(1))
    await objects.set_tail("u1", tail(PART, 100))
    await objects.completing("u1")
    entered = ObjectUpload(
        "u1", 20 * MIB, PART, "folder/a.bin", "multipart-1",
        completing=True, parts=(part(1),), tail=tail(PART, 100),
    )  # fmt: skip
    assert await objects.get("u1") == entered
    ledger.close()
    objects = reopen().objects
    assert list(objects.all()) == [entered]
    assert await objects.drop("u1") == entered
    assert await objects.drop("u1") is None
    assert await objects.get("u1") is None
    assert list(objects.all()) == []


async def test_an_upload_that_begins_twice_stays_as_it_is(objects: Objects) -> None:
    await begin(objects, "u1")
    await objects.created("u1", "multipart-1")
    await objects.begin("u1", 1, 1)
    assert await objects.get("u1") == ObjectUpload("u1", 20 * MIB, PART, multipart="multipart-1")


async def test_an_upload_that_has_not_begun_is_refused(objects: Objects) -> None:
    for call in (
        lambda: objects.claim("u1", "a", "rename"),
        lambda: objects.created("u1", "multipart-1"),
        lambda: objects.add_part("u1", part(1)),
        lambda: objects.set_tail("u1", tail(0, 1)),
        lambda: objects.completing("u1"),
        lambda: objects.doubt("u1", 1.0),
    ):
        with pytest.raises(UnknownUploadError):
            await call()
    assert await objects.get("u1") is None
    assert await objects.resume("u1") is None
    assert list(objects.all()) == []


async def test_parts_do_not_outlive_their_upload(objects: Objects) -> None:
    await begin(objects, "u1", "u2")
    for upload in ("u1", "u2"):
        await objects.add_part(upload, part(1))
    await objects.drop("u1")
    await begin(objects, "u1")
    assert (await known(objects)).parts == ()
    assert (await known(objects, "u2")).parts == (part(1),)


async def test_all_are_read_whatever_their_number(objects: Objects) -> None:
    await objects.claim_whole([Claim(f"{n:04}", 1, f"{n}", "reject") for n in range(2500)])
    assert [one.upload for one in objects.all()] == [f"{n:04}" for n in range(2500)]


async def test_ids_of_multipart_uploads_and_keys_of_tails_are_recognized(objects: Objects) -> None:
    await begin(objects, "u1", "u2", "u3")
    await objects.created("u1", "m1")
    await objects.created("u2", "m2")
    await objects.set_tail("u2", tail(0, 1, "tails/ä"))
    assert set(await objects.known(["m1", "m2", "m3"])) == {"m1", "m2"}
    assert set(await objects.known_tails(["tails/ä", "m1"])) == {"tails/ä"}
    await objects.drop("u2")
    assert set(await objects.known(["m1", "m2", "m3"])) == {"m1"}
    assert set(await objects.known_tails(["tails/ä"])) == set()
    assert set(await objects.known([])) == set()


# Names.


@pytest.mark.parametrize(
    ("on_conflict", "name"),
    [("rename", "folder.x/a (1).bin"), ("reject", None), ("replace", "folder.x/a.bin")],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_a_name_that_a_file_has_is_taken(
    ledger: Ledger, on_conflict: OnConflict, name: str | None, *, whole: bool
) -> None:
    path = "folder.x/a.bin"
    await enter_file(ledger, path)
    objects = ledger.objects
    if whole:
        claimed = await objects.claim_whole([Claim("u1", 1, path, on_conflict)])
        assert told(claimed) == [name]
        assert (await objects.get("u1") is None) == (name is None)
        return
    await begin(objects, "u1")
    if name is None:
        with pytest.raises(NameTakenError):
            await objects.claim("u1", path, on_conflict)
    else:
        assert await objects.claim("u1", path, on_conflict) == name
    assert (await known(objects)).name == name


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("rename", "rename", "a (1)"), ("rename", "reject", None), ("reject", "rename", "a (1)"),
        ("replace", "rename", "a (1)"), ("replace", "reject", None),
        # Either of the two may be the last.
        ("replace", "replace", "a"),
        # What replaces could be stored first, and then be overwritten.
        ("rename", "replace", None), ("reject", "replace", None),
    ],
)  # fmt: skip
async def test_a_name_that_another_upload_has_claimed_is_taken(
    objects: Objects, first: OnConflict, second: OnConflict, name: str | None
) -> None:
    await begin(objects, "u1", "u2")
    assert await objects.claim("u1", "a", first) == "a"
    if name is None:
        with pytest.raises(NameTakenError):
            await objects.claim("u2", "a", second)
    else:
        assert await objects.claim("u2", "a", second) == name
    claimed = await objects.claim_whole([Claim("u3", 1, "a", second)])
    assert told(claimed) == [{"a (1)": "a (2)"}.get(name or "", name)]


async def test_a_name_is_free_again_once_its_upload_is_dropped(objects: Objects) -> None:
    await begin(objects, "u1", "u2")
    await objects.claim("u1", "a", "reject")
    with pytest.raises(NameTakenError):
        await objects.claim("u2", "a", "reject")
    await objects.drop("u1")
    assert await objects.claim("u2", "a", "reject") == "a"


async def test_an_upload_keeps_its_name_unless_that_is_taken_in_the_store(
    objects: Objects,
) -> None:
    await begin(objects, "u1", "u2", "u3")
    await objects.claim("u1", "a", "rename")
    assert await objects.claim("u2", "a", "rename") == "a (1)"
    await objects.drop("u1")
    await objects.completing("u2")
    assert await objects.claim("u2", "a", "rename") == "a (1)"
    assert (await known(objects, "u2")).completing
    assert await objects.claim("u2", "a", "rename", {"a", "a (1)"}) == "a (2)"
    assert await objects.get("u2") == ObjectUpload("u2", 20 * MIB, PART, "a (2)")
    with pytest.raises(NameTakenError):
        await objects.claim("u3", "b", "reject", ["b"])
    assert await objects.claim("u3", "b", "replace", ["b"]) == "b"


async def test_names_of_one_batch_do_not_collide(objects: Objects) -> None:
    paths = ["d/a.txt", "d/b", "d/a.txt", "d/a.txt"]
    claims = [Claim(f"u{n}", n, path, "rename") for n, path in enumerate(paths)]
    claimed = await objects.claim_whole([*claims, Claim("u9", 1, "d/b", "reject")])
    assert told(claimed) == ["d/a.txt", "d/b", "d/a (1).txt", "d/a (2).txt", None]
    assert list(objects.all()) == [
        ObjectUpload(f"u{n}", n, n, name, completing=True)
        for n, name in enumerate(told(claimed))
        if name is not None
    ]


async def test_uploads_that_claim_a_name_at_the_same_time_get_different_ones(
    objects: Objects,
) -> None:
    uploads = [f"u{n}" for n in range(20)]
    await begin(objects, *uploads)
    names = list[str]()

    async def claim(upload: str) -> None:
        names.append(await objects.claim(upload, "a", "rename"))

    async with trio.open_nursery() as nursery:
        for upload in uploads:
            nursery.start_soon(claim, upload)
    assert sorted(names) == sorted(["a", *(f"a ({n})" for n in range(1, 20))])


# Parts and tails.


async def test_only_parts_without_a_gap_count(objects: Objects) -> None:
    await begin(objects, "u1")
    for number, offset in ((2, 0), (1, 16 * MIB), (4, 16 * MIB), (3, 32 * MIB)):
        assert await objects.add_part("u1", part(number)) is None
        assert (await known(objects)).offset == offset
    assert (await known(objects)).parts == (part(1), part(2), part(3), part(4))


async def test_a_part_that_comes_again_replaces_the_one_before(objects: Objects) -> None:
    await begin(objects, "u1")
    await objects.add_part("u1", part(1))
    await objects.add_part("u1", part(1, etag="other"))
    assert (await known(objects)).parts == (part(1, etag="other"),)


async def test_a_tail_counts_until_parts_have_its_bytes(objects: Objects) -> None:
    await begin(objects, "u1")
    await objects.add_part("u1", part(1))
    assert await objects.set_tail("u1", tail(PART, 100)) is None
    assert (await known(objects)).offset == PART + 100
    # A part behind a gap does not have them.
    assert await objects.add_part("u1", part(3)) is None
    assert (await known(objects)).offset == PART + 100
    assert await objects.add_part("u1", part(2)) == tail(PART, 100)
    assert (await known(objects)).tail is None
    assert (await known(objects)).offset == 24 * MIB
    assert await objects.add_part("u1", part(4)) is None


async def test_a_tail_stays_while_parts_have_some_of_its_bytes(objects: Objects) -> None:
    await begin(objects, "u1")
    long = tail(0, 12 * MIB)
    await objects.set_tail("u1", long)
    assert await objects.add_part("u1", part(1)) is None
    assert (await known(objects)).tail == long
    assert (await known(objects)).offset == 12 * MIB
    assert await objects.add_part("u1", part(2)) == long


async def test_a_new_tail_replaces_the_one_before(objects: Objects) -> None:
    await begin(objects, "u1")
    await objects.set_tail("u1", tail(0, 100, "k1"))
    assert await objects.set_tail("u1", tail(0, 200, "k2")) == tail(0, 100, "k1")
    assert (await known(objects)).tail == tail(0, 200, "k2")


async def test_an_upload_that_goes_on_forgets_the_parts_behind_a_gap(objects: Objects) -> None:
    # Their hash states are those of bytes which may be sent otherwise now.
    await begin(objects, "u1")
    for number in (1, 3, 4):
        await objects.add_part("u1", part(number))
    await objects.set_tail("u1", tail(PART, 5))
    await objects.completing("u1")
    resumed = await objects.resume("u1")
    assert resumed == ObjectUpload("u1", 20 * MIB, PART, parts=(part(1),), tail=tail(PART, 5))
    assert await objects.get("u1") == resumed
    await objects.add_part("u1", part(2))
    assert (await known(objects)).parts == (part(1), part(2))


# The end of an upload.


@pytest.mark.parametrize("resumable", [True, False])
async def test_a_file_that_is_entered_ends_its_upload(ledger: Ledger, *, resumable: bool) -> None:
    objects = ledger.objects
    await begin(objects, "u1", "u2")
    await objects.claim("u1", "a", "reject")
    await objects.add_part("u1", part(1))
    await ledger.reserve("u1", "anna", 1, allow)
    await ledger.commit("u1", "a", remember=60 if resumable else 0)
    assert [one.upload for one in objects.all()] == ["u2"]
    with pytest.raises(NameTakenError):
        await objects.claim("u2", "a", "reject")


async def test_an_upload_that_cannot_be_entered_is_not_forgotten(ledger: Ledger) -> None:
    objects = ledger.objects
    await begin(objects, "u1")
    with pytest.raises(LedgerError):
        await ledger.commit("u1", "a")
    assert [one.upload for one in objects.all()] == ["u1"]


async def test_a_reservation_that_is_released_leaves_what_is_in_the_store(ledger: Ledger) -> None:
    objects = ledger.objects
    await begin(objects, "u1")
    await ledger.reserve("u1", "anna", 1, allow)
    await ledger.release("u1")
    assert [one.upload for one in objects.all()] == ["u1"]


# A start, with a store that does not list its files.


async def test_without_a_listing_a_start_keeps_the_files_as_recorded(reopen: Open) -> None:
    ledger = reopen()
    await enter_file(ledger, "a", "u1")
    for upload in ("u2", "u3", "u4"):
        await begin(ledger.objects, upload)
        await ledger.reserve(upload, "anna", 7, allow)
        await ledger.promise(upload, f"id of {upload}", "{}")
    ledger.close()
    ledger = reopen()
    ledger.reconcile(
        None, {"id of u2": "b"}, recovery=Recovery(names={"u3": "c", "unknown": "d"}, seconds=60)
    )
    assert set(await ledger.entries(["a", "b", "c", "d"])) == {"a", "b", "c"}
    holding = await ledger.total()
    assert (holding.files, holding.bytes, holding.uploads) == (3, 15, 0)
    assert [one.name for one in await ledger.outbox.first(9)] == ["b", "c"]
    # The store must still remove what there is of it.
    assert [one.upload for one in ledger.objects.all()] == ["u4"]


async def test_without_a_listing_a_promised_removal_stays_promised(reopen: Open) -> None:
    ledger = reopen()
    for name in "ab":
        await enter_file(ledger, name, f"upload of {name}")
    entries = await ledger.entries(["a", "b"])
    removals = [Removal(entry, f"receipt of {name}") for name, entry in entries.items()]
    await ledger.promise_removals(removals)
    assert await ledger.drop_files([entries["b"]]) == 1  # it was gone
    ledger.close()
    ledger = reopen()
    ledger.reconcile(None, {})
    assert [one.receipt for one in await ledger.outbox.first(9)] == ["receipt of b"]
    await ledger.remove_files([Removal(entries["a"])])
    owed = await ledger.outbox.first(9)
    assert sorted(one.receipt for one in owed) == ["receipt of a", "receipt of b"]
    assert {one.kind for one in owed} == {"removed"}


async def test_many_uploads_are_forgotten_at_the_start_with_their_parts(objects: Objects) -> None:
    await begin(objects, "u1", "u2", "u3")
    await objects.claim("u1", "a.bin", "rename")
    await objects.add_part("u1", part(1))
    objects.forget(["u1", "u3", "never"])
    assert [one.upload for one in objects.all()] == ["u2"]
    assert await objects.claim("u2", "a.bin", "rename") == "a.bin"
    await begin(objects, "u1")
    assert (await known(objects)).parts == ()


# What is left.


@pytest.mark.parametrize("given_up", [False, True])
@pytest.mark.parametrize("first", ["rename", "replace"])
async def test_an_upload_in_doubt_has_its_name_alone(
    objects: Objects, first: OnConflict, *, given_up: bool
) -> None:
    await begin(objects, "u1", "u2", "u3", "u4", "u5")
    assert await objects.claim("u1", "a.bin", first) == "a.bin"
    if first == "replace":
        assert await objects.claim("u5", "a.bin", "replace") == "a.bin"
    await objects.created("u1", "multipart-1")
    await objects.completing("u1")
    if given_up:
        objects.give_up(["u1", "never"], 7.5)
    else:
        await objects.doubt("u1", 7.5)
        await objects.abandon("u1", yields=False)
    one = await known(objects)
    assert (one.name, one.due, one.completing, one.abandoned) == ("a.bin", 7.5, True, True)
    for on_conflict in ("reject", "replace"):
        with pytest.raises(UnsettledError, match=r"a\.bin is not settled"):
            await objects.claim("u2", "a.bin", on_conflict)
        (claimed,) = await objects.claim_whole([Claim("u4", 1, "a.bin", on_conflict)])
        assert isinstance(claimed, UnsettledError)
    if first == "replace":  # claimed before
        with pytest.raises(UnsettledError):
            await objects.completing("u5")
    assert await objects.claim("u3", "a.bin", "rename") == "a (1).bin"
    await objects.drop("u1")
    assert await objects.claim("u2", "a.bin", "replace") == "a.bin"


async def test_an_upload_that_is_continued_may_be_completed_although_it_is_in_doubt(
    objects: Objects,
) -> None:
    await begin(objects, "u1")
    await objects.claim("u1", "a.bin", "replace")
    await objects.completing("u1")
    await objects.doubt("u1", 7.5)
    await objects.resume("u1")
    await objects.completing("u1")
    one = await known(objects)
    assert (one.completing, one.due, one.abandoned) == (True, 7.5, False)


async def test_a_file_has_the_name_although_an_upload_of_it_is_in_doubt(ledger: Ledger) -> None:
    objects = ledger.objects
    await enter_file(ledger, "a.bin")
    await begin(objects, "u1", "u2")
    await objects.claim("u1", "a.bin", "replace")
    await objects.doubt("u1", 7.5)
    with pytest.raises(NameTakenError, match="a file named") as caught:
        await objects.claim("u2", "a.bin", "reject")
    assert not isinstance(caught.value, UnsettledError)
    with pytest.raises(NameTakenError, match="a file named"):
        await objects.hold("u1", 7.5, 8.5)


@pytest.mark.parametrize("given_up", [False, True])
async def test_the_name_of_an_upload_that_yields_is_free(
    objects: Objects, *, given_up: bool
) -> None:
    await begin(objects, "u1", "u2", "u3")
    await objects.claim("u1", "a.bin", "rename")
    await objects.doubt("u1", 7.5)
    if given_up:
        objects.give_up(["u1"], 7.5)
    else:
        await objects.abandon("u1", yields=True)
    assert await objects.claim("u2", "a.bin", "reject") == "a.bin"
    await objects.completing("u2")
    assert not await objects.hold("u1", 7.5, 8.5)
    assert (await known(objects)).due == 7.5
    await objects.drop("u2")
    assert await objects.hold("u1", 7.5, 8.5)
    assert not await objects.hold("u1", 7.5, 9.5), "another one may remove its object"
    assert (await known(objects)).due == 8.5
    with pytest.raises(UnsettledError):
        await objects.claim("u3", "a.bin", "reject")
    assert await objects.abandoned("", 9) == {"u1": 8.5, "u3": 0}


async def test_the_error_for_a_name_says_who_has_it(ledger: Ledger) -> None:
    objects = ledger.objects
    await enter_file(ledger, "a.bin")
    await begin(objects, "u1", "u2")
    with pytest.raises(NameTakenError, match=r"a file named a\.bin exists already"):
        await objects.claim("u1", "a.bin", "reject")
    await objects.claim("u1", "b.bin", "reject")
    for on_conflict in ("reject", "replace"):
        with pytest.raises(NameTakenError, match="an upload that has not ended has the name b"):
            await objects.claim("u2", "b.bin", on_conflict)


async def test_an_upload_is_abandoned_once_it_is_neither_reserved_nor_kept(ledger: Ledger) -> None:
    objects = ledger.objects
    await ledger.reserve("released", "anna", 1, allow)
    await ledger.reserve("stored", "anna", 1, allow)
    await keep(ledger, "kept", seconds=60)
    await begin(objects, "kept", "released", "stored")
    assert await abandoned(objects) == []
    await ledger.release("released")
    await ledger.commit("stored", "a")
    assert await abandoned(objects) == ["released"]
    await ledger.release("kept")
    assert await abandoned(objects) == ["kept", "released"]
    assert list(await objects.abandoned("", 1)) == ["kept"]
    assert list(await objects.abandoned("kept", 1)) == ["released"]
    await objects.drop("kept")
    assert await abandoned(objects) == ["released"]


async def test_uploads_that_a_start_gives_up_are_abandoned(reopen: Open) -> None:
    ledger = reopen()
    await ledger.reserve("running", "anna", 1, allow)
    await keep(ledger, "kept", seconds=60)
    await begin(ledger.objects, "kept", "running")
    ledger.close()
    ledger = reopen()
    ledger.reconcile(None, {}, recovery=Recovery({"kept": 40}, seconds=60))
    assert await abandoned(ledger.objects) == ["running"]


async def test_a_file_that_an_upload_may_just_have_published_is_not_entered_as_found(
    ledger: Ledger,
) -> None:
    await begin(ledger.objects, "u1")
    await ledger.objects.claim("u1", "a", "reject")
    assert await ledger.enter_found([("a", 1), ("b", 2)]) == 1
    assert set(await ledger.entries(["a", "b"])) == {"b"}
    await ledger.objects.drop("u1")
    assert await ledger.enter_found([("a", 1), ("b", 2)]) == 1


async def test_a_ledger_is_new_as_long_as_no_file_was_entered(reopen: Open) -> None:
    def is_new(ledger: Ledger, on_disk: Mapping[str, int] | None) -> bool:
        ledger.reconcile(on_disk, {})
        return ledger.is_new

    ledger = reopen()
    assert is_new(ledger, None)
    assert not is_new(ledger, {})  # the store has listed its files: there are none
    await enter_file(ledger, "a")
    ledger.close()
    assert not is_new(reopen(), None)
