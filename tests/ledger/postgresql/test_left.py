"""Uploads of several nodes: what a start settles, and what others settle once a node is dead."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from attrs import frozen
from helpers.ledgers import allow, begin, keep, resumable

from galileod.ledger import lease
from galileod.ledger.base import (
    KeptUpload,
    KeyTakenError,
    Recovery,
    RunningUpload,
    StoredUpload,
    WholeEntry,
)
from galileod.ledger.lease import LeaseLostError
from galileod.ledger.node import Me
from galileod.ledger.objects import Part
from galileod.ledger.postgresql.connection import Address
from galileod.ledger.postgresql.ledger import PostgresqlLedger
from galileod.ledger.postgresql.node import PostgresqlNode
from galileod.ledger.unavailable import UnavailableError

pytestmark = pytest.mark.timeout(60)

SHORT = 0.1
"""Seconds of a lease; the server has run for longer."""


@frozen
class Running:
    """A process of a node."""

    ledger: PostgresqlLedger
    node: PostgresqlNode


Start = Callable[..., Running]


@pytest.fixture
def start(address: Address) -> Iterator[Start]:
    """Starts the node of a name, or starts it again."""
    with ExitStack() as opened:

        def begin_node(name: str, *, local: bool = False) -> Running:
            me = Me(name, name.rjust(32, "0"), "1.0", local)
            ledger = PostgresqlLedger.open(address, me=me)
            opened.callback(ledger.close)
            assert ledger.node is not None
            return Running(ledger, ledger.node)

        yield begin_node


@pytest.fixture
def let_die(monkeypatch: pytest.MonkeyPatch) -> Callable[[Running], None]:
    """Ends the lease of a node by the clock of the database."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", SHORT)

    def end(running: Running) -> None:
        with running.ledger.database.transaction(fenced=False) as connection:
            connection.execute(
                "UPDATE nodes SET until = clock_timestamp() WHERE name = %s", (running.node.name,)
            )

    return end


LetDie = Callable[[Running], None]


async def test_a_start_finds_what_an_earlier_process_of_its_node_has_left(start: Start) -> None:
    first, other = start("a"), start("b")
    await begin(first.ledger, "1")
    await first.ledger.objects.begin("1", 100, 10)
    await first.ledger.promise("1", "id 1")
    await begin(other.ledger, "2")
    await other.ledger.objects.begin("2", 100, 10)
    await other.ledger.promise("2", "id 2")
    again = start("a").ledger
    assert again.interrupted() == {"1": None}
    assert again.promised() == {"id 1"}
    assert [one.upload for one in again.objects.all()] == ["1"]


async def test_a_start_touches_nothing_of_another_node(start: Start) -> None:
    other = start("b").ledger
    await begin(other, "running")
    await other.reserve("without key", "anna", 5, allow)
    await keep(other, "kept")
    again = start("a").ledger
    again.reconcile(None, {}, recovery=Recovery())
    await other.checkpoint("running", 7)
    assert await other.keep("running", 10, 7, 60, 10) == []
    await other.commit("without key", "c.bin")
    assert {one.upload for one in await again.kept_from("", 10)} == {"running", "kept"}


async def test_a_start_settles_what_is_left_of_its_own_node(start: Start) -> None:
    first = start("a").ledger
    for upload in ("published", "kept", "dropped"):
        await begin(first, upload)
    await first.promise("published", "id")
    again = start("a").ledger
    again.reconcile(None, {"id": "p.bin"}, recovery=Recovery({"kept": 40}, {}, 60))
    assert again.interrupted() == {}
    assert await again.find("key of published") == StoredUpload(
        "metadata of key of published", "p.bin"
    )
    kept = await again.find("key of kept")
    assert isinstance(kept, KeptUpload)
    assert kept.offset == 40
    total = await again.total()
    assert (total.files, total.uploads, total.kept_uploads, total.kept) == (1, 0, 1, 40)


async def test_the_uploads_of_a_living_node_are_not_adopted(start: Start) -> None:
    one, two = start("a"), start("b")
    await begin(one.ledger, "1")
    assert not await two.node.adopt()
    await one.ledger.checkpoint("1", 5)
    assert await one.ledger.keep("1", 10, 5, 60, 10) == []


