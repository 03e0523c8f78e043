"""Any files on any connections, with cuts: each is answered as its own, and stored once or not."""

from collections.abc import Callable
from random import Random
from typing import Final, Literal

import pytest
import trio
from attrs import define, evolve, field
from helpers.furthering import Signal, chunk, finished, limited, stored
from helpers.memory_store import MemorySink, MemoryStore
from helpers.rounds import rounds
from helpers.wire import CLOSE, TEXT, RawPeer, Wire, frame, serving, text_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from galileod.policy.settings import Quota
from galileod.storage.base import Stored
from galileod.storage.errors import StorageError

pytestmark = pytest.mark.timeout(rounds(120, 3600))

Kind = Literal["sound", "again", "unnamed", "no name", "other hash", "short", "dropped", "disk"]

KINDS: Final[tuple[Kind, ...]] = (
    "sound",
    "sound",
    "again",
    "unnamed",
    "no name",
    "other hash",
    "short",
    "dropped",
    "disk",
)
"""What becomes of a file. `again` has the key of an earlier one, `disk` is one that fails."""

REFUSED: Final[dict[Kind, set[str]]] = {
    "unnamed": {"bad_metadata"},
    "no name": {"bad_name"},
    "other hash": {"hash_mismatch"},
    "short": {"size_mismatch"},
    "dropped": {"abandoned"},
    "disk": {"storage_failed"},
}

AGAIN: Final = {"quota_exceeded"}
"""What the files of an earlier connection can cause, where a user's uploads are limited."""

CONNECTIONS: Final = 20
"""Without a cut from the tenth on."""


@define(eq=False)
class File:
    kind: Kind
    name: str
    data: bytes
    key: str | None
    stored: bool = False

    @property
    def size(self) -> int:
        return len(self.data)

    def metadata(self) -> bytes:
        name: object = {"unnamed": 5, "no name": ".."}.get(self.kind, self.name)
        key = {} if self.key is None else {"upload": self.key}
        return text_frame({"name": name, "size": self.size, **key})


class SlowSink(MemorySink):
    """Takes its time, and fails for a file that is named so."""

    def __init__(self, store: "SlowStore", path: str, upload: str) -> None:
        super().__init__(store, path, upload)
        self._slow = store

    async def prepare(self) -> None:
        await self._slow.pause()
        await super().prepare()

    async def commit(self) -> Stored:
        await self._slow.pause()
        if self._name.startswith("disk"):
            raise StorageError("the disk is on fire")
        return await super().commit()


class SlowStore(MemoryStore):
    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def make_sink(self, upload: str, path: str) -> MemorySink:
        return SlowSink(self, path, upload)

    async def pause(self) -> None:
        await trio.sleep(self._random.choice((0, 0, 0, 0.1, 1)))


class CutError(Exception):
    """The connection is cut here."""


@define(eq=False)
class Client:
    """One connection of a sound client, which sends `files`, and is cut behind `cut` bytes."""

    raw: RawPeer
    random: Random
    whole: int
    room: int
    most: int
    cut: int | None
    files: dict[int, File] = field(factory=dict)
    answered: dict[int, Signal] = field(factory=dict)
    ready: set[int] = field(factory=set)
    changed: trio.Event = field(factory=trio.Event)

    async def run(self, files: list[File]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.read, nursery.cancel_scope)
                for number, file in enumerate(files, 1):
                    await self.send_file(number, file)
                await self.until(lambda: not self.open)
                await self.raw.send(frame(CLOSE, (1000).to_bytes(2)))
        except* CutError:
            await self.raw.stream.aclose()

    async def read(self, scope: trio.CancelScope) -> None:
        while (each := await self.raw.receive_frame()) is not None:
            if each.opcode == CLOSE:
                break
            if each.opcode == TEXT:
                self.take(each.signal)
        assert not self.open, "the server ends the connection"
        scope.cancel()

    def take(self, signal: Signal) -> None:
        number = signal["file"]
        assert number in self.files, signal
        if signal.get("ready"):
            assert self.files[number].size > self.whole
            self.ready.add(number)
        else:
            assert number not in self.answered, signal
            assert signal.get("close") or signal["next"], signal
            self.answered[number] = signal
        self.changed.set()
        self.changed = trio.Event()

    @property
    def open(self) -> set[int]:
        return self.files.keys() - self.answered.keys()

    @property
    def under_way(self) -> int:
        sizes = (self.files[number].size for number in self.open)
        return sum(size for size in sizes if size <= self.whole)

    async def until(self, probe: Callable[[], object]) -> None:
        while not probe():
            await self.changed.wait()

    async def send(self, data: bytes) -> None:
        while data:
            length = self.random.randint(1, len(data))
            if self.cut is not None:
                length = min(length, self.cut)
                self.cut -= length
            await self.raw.send(data[:length])
            data = data[length:]
            if not self.cut and self.cut is not None:
                raise CutError
            if not self.random.randrange(3):
                await trio.lowlevel.checkpoint()
            if not self.random.randrange(30):
                await trio.sleep(0.5)

    async def send_file(self, number: int, file: File) -> None:
        whole = file.size <= self.whole
        await self.until(lambda: len(self.open) < self.most)
        if whole:
            await self.until(lambda: self.under_way + file.size <= self.room)
        self.files[number] = file
        await self.send(file.metadata())
        if not whole and file.size:
            await self.until(lambda: number in self.ready or number in self.answered)
        data = file.data
        if file.kind == "dropped":
            await self.send(text_frame({"abandon": True, "file": number}))
        if file.kind == "short":
            data = data[:-1]
        hashed = b"other" if file.kind == "other hash" else data
        for message in (chunk(data) if data else b"", finished(hashed)):
            if number in self.answered:
                return
            await self.send(message)


