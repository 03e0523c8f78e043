"""Any sequence of uploads, removals, rescans and crashes leaves the ledger and the disk right.

With the real store and the real ledger in a directory. The model has what the ledger must say, and
what is on the disk.
"""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import pytest
import trio
from attrs import define, field
from helpers.ledgers import allow
from helpers.rounds import rounds
from helpers.stored_files import SHA1, StoredFiles, results
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from galileod.ledger.base import UNKNOWN_USER, WholeEntry
from galileod.ledger.records import About, Commit, Selection
from galileod.policy.publication import OnConflict
from galileod.policy.quota import Holding
from galileod.policy.settings import Quota
from galileod.protocol.errors import Fault
from galileod.storage.base import Stored
from galileod.storage.whole import WholeFile, Written

NAMES: Final = st.sampled_from(["a", "b", "d/a", "d/e/b"])
USERS: Final = st.sampled_from(["anna", "bert"])
SIZES: Final = st.integers(0, 3)
SECONDS: Final = st.sampled_from([0, 1, 5])
WAITS: Final = st.sampled_from([1, 5, 10, -3])
MAYBE_SECONDS: Final = st.none() | SECONDS
Crash = Literal["no", "before publication", "after publication"]
CRASHES: Final = st.sampled_from([*["no"] * 6, "before publication", "after publication"])


@define
class Record:
    """What the ledger has of a file; `stored` is None if only its user and size are certain."""

    user: str
    size: int
    stored: float | None = None
    expires: float | None = None


@define
class Model:
    records: dict[str, Record] = field(factory=dict)

    def holdings(self) -> dict[str, Holding]:
        sums: dict[str, Holding] = {}
        for record in self.records.values():
            held = sums.get(record.user, Holding())
            sums[record.user] = Holding(held.bytes + record.size, held.files + 1)
        return dict(sorted(sums.items()))

    def correct(self, on_disk: dict[str, int]) -> None:
        """What a rescan or a start does."""
        for name in set(self.records) - set(on_disk):
            del self.records[name]
        for name, size in on_disk.items():
            record = self.records.get(name)
            if record is None:
                self.records[name] = Record(UNKNOWN_USER, size)
            elif record.size != size:
                self.records[name] = Record(record.user, size)

    def expired(self, now: float, retention: float | None) -> list[str]:
        return [
            name
            for name, one in self.records.items()
            if one.stored is not None
            and (
                one.expires <= now
                if one.expires is not None
                else retention is not None and one.stored <= now - retention
            )
        ]


