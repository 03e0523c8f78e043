"""Any sequence of uploads to object storage agrees with a simple model, in each implementation."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final

import pytest
import trio
from attrs import define, field
from helpers.clocks import FakeClock
from helpers.ledgers import OPENERS, allow
from helpers.objects import part, tail
from helpers.rounds import rounds
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from galileod.ledger.base import Ledger, UnknownUploadError
from galileod.ledger.objects import (
    Claim,
    NameTakenError,
    ObjectUpload,
    Part,
    Tail,
    UnsettledError,
    parts_end,
)
from galileod.policy.names import numbered
from galileod.policy.publication import OnConflict

UPLOADS: Final = st.sampled_from([f"u{number}" for number in range(5)])
PATHS: Final = st.sampled_from(["a.txt", "d/a.txt"])
CONFLICTS: Final = st.sampled_from(["rename", "reject", "replace"])
NUMBERS: Final = st.integers(1, 5)
SIZE: Final = 100


@define
class Upload:
    """What is entered of one."""

    name: str | None = None
    replaces: bool = False
    multipart: str | None = None
    completing: bool = False
    parts: dict[int, Part] = field(factory=dict)
    tail: Tail | None = None
    due: float | None = None
    abandoned: bool = False
    yields: bool = False

    def is_alone(self) -> bool:
        """Whether no other upload may claim its name."""
        return not self.replaces or self.due is not None

    def joined(self) -> tuple[Part, ...]:
        """The parts without a gap before them."""
        joined = list[Part]()
        while len(joined) + 1 in self.parts:
            joined.append(self.parts[len(joined) + 1])
        return tuple(joined)

    def told(self, upload: str) -> ObjectUpload:
        joined, end = self.joined(), self.tail
        # A part before it may have been replaced by a shorter one.
        end = None if end and end.offset > parts_end(joined) else end
        return ObjectUpload(
            upload,
            SIZE,
            SIZE,
            self.name,
            self.multipart,
            self.completing,
            joined,
            end,
            self.due,
            self.abandoned,
        )


class Machine(RuleBasedStateMachine):
    """Calls a ledger and the model alike."""

    engines: ClassVar[Sequence[str]] = ("sqlite", "inline sqlite")

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.directory = Path(self.opened.enter_context(TemporaryDirectory()))
        self.uploads: dict[str, Upload] = {}
        self.files = set[str]()

    @initialize(data=st.data())
    def open(self, data: st.DataObject) -> None:
        self.engine = data.draw(st.sampled_from(self.engines))
        self.place = self.new_place()
        self.ledger = self.reopened()

    def new_place(self) -> str:
        return str(Path(self.directory) / "ledger")

    def reopened(self) -> Ledger:
        return OPENERS[self.engine](self.place, FakeClock(), "boot")

    def teardown(self) -> None:
        self.ledger.close()
        self.opened.close()

    def run(self, function: Any, *args: Any) -> Any:  # noqa: ANN401
        async def call() -> Any:  # noqa: ANN401
            return await function(*args)

        return trio.run(call)

    def change(self, upload: str, function: Any, *args: Any) -> Any:  # noqa: ANN401
        """What a method returns; it raises if the upload has not begun."""
        if upload in self.uploads:
            return self.run(function, upload, *args)
        with pytest.raises(UnknownUploadError):
            self.run(function, upload, *args)
        return None

    def check_name(
        self, upload: str, path: str, on_conflict: OnConflict, taken: set[str], name: str | None
    ) -> None:
        """`name` may be claimed; None: none may."""
        others = self.others(upload)
        if on_conflict == "replace":
            alone = any(one.name == path and one.is_alone() for one in others)
            assert name == (None if alone else path)
            return
        used = self.files | taken | {one.name for one in others if one.name is not None}
        if path not in used or on_conflict == "reject":
            assert name == (None if path in used else path)
            return
        numbers = [number for number in range(1, 20) if _numbered(path, number) == name]
        assert numbers
        assert name not in used
        assert numbers == [1] or _numbered(path, numbers[0] - 1) in used

    def others(self, upload: str) -> list[Upload]:
        """The other uploads, if they claim their names."""
        return [one for key, one in self.uploads.items() if key != upload and not one.yields]

    def is_unsettled(self, upload: str, name: str | None) -> bool:
        """Whether another upload that is in doubt has a name."""
        return any(
            one.name == name and one.due is not None for one in self.others(upload) if one.name
        )

    @rule(upload=UPLOADS)
    def begin(self, upload: str) -> None:
        self.run(self.ledger.objects.begin, upload, SIZE, SIZE)
        self.uploads.setdefault(upload, Upload())

    @rule(
        upload=UPLOADS,
        path=PATHS,
        on_conflict=CONFLICTS,
        taken=st.sets(st.sampled_from(["a.txt", "a (1).txt", "d/a.txt", "d/a (2).txt"])),
    )
    def claim(self, upload: str, path: str, on_conflict: OnConflict, taken: set[str]) -> None:
        if upload in self.uploads and self.uploads[upload].abandoned:
            return  # nobody does
        refused: NameTakenError | None = None
        try:
            name = self.change(upload, self.ledger.objects.claim, path, on_conflict, sorted(taken))
        except NameTakenError as error:
            name, refused = None, error
        one = self.uploads.get(upload)
        if one is None:
            return
        if one.name is not None and one.name not in taken:
            assert name == one.name
            return
        self.check_name(upload, path, on_conflict, taken, name)
        if refused is not None:
            stored = on_conflict != "replace" and path in self.files | taken
            unsettled = self.is_unsettled(upload, path) and not stored
            assert isinstance(refused, UnsettledError) == unsettled
        if name is not None:
            one.name, one.replaces, one.completing = name, on_conflict == "replace", False

    @rule(claims=st.lists(st.tuples(UPLOADS, PATHS, CONFLICTS), max_size=4))
    def claim_whole(self, claims: list[tuple[str, str, OnConflict]]) -> None:
        new = {
            upload: Claim(upload, SIZE, path, on_conflict)
            for upload, path, on_conflict in claims
            if upload not in self.uploads
        }
        batch = list(new.values())
        results = self.run(self.ledger.objects.claim_whole, batch)
        for each, result in zip(batch, results, strict=True):
            name = None if isinstance(result, NameTakenError) else result
            self.check_name(each.upload, each.path, each.on_conflict, set(), name)
            if name is not None:
                replaces = each.on_conflict == "replace"
                self.uploads[each.upload] = Upload(name, replaces, completing=True)

    @rule(upload=UPLOADS)
    def create(self, upload: str) -> None:
        self.change(upload, self.ledger.objects.created, f"multipart of {upload}")
        if upload in self.uploads:
            self.uploads[upload].multipart = f"multipart of {upload}"

    @rule(upload=UPLOADS, number=NUMBERS, length=st.integers(5, 9), etag=st.sampled_from("xy"))
    def add_part(self, upload: str, number: int, length: int, etag: str) -> None:
        added = part(number, length, etag)
        forgotten = self.change(upload, self.ledger.objects.add_part, added)
        one = self.uploads.get(upload)
        if one is None:
            return
        one.parts[number] = added
        had = one.tail
        if had is not None and parts_end(one.joined()) >= had.offset + had.length:
            one.tail = None
            assert forgotten == had
        else:
            assert forgotten is None

    @rule(upload=UPLOADS, length=st.integers(1, 20))
    def set_tail(self, upload: str, length: int) -> None:
        one = self.uploads.get(upload, Upload())
        added = tail(parts_end(one.joined()), length, f"{upload}-{length}")
        before, one.tail = one.tail, added
        assert self.change(upload, self.ledger.objects.set_tail, added) == before

    @rule(upload=UPLOADS)
    def completing(self, upload: str) -> None:
        one = self.uploads.get(upload)
        if one is not None and (one.abandoned or self.is_unsettled(upload, one.name)):
            if not one.abandoned:
                with pytest.raises(UnsettledError):
                    self.run(self.ledger.objects.completing, upload)
            return
        self.change(upload, self.ledger.objects.completing)
        if one is not None:
            one.completing = True

    @rule(upload=UPLOADS, due=st.sampled_from([1.5, 2.5]))
    def doubt(self, upload: str, due: float) -> None:
        one = self.uploads.get(upload)
        if one is not None and (
            not one.completing or one.abandoned or self.is_unsettled(upload, one.name)
        ):
            return  # nothing was sent
        self.change(upload, self.ledger.objects.doubt, due)
        if one is not None:
            one.due = due

    @rule(upload=UPLOADS)
    def resume(self, upload: str) -> None:
        one = self.uploads.get(upload)
        if one is not None:
            one.completing = False
            one.parts = {each.number: each for each in one.joined()}
        resumed = self.run(self.ledger.objects.resume, upload)
        assert resumed == (one and one.told(upload))

    @rule(upload=UPLOADS, at_start=st.booleans(), yields=st.booleans())
    def abandon(self, upload: str, *, at_start: bool, yields: bool) -> None:
        one = self.uploads.get(upload)
        if one is not None and (one.due is None or one.abandoned):
            return
        if at_start:
            self.ledger.objects.give_up([upload], 3.5)
        else:
            self.run(partial(self.ledger.objects.abandon, yields=yields), upload)
        if one is not None:
            one.abandoned, one.yields = True, yields
        if one is not None and at_start:
            one.due, one.yields = 3.5, one.multipart is None

    @rule(upload=UPLOADS)
    def hold(self, upload: str) -> None:
        one = self.uploads.get(upload)
        if one is not None and not one.abandoned:
            return
        before = one.due if one is not None and one.due is not None else 0.5
        assert not self.run(self.ledger.objects.hold, upload, 0.5, 4.5)
        if one is not None and one.name in self.files:
            with pytest.raises(NameTakenError):
                self.run(self.ledger.objects.hold, upload, before, 4.5)
            return
        alone = one is not None and all(each.name != one.name for each in self.others(upload))
        assert self.run(self.ledger.objects.hold, upload, before, 4.5) == alone
        if one is not None and alone:
            one.due, one.yields = 4.5, False

    @rule(upload=UPLOADS)
    def drop(self, upload: str) -> None:
        one = self.uploads.pop(upload, None)
        assert self.run(self.ledger.objects.drop, upload) == (one and one.told(upload))

    @rule(upload=UPLOADS)
    def commit(self, upload: str) -> None:
        one = self.uploads.get(upload)
        if one is not None and one.name is not None and not one.abandoned:
            self.run(self.ledger.reserve, upload, "anna", SIZE, allow)
            self.run(self.ledger.commit, upload, one.name)
            self.files.add(one.name)
            del self.uploads[upload]

    @rule(number=st.integers(0, 3))
    def remove_file(self, number: int) -> None:
        for name in sorted(self.files)[number : number + 1]:
            entries = self.run(self.ledger.entries, [name])
            assert self.run(self.ledger.drop_files, list(entries.values())) == 1
            self.files.remove(name)

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = self.reopened()
        self.ledger.reconcile(None, {})

    @invariant()
    def agrees(self) -> None:
        expected = [one.told(upload) for upload, one in sorted(self.uploads.items())]
        assert list(self.ledger.objects.all()) == expected
        for one in expected:
            assert self.run(self.ledger.objects.get, one.upload) == one
        claims = [one for one in self.uploads.values() if one.name and not one.yields]
        for name in {one.name for one in claims}:
            of_name = [one for one in claims if one.name == name]
            assert len(of_name) == 1 or all(one.replaces for one in of_name)
            assert sum(one.due is not None for one in of_name) <= 1
        multiparts = [f"multipart of {one.upload}" for one in expected]
        assert set(self.run(self.ledger.objects.known, [*multiparts, "other"])) == {
            one.multipart for one in expected if one.multipart
        }
        # None of them has a reservation.
        abandoned = self.run(self.ledger.objects.abandoned, "", len(expected) + 1)
        assert abandoned == {one.upload: one.due or 0 for one in expected}
        tails = [one.tail.key for one in expected if one.tail]
        assert set(self.run(self.ledger.objects.known_tails, [*tails, "other"])) == set(tails)


def _numbered(path: str, number: int) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{numbered(name, number)}"


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