async def test_nothing_is_adopted_by_a_step_during_which_the_database_has_hung(
    start: Start, let_die: LetDie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then no other node could renew its lease."""
    other, one = start("a"), start("b")
    await begin(other.ledger, "1")
    let_die(other)
    steady = iter([True, False])
    with monkeypatch.context() as patched:
        patched.setattr(one.node.lease, "is_steady", lambda: next(steady))
        with pytest.raises(UnavailableError):
            await one.node.adopt()
    assert await one.node.adopt() == ["a"]


async def test_the_uploads_of_a_dead_node_are_adopted_and_settled(
    start: Start, let_die: LetDie
) -> None:
    dead, living = start("a"), start("b")
    await begin(dead.ledger, "left")
    await dead.ledger.objects.begin("left", 100, 10)
    await dead.ledger.objects.claim("left", "l.bin", "rename")
    await dead.ledger.objects.created("left", "multipart")
    await dead.ledger.objects.add_part("left", Part(1, 10, "etag", b"state"))
    await dead.ledger.reserve("without key", "anna", 5, allow)
    await begin(living.ledger, "running")
    await living.ledger.objects.begin("running", 100, 10)
    let_die(dead)
    assert await living.node.adopt() == ["a"]
    assert living.ledger.interrupted() == {"left": None}
    assert [one.offset for one in living.ledger.objects.all()] == [10]
    living.node.settle({}, Recovery({"left": 10}, {}, 60))
    assert not await living.node.adopt()
    kept = await living.ledger.find("key of left")
    assert isinstance(kept, KeptUpload)
    assert kept.offset == 10
    total = await living.ledger.total()
    assert (total.uploads, total.kept_uploads) == (1, 1)
    assert await living.ledger.keep("running", 20, 0, 60, 10) == []


async def test_a_node_that_was_dead_writes_nothing_and_begins_anew(
    start: Start, let_die: LetDie
) -> None:
    dead, living = start("a"), start("b")
    await begin(dead.ledger, "left")
    let_die(dead)
    assert await living.node.adopt()
    with pytest.raises(LeaseLostError):
        await dead.ledger.keep("left", 50, 50, 60, 10)
    with pytest.raises(LeaseLostError):
        await dead.ledger.objects.begin("left", 100, 10)
    assert not await dead.node.renew()
    living.node.settle({}, Recovery({"left": 10}, {}, 60))
    before = dead.node._fence
    await dead.node.begin_again()
    assert dead.node._fence > before
    assert not await dead.node.adopt()
    kept = await dead.ledger.find("key of left")
    assert isinstance(kept, KeptUpload)
    assert kept.offset == 10


async def test_a_node_that_lost_its_lease_settles_what_nobody_has_adopted(start: Start) -> None:
    node = start("a")
    await begin(node.ledger, "left")
    start("a").node.close()
    await node.node.begin_again()
    assert await node.node.adopt() == ["a"]
    assert node.ledger.interrupted() == {"left": None}
    node.node.settle({}, Recovery({"left": 10}, {}, 60))
    assert not await node.node.adopt()


async def test_the_uploads_of_a_node_that_is_forgotten_are_adopted(
    start: Start, let_die: LetDie
) -> None:
    dead, living = start("a"), start("b")
    await begin(dead.ledger, "left")
    let_die(dead)
    with living.ledger.database.transaction() as connection:
        connection.execute("DELETE FROM nodes WHERE name = 'a'")
    assert await living.node.adopt()


async def test_what_the_dead_node_has_kept_is_continued_by_another(
    start: Start, let_die: LetDie
) -> None:
    dead, living = start("a"), start("b")
    await keep(dead.ledger, "1")
    let_die(dead)
    assert not await living.node.adopt()
    await living.ledger.resume("1", allow)
    assert start("a").ledger.interrupted() == {}
    assert await living.ledger.keep("1", 60, 60, 60, 10) == []


async def test_an_upload_that_another_node_has_is_not_begun(start: Start) -> None:
    one, two = start("a"), start("b")
    await begin(one.ledger, "1")
    about = resumable("key of 1")
    with pytest.raises(KeyTakenError):
        await two.ledger.reserve("2", "anna", 7, allow, resumable=about)
    entry = WholeEntry("3", "anna", 7, allow, resumable=about, identity="id")
    (result,) = await two.ledger.enter_whole([entry])
    assert result == RunningUpload("1", "metadata of key of 1", "a")
    assert (await two.ledger.total()).uploads == 1
    await one.ledger.release("1")
    assert await two.ledger.enter_whole([entry]) == [None]


async def test_an_upload_that_is_adopted_is_not_begun_before_it_is_settled(
    start: Start, let_die: LetDie
) -> None:
    dead, living = start("a"), start("b")
    await begin(dead.ledger, "1")
    let_die(dead)
    assert await living.node.adopt()
    with pytest.raises(KeyTakenError):
        await living.ledger.reserve("2", "anna", 7, allow, resumable=resumable("key of 1"))


async def test_a_reservation_of_this_process_that_was_not_released_is_replaced(
    start: Start,
) -> None:
    ledger = start("a").ledger
    await begin(ledger, "1")
    await ledger.reserve("2", "anna", 7, allow, resumable=resumable("key of 1"))
    assert (await ledger.total()).uploads == 1


async def test_of_what_a_node_has_left_in_a_directory_only_the_durable_bytes_are_certain(
    start: Start, let_die: LetDie
) -> None:
    dead = start("a", local=True)
    await begin(dead.ledger, "1")
    dead.ledger._boot = "of another machine"
    await dead.ledger.checkpoint("1", 3)
    let_die(dead)
    taker = start("b", local=True)
    assert await taker.node.adopt()
    assert taker.ledger.interrupted() == {"1": 3}
    assert taker.node.left() == {"1"}


async def test_a_node_knows_what_is_left_to_it_and_what_is_not(
    start: Start, let_die: LetDie
) -> None:
    a = start("a")
    await begin(a.ledger, "1")
    await keep(a.ledger, "2")
    b = start("b")
    await begin(b.ledger, "3")
    again = start("a")
    assert set(again.ledger.interrupted()) == {"1", "2"}
    assert again.node.left() == {"1"}
    assert again.node.others() == {"3"}
