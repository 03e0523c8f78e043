"""The contract for uploads of an earlier process: each implementation passes these tests."""

from collections.abc import Callable

import pytest
from helpers.clocks import FakeClock
from helpers.ledgers import FakeBoot, allow, begin, keep, owed, resumable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galileod.ledger.base import KeptUpload, Ledger, Recovery, StoredUpload
from galileod.policy.quota import Holding

pytestmark = pytest.mark.timeout(60)

Open = Callable[[], Ledger]
"""Opens the same ledger each time."""

RECEIPT = '{"id": "1"}'
FILE = {"a.txt": 100}
STORED = StoredUpload("metadata of key of u1", "a.txt")
ANNAS = {"anna": Holding(bytes=100, files=1)}


async def found(ledger: Ledger, upload: str = "u1") -> KeptUpload:
    one = await ledger.find(f"key of {upload}")
    assert isinstance(one, KeptUpload)
    return one


# What is certain.


async def test_while_the_machine_runs_what_was_kept_is_certain_and_all_of_a_running_one(
    reopen: Open,
) -> None:
    ledger = reopen()
    await begin(ledger, "u1")
    await keep(ledger, "u2", offset=40, durable=10)
    await ledger.reserve("u3", "anna", 1, allow)
    ledger.close()
    assert reopen().interrupted() == {"u1": None, "u2": 40}


async def test_after_the_machine_has_restarted_only_what_was_made_durable_is_certain(
    reopen: Open, boot: FakeBoot
) -> None:
    ledger = reopen()
    await begin(ledger, "u1")
    await begin(ledger, "u2")
    await ledger.checkpoint("u2", 20)
    await keep(ledger, "u3", offset=40, durable=30)
    await ledger.reserve("u4", "anna", 1, allow)
    ledger.close()
    boot.id = "boot-2"
    assert reopen().interrupted() == {"u1": 0, "u2": 20, "u3": 30}


@pytest.mark.parametrize(("full", "durable"), [(True, 100), (False, 0)])
async def test_what_was_promised_was_made_durable_before_if_at_all(
    reopen: Open, boot: FakeBoot, *, full: bool, durable: int
) -> None:
    ledger = reopen()
    await begin(ledger, "u1", full=full)
    await ledger.promise("u1", "7")
    ledger.close()
    boot.id = "boot-2"
    assert reopen().interrupted() == {"u1": durable}


async def test_a_checkpoint_of_an_upload_that_has_ended_changes_nothing(
    reopen: Open, boot: FakeBoot
) -> None:
    ledger = reopen()
    await keep(ledger, "u1", durable=30)
    await ledger.reserve("u2", "anna", 1, allow)
    for upload in ("u1", "u2", "u3"):
        await ledger.checkpoint(upload, 5)
    ledger.close()
    boot.id = "boot-2"
    assert reopen().interrupted() == {"u1": 30}


async def test_what_stands_behind_the_durable_bytes_after_a_power_failure_is_never_trusted(
    reopen: Open, boot: FakeBoot
) -> None:
    # The file is cut to its certain bytes only when the upload goes on.
    ledger = reopen()
    await keep(ledger, "u1", offset=40, durable=30)
    boot.id = "boot-2"
    for _ in range(2):
        ledger.close()
        ledger = reopen()
        assert ledger.interrupted() == {"u1": 30}
        ledger.reconcile({}, {}, recovery=Recovery({"u1": 30}, seconds=60))
        assert (await found(ledger)).offset == 30
    # The process ends between the ledger's `resume` and the store's `reopen`.
    await ledger.resume("u1", allow)
    ledger.close()
    ledger = reopen()
    assert ledger.interrupted() == {"u1": 30}
    ledger.reconcile({}, {}, recovery=Recovery({"u1": 30}, seconds=60))
    # The file could not be opened, so the upload is kept as it was.
    await ledger.resume("u1", allow)
    await ledger.keep("u1", 30, 30, 60, 16)
    ledger.close()
    assert reopen().interrupted() == {"u1": 30}


