"""Any sequence of calls agrees with a simple model: each implementation passes this test."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final

import pytest
import trio
from attrs import astuple, define, evolve, field
from helpers.clocks import FakeClock
from helpers.ledgers import OPENERS, allow, names, resumable
from helpers.rounds import rounds
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from galileod.ledger.base import (
    KeptUpload,
    Ledger,
    LedgerError,
    Recovery,
    StoredUpload,
    WholeEntry,
)
from galileod.ledger.records import Commit
from galileod.policy.quota import Holding

UPLOADS: Final = st.sampled_from([f"u{number}" for number in range(5)])
USERS: Final = st.sampled_from(["anna", "bert", "10.0.0.1"])
SECONDS: Final = st.sampled_from([0, 10, 60])
SIZE: Final = 100
OFFSETS: Final = st.integers(0, SIZE)
FLAGS: Final = st.booleans()


@define
class Upload:
    """One that runs, or is kept: then `offset` is a number."""

    user: str
    key: str | None
    boot: int
    offset: int | None = None
    durable: int = 0
    until: float = 0


@define
class Model:
    """What a ledger must say, in the simplest way."""

    uploads: dict[str, Upload] = field(factory=dict)
    files: dict[str, str] = field(factory=dict)
    stored: dict[str, tuple[str, float]] = field(factory=dict)
    boot: int = 1

    def kept(self) -> dict[str, Upload]:
        return {name: one for name, one in self.uploads.items() if one.offset is not None}

    def oldest(self, user: str) -> list[str]:
        """The user's kept uploads, the oldest first."""
        kept = self.kept().items()
        return sorted(
            (name for name, one in kept if one.user == user),
            key=lambda name: (self.uploads[name].until, name),
        )

    def drop(self, dropped: Iterable[str]) -> None:
        for name in dropped:
            del self.uploads[name]

    def running(self, name: str) -> Upload | None:
        one = self.uploads.get(name)
        return one if one is not None and one.offset is None else None

    def holdings(self) -> dict[str, Holding]:
        sums: dict[str, Holding] = {}
        for user in self.files.values():
            held = sums.get(user, Holding())
            sums[user] = evolve(held, bytes=held.bytes + SIZE, files=held.files + 1)
        for one in self.uploads.values():
            held = sums.get(one.user, Holding())
            if one.offset is None:
                more = evolve(held, reserved=held.reserved + SIZE, uploads=held.uploads + 1)
            else:
                more = evolve(held, kept=held.kept + one.offset, kept_uploads=held.kept_uploads + 1)
            sums[one.user] = more
        return dict(sorted(sums.items()))


def total(holdings: Iterable[Holding]) -> Holding:
    numbers = [astuple(one) for one in holdings]
    return Holding(*map(sum, zip(*numbers, strict=True))) if numbers else Holding()


def authenticated(user: str) -> bool:
    return user.isalpha()


