"""Messages of a stranger, who may connect to the database and no more."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise

import psycopg
import pytest
import trio
from helpers.engines.postgresql import Postgresql
from helpers.ledger_nodes import LedgerNodes, elsewhere_of
from helpers.ledgers import begin
from helpers.memory_store import MemoryStore

from galileod.files.publication import PublicationLock
from galileod.ledger.base import LedgerError
from galileod.ledger.elsewhere import Asked, Elsewhere
from galileod.ledger.postgresql import elsewhere as messages
from galileod.ledger.postgresql.schema import ASKED, RELEASED
from galileod.metrics import Metrics
from galileod.uploads.claims import Claims
from galileod.uploads.handover import BETWEEN_LOOKS, Handover
from galileod.uploads.keeper import Keeper

pytestmark = pytest.mark.timeout(60)

Stranger = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def nodes(postgresql: Postgresql) -> Iterator[LedgerNodes]:
    nodes = LedgerNodes(postgresql.new_database())
    with nodes.opened:
        yield nodes


@pytest.fixture
def stranger(postgresql: Postgresql, nodes: LedgerNodes) -> Iterator[Stranger]:
    at = postgresql.local(nodes.url.rpartition("/")[2]).replace("postgres@", "galileod@")
    with closing(psycopg.connect(at, autocommit=True)) as connection:
        yield connection


async def listen_for_ever(elsewhere: Elsewhere) -> None:
    while True:
        await elsewhere.listen()


async def test_a_node_looks_no_more_often_than_it_is_to_however_many_messages_come(
    nodes: LedgerNodes, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = nodes.start("one")
    elsewhere, store = elsewhere_of(ledger), MemoryStore()
    await elsewhere.listen()
    looks, look = list[float](), elsewhere.asked

    async def asked() -> Sequence[Asked]:
        looks.append(trio.current_time())
        if len(looks) == 6:
            nursery.cancel_scope.cancel()
        stranger.execute("SELECT pg_notify(%s, 'another')", (ASKED,))  # the next is to be heard
        return await look()

    monkeypatch.setattr(elsewhere, "asked", asked)
    keeper = Keeper(store, ledger, PublicationLock(), Metrics())
    handover = Handover(ledger, keeper, Claims(), {})
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handover.run)
    pauses = [later - before for before, later in pairwise(looks)]
    assert len(pauses) == 5
    assert min(pauses) > BETWEEN_LOOKS / 2  # what runs between them takes some time


async def test_a_node_gives_up_listening_to_a_flood_and_listens_again(
    nodes: LedgerNodes, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    elsewhere = elsewhere_of(two)
    await elsewhere.listen()
    monkeypatch.setattr(messages, "MOST_READS", 4)
    given_up = trio.Event()

    async def flood() -> None:
        while not given_up.is_set():
            for number in range(200):
                text = str(number) * 2000
                stranger.execute("SELECT pg_notify(%s, %s)", (RELEASED, text))
            await trio.lowlevel.checkpoint()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            with pytest.raises(LedgerError, match="more messages in the database than nodes do"):
                await listen_for_ever(elsewhere)
            given_up.set()
        await elsewhere.listen()
        await begin(one, "u1")
        await elsewhere.ask("key of u1", "asker", lambda: 0)
        await one.keep("u1", 40, 40, 60, 16)
        heard = set[str]()
        while not heard:
            heard.update(await elsewhere.listen())
    assert heard == {"key of u1"}
