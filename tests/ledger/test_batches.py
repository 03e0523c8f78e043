"""Uploads that are reserved together get what they get one after the other, whatever they are."""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import trio
from attrs import evolve, frozen
from helpers.clocks import FakeClock
from helpers.ledgers import resumable
from helpers.rounds import rounds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from galileod.ledger.base import Ledger, SingleUse, WholeEntry
from galileod.ledger.postgresql import PostgresqlLedger
from galileod.policy.quota import Holding, check_quota
from galileod.policy.settings import Quota
from galileod.units import Size

pytestmark = pytest.mark.timeout(300)

QUOTA = Quota(user_bytes=Size(100), user_files=5)


@frozen
class Wanted:
    """A reservation; `ends` tells what becomes of one that was there before."""

    user: str
    size: int
    ticket: str | None
    key: str | None
    seconds: int
    ends: str

    def entry(self, world: str, number: int, clock: FakeClock) -> WholeEntry:
        """Uploads, users, tickets and keys of one world are not those of another one."""
        once = None if self.ticket is None else SingleUse(world + self.ticket, clock() + 60)
        if once is not None and self.seconds == 0:
            once = evolve(once, until=clock())
        fixed = None if self.key is None else resumable(world + self.key)
        allow = partial(check_quota, QUOTA, self.size)
        return WholeEntry(f"{world}{number}", world + self.user, self.size, allow, once, fixed)


WANTED = st.builds(
    Wanted,
    st.sampled_from(["anna", "bert"]),
    st.integers(1, 60),
    st.sampled_from([None, None, "t1", "t2", "t3"]),
    st.sampled_from([None, None, "k1", "k2", "k3"]),
    st.integers(0, 5),
    st.sampled_from(["runs", "kept", "stored"]),
)


class World:
    """One of two copies of the same uploads in one ledger."""

    def __init__(self, ledger: Ledger, clock: FakeClock) -> None:
        self.name = secrets.token_hex(8)
        self.ledger = ledger
        self.clock = clock

    def entries(self, wanted: Sequence[Wanted], first: int = 0) -> list[WholeEntry]:
        return [one.entry(self.name, first + at, self.clock) for at, one in enumerate(wanted)]

    async def begin(self, before: Sequence[Wanted]) -> None:
        for entry, one in zip(self.entries(before), before, strict=True):
            (result,) = await self.ledger.enter_whole([entry])
            if result is None and one.ends == "kept" and one.key is not None:
                await self.ledger.keep(entry.upload, 1, 1, 60, 100)
            elif result is None and one.ends == "stored":
                await self.ledger.commit(entry.upload, entry.upload, remember=60)

    def told(self, results: Sequence[object]) -> list[str]:
        """The results, without what differs between worlds."""
        return [repr(one).replace(self.name, "") for one in results]

    def holdings(self) -> dict[str, Holding]:
        return {
            user.removeprefix(self.name): held
            for user, held in self.ledger.holdings().items()
            if user.startswith(self.name)
        }


async def reserve_together(ledger: PostgresqlLedger, entries: Sequence[WholeEntry]) -> Any:  # noqa: ANN401
    return await ledger.database.write_for(ledger._reserve, entries)


PLAIN = Wanted("anna", 1, None, None, 0, "runs")
KEYED = Wanted("anna", 1, None, "k1", 0, "stored")


@example(before=[PLAIN, PLAIN, KEYED], wanted=[PLAIN, KEYED, evolve(KEYED, user="bert")])
@given(before=st.lists(WANTED, max_size=5), wanted=st.lists(WANTED, max_size=10))
@settings(
    deadline=None,
    max_examples=rounds(25, 300),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_batch_has_the_results_of_its_entries_one_after_the_other(
    ledger: Ledger,
    clock: FakeClock,
    before: list[Wanted],
    wanted: list[Wanted],
) -> None:
    ways = [ledger.enter_whole]
    if isinstance(ledger, PostgresqlLedger):
        ways.append(partial(reserve_together, ledger))

    async def compare(way: Any) -> None:  # noqa: ANN401  one of the ways
        together, single = World(ledger, clock), World(ledger, clock)
        for world in (together, single):
            await world.begin(before)
        entries = single.entries(wanted, 100)
        expected = single.told([result for one in entries for result in await way([one])])
        assert together.told(await way(together.entries(wanted, 100))) == expected
        assert together.holdings() == single.holdings()
        # The tickets are used by the same ones.
        again = [evolve(one, key="new", size=1, user=f"{at}") for at, one in enumerate(wanted)]
        expected = single.told(await way(single.entries(again, 200)))
        assert together.told(await way(together.entries(again, 200))) == expected

    for way in ways:
        trio.run(compare, way)
