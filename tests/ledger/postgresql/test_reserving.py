"""Steps that wait at a node run together, with one statement; each has a result of its own."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import pytest
import trio
from attrs import define, field
from helpers.ledger_nodes import LedgerNodes
from helpers.ledgers import allow, keep, owed, resumable
from trio.testing import wait_all_tasks_blocked

from galileod.ledger.base import (
    AlreadyUsedError,
    KeyTakenError,
    LedgerError,
    SingleUse,
    UncertainError,
    UnknownUploadError,
)
from galileod.ledger.postgresql import PostgresqlLedger
from galileod.ledger.postgresql.connection import Connection
from galileod.ledger.records import Commit
from galileod.ledger.unavailable import UnavailableError
from galileod.policy.quota import Holding, QuotaFault, check_quota
from galileod.policy.settings import Quota
from galileod.units import Size

pytestmark = pytest.mark.timeout(60)

FAR = 4e9
"""A time in the future."""

STATEMENTS = "SELECT count(DISTINCT (xmin::TEXT, cmin::TEXT)) FROM uploads"
"""How many statements have written the rows."""


@pytest.fixture
def ledgers(ledger_url: str) -> Iterator[list[PostgresqlLedger]]:
    with ExitStack() as opened:
        yield LedgerNodes(ledger_url, opened).start_many(2)


@define
class Waiting:
    """Steps that begin one after the other while one hangs, and what they have raised."""

    nursery: trio.Nursery
    raised: dict[str, type[BaseException] | None] = field(factory=dict)

    async def begin(
        self,
        name: str,
        step: Callable[[], Awaitable[object]],
        scope: trio.CancelScope | None = None,
    ) -> None:
        async def run() -> None:
            with scope or trio.CancelScope():
                try:
                    await step()
                except Exception as error:  # noqa: BLE001  it is the result
                    self.raised[name] = type(error)
                else:
                    self.raised[name] = None

        self.nursery.start_soon(run)
        await wait_all_tasks_blocked()


@asynccontextmanager
async def waiting(run: Callable[..., Awaitable[None]]) -> AsyncIterator[Waiting]:
    """A step that `run` runs goes on until the end of the block, after which all end."""
    began, go = threading.Event(), threading.Event()

    def hang(_: Connection) -> None:
        began.set()
        go.wait(3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, hang)
        await trio.to_thread.run_sync(began.wait, 20)
        try:
            yield Waiting(nursery)
        finally:
            go.set()


def read(ledger: PostgresqlLedger, query: str) -> object:
    with ledger.database.reading() as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def reserving(
    ledger: PostgresqlLedger,
    upload: str,
    *,
    size: int = 100,
    user: str = "anna",
    ticket: str | None = None,
    key: str | None = None,
) -> Callable[[], Awaitable[None]]:
    once = None if ticket is None else SingleUse(ticket, FAR)
    fixed = None if key is None else resumable(key)
    quota = partial(check_quota, Quota(user_bytes=Size(1000)), size)
    return partial(ledger.reserve, upload, user, size, quota, once, fixed)


async def test_reservations_that_wait_are_made_with_one_statement(
    ledgers: list[PostgresqlLedger],
) -> None:
    ledger = ledgers[0]
    async with waiting(ledger.database.write) as steps:
        for number in range(9):
            step = reserving(ledger, f"{number}", user=f"user {number % 3}")
            await steps.begin(f"{number}", step)
    assert steps.raised == dict.fromkeys(map(str, range(9)))
    assert read(ledger, STATEMENTS) == 1
    assert ledger.holdings() == {
        f"user {number}": Holding(reserved=300, uploads=3) for number in range(3)
    }


async def test_each_of_the_reservations_that_wait_has_its_own_result(
    ledgers: list[PostgresqlLedger],
) -> None:
    ledger, other = ledgers
    await reserving(ledger, "used before", ticket="used")()
    await reserving(ledger, "lost", ticket="again", key="lost")()
    await keep(ledger, "kept", user="carla")
    await reserving(other, "runs", user="carla", key="runs")()
    await reserving(other, "stored", user="carla", key="stored")()
    await other.commit("stored", "a", remember=1000)
    await ledger.release_whole(["used before"])

    def fail(_everybody: Holding, _mine: Holding) -> None:
        raise KeyError("odd")

    gone = trio.CancelScope()
    begun: dict[str, Callable[[], Awaitable[None]]] = {
        "first": reserving(ledger, "first", ticket="t1", key="k1"),
        "too large": reserving(ledger, "too large", size=1001, ticket="t2", key="k2"),
        "odd": partial(ledger.reserve, "odd", "anna", 1, fail, SingleUse("t3", FAR)),
        "used": reserving(ledger, "used", ticket="used", key="k3"),
        "expired": partial(ledger.reserve, "expired", "anna", 1, allow, SingleUse("t4", 1.0)),
        "used just now": reserving(ledger, "used just now", ticket="t1"),
        "kept elsewhere": reserving(ledger, "kept elsewhere", key="key of kept"),
        "runs elsewhere": reserving(ledger, "runs elsewhere", ticket="t5", key="runs"),
        "stored elsewhere": reserving(ledger, "stored elsewhere", ticket="t6", key="stored"),
        "not released": reserving(ledger, "not released", ticket="again", key="lost"),
    }
    async with waiting(ledger.database.write) as steps:
        for name, step in begun.items():
            await steps.begin(name, step)
        await steps.begin("cancelled", reserving(ledger, "cancelled", ticket="t7"), gone)
        # What was refused has used neither its ticket nor its key, nor any of the quota.
        await steps.begin("full", reserving(ledger, "full", size=800, ticket="t2", key="k2"))
        await steps.begin("over", reserving(ledger, "over", size=1, ticket="t8"))
        for number in (3, 5, 6, 7, 8):
            step = reserving(ledger, f"{number}", user="bert", ticket=f"t{number}", key=f"{number}")
            await steps.begin(f"{number}", step)
        gone.cancel()
        await wait_all_tasks_blocked()
    assert steps.raised == {
        "first": None,
        "too large": QuotaFault,
        "odd": KeyError,
        "used": AlreadyUsedError,
        "expired": AlreadyUsedError,
        "used just now": AlreadyUsedError,
        "kept elsewhere": KeyTakenError,
        "runs elsewhere": KeyTakenError,
        "stored elsewhere": KeyTakenError,
        "not released": None,
        "full": None,
        "over": QuotaFault,
        **dict.fromkeys("35678"),
    }
    assert ledger.holdings() == {
        "anna": Holding(reserved=1000, uploads=3),
        "bert": Holding(reserved=500, uploads=5),
        "carla": Holding(bytes=100, files=1, reserved=100, uploads=1, kept=40, kept_uploads=1),
    }


async def test_a_reservation_that_the_database_refuses_fails_alone(
    ledgers: list[PostgresqlLedger],
) -> None:
    ledger = ledgers[0]
    await reserving(ledger, "u1", size=1)()
    async with waiting(ledger.database.write) as steps:
        await steps.begin("u0", reserving(ledger, "u0", size=998, ticket="t0"))
        await steps.begin("u1", reserving(ledger, "u1", size=1, ticket="t1"))  # there is one
        await steps.begin("u2", reserving(ledger, "u2", size=1, ticket="t2"))
        await steps.begin("u3", reserving(ledger, "u3", user="bert", ticket="t3"))
        await steps.begin("u4", reserving(ledger, "u4", size=1, ticket="t4"))
    # What has failed takes none of the quota from the others, and no ticket.
    raised = {"u0": None, "u1": LedgerError, "u2": None, "u3": None, "u4": QuotaFault}
    assert steps.raised == raised
    await reserving(ledger, "u5", user="bert", ticket="t1")()
    assert ledger.holdings() == {
        "anna": Holding(reserved=1000, uploads=3),
        "bert": Holding(reserved=200, uploads=2),
    }


async def test_steps_of_all_kinds_that_wait_run_in_one_transaction(
    ledgers: list[PostgresqlLedger],
) -> None:
    ledger, stored = ledgers[0], {f"u{number}" for number in range(3)}
    for upload in (*stored, "released", "released, too"):
        await ledger.reserve(upload, "anna", 100, allow)
    async with waiting(ledger.database.write_apart) as steps:
        for upload in stored:
            await steps.begin(upload, partial(ledger.promise, upload, f"id of {upload}", "{}"))
    assert read(ledger, f"{STATEMENTS} WHERE inode IS NOT NULL") == 1
    assert set(ledger.promised()) == set()  # they run
    async with waiting(ledger.database.write) as steps:
        await steps.begin("new", reserving(ledger, "new", user="bert"))
        for upload in ("released", "unknown", "released, too"):
            await steps.begin(f"release {upload}", partial(ledger.release, upload))
        for upload in ("u0", "missing", "u1"):
            await steps.begin(f"commit {upload}", partial(ledger.commit, upload, upload))
        await steps.begin("together", partial(ledger.commit_whole, [Commit("u2", "c")]))
    assert steps.raised.pop("commit missing") is UnknownUploadError
    assert set(steps.raised.values()) == {None}
    assert len(steps.raised) == 7
    assert ledger.holdings() == {
        "anna": Holding(bytes=300, files=3),
        "bert": Holding(reserved=100, uploads=1),
    }
    assert {name for name, *_ in await owed(ledger)} == {"u0", "u1", "c"}
    assert read(ledger, "SELECT count(DISTINCT xmin::TEXT) FROM files") == 1


async def test_of_the_commits_that_wait_one_that_the_database_refuses_fails_alone(
    ledgers: list[PostgresqlLedger],
) -> None:
    ledger = ledgers[0]
    async with waiting(ledger.database.write) as steps:
        for upload in ("u0", "u1", "u2"):
            await steps.begin(upload, reserving(ledger, upload))
    async with waiting(ledger.database.write) as steps:
        for upload, name in (("u0", "a"), ("u1", "b\0"), ("u2", "c")):
            await steps.begin(upload, partial(ledger.commit, upload, name))
    assert steps.raised == {"u0": None, "u1": LedgerError, "u2": None}
    assert ledger.holdings() == {"anna": Holding(200, 2, reserved=100, uploads=1)}


async def test_if_the_connection_is_lost_none_of_those_that_wait_is_reserved(
    ledgers: list[PostgresqlLedger],
) -> None:
    ledger, other = ledgers

    def end_connections(_everybody: Holding, _mine: Holding) -> None:
        with other.database.reading() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    async with waiting(ledger.database.write) as steps:
        await steps.begin("u1", reserving(ledger, "u1"))
        await steps.begin("u2", partial(ledger.reserve, "u2", "anna", 1, end_connections))
        await steps.begin("released", partial(ledger.release, "u0"))
        await steps.begin("u3", reserving(ledger, "u3"))
    assert steps.raised == dict.fromkeys(["u1", "u2", "released", "u3"], UnavailableError)
    assert ledger.holdings() == {}
    await reserving(ledger, "u1")()


async def test_if_the_connection_is_lost_in_the_commit_nobody_knows_what_is_reserved(
    ledgers: list[PostgresqlLedger],
) -> None:
    ledger, other = ledgers
    with other.database.transaction() as connection:
        connection.execute(
            "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON uploads DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW WHEN (new.upload = 'u2') EXECUTE FUNCTION lose()"
        )
    async with waiting(ledger.database.write) as steps:
        for upload in ("u1", "u2", "u3"):
            await steps.begin(upload, reserving(ledger, upload))
        await steps.begin("refused", reserving(ledger, "refused", size=1001))
    assert steps.raised == dict.fromkeys(["u1", "u2", "u3", "refused"], UncertainError)
    assert ledger.holdings() == {}
    await reserving(ledger, "u1")()