class Machine(RuleBasedStateMachine):
    """Calls a ledger and the model alike."""

    engines: ClassVar[Sequence[str]] = ("sqlite", "inline sqlite")

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.directory = Path(self.opened.enter_context(TemporaryDirectory()))
        self.clock, self.model = FakeClock(), Model()

    @initialize(data=st.data())
    def open(self, data: st.DataObject) -> None:
        self.engine = data.draw(st.sampled_from(self.engines))
        self.place = self.new_place()
        self.ledger = self.reopened()

    def new_place(self) -> str:
        return str(Path(self.directory) / "ledger")

    def reopened(self) -> Ledger:
        return OPENERS[self.engine](self.place, self.clock, str(self.model.boot))

    def teardown(self) -> None:
        self.ledger.close()
        self.opened.close()

    def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        async def call() -> Any:  # noqa: ANN401
            return await function(*args, **kwargs)

        return trio.run(call)

    def refused(self, function: Any, *args: Any) -> None:  # noqa: ANN401
        with pytest.raises(LedgerError):
            self.run(function, *args)

    @rule(seconds=st.integers(-5, 30))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(name=UPLOADS, user=USERS, with_key=FLAGS, number=st.integers(0, 2))
    def reserve(self, name: str, user: str, number: int, *, with_key: bool) -> None:
        key = f"key {number}" if with_key else None
        about = resumable(key, authenticated=authenticated(user)) if key else None
        arguments = (name, user, SIZE, allow, None, about)
        same = [each for each, one in self.model.uploads.items() if key and one.key == key]
        # One that runs was not released when it failed, and is replaced.
        kept = any(self.model.uploads[each].offset is not None for each in same)
        if kept or name in set(self.model.uploads) - set(same):
            self.refused(self.ledger.reserve, *arguments)
        else:
            self.run(self.ledger.reserve, *arguments)
            for each in same:
                del self.model.uploads[each]
            self.model.uploads[name] = Upload(user, key, self.model.boot)

    @rule(
        uploads=st.lists(
            st.tuples(UPLOADS, USERS, st.none() | st.integers(0, 2), FLAGS), max_size=4
        )
    )
    def enter_whole(self, uploads: list[tuple[str, str, int | None, bool]]) -> None:
        entries, expected = list[WholeEntry](), list[str | None]()
        # If one cannot be added, those before it are asked again: the last answer counts.
        seen, totals = dict[int, tuple[Holding, Holding]](), dict[int, tuple[Holding, Holding]]()

        def see(at: int, everybody: Holding, mine: Holding) -> None:
            seen[at] = (everybody, mine)

        for at, (name, user, number, promised) in enumerate(uploads):
            key = None if number is None else f"key {number}"
            about = resumable(key, authenticated=authenticated(user)) if key else None
            identity = f"id {name}" if promised else None
            entries.append(WholeEntry(name, user, SIZE, partial(see, at), None, about, identity))
            if key and (found := self.expected(key)):
                expected.append(found)
                continue
            holdings = self.model.holdings()
            totals[at] = (total(holdings.values()), holdings.get(user, Holding()))
            same = [each for each, one in self.model.uploads.items() if key and one.key == key]
            if name in set(self.model.uploads) - set(same):
                expected.append("refused")
                continue
            self.model.drop(same)
            durable = SIZE if promised else 0
            self.model.uploads[name] = Upload(user, key, self.model.boot, durable=durable)
            expected.append(None)
        results = self.run(self.ledger.enter_whole, entries)
        told = ["refused" if isinstance(one, LedgerError) else self.told(one) for one in results]
        assert told == expected
        assert seen == totals

    @rule(commits=st.lists(st.tuples(UPLOADS, st.sampled_from(["a", "b"]), SECONDS), max_size=4))
    def commit_whole(self, commits: list[tuple[str, str, float]]) -> None:
        expected = list[bool]()
        for name, file, remember in commits:
            one = self.model.running(name)
            expected.append(one is None)
            if one is None:
                continue
            del self.model.uploads[name]
            self.model.files[file] = one.user
            if one.key and remember:
                self.model.stored[one.key] = (file, self.clock.now + remember)
        results = self.run(self.ledger.commit_whole, [Commit(*each) for each in commits])
        assert [isinstance(one, LedgerError) for one in results] == expected

    @rule(uploads=st.lists(UPLOADS, max_size=3))
    def release_whole(self, uploads: list[str]) -> None:
        self.run(self.ledger.release_whole, uploads)
        for name in uploads:
            self.model.uploads.pop(name, None)

    @rule(name=UPLOADS, durable=OFFSETS)
    def checkpoint(self, name: str, durable: int) -> None:
        self.run(self.ledger.checkpoint, name, durable)
        one = self.model.running(name)
        if one is not None and one.key:
            one.durable, one.boot = durable, self.model.boot

    @rule(name=UPLOADS, offset=OFFSETS, durable=OFFSETS, seconds=SECONDS, most=st.integers(0, 2))
    def keep(self, name: str, offset: int, durable: int, seconds: float, most: int) -> None:
        durable, one = min(offset, durable), self.model.running(name)
        arguments = (name, offset, durable, seconds, most)
        if one is None or not one.key:
            self.refused(self.ledger.keep, *arguments)
            return
        dropped = self.run(self.ledger.keep, *arguments)
        one.boot = self.model.boot if offset > one.durable else one.boot
        one.offset, one.durable, one.until = offset, durable, self.clock.now + seconds
        oldest = self.model.oldest(one.user)
        expected = oldest[: max(0, len(oldest) - most)]
        assert names(dropped) == expected
        self.model.drop(expected)

    @rule(name=UPLOADS)
    def resume(self, name: str) -> None:
        if name not in self.model.kept():
            self.refused(self.ledger.resume, name, allow)
            return
        asked: list[tuple[Holding, Holding]] = []
        self.run(self.ledger.resume, name, lambda *held: asked.append(held))
        one = self.model.uploads.pop(name)
        holdings = self.model.holdings()
        ((total, mine),) = asked
        assert mine == holdings.get(one.user, Holding())
        assert total.kept == sum(held.kept for held in holdings.values())
        one.offset = None
        self.model.uploads[name] = one

    @rule(name=UPLOADS, file=st.sampled_from(["a", "b"]), remember=SECONDS)
    def commit(self, name: str, file: str, remember: float) -> None:
        one = self.model.running(name)
        if one is None:
            self.refused(self.ledger.commit, name, file, remember)
            return
        self.run(self.ledger.commit, name, file, remember)
        del self.model.uploads[name]
        self.model.files[file] = one.user
        if one.key and remember:
            self.model.stored[one.key] = (file, self.clock.now + remember)

    @rule(name=UPLOADS)
    def release(self, name: str) -> None:
        self.run(self.ledger.release, name)
        self.model.uploads.pop(name, None)

    @rule(most=st.integers(0, 3))
    def expire(self, most: int) -> None:
        over = sorted(
            (one.until, name)
            for name, one in self.model.kept().items()
            if one.until <= self.clock.now
        )
        expected = [name for _, name in over[:most]]
        assert names(self.run(self.ledger.expire, most)) == expected
        self.model.drop(expected)
        self.model.stored = {
            key: (file, until)
            for key, (file, until) in self.model.stored.items()
            if until > self.clock.now
        }

    @rule(user=st.none() | USERS, others=FLAGS)
    def give_way(self, user: str | None, *, others: bool) -> None:
        eligible = [
            one.user
            for one in self.model.kept().values()
            if (others or not authenticated(one.user)) and user in (None, one.user)
        ]
        holdings = self.model.holdings()
        expected = None
        if eligible:
            most = min(eligible, key=lambda one: (-holdings[one].kept, one))
            expected = self.model.oldest(most)[0]
            self.model.drop([expected])
        dropped = self.run(self.ledger.give_way, user, authenticated=others)
        assert (dropped.upload if dropped else None) == expected

    @rule(power_failure=FLAGS, offset=OFFSETS, lost=st.sets(UPLOADS), seconds=SECONDS)
    def restart(self, offset: int, lost: set[str], seconds: float, *, power_failure: bool) -> None:
        self.ledger.close()
        self.model.boot += power_failure
        self.ledger = self.reopened()
        certain = {
            name: one.offset if one.boot == self.model.boot else one.durable
            for name, one in self.model.uploads.items()
            if one.key
        }
        assert self.ledger.interrupted() == certain
        offsets = {
            name: offset if most is None else min(offset, most)
            for name, most in certain.items()
            if name not in lost
        }
        on_disk = dict.fromkeys(self.model.files, SIZE)
        self.ledger.reconcile(on_disk, {}, recovery=Recovery(offsets, seconds=seconds))
        now, latest = self.clock.now, self.clock.now + seconds
        self.model.uploads = {
            name: evolve(
                one,
                offset=offsets[name],
                durable=min(one.durable, offsets[name]),
                until=one.until if one.offset is not None and now < one.until <= latest else latest,
            )
            for name, one in self.model.uploads.items()
            if name in offsets and seconds
        }
        self.model.stored = (
            {key: (file, min(until, latest)) for key, (file, until) in self.model.stored.items()}
            if seconds
            else {}
        )

    @invariant()
    def agrees(self) -> None:
        kept, holdings = self.model.kept(), self.model.holdings()
        assert self.ledger.holdings() == holdings
        assert self.run(self.ledger.total) == total(holdings.values())
        for others in (True, False):
            assert self.run(self.ledger.kept_bytes, authenticated=others) == sum(
                one.offset or 0 for one in kept.values() if others or not authenticated(one.user)
            )
        assert [
            (one.upload, one.user, one.offset, one.durable, one.until)
            for one in self.run(self.ledger.kept_from, "", 100)
        ] == [
            (name, one.user, one.offset, one.durable, one.until)
            for name, one in sorted(kept.items())
        ]
        for number in range(3):
            found = self.run(self.ledger.find, f"key {number}")
            assert self.told(found) == self.expected(f"key {number}")

    def told(self, found: KeptUpload | StoredUpload | None) -> str | None:
        """The name of a kept upload, or of a stored file."""
        if isinstance(found, StoredUpload):
            return found.name
        return found.upload if found else None

    def expected(self, key: str) -> str | None:
        for name, one in self.model.kept().items():
            if one.key == key:
                return name
        file, until = self.model.stored.get(key, (None, 0))
        return file if until > self.clock.now else None


class PostgresqlMachine(Machine):
    """The same in PostgreSQL."""

    engines = ("postgresql",)
    new_url: ClassVar[Callable[[], str]]

    def new_place(self) -> str:
        return type(self).new_url()


@pytest.fixture(scope="module")
def _urls(new_ledger_url: Callable[[], str]) -> None:
    PostgresqlMachine.new_url = staticmethod(new_ledger_url)


TestMachine = pytest.mark.timeout(300)(Machine.TestCase)
TestMachine.settings = settings(max_examples=rounds(15, 120), stateful_step_count=40, deadline=None)

TestPostgresqlMachine = pytest.mark.timeout(300)(
    pytest.mark.usefixtures("_urls")(PostgresqlMachine.TestCase)
)
TestPostgresqlMachine.settings = settings(
    max_examples=rounds(5, 60), stateful_step_count=40, deadline=None
)