@pytest.mark.parametrize("step", ["checkpoint", "keep"])
async def test_all_that_stands_in_the_file_is_certain_again_once_it_was_continued(
    reopen: Open, boot: FakeBoot, step: str
) -> None:
    ledger = reopen()
    await keep(ledger, "u1", offset=40, durable=30)
    ledger.close()
    boot.id = "boot-2"
    ledger = reopen()
    ledger.reconcile({}, {}, recovery=Recovery({"u1": 30}, seconds=60))
    await ledger.resume("u1", allow)
    if step == "checkpoint":
        await ledger.checkpoint("u1", 35)
    else:
        await ledger.keep("u1", 50, 35, 60, 16)
    ledger.close()
    ledger = reopen()
    assert ledger.interrupted() == {"u1": None if step == "checkpoint" else 50}
    ledger.close()
    boot.id = "boot-3"
    assert reopen().interrupted() == {"u1": 35}


@pytest.mark.parametrize(("offset", "durable"), [(35, 30), (25, 25)])
async def test_no_more_is_durable_than_was_found(
    reopen: Open, boot: FakeBoot, offset: int, durable: int
) -> None:
    ledger = reopen()
    await begin(ledger, "u1")
    await ledger.checkpoint("u1", 30)
    ledger.close()
    ledger = reopen()
    ledger.reconcile({}, {}, recovery=Recovery({"u1": offset}, seconds=60))
    one = await found(ledger)
    assert (one.offset, one.durable) == (offset, durable)
    assert ledger.interrupted() == {"u1": offset}
    ledger.close()
    boot.id = "boot-2"
    assert reopen().interrupted() == {"u1": durable}


# What a start makes of it.


async def test_what_is_left_of_an_upload_is_kept_and_all_others_are_dropped(
    reopen: Open, clock: FakeClock
) -> None:
    ledger, began = reopen(), clock.now
    await begin(ledger, "u1")
    await ledger.promise("u1", "7", RECEIPT)
    await begin(ledger, "u2")
    await keep(ledger, "u3")
    await ledger.reserve("u4", "bert", 1, allow)
    ledger.close()
    ledger = reopen()
    clock.now += 10
    ledger.reconcile({}, {}, recovery=Recovery({"u1": 70, "u4": 1, "u5": 1}, seconds=60))
    assert await ledger.kept_from("", 9) == [
        KeptUpload("u1", "anna", 100, resumable("key of u1"), 70, 70, began, clock.now + 60)
    ]
    assert ledger.holdings() == {"anna": Holding(kept=70, kept_uploads=1)}
    assert list(ledger.promised()) == []
    await ledger.resume("u1", allow)
    await ledger.commit("u1", "a.txt")
    assert await owed(ledger) == []


@pytest.mark.parametrize(
    ("later", "seconds", "left"),
    [
        (0, 60, 60),
        (59, 60, 1),
        (60, 60, 60),  # its time is over: its client had no server to go on at
        (1000, 60, 60),
        (-1, 60, 60),  # the clock was set back
        (-100_000, 60, 60),
        (10, 20, 20),  # `resume.keep` was shortened
        (10, 1000, 50),
    ],
)
async def test_what_was_kept_stays_for_its_time_and_never_for_more_than_is_set(
    reopen: Open, clock: FakeClock, later: float, seconds: float, left: float
) -> None:
    ledger = reopen()
    await keep(ledger, "u1", seconds=60)
    ledger.close()
    clock.now += later
    ledger = reopen()
    ledger.reconcile({}, {}, recovery=Recovery({"u1": 40}, seconds=seconds))
    assert (await found(ledger)).until == clock.now + left


async def test_nothing_is_kept_nor_remembered_if_resuming_is_turned_off(
    reopen: Open, clock: FakeClock
) -> None:
    ledger = reopen()
    await begin(ledger, "u1")
    await keep(ledger, "u2")
    await begin(ledger, "u3")
    await ledger.commit("u3", "a.txt", remember=60)
    ledger.close()
    ledger = reopen()
    ledger.reconcile(FILE, {}, recovery=Recovery({"u1": 1, "u2": 40}, seconds=0))
    assert ledger.interrupted() == {}
    assert ledger.holdings() == ANNAS
    clock.now -= 10
    assert await ledger.find("key of u3") is None


@pytest.mark.parametrize(("set_back", "left"), [(0, 60), (1000, 60), (-20, 40)])
async def test_what_was_stored_is_remembered_for_no_more_than_is_set(
    reopen: Open, clock: FakeClock, set_back: float, left: float
) -> None:
    ledger = reopen()
    await begin(ledger, "u1")
    await ledger.commit("u1", "a.txt", remember=60)
    ledger.close()
    clock.now -= set_back
    ledger = reopen()
    ledger.reconcile(FILE, {}, recovery=Recovery(seconds=60))
    clock.now += left - 1
    assert await ledger.find("key of u1") == STORED
    clock.now += 1
    assert await ledger.find("key of u1") is None