def make_files(random: Random, count: int, largest: int) -> list[File]:
    files, sound = list[File](), list[File]()
    for number in range(count):
        kind = random.choice(KINDS)
        if kind == "again" and sound:
            files.append(random.choice(sound))
            continue
        kind = "sound" if kind == "again" else kind
        size = random.randint(0 if kind in ("sound", "unnamed", "no name") else 1, largest)
        key = f"{number:032x}" if kind == "sound" else None
        name = f"{'disk' if kind == 'disk' else 'file'} {number}"
        file = File(kind, name, random.randbytes(size), key)
        files.append(file)
        if kind == "sound":
            sound.append(file)
    return files


async def connect(wire: Wire, number: int) -> RawPeer:
    raw = await wire.open_raw()
    about = {"can": ["next", "resume"], "upload": f"{number:030x}ff"}
    await raw.send(text_frame({"name": f"first {number}", "size": 0, **about}))
    first = await raw.receive()
    while not first.get("ready"):
        assert first["code"] in AGAIN, first  # other connections of this user fill its uploads
        await raw.stream.aclose()
        await trio.sleep(10)
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": f"first {number}", "size": 0, **about}))
        first = await raw.receive()
    await raw.send(text_frame({"finished": True}))
    assert await raw.receive() == stored(f"first {number}")
    return raw


@settings(max_examples=rounds(60, 5000), deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    count=st.integers(1, 25),
    whole=st.integers(0, 20),
    more=st.integers(0, 30),
    most=st.integers(1, 6),
    uploads=st.sampled_from((None, None, 1, 2)),
)
def test_each_file_is_answered_as_its_own_and_stored_once_or_not(
    seed: int, count: int, whole: int, more: int, most: int, uploads: int | None
) -> None:
    random = Random(seed)

    async def main() -> None:
        config = limited(following=most, whole=whole, room=whole + more)
        store = SlowStore(random)
        files = make_files(random, count, whole + 10)
        async with serving(store, evolve(config, quota=Quota(user_uploads=uploads))) as wire:
            left = files
            for number in range(CONNECTIONS):
                cut = random.randrange(1, 200 * count) if number < 10 else None
                raw = await connect(wire, number)
                client = Client(raw, random, whole, whole + more, most, cut)
                await client.run(left)
                left = [file for file in left if is_to_be_sent_again(file, client)]
                if not left:
                    break
                if random.randrange(2) or cut is None:
                    await wire.all_ended()
            assert not left
            await wire.all_ended()
            held = sum(holding.files for holding in wire.ledger.holdings().values())
            assert held == len(store.contents)
            assert not store.spool
        firsts = {name for name in store.contents if name.startswith("first")}
        sound = {file.name: file.data for file in files if file.kind == "sound"}
        assert {n: d for n, d in store.contents.items() if n not in firsts} == sound

    trio.run(main, clock=MockClock(autojump_threshold=0))


def is_to_be_sent_again(file: File, client: Client) -> bool:
    """Check the answers to a file; whether it has none yet."""
    numbers = [number for number, each in client.files.items() if each is file]
    answers = [client.answered[number] for number in numbers if number in client.answered]
    if file.kind == "sound":
        for answer in answers:
            assert answer.get("close") or answer["code"] in AGAIN, answer
        return not any(answer.get("close") for answer in answers)
    for answer in answers:
        assert answer.get("code") in REFUSED[file.kind] | AGAIN, (file.kind, answer)
    return not numbers