class Machine(RuleBasedStateMachine):
    """Does the same to the files and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        directory = Path(self.opened.enter_context(TemporaryDirectory()))
        self.files, self.model = StoredFiles(directory / "files"), Model()

    def teardown(self) -> None:
        self.files.stop()
        self.opened.close()

    def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        async def call() -> Any:  # noqa: ANN401
            return await function(*args, **kwargs)

        return trio.run(call)

    @property
    def now(self) -> float:
        return self.files.clock.now

    # Uploads.

    @rule(
        user=USERS, name=NAMES, size=SIZES, retention=MAYBE_SECONDS, replaces=st.booleans(),
        promised=st.booleans(), crash=CRASHES,
    )  # fmt: skip
    def upload(
        self,
        user: str,
        name: str,
        size: int,
        retention: float | None,
        crash: Crash,
        *,
        replaces: bool,
        promised: bool,
    ) -> None:
        files = self.files
        on_conflict: OnConflict = "replace" if replaces else "rename"

        async def store() -> Stored | None:
            reserved = files.admitted(
                user, name, size, retention=retention, on_conflict=on_conflict
            )
            async with reserved as reservation:
                sink = await files.store.create(reservation.upload.id, name, on_conflict)
                await sink.write([bytes(size)])
                await sink.prepare()
                if promised:
                    await reservation.promise(sink, None, SHA1)
                if crash == "before publication":
                    return None
                async with files.publication.hold([], replaces=replaces):
                    stored = await sink.commit()
                    if crash == "no":
                        await reservation.commit(stored, SHA1)
                return stored

        stored = self.run(store)
        self.settle([(stored, user, size, retention)], crash, promised=promised)

    @rule(
        uploads=st.lists(st.tuples(USERS, NAMES, SIZES), min_size=1, max_size=3),
        promised=st.booleans(), crash=CRASHES,
    )  # fmt: skip
    def upload_whole(
        self, uploads: list[tuple[str, str, int]], crash: Crash, *, promised: bool
    ) -> None:
        files = self.files

        async def store() -> list[Stored]:
            names = [f"w{files.uploads}-{at}" for at in range(len(uploads))]
            files.uploads += 1
            written = await files.store.write_whole(
                [
                    WholeFile(upload, name, [bytes(size)], (), "rename", "none")
                    for upload, (_, name, size) in zip(names, uploads, strict=True)
                ]
            )
            complete = [one for one in written if isinstance(one, Written)]
            assert len(complete) == len(uploads)
            entries = [
                WholeEntry(
                    upload, user, size, allow, identity=one.identity if promised else None,
                    about=About(name, None, name), sha1=SHA1,
                )
                for upload, (user, name, size), one in zip(names, uploads, complete, strict=True)
            ]  # fmt: skip
            assert await files.ledger.enter_whole(entries) == [None] * len(entries)
            if crash == "before publication":
                return []
            async with files.publication.hold([], replaces=False):
                stored = [
                    one
                    for one in await files.store.publish_whole(complete)
                    if isinstance(one, Stored)
                ]
                if crash == "no":
                    await files.ledger.commit_whole(
                        [
                            Commit(upload, one.name, 0, SHA1, one.made)
                            for upload, one in zip(names, stored, strict=True)
                        ]
                    )
            return stored

        stored = self.run(store)
        whole: list[tuple[Stored | None, str, int, float | None]] = [
            (one, user, size, None)
            for one, (user, _, size) in zip(stored or [None] * len(uploads), uploads, strict=True)
        ]
        self.settle(whole, crash, promised=promised)

    def settle(
        self,
        uploads: list[tuple[Stored | None, str, int, float | None]],
        crash: Crash,
        *,
        promised: bool,
    ) -> None:
        """Enter what was stored; start again after a crash."""
        for stored, user, size, retention in uploads:
            if stored is None:
                continue
            expires = None if retention is None else self.now + retention
            if crash == "no" or promised:
                self.model.records[stored.name] = Record(user, size, self.now, expires)
        if crash != "no":
            self.restart()

    @rule(user=USERS, name=NAMES)
    def upload_within_the_quota(self, user: str, name: str) -> None:
        """The limit is what is on the disk, and one more file: nothing that is gone may count."""
        files, on_disk = self.files, self.files.on_disk()
        mine = sum(
            record.user == user and each in on_disk for each, record in self.model.records.items()
        )
        everything = sum(each in on_disk for each in self.model.records)
        files.quota_check = type(files.quota_check)(files.ledger, files.checker)
        try:
            self.run(
                files.upload, user, name, 1, Quota(user_files=mine, total_files=everything + 9)
            )
        except Fault:
            pass  # there is no room: and the disk was asked
        else:
            raise AssertionError("it was accepted beyond its quota")
        self.correct(user)
        files.quota_check = type(files.quota_check)(files.ledger, files.checker)
        stored = self.run(files.upload, user, name, 1, Quota(user_files=mine + 1))
        self.model.records[stored] = Record(user, 1, self.now)

    def correct(self, user: str) -> None:
        """What the quota check does with the files of a user."""
        on_disk = self.files.on_disk()
        for name, record in list(self.model.records.items()):
            if record.user == user:
                if name not in on_disk:
                    del self.model.records[name]
                elif on_disk[name] != record.size:
                    self.model.records[name] = Record(user, on_disk[name])

    # By hand.

    @rule(data=st.data())
    @precondition(lambda self: self.files.on_disk())
    def remove_by_hand(self, data: st.DataObject) -> None:
        self.files.unlink(data.draw(st.sampled_from(sorted(self.files.on_disk()))))

    @rule(data=st.data(), size=st.integers(4, 9))
    @precondition(lambda self: self.files.on_disk())
    def change_by_hand(self, data: st.DataObject, size: int) -> None:
        """No upload has such a size."""
        self.files.write(data.draw(st.sampled_from(sorted(self.files.on_disk()))), size)

    @rule(name=NAMES, size=st.integers(0, 9))
    def write_by_hand(self, name: str, size: int) -> None:
        self.files.write(name, size)

    # What galileod removes.

    @rule(names=st.lists(NAMES, unique=True, max_size=2), crash=st.sampled_from(range(6)))
    def remove(self, names: list[str], crash: int) -> None:
        files, on_disk = self.files, self.files.on_disk()
        if not crash:  # between the removal and its record
            self.run(files.store.remove, names)
            self.restart()
            return
        expected = {}
        for name in names:
            record = self.model.records.pop(name, None)
            expected[name] = (
                "removed" if name in on_disk else "failed" if record is None else "gone"
            )
        assert results(self.run(files.remover.remove_named, names)) == expected
        assert not set(names) & set(files.on_disk())

    @rule(wait=WAITS, seconds=SECONDS, user=st.none() | USERS, dry_run=st.booleans())
    def prune(self, wait: int, seconds: float, user: str | None, *, dry_run: bool) -> None:
        self.files.clock.now += wait
        files, until = self.files, self.now - seconds
        entries = files.entries(Selection(user, until=until))
        old = [
            name
            for name, one in self.model.records.items()
            if one.stored is not None and one.stored < until and user in (None, one.user)
        ]
        assert sorted(each.name for each in entries) == sorted(old)
        expected = {name: self.fate(name) for name in old}
        if dry_run:
            assert results(self.run(files.remover.look, entries)) == expected
            return
        assert results(self.run(files.remover.remove_recorded, entries, "removed")) == expected
        self.forget(expected)

    @rule(wait=WAITS, retention=MAYBE_SECONDS)
    def expire(self, wait: int, retention: float | None) -> None:
        self.files.clock.now += wait
        self.files.retention = retention
        expected = {name: self.fate(name) for name in self.model.expired(self.now, retention)}
        self.run(self.files.remove_expired)
        self.forget(expected)

    def fate(self, name: str) -> str:
        """What becomes of a recorded file that is to be removed."""
        size = self.files.on_disk().get(name)
        if size is None:
            return "gone"
        return "removed" if size == self.model.records[name].size else "changed"

    def forget(self, fates: dict[str, str]) -> None:
        on_disk = self.files.on_disk()
        for name, fate in fates.items():
            del self.model.records[name]
            assert (name in on_disk) == (fate == "changed")
            if fate == "changed":
                self.model.records[name] = Record(UNKNOWN_USER, on_disk[name])

    # The ledger is brought back to the disk.

    @rule()
    def rescan(self) -> None:
        assert self.run(self.files.rescan).ended
        self.model.correct(self.files.on_disk())

    @rule()
    def restart(self) -> None:
        self.files.restart()
        self.model.correct(self.files.on_disk())

    @invariant()
    def agrees(self) -> None:
        files, model = self.files, self.model
        assert {
            each.name: Record(each.user, each.size, each.stored, each.expires)
            for each in files.entries()
        } == model.records
        holdings = model.holdings()
        assert files.ledger.holdings() == holdings
        assert self.run(files.ledger.total) == Holding(
            sum(held.bytes for held in holdings.values()),
            sum(held.files for held in holdings.values()),
        )
        for user in ("anna", "bert", UNKNOWN_USER):
            listed = files.entries(Selection(user))
            assert sorted(each.name for each in listed) == sorted(
                name for name, one in model.records.items() if one.user == user
            )


TestMachine = pytest.mark.timeout(600)(Machine.TestCase)
TestMachine.settings = settings(max_examples=rounds(12, 100), stateful_step_count=50, deadline=None)