# Published before a crash.


@pytest.mark.parametrize("receipt", [RECEIPT, None])
async def test_what_was_promised_and_published_is_stored_and_remembered(
    reopen: Open, clock: FakeClock, receipt: str | None
) -> None:
    ledger = reopen()
    await begin(ledger, "u1")
    await ledger.promise("u1", "7", receipt)
    ledger.close()
    ledger = reopen()
    assert list(ledger.promised()) == ["7"]
    ledger.reconcile(FILE, {"7": "a.txt"}, recovery=Recovery(seconds=60))
    assert ledger.holdings() == ANNAS
    assert await owed(ledger) == ([("a.txt", RECEIPT, 0)] if receipt else [])
    assert await ledger.find("key of u1") == STORED
    clock.now += 60
    assert await ledger.find("key of u1") is None


@pytest.mark.parametrize("kept", [True, False])
async def test_what_was_published_though_its_promise_was_lost_is_stored_and_remembered(
    reopen: Open, *, kept: bool
) -> None:
    ledger = reopen()
    await (keep if kept else begin)(ledger, "u1")
    ledger.close()
    ledger = reopen()
    # It must not be kept as well, even if its file is still in the spool.
    recovery = Recovery({"u1": 100}, {"u1": "a.txt", "u2": "b.txt"}, seconds=60)
    ledger.reconcile(FILE | {"b.txt": 1}, {}, recovery=recovery)
    assert ledger.holdings() == ANNAS | {"": Holding(bytes=1, files=1)}
    assert await ledger.find("key of u1") == STORED
    assert ledger.interrupted() == {}


@pytest.mark.parametrize("seconds", [0, 60])
async def test_what_was_published_is_stored_also_if_nothing_is_kept(
    reopen: Open, seconds: float
) -> None:
    ledger = reopen()
    await begin(ledger, "u1")
    await ledger.promise("u1", "7", RECEIPT)
    await keep(ledger, "u2")
    ledger.close()
    ledger = reopen()
    ledger.reconcile(
        FILE | {"b.txt": 100},
        {"7": "a.txt"},
        recovery=Recovery(names={"u2": "b.txt"}, seconds=seconds),
    )
    assert ledger.holdings() == {"anna": Holding(bytes=200, files=2)}
    assert await ledger.find("key of u1") == (STORED if seconds else None)


@pytest.mark.parametrize("how", ["promised", "recovered"])
async def test_a_file_of_another_size_is_not_the_one_of_the_upload(reopen: Open, how: str) -> None:
    ledger = reopen()
    await begin(ledger, "u1")
    if how == "promised":
        await ledger.promise("u1", "7", RECEIPT)
    ledger.close()
    ledger = reopen()
    ledger.reconcile(
        {"a.txt": 3},
        {"7": "a.txt"} if how == "promised" else {},
        recovery=Recovery(names={"u1": "a.txt"} if how == "recovered" else {}, seconds=60),
    )
    assert ledger.holdings() == {"": Holding(bytes=3, files=1)}
    assert await ledger.find("key of u1") is None
    assert await owed(ledger) == []


UPLOADS = st.dictionaries(
    st.sampled_from(["u1", "u2", "u3", "u4"]), st.sampled_from(["classic", "running", "kept"])
)
OFFSETS = st.dictionaries(st.sampled_from(["u1", "u2", "u3", "u4"]), st.integers(0, 100))


@given(begun=UPLOADS, offsets=OFFSETS, seconds=st.sampled_from([0, 60]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_start_keeps_what_may_be_resumed_and_was_found_and_nothing_else(
    ledger: Ledger, begun: dict[str, str], offsets: dict[str, int], seconds: float
) -> None:
    ledger.reconcile({}, {})
    for upload, state in begun.items():
        if state == "classic":
            await ledger.reserve(upload, "anna", 100, allow)
        else:
            await (begin if state == "running" else keep)(ledger, upload)
    ledger.reconcile({}, {}, recovery=Recovery(offsets, seconds=seconds))
    expected = {
        upload: offset
        for upload, offset in sorted(offsets.items())
        if seconds and begun.get(upload, "classic") != "classic"
    }
    assert {one.upload: one.offset for one in await ledger.kept_from("", 9)} == expected
    assert await ledger.total() == Holding(kept=sum(expected.values()), kept_uploads=len(expected))
